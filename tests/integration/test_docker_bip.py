# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docker_bip on a lab host with a real dockerd."""

from __future__ import annotations

import itertools
import json
import re
import time
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


def docker0(lab: Lab) -> list[str]:
    """The IPv6 addresses of docker0, less the kernel's own, and subnets that the host has a route to there."""
    addresses = lab.json("docker1", "ip -j -6 address show dev docker0 scope global")
    # iproute2 says an empty object where there is nothing.
    found = [one["local"] for item in addresses for one in item.get("addr_info", []) if one]
    routes = lab.json("docker1", "ip -j -6 route show dev docker0")
    return found + [one["dst"] for one in routes if not one["dst"].startswith("fe80")]


@pytest.mark.parametrize("owners", [{}, {"ipv6": True, "fixed-cidr-v6": "fd00:dead::/64"}])
def test_ipv6_goes_with_the_wish_and_the_owners_comes_back(host: Lab, owners: dict[str, Any]) -> None:
    before = {**json.loads(DAEMON_JSON), **owners}
    host.exec("docker1", "sh", "-c", f"printf %s '{json.dumps(before)}' >/etc/docker/daemon.json; service docker restart")

    def keys() -> dict[str, Any]:
        return dict(json.loads(host.sh("docker1", "cat /etc/docker/daemon.json")))

    try:
        module(host, bip6="fd00:88:0:1::1/64")
        assert keys() == {**before, "bip": "10.88.50.1/24", "mtu": 1450, "ip-masq": False, "ipv6": True} | {
            "fixed-cidr-v6": "fd00:88:0:1::/64"
        }
        host.sh("docker1", "service docker restart")
        again = module(host, bip6="fd00:88:0:1::1/64")
        assert not again["changed"] and not again["docker_bip"]["restart_required"]
        assert "fd00:88:0:1::1" in docker0(host)

        predicted = module(host, check=True)
        done = module(host)
        assert predicted["operations"] == done["operations"] and predicted["docker_bip"] == done["docker_bip"]
        assert keys() == {**before, "bip": "10.88.50.1/24", "mtu": 1450, "ip-masq": False}
        assert done["docker_bip"]["restart_required"] and done["docker_bip"]["stale_addresses"] == ["fd00:88:0:1::1/64"]
        reasons = " ".join(done["docker_bip"]["restart_reasons"])
        assert "docker0 has fd00:88:0:1::1/64, which it is not to have any more" in reasons
        again = module(host)
        assert not again["changed"] and again["docker_bip"]["restart_reasons"] == done["docker_bip"]["restart_reasons"]
        # As the role does it: Docker 20.10 leaves the route.
        host.sh("docker1", "service docker restart; ip -6 route flush exact fd00:88:0:1::1/64 dev docker0")
        last = module(host)
        assert not last["changed"] and not last["docker_bip"]["restart_required"], last["docker_bip"]
        assert not any(one.startswith("fd00:88:") for one in docker0(host))
        assert any(one.startswith("fd00:dead:") for one in docker0(host)) == bool(owners)
        # The next lease of IPv6 is as the first one was.
        assert module(host, check=True, bip6="fd00:88:0:2::1/64")["changed"]
    finally:
        restore(host)
        host.sh("docker1", "service docker stop; ip link delete docker0; service docker start")


def test_what_another_writes_meanwhile_is_not_lost(host: Lab, tmp_path: Path) -> None:
    """Here while dockerd judges the new file, which it does after the old one was read."""
    others = '{"debug": true}'
    script = f"#!/bin/sh\nprintf %s '{others}' >/etc/docker/daemon.json\nexec /usr/bin/setpriv \"$@\"\n"
    (tmp_path / "setpriv").write_text(script)
    (tmp_path / "setpriv").chmod(0o755)
    wrapper = ("env", f"PATH={tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    failed = module(host, wrapper=wrapper, fails=True)
    assert "/etc/docker/daemon.json was changed by somebody else since it was read; run again" in failed["msg"]
    assert host.sh("docker1", "cat /etc/docker/daemon.json") == others
    assert set(host.sh("docker1", "ls -A /etc/docker").split()) - {"key.json"} == {"daemon.json"}
    # With others of the transaction undone.
    restore(host)
    bip = {"bip": "10.88.50.1/24", "mtu": 1450, "ip_masq": False}
    files = [{"path": "/run/of-ours", "content": "x"}]
    failed = host.module("docker1", "overlay_host", wrapper=wrapper, fails=True, docker_bip=[bip], files=files)
    assert "is left as somebody else has made it meanwhile" in failed["msg"], failed["msg"]
    assert host.sh("docker1", "cat /etc/docker/daemon.json; ls /run/of-ours 2>&1 || true").startswith(others + "ls: ")
    assert set(host.sh("docker1", "ls -A /etc/docker").split()) - {"key.json"} == {"daemon.json"}
    assert module(host)["changed"] and json.loads(host.sh("docker1", "cat /etc/docker/daemon.json"))["debug"] is True


def test_the_file_that_dockerd_judges_is_nobody_elses_to_read(host: Lab, tmp_path: Path) -> None:
    script = '#!/bin/sh\nfor word; do last=$word; done\nstat -c "%a %u" "$last" "${last%/*}" >/run/judged\n'
    (tmp_path / "setpriv").write_text(script + 'exec /usr/bin/setpriv "$@"\n')
    (tmp_path / "setpriv").chmod(0o755)
    # A run that was killed while dockerd judged leaves one, for nobody but that user.
    folders = "ls -d /run/agentless-overlay-* 2>/dev/null || true"
    before = host.sh("docker1", folders)
    module(host, wrapper=("env", f"PATH={tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin"))
    assert host.sh("docker1", "cat /run/judged").splitlines() == ["600 65534", "700 65534"]
    assert host.sh("docker1", f"rm /run/judged; {folders}") == before


def test_without_its_judgement_nothing_is_written(host: Lab) -> None:
    """dockerd runs, and its program is not where root looks for programs."""
    refused = module(host, wrapper=("env", "PATH=/usr/bin:/bin"), fails=True)
    assert "there is no program dockerd" in refused["msg"]
    assert host.sh("docker1", "cat /etc/docker/daemon.json") == DAEMON_JSON


FAKE = """
import http.server, json, os, socketserver, sys
open("/run/fake.pid", "w").write(str(os.getpid()))
answers = json.load(open(sys.argv[1]))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(answers.get(self.path.partition("?")[0], [])).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def address_string(self): return "-"
    def log_message(self, *_): pass
socketserver.UnixStreamServer("/run/docker.sock", Handler).serve_forever()
"""
PODMAN = {
    "Platform": {"Name": "linux/amd64/debian-12"},
    "Components": [{"Name": "Podman Engine", "Version": "4.9.4"}, {"Name": "Conmon", "Version": "conmon version 2.1.6"}],
    "Version": "4.9.4",
    "ApiVersion": "1.41",
}
DOCKER = {"Version": "27.2.0", "ApiVersion": "1.47", "Components": [{"Name": "Engine", "Version": "27.2.0"}]}


@pytest.mark.parametrize(
    ("version", "info", "words", "network_too"),
    [
        (PODMAN, {"host": {}}, "Podman Engine 4.9.4 answers on /var/run/docker.sock, not Docker", True),
        (
            DOCKER,
            {"DockerRootDir": "/var/snap/docker/common/var-lib-docker"},
            "is the snap's (its data lie in /var/snap/docker/common/var-lib-docker), which reads /var/snap/docker/current/",
            False,
        ),
        (
            DOCKER,
            {"DockerRootDir": "/home/x/.local/share/docker", "SecurityOptions": ["name=seccomp", "name=rootless"]},
            "is rootless (its data lie in /home/x/.local/share/docker)",
            True,
        ),
    ],
)
def test_what_is_behind_the_socket_is_called_by_its_name(
    host: Lab, tmp_path: Path, version: dict[str, Any], info: dict[str, Any], words: str, network_too: bool
) -> None:
    (tmp_path / "answers").write_text(json.dumps({"/version": version, "/info": info}))
    (tmp_path / "fake.py").write_text(FAKE)
    host.sh("docker1", "service docker stop; rm -f /run/docker.sock")
    fake = host.popen("docker1", "python3", str(tmp_path / "fake.py"), str(tmp_path / "answers"))
    try:
        host.sh("docker1", "for i in $(seq 100); do [ -S /run/docker.sock ] && break; sleep 0.1; done")
        for check in (True, False):
            assert words in module(host, fails=True, check=check)["msg"]
        assert set(host.sh("docker1", "ls -A /etc/docker").split()) - {"key.json"} == {"daemon.json"}
        item = {"name": "web", "network": "demo", "subnets": ["10.88.1.0/24"], "gateways": ["10.88.1.1"], "bridge": "br.88"}
        if network_too:
            asked: dict[str, Any] = {"docker_network": [{**item, "mtu": 1450}]}
            assert words in host.module("docker1", "overlay_host", fails=True, **asked)["msg"]
    finally:
        host.sh("docker1", "kill $(cat /run/fake.pid); rm -f /run/docker.sock /run/fake.pid")
        fake.wait(10)
        host.sh("docker1", "service docker start")


def test_of_two_dockerds_the_one_with_the_socket_counts(host: Lab) -> None:
    """The other one is older, has another number, and flags that would exclude ours."""
    folders = "--data-root /run/other/data --exec-root /run/other/exec --pidfile /run/other.pid --config-file /run/other.json"
    other = f"dockerd -H unix:///run/other.sock {folders} --bridge none --iptables=false --mtu 1400"
    host.sh(
        "docker1",
        f"service docker stop; echo '{{}}' >/run/other.json; {other} >/run/other.log 2>&1 & sleep 3; service docker start",
    )
    try:
        assert host.sh("docker1", "docker -H unix:///run/other.sock info -f '{{.DockerRootDir}}'").strip() == "/run/other/data"
        done = module(host)
        assert done["changed"]
        host.sh("docker1", "service docker restart")
        assert not module(host)["docker_bip"]["restart_required"]
    finally:
        host.sh("docker1", "kill $(cat /run/other.pid); sleep 2; rm -rf /run/other /run/other.json")


def test_a_dockerd_without_privileges_is_not_the_hosts_own(host: Lab, tmp_path: Path) -> None:
    """By what it is told from others: its name, a mount namespace of its own, and what RootlessKit gave it."""
    host.sh("docker1", f"service docker stop; cp /bin/sleep {tmp_path}/dockerd")
    rootless = ("unshare", "--mount", "env", "ROOTLESSKIT_STATE_DIR=/run/x", f"{tmp_path}/dockerd", "1000")
    job = host.popen("docker1", *rootless)
    try:
        time.sleep(1)
        assert "a rootless dockerd runs (process " in module(host, fails=True)["msg"]
    finally:
        host.sh("docker1", "kill $(pidof dockerd)")
        job.wait(10)
        host.sh("docker1", "service docker start")


def test_a_dockerd_that_does_not_run_is_a_reason_to_start_it(host: Lab) -> None:
    host.sh("docker1", "service docker stop")
    try:
        stopped = module(host)
        assert stopped["changed"]
        assert stopped["docker_bip"]["restart_reasons"] == ["dockerd is not running"]
    finally:
        host.sh("docker1", "service docker start")
