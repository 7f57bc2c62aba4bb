# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docker_bip on a lab host with a real dockerd."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from labs import Lab

DAEMON_JSON = """{
    "log-driver": "json-file",
    "mtu": 1400,
    "labels": ["a=b",
               "c=d"],
    "experimental": false
}"""


def module(lab: Lab, **options: Any) -> dict[str, Any]:
    """Run docker_bip on docker1; options of Lab.module among those of the module."""
    return lab.module("docker1", "docker_bip", **{"bip": "10.88.50.1/24", "mtu": 1450, "ip_masq": False, **options})


def restore(lab: Lab) -> None:
    """Put its owner's daemon.json there, and nothing else, hidden or not."""
    lab.sh("docker1", "find /etc/docker -mindepth 1 -delete")
    lab.exec("docker1", "sh", "-c", f"printf %s '{DAEMON_JSON}' >/etc/docker/daemon.json; chmod 640 /etc/docker/daemon.json")


@pytest.fixture
def host(lab: Lab) -> Lab:
    """docker1 with a daemon.json of its owner's, and no container."""
    lab.sh("docker1", "docker ps -aq | xargs -r docker rm -f")
    restore(lab)
    return lab


def test_keys_are_set_and_the_rest_is_kept(host: Lab) -> None:
    gateway = host.sh("docker1", "ip -4 -br address show docker0").split()[2]
    predicted = module(host, check=True)
    assert host.sh("docker1", "cat /etc/docker/daemon.json") == DAEMON_JSON
    done = module(host)
    assert predicted["operations"] == done["operations"] and predicted["docker_bip"] == done["docker_bip"]
    assert done["docker_bip"]["restart_required"]
    text = host.sh("docker1", "cat /etc/docker/daemon.json")
    assert list(json.loads(text)) == ["log-driver", "mtu", "labels", "experimental", "bip", "ip-masq"]
    assert text.startswith('{\n    "log-driver"') and not text.endswith("\n")
    assert host.sh("docker1", "stat -c %a /etc/docker/daemon.json").strip() == "640"
    assert host.sh("docker1", "cat /etc/docker/daemon.json.before-overlay") == DAEMON_JSON

    again = module(host)
    assert not again["changed"] and again["docker_bip"]["restart_required"], "not in force before the restart"
    host.sh("docker1", "service docker restart")
    after = module(host)
    assert not after["changed"] and after["docker_bip"]["restart_reasons"] == []
    assert "inet 10.88.50.1/24" in host.sh("docker1", "ip -4 address show docker0")

    # And out again, in two steps: with the address that docker0 had, for Docker keeps the one that it
    # finds there; and after its restart, the file as it was, and nothing of what was kept.
    first = module(host, state="absent")
    assert json.loads(host.sh("docker1", "cat /etc/docker/daemon.json")) == {**json.loads(DAEMON_JSON), "bip": gateway}
    assert first["docker_bip"]["restart_required"]
    host.sh("docker1", "service docker restart")
    predicted = module(host, check=True, state="absent")
    done = module(host, state="absent")
    assert predicted["operations"] == done["operations"] and len(done["operations"]) == 4
    assert host.sh("docker1", "cat /etc/docker/daemon.json") == DAEMON_JSON
    assert set(host.sh("docker1", "ls -A /etc/docker").split()) - {"key.json"} == {"daemon.json"}
    last = module(host, state="absent")
    assert not last["changed"] and not last["docker_bip"]["restart_required"]
    assert f"inet {gateway}" in host.sh("docker1", "ip -4 address show docker0")


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_run_that_is_killed_between_any_two_files_loses_nothing(host: Lab, state: str, tmp_path: Path) -> None:
    """Killed before each step that puts a file in place or takes one away; the next run ends where one run does."""
    gateway = host.sh("docker1", "ip -4 -br address show docker0").split()[2]

    def files() -> dict[str, str]:
        names = sorted(set(host.sh("docker1", "ls -A /etc/docker").split()) - {"key.json"})
        return {name: host.sh("docker1", f"cat /etc/docker/{name}") for name in names}

    def bare() -> None:
        restore(host)
        if state == "absent":
            module(host)

    # Docker runs on the former file all the time, so that there is nothing to wait for before it is put back.
    host.sh("docker1", "service docker restart")
    bare()
    module(host, state=state)
    whole = files()
    names = ["daemon.json"] + [f"daemon.json.{name}" for name in ("before-overlay", "before-overlay-docker0", "overlay-undo")]
    assert list(whole) == (names if state == "present" else names[:1])
    if state == "present":
        assert whole["daemon.json.before-overlay-docker0"] == gateway
    killed = []
    # strace counts each call by itself.
    for call in ("/^rename", "/^unlink"):
        for number in itertools.count(1):
            bare()
            kill = ("-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}")
            wrapper = ("env", "PYTHONDONTWRITEBYTECODE=1", "strace", "-o", str(tmp_path / "trace"), *kill)
            try:
                module(host, wrapper=wrapper, state=state)
            except AssertionError:
                killed.append((tmp_path / "trace").read_text().splitlines()[-2])
                module(host, state=state)
                assert files() == whole, killed[-1]
            else:
                break
    assert len([line for line in killed if "/etc/docker" in line]) == 4, killed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{\n  "a": 1,\n  "b": ]\n}', "Expecting value at line 3 column 8"),
        ("[1]", "holds no JSON object"),
        ('{"bip": "10.0.0.1/24", "bip": "10.0.1.1/24"}', "has the key bip twice"),
        ('{"bridge": "br7"}', "sets bridge to 'br7'"),
    ],
)
def test_a_file_that_would_be_harmed_is_refused(host: Lab, text: str, words: str) -> None:
    host.exec("docker1", "sh", "-c", f"printf %s '{text}' >/etc/docker/daemon.json")
    assert words in module(host, fails=True)["msg"]
    assert host.sh("docker1", "cat /etc/docker/daemon.json") == text
    assert host.sh("docker1", "ls /etc/docker").split() == ["daemon.json"]


def test_a_key_that_is_also_a_flag_is_refused(host: Lab) -> None:
    host.sh("docker1", "rm /etc/docker/daemon.json; sed -i 's|/usr/sbin/dockerd|& --mtu=1400|' /etc/init.d/docker")
    try:
        host.sh("docker1", "service docker restart")
        assert "dockerd is started with --mtu" in module(host, fails=True)["msg"]
    finally:
        host.sh("docker1", "sed -i 's| --mtu=1400||' /etc/init.d/docker; service docker restart")
    host.sh("docker1", "echo 'DOCKER_OPTS=\"--config-file /etc/docker/other.json\"' >/etc/default/docker")
    try:
        assert "dockerd reads /etc/docker/other.json, not /etc/docker/daemon.json" in module(host, fails=True)["msg"]
    finally:
        host.sh("docker1", "rm /etc/default/docker")
    host.sh("docker1", "echo 'DOCKER_OPTS=\"--bip 10.0.0.1/24\"' >/etc/default/docker")
    try:
        assert "dockerd is started with --bip" in module(host, fails=True)["msg"]
    finally:
        host.sh("docker1", "rm /etc/default/docker")


def test_a_new_bip_needs_leave_while_containers_run(host: Lab) -> None:
    module(host)
    host.sh("docker1", "service docker restart")
    host.container("docker1", "precious")
    before = host.sh("docker1", "cat /etc/docker/daemon.json")
    refused = module(host, fails=True, bip="10.88.60.1/24")
    assert re.search(r"from 10\.88\.50\.1/24 to 10\.88\.60\.1/24 while containers run: precious", refused["msg"])
    assert module(host, fails=True, check=True, bip="10.88.60.1/24")["msg"] == refused["msg"]
    assert host.sh("docker1", "cat /etc/docker/daemon.json") == before
    allowed = module(host, bip="10.88.60.1/24", allow_renumber=True)
    assert allowed["changed"] and allowed["docker_bip"]["containers"] == ["precious"]


def test_a_dockerd_that_does_not_run_is_a_reason_to_start_it(host: Lab) -> None:
    host.sh("docker1", "service docker stop")
    try:
        stopped = module(host)
        assert stopped["changed"]
        assert stopped["docker_bip"]["restart_reasons"] == ["dockerd is not running"]
    finally:
        host.sh("docker1", "service docker start")
