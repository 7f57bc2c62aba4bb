# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docker_bip on a lab host with a real dockerd."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from labs import Lab

DAEMON_JSON = """{
    "log-driver": "json-file",
    "mtu": 1400,
    "labels": ["a=b",
               "c=d"],
    "experimental": false
}"""


def module(lab: Lab, check: bool = False, fails: bool = False, **options: Any) -> dict[str, Any]:
    """Run docker_bip on docker1 as a task, for which the lab's connection is used."""
    options = {"bip": "10.88.50.1/24", "mtu": 1450, "ip_masq": False, **options}
    play = [
        {
            "hosts": "docker1",
            "gather_facts": False,
            "tasks": [
                {"agentless.overlay.docker_bip": options, "register": "answer", "ignore_errors": True},
                {"ansible.builtin.copy": {"content": "{{ answer | to_json }}", "dest": "/run/answer"}, "check_mode": False},
            ],
        }
    ]
    path = lab.inventory / "docker_bip.play"
    path.write_text(yaml.safe_dump(play))
    played = lab.play(*(["--check"] if check else []), playbook=str(path))
    assert played.code == 0, played.output
    answer: dict[str, Any] = lab.json("docker1", "cat /run/answer")
    assert bool(answer.get("failed")) is fails, answer
    return answer


@pytest.fixture
def host(lab: Lab) -> Lab:
    """docker1 with a daemon.json of its owner's, and no container."""
    lab.sh("docker1", "docker ps -aq | xargs -r docker rm -f")
    lab.sh("docker1", "rm -f /etc/docker/*")
    lab.exec("docker1", "sh", "-c", f"printf %s '{DAEMON_JSON}' >/etc/docker/daemon.json; chmod 640 /etc/docker/daemon.json")
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
