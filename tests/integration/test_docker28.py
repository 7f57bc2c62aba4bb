# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with Docker 20.10 and one with Docker 28, in one overlay.

Docker 28 drops what does not come from its own bridge in two places, one of
them before any chain that is the user's; the host has its own Python and
pyroute2 as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from labs import Lab, run


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    root = run("bash", "tests/rootfs.sh", "forky").stdout.strip()
    lab = Lab(tmp_path_factory.mktemp("inventory"))
    lab.hosts["docker2"]["ansible_python_interpreter"] = "/usr/bin/python3"
    try:
        lab.script("up", "docker1=192.168.65.3/24", f"docker2=192.168.65.4/24@{root}")
        lab.write_inventory()
        lab.converge("--check", "--diff")
        lab.converge()
        yield lab
    finally:
        lab.down()


def raw_rules(lab: Lab) -> list[str]:
    """What Docker itself drops before any chain of the user's."""
    return [line for line in lab.sh("docker2", "iptables -t raw -S PREROUTING").splitlines() if "DROP" in line]


def test_containers_reach_each_other_both_ways(mixed: Lab) -> None:
    version = mixed.sh("docker2", "docker version --format '{{.Server.Version}}'")
    assert int(version.partition(".")[0]) >= 28, version
    addresses = {host: mixed.container(host) for host in mixed.hosts}
    for host, far in (("docker1", "docker2"), ("docker2", "docker1")):
        said = mixed.sh(host, f"docker exec c1 ping -c 3 -i 0.2 {addresses[far]}")
        assert " 0% packet loss" in said and said.count("ttl=62") == 3
    # An unpublished port.
    mixed.serve("docker2")
    assert mixed.fetch("docker1", addresses["docker2"]).endswith("hello\n")
    assert json.loads(mixed.sh("docker2", "cat /etc/docker/daemon.json"))["allow-direct-routing"] is True
    assert "allow-direct-routing" not in mixed.sh("docker1", "cat /etc/docker/daemon.json")
    assert raw_rules(mixed) == []
    assert set(mixed.converge("--diff").changed().values()) == {0}


def test_a_docker_that_lost_the_setting_is_found(mixed: Lab) -> None:
    """dockerd does not tell this setting; its rules do."""
    address = mixed.container("docker2")
    mixed.sh(
        "docker2",
        'sed -i -e \'s/"ip-masq": false,/"ip-masq": false/\' -e /allow-direct/d /etc/docker/daemon.json; '
        "service docker restart; docker start c1",
    )
    assert len(raw_rules(mixed)) == 1
    assert mixed.exec("docker1", "docker", "exec", "c1", "ping", "-c", "1", "-W", "2", address, check=False).returncode
    found = mixed.play("--check", "--diff")
    assert found.diffs["docker2"]["docker_bip"][-1] == '+  "allow-direct-routing": true'
    assert "has to restart (allow-direct-routing is not in force)" in found.text
    mixed.converge("-e", "overlay_docker_restart=always")
    assert " 0% packet loss" in mixed.sh("docker1", f"docker exec c1 ping -c 2 {mixed.container('docker2')}")
    assert raw_rules(mixed) == []
    assert set(mixed.converge().changed().values()) == {0}


def test_dockerd_judges_the_file_before_it_is_replaced(mixed: Lab) -> None:
    """Docker has had --validate since 23.0: what it would not start with is not written."""
    before = mixed.sh("docker2", "cat /etc/docker/daemon.json")
    broken = before.replace('"mtu": 1450', '"mtu": 1400').replace("{", '{\n  "no-such-key": 1,', 1)
    mixed.exec("docker2", "sh", "-c", f"printf %s '{broken}' >/etc/docker/daemon.json")
    mixed.sh("docker2", "ip route del 10.88.50.0/24")
    try:
        played = mixed.play("--limit", "docker2")
        assert played.code == 2 and "no-such-key" in played.text and "so nothing was changed" in played.text
        assert mixed.sh("docker2", "cat /etc/docker/daemon.json") == broken
        assert mixed.sh("docker2", "ip route show 10.88.50.0/24") == "", "no part of the transaction was carried out"
    finally:
        mixed.exec("docker2", "sh", "-c", f"printf %s '{before}' >/etc/docker/daemon.json")
    mixed.converge()
    assert "vxlan.88" in mixed.sh("docker2", "ip route show 10.88.50.0/24")
