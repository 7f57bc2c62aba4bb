# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""verify.yml: what is wrong between hosts, each named as what it is; and fifty hosts at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from labs import Lab, Played, run


class Fleet(Lab):
    """Three hosts with Docker on a routed network."""

    networks = [{"name": "demo", "cidr": "10.88.0.0/16", "vni": 88}]

    def __init__(self, inventory: Path) -> None:
        super().__init__(inventory)
        self.hosts = {f"docker{number}": {"ansible_host": f"192.168.65.{number + 2}"} for number in (1, 2, 3)}
        self.reports = inventory.parent / "reports"

    def verify(self, *args: str) -> tuple[Played, dict[str, Any]]:
        given = ("-e", f"overlay_report_dir={self.reports}", "-e", "overlay_verify_seconds=6")
        played = self.play(*given, *args, playbook="playbooks/verify.yml")
        return played, json.loads((self.reports / "verify.json").read_text())

    def underlay(self, command: str) -> None:
        """On the switch between the hosts, which none of them sees."""
        run("ip", "netns", "exec", f"{self.prefix}-underlay", "sh", "-c", command)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("fleet") / "inventory")
    try:
        made.up()
        made.converge("--skip-tags", "verify")
        for host in made.hosts:
            made.container(host)
        yield made
    finally:
        made.down()


@pytest.fixture
def undo() -> Iterator[list[Callable[[], object]]]:
    todo: list[Callable[[], object]] = []
    yield todo
    for one in reversed(todo):
        one()


def test_all_reach_all(fleet: Fleet) -> None:
    states = {host: fleet.state(host) for host in fleet.hosts}
    played, report = fleet.verify()
    assert played.code == 0 and set(played.changed().values()) == {0}, played.output
    assert {host: fleet.state(host) for host in fleet.hosts} == states
    rows = [row for row in report["rows"] if row["network"]]
    # From each host and its container to each other host and its container.
    assert len(rows) == 3 * 2 * 2 * 2 and all(row["ok"] for row in rows)
    assert {row["largest"] for row in rows} == {1450} and {row["loss"] for row in rows} == {0}
    assert all(row["rtt"] > 0 for row in rows)
    assert {(row["path"], row["expected"]) for row in rows if row["source"] == "host"} == {("tunnel, by vxlan.88",) * 2}
    suites = ElementTree.parse(fleet.reports / "verify.xml").getroot()
    assert [(suite.get("tests"), suite.get("failures")) for suite in suites] == [("8", "0")] * 3
    assert "24 of 24 targets answer at full size, from 3 hosts" in (fleet.reports / "verify.md").read_text()


def found(report: dict[str, Any]) -> set[tuple[str, str, tuple[str, ...]]]:
    """What is named: kind, where, and who notices."""
    return {(item["fault"], item["where"], tuple(item["hosts"])) for item in report["findings"]}


def test_a_host_that_lets_no_tunnel_in(fleet: Fleet, undo: list[Callable[[], object]]) -> None:
    fleet.sh("docker2", "iptables -I INPUT -p udp --dport 4789 -j DROP")
    undo.append(lambda: fleet.sh("docker2", "iptables -D INPUT -p udp --dport 4789 -j DROP"))
    played, report = fleet.verify()
    assert played.code == 2
    assert found(report) == {("tunnel_blocked", "docker2", ("docker1", "docker2", "docker3"))}
    assert "Let UDP port 4789 in on docker2" in played.text


def test_a_port_that_is_blocked_on_the_way(fleet: Fleet, undo: list[Callable[[], object]]) -> None:
    rules = "; ".join(f"nft add rule bridge t f ip {way} 192.168.65.5 udp dport 4789 drop" for way in ("saddr", "daddr"))
    fleet.underlay("nft add table bridge t; nft add chain bridge t f '{ type filter hook forward priority 0; }'; " + rules)
    undo.append(lambda: fleet.underlay("nft delete table bridge t"))
    played, report = fleet.verify()
    assert played.code == 2
    assert found(report) == {("tunnel_blocked", "", ("docker1", "docker3")), ("tunnel_blocked", "", ("docker2", "docker3"))}
    assert "blocked between docker1 and docker3, in both directions" in played.text


def test_one_direction_only(fleet: Fleet, undo: list[Callable[[], object]]) -> None:
    fleet.underlay(
        "nft add table bridge t; nft add chain bridge t f '{ type filter hook forward priority 0; }'; "
        "nft add rule bridge t f ip saddr 192.168.65.3 ip daddr 192.168.65.4 udp dport 4789 drop"
    )
    undo.append(lambda: fleet.underlay("nft delete table bridge t"))
    played, report = fleet.verify()
    assert played.code == 2 and found(report) == {("one_way", "", ("docker1", "docker2"))}
    assert "port 4789 from docker1 do not arrive at docker2; the other direction passes" in played.text


def test_an_underlay_mtu_that_is_too_small(fleet: Fleet, undo: list[Callable[[], object]]) -> None:
    fleet.sh("docker3", "ip link set eth0 mtu 1400")
    undo.append(lambda: fleet.sh("docker3", "ip link set eth0 mtu 1500"))
    played, report = fleet.verify()
    assert played.code == 2 and found(report) == {("mtu", "docker3", ("docker1", "docker2", "docker3"))}
    assert "eth0 of docker3 has MTU 1400, not 1500" in played.text
    largest = {
        row["largest"] for row in report["rows"] if row["from"] == "docker1" and row["to"] == "docker3" and row["network"]
    }
    # A veth device takes four bytes more, for a VLAN's tag.
    assert largest <= {1350, 1354} and largest


def test_a_switch_that_swallows_large_packets(fleet: Fleet, undo: list[Callable[[], object]]) -> None:
    fleet.underlay("ip link set docker1 mtu 1400")
    undo.append(lambda: fleet.underlay("ip link set docker1 mtu 1500"))
    played, report = fleet.verify()
    assert played.code == 2 and found(report) == {("mtu", "", ("docker1", "docker2")), ("mtu", "", ("docker1", "docker3"))}
    assert "the underlay between them carries less than the 1500 bytes" in played.text


def test_a_wrong_fdb_destination(fleet: Fleet, undo: list[Callable[[], object]]) -> None:
    mac = fleet.json("docker3", "ip -j link show dev vxlan.88")[0]["address"]
    undo.append(lambda: fleet.converge("--tags", "converge"))
    # Nobody has the one address; the other is another host's.
    for address in ("192.168.65.99", "192.168.65.4"):
        fleet.sh("docker1", f"bridge fdb replace {mac} dev vxlan.88 dst {address} self permanent")
        played, report = fleet.verify()
        assert played.code == 2 and found(report) == {("fdb", "docker1", ("docker1", "docker3"))}
        assert f"docker1 sends what is for docker3 to {address}, not to 192.168.65.5" in played.text


def test_a_card_that_computes_wrong_checksums(fleet: Fleet, undo: list[Callable[[], object]]) -> None:
    # Computed by the host, and spoilt on the way, as a faulty offload does.
    fleet.sh("docker1", "ethtool -K eth0 tx off")
    undo.append(lambda: fleet.sh("docker1", "ethtool -K eth0 tx on"))
    fleet.underlay(
        "nft add table netdev t; nft add chain netdev t i '{ type filter hook ingress device docker1 priority 0; }'; "
        "nft add rule netdev t i udp dport 4789 udp checksum set 0xbeef"
    )
    undo.append(lambda: fleet.underlay("nft delete table netdev t"))
    played, report = fleet.verify()
    assert played.code == 2 and found(report) == {("checksum", "docker1", ("docker1", "docker2", "docker3"))}


def test_another_way_than_planned(fleet: Fleet, undo: list[Callable[[], object]]) -> None:
    route = fleet.json("docker1", "ip -j route show proto 157")[0]
    gateway = fleet.hosts["docker2"]["ansible_host"]
    undo.append(lambda: fleet.converge("--tags", "converge"))
    fleet.sh("docker1", f"ip route replace {route['dst']} via {gateway} proto 157")
    played, report = fleet.verify()
    assert played.code == 2
    assert ("path", "docker1") in {(item["fault"], item["where"]) for item in report["findings"]}
    assert "planned is: tunnel, by vxlan.88" in played.text


def test_who_does_not_answer_is_not_well(fleet: Fleet) -> None:
    fleet.hosts["docker3"]["overlay_netns_name"] = "there-is-no-such"
    fleet.write_inventory()
    try:
        played, report = fleet.verify()
        assert played.code == 4
        assert {name: host["status"] for name, host in report["hosts"].items()} == {
            "docker1": "ok",
            "docker2": "ok",
            "docker3": "unknown",
        }
    finally:
        del fleet.hosts["docker3"]["overlay_netns_name"]
        fleet.write_inventory()
    earlier = (fleet.reports / "verify.json").read_text()
    for args, code, text in (
        (("-e", '{"overlay_networks": [{"name": "x"}]}'), 4, "no host was touched"),
        (("--limit", "nobody"), 1, "no hosts to target"),
        (("-e", "overlay_report_dir=/proc/nowhere"), 4, "cannot be written"),
    ):
        played = fleet.play("-e", f"overlay_report_dir={fleet.reports}", *args, playbook="playbooks/verify.yml")
        assert played.code == code and text in played.text, played.output
    assert (fleet.reports / "verify.json").read_text() == earlier


class Fifty(Lab):
    """Bare namespaces, which have the machine's own files: their network is made by hand, and only looked at."""

    networks = [{"name": "all", "backend": "multicast", "cidr": "10.77.0.0/16", "vni": 77, "group": "239.1.1.7", "dev": "eth0"}]

    def __init__(self, inventory: Path) -> None:
        super().__init__(inventory, docker=False)
        self.hosts = {
            f"h{number}": {"ansible_host": f"192.168.65.{number + 2}", "overlay_subnet": f"10.77.1.{number}/16"}
            for number in range(1, 51)
        }

    def by_hand(self) -> None:
        # Neighbours that are asked for share one table of 1,024 with all namespaces of the machine: known ones do not.
        for name, values in self.hosts.items():
            number, address = int(name[1:]), values["ansible_host"]
            links = [
                f"link add vxlan.77 address 02:77:00:00:00:{number:02x} mtu 1450 type vxlan id 77 group 239.1.1.7 dev eth0 "
                f"dstport 4789 local {address}",
                f"link set vxlan.77 up\naddress add {values['overlay_subnet']} dev vxlan.77",
            ]
            entries = []
            for far in range(1, 51):
                if far != number:
                    links.append(f"neigh replace 192.168.65.{far + 2} lladdr 02:4c:c0:a8:41:{far + 2:02x} dev eth0")
                    links.append(f"neigh replace 10.77.1.{far} lladdr 02:77:00:00:00:{far:02x} dev vxlan.77")
                    entries.append(f"fdb replace 02:77:00:00:00:{far:02x} dev vxlan.77 dst 192.168.65.{far + 2} self permanent")
            run("ip", "-n", f"{self.prefix}-{name}", "-batch", "-", stdin="\n".join(links) + "\n")
            run("bridge", "-n", f"{self.prefix}-{name}", "-batch", "-", stdin="\n".join(entries) + "\n")


def test_fifty_hosts(tmp_path: Path) -> None:
    lab = Fifty(tmp_path / "inventory")
    try:
        lab.up()
        lab.by_hand()
        began = time.monotonic()
        played = lab.play("-e", f"overlay_report_dir={tmp_path}", playbook="playbooks/verify.yml")
        took = time.monotonic() - began
        report = json.loads((tmp_path / "verify.json").read_text())
        assert played.code == 0, played.output[-3000:]
        assert report["summary"]["answered"] == report["summary"]["probes"] == 50 * 49
        # Reported, not asserted: the machine is shared.
        print(f"fifty hosts verified in {took:.0f} s")
    finally:
        lab.down()
