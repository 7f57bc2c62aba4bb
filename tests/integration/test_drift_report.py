# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""drift.yml: sixty random mutations, each in the report under its host and resource, nothing else; what is not ours never."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from labs import ROOT, Lab, Played

Found = tuple[str, str, str]  # host, resource, kind


class Fleet(Lab):
    """Three hosts on two routed networks and one at layer 2."""

    networks = [
        {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88},
        {"name": "web", "cidr": "10.89.0.0/16", "vni": 89, "attach": {"docker_network": "web"}},
        {"name": "flat", "backend": "l2", "cidr": "10.90.0.0/16", "vni": 90, "attach": {"docker_network": "flat"}},
    ]

    def __init__(self, inventory: Path) -> None:
        super().__init__(inventory)
        self.hosts = {f"docker{number}": {"ansible_host": f"192.168.65.{number + 2}"} for number in (1, 2, 3)}
        self.reports = inventory.parent / "reports"

    def states(self) -> dict[tuple[str, str], Any]:
        found = {(host, key): value for host in self.hosts for key, value in self.state(host).items()}
        # What a device has learnt comes and goes by itself.
        return {
            key: [line for line in value if "permanent" in line] if key[1] == "fdb" else value for key, value in found.items()
        }

    def drift(self, *args: str) -> tuple[Played, dict[str, Any]]:
        before = self.states()
        played = self.play("-e", f"overlay_report_dir={self.reports}", *args, playbook="playbooks/drift.yml")
        after = self.states()
        changed = {key: (value, after[key]) for key, value in before.items() if after[key] != value}
        assert changed == {}, "a drift run changed something"
        return played, json.loads((self.reports / "drift.json").read_text())


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("fleet") / "inventory")
    try:
        made.up()
        made.converge()
        yield made
    finally:
        made.down()


@dataclass(frozen=True)
class Mutation:
    """What a hand does, and what it makes differ, as resource and kind."""

    command: str
    differs: tuple[str, ...]
    # Mutations of one place would hide each other.
    place: str


ROUTED, PEERS = ("vxlan.88", "vxlan.89"), 2
# {neigh}, {mac}, {peer} and {route} are of one peer, {own} is the device's own address, {own4} the first three numbers of it.
MUTATIONS: dict[str, Mutation] = {
    **{
        f"{device} {name}": Mutation(command.replace("DEV", device), differs, device)
        for device in ROUTED
        for name, (command, differs) in {
            "mtu": ("ip link set DEV mtu 1300", ("vxlan_link wrong",)),
            "learning": ("ip link set DEV type vxlan learning", ("vxlan_link wrong",)),
            "local": ("ip link set DEV type vxlan local 192.168.65.99", ("vxlan_link wrong",)),
            "mac": ("ip link set DEV address 02:00:00:00:00:09", ("vxlan_link wrong", *("neigh_entry missing",) * PEERS)),
            "down": (
                "ip link set DEV down",
                ("vxlan_link wrong", *("neigh_entry missing", "route_entry missing") * PEERS),
            ),
            "deleted": (
                "ip link del DEV",
                (
                    *("vxlan_link missing", "address missing"),
                    *("neigh_entry missing", "fdb_entry missing", "route_entry missing") * PEERS,
                ),
            ),
            "address extra": ("ip address add 10.1.2.3/32 dev DEV", ("address extra",)),
            # With its last address the kernel takes IPv4 off a device, and all that it knew there.
            "address missing": (
                "ip address del {own}/32 dev DEV",
                ("address missing", *("neigh_entry missing", "route_entry missing") * PEERS),
            ),
            "neighbour missing": ("ip neigh del {neigh} dev DEV", ("neigh_entry missing",)),
            "neighbour wrong": ("ip neigh replace {neigh} dev DEV lladdr 02:00:00:00:00:01", ("neigh_entry wrong",)),
            "neighbour extra": ("ip neigh add 10.99.0.1 dev DEV lladdr 02:00:00:00:00:02", ("neigh_entry extra",)),
            "fdb missing": ("bridge fdb del {mac} dev DEV dst {peer}", ("fdb_entry missing",)),
            "fdb wrong": ("bridge fdb replace {mac} dev DEV dst 192.168.65.98 self permanent", ("fdb_entry wrong",)),
            "fdb extra": ("bridge fdb add 02:00:00:00:00:05 dev DEV dst 192.168.65.97", ("fdb_entry extra",)),
            "route missing": ("ip route del {route}", ("route_entry missing",)),
            "route wrong": ("ip route replace {route} via 192.168.65.1 proto 157", ("route_entry wrong",)),
            "route extra": ("ip route add 10.97.0.0/24 via 10.97.0.0 dev DEV onlink proto 157", ("route_entry extra",)),
        }.items()
    },
    "flat down": Mutation("ip link set vxlan.90 down", ("vxlan_link wrong",), "vxlan.90"),
    "flat out of its bridge": Mutation("ip link set vxlan.90 nomaster", ("vxlan_link wrong",), "vxlan.90"),
    "flat peer missing": Mutation(
        "bridge fdb del 00:00:00:00:00:00 dev vxlan.90 dst {peer}", ("fdb_entry missing",), "vxlan.90"
    ),
    "flat peer extra": Mutation(
        "bridge fdb append 00:00:00:00:00:00 dev vxlan.90 dst 192.168.65.96", ("fdb_entry extra",), "vxlan.90"
    ),
    "bridge mtu": Mutation("ip link set br.90 mtu 1400", ("bridge wrong",), "vxlan.90"),
    "bridge down": Mutation("ip link set br.90 down", ("bridge wrong",), "vxlan.90"),
    "forwarding": Mutation("sysctl -q net.ipv4.ip_forward=0", ("sysctl wrong",), "sysctl"),
    "DOCKER-USER rule missing": Mutation("iptables -D DOCKER-USER 1", ("firewall missing",), "iptables"),
    "nft rule extra": Mutation("nft add rule inet agentless_overlay input udp dport 1 drop", ("firewall extra",), "nft"),
    "nft rule missing": Mutation(
        "nft delete rule inet agentless_overlay postrouting handle "
        "$(nft -a list chain inet agentless_overlay postrouting | sed -n 's/.*masquerade.*handle //p' | head -n 1)",
        ("firewall missing",),
        "nft",
    ),
    "sender missing": Mutation("nft delete element inet agentless_overlay vteps_88 '{ {peer} }'", ("firewall missing",), "nft"),
    "sender extra": Mutation("nft add element inet agentless_overlay vteps_89 '{ 192.168.65.95 }'", ("firewall extra",), "nft"),
    "subnet.env edited": Mutation("sed -i s/1450/1500/ /run/flannel/subnet.env", ("files wrong",), "files"),
    "subnet.env gone": Mutation("rm /run/flannel/subnet.env", ("files missing",), "files"),
    "boot script edited": Mutation("sed -i s/1450/1400/ /etc/agentless-overlay/boot.sh", ("boot wrong",), "boot"),
    "boot script gone": Mutation("rm /etc/agentless-overlay/boot.sh", ("boot missing",), "boot"),
    "bip edited": Mutation(
        'sed -i \'s/"bip": "10.88/"bip": "10.66/\' /etc/docker/daemon.json', ("docker_bip wrong",), "daemon"
    ),
    "mtu edited": Mutation("sed -i s/1450/1449/ /etc/docker/daemon.json", ("docker_bip wrong",), "daemon"),
    "docker network gone": Mutation("docker network rm web", ("docker_network missing",), "docker"),
    "docker network another": Mutation(
        "docker network rm web; docker network create --label agentless.overlay=web --subnet 10.77.0.0/24 web",
        ("docker_network wrong",),
        "docker",
    ),
}


def mutate(fleet: Fleet, host: str, mutation: Mutation, chance: random.Random) -> Counter[Found]:
    """Do it; gives what has to be in the report."""
    device, command = mutation.place, mutation.command
    names = {"peer": chance.choice([values["ansible_host"] for name, values in fleet.hosts.items() if name != host])}
    if "{" in command and device in ROUTED:
        routes = fleet.json(host, f"ip -j route show proto 157 dev {device}")
        route = chance.choice(routes) if routes else {"gateway": "", "dst": ""}
        names.update(neigh=route["gateway"], route=route["dst"])
        names["own"] = fleet.json(host, f"ip -j -4 address show dev {device}")[0]["addr_info"][0]["local"]
        if "{mac}" in command:
            entry = chance.choice([one for one in fleet.json(host, f"bridge -j fdb show dev {device}") if "dst" in one])
            names.update(mac=entry["mac"], peer=entry["dst"])
    for name, value in names.items():
        command = command.replace("{%s}" % name, value)
    fleet.sh(host, command)
    return Counter((host, *text.split()) for text in mutation.differs)  # type: ignore[misc]


def found_in(report: dict[str, Any]) -> Counter[Found]:
    return Counter((name, item["resource"], item["kind"]) for name, host in report["hosts"].items() for item in host["drift"])


def check(report: dict[str, Any]) -> None:
    """What holds for every report."""
    jsonschema.validate(report, json.loads((ROOT / "docs/drift.schema.json").read_text()))
    for host in report["hosts"].values():
        same = host["certificate"].get("planned") == host["certificate"].get("live")
        assert same is (host["status"] != "drifted")
        assert bool(host["drift"]) is (host["status"] == "drifted")


def test_sixty_random_mutations(fleet: Fleet) -> None:
    seed = int(os.environ.get("OVERLAY_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"OVERLAY_SEED={seed}")
    chance = random.Random(seed)
    left = list(MUTATIONS)
    for size in [1] * 5 + [5] * 11:
        places: set[tuple[str, str]] = set()
        chosen: list[tuple[str, str]] = []
        while len(chosen) < size:
            # All of them in turn, in random order.
            left = left or list(MUTATIONS)
            host, name = chance.choice(list(fleet.hosts)), left.pop(chance.randrange(len(left)))
            if (host, MUTATIONS[name].place) not in places:
                places.add((host, MUTATIONS[name].place))
                chosen.append((host, name))
        expected = sum((mutate(fleet, host, MUTATIONS[name], chance) for host, name in chosen), Counter())
        told = f"OVERLAY_SEED={seed}: {chosen}"
        played, report = fleet.drift()
        check(report)
        assert found_in(report) == expected, told
        assert played.code == 2, f"{told}\n{played.output}"
        # What it left would be in the next report.
        fleet.converge("--tags", "converge")
    played, report = fleet.drift()
    check(report)
    assert (played.code, found_in(report)) == (0, Counter()), f"{told}\n{played.output}"


def test_what_is_not_ours_is_no_drift(fleet: Fleet) -> None:
    before = fleet.drift()[1]
    done = (
        "ip link add vxlan.7 type vxlan id 7 local 192.168.65.3 dstport 4789 && ip link set vxlan.7 up",
        "bridge fdb add 02:00:00:00:00:07 dev vxlan.7 dst 192.168.65.77",
        "ip route add 10.200.0.0/16 via 192.168.65.4",
        "ip route add 10.201.0.0/16 via 192.168.65.4 proto 44",
        "ip neigh add 192.168.65.78 dev eth0 lladdr 02:00:00:00:00:08",
        "nft add table inet mine && nft add chain inet mine forward '{ type filter hook forward priority 5; }'",
        "iptables -I DOCKER-USER -s 192.0.2.1 -j DROP",
        "docker run --detach --name own overlay-lab sleep 1000000",
        "docker network create own",
        "sed -i '1s/{/{ \"debug\": true,/' /etc/docker/daemon.json",
        "sysctl -q net.ipv4.conf.all.log_martians=1",
    )
    for command in done:
        fleet.sh("docker1", command)
    played, report = fleet.drift()
    assert played.code == 0 and found_in(report) == Counter(), played.output
    assert {name: host["certificate"] for name, host in report["hosts"].items()} == {
        name: host["certificate"] for name, host in before["hosts"].items()
    }
    fleet.sh("docker1", "ip link del vxlan.7; docker rm -f own; docker network rm own; nft delete table inet mine")


def test_slices_merge_into_one(fleet: Fleet, tmp_path: Path) -> None:
    fleet.sh("docker2", "ip link set vxlan.88 mtu 1300")
    slices = {"one": "docker1", "two": "docker2:docker3"}
    codes = [
        fleet.play("--limit", limit, "-e", f"overlay_report_dir={tmp_path / name}", playbook="playbooks/drift.yml").code
        for name, limit in slices.items()
    ]
    assert codes == [0, 2]

    def merge(*names: str) -> tuple[int, str]:
        given = json.dumps({"overlay_report_slices": [str(tmp_path / name) for name in names]})
        played = fleet.play("-e", given, "-e", f"overlay_report_dir={tmp_path / 'all'}", playbook="playbooks/drift_merge.yml")
        return played.code, played.text

    assert merge("one", "two")[0] == 2
    whole = json.loads((tmp_path / "all/drift.json").read_text())
    check(whole)
    whole_run = fleet.drift()[1]
    assert whole["hosts"] == whole_run["hosts"] and whole["summary"] == whole_run["summary"]
    suites = ElementTree.parse(tmp_path / "all/drift.xml").getroot()
    assert [(suite.get("name"), suite.get("failures")) for suite in suites] == [
        ("docker1", "0"),
        ("docker2", "1"),
        ("docker3", "0"),
    ]
    assert "`vxlan.88`" in (tmp_path / "all/drift.md").read_text()

    # Half a slice, or half of the slices: no report, and the earlier one stays.
    earlier = {path.name: path.read_bytes() for path in (tmp_path / "all").iterdir()}
    (tmp_path / "torn").mkdir()
    text = (tmp_path / "one/drift.json").read_text()
    (tmp_path / "torn/drift.json").write_text(text[: len(text) // 2])
    code, said = merge("two", "torn")
    assert code == 4 and "torn/drift.json is not whole" in said
    code, said = merge("two", "missing")
    assert code == 4 and "cannot be read" in said
    assert {path.name: path.read_bytes() for path in (tmp_path / "all").iterdir()} == earlier
    code, said = merge("two")
    assert code == 4 and "Nobody looked at docker1" in said
    fleet.converge("--tags", "converge")


def test_what_cannot_be_looked_at_is_not_no_drift(fleet: Fleet, tmp_path: Path) -> None:
    fleet.sh("docker1", "ip route del $(ip route show proto 157 dev vxlan.88 | awk 'NR==1 {print $1}')")
    fleet.hosts["docker3"]["overlay_netns_name"] = "there-is-no-such"
    fleet.write_inventory()
    try:
        played, report = fleet.drift()
        assert played.code == 4, played.output
        states = {name: host["status"] for name, host in report["hosts"].items()}
        assert states == {"docker1": "drifted", "docker2": "same", "docker3": "unknown"}
        assert "there-is-no-such" in report["hosts"]["docker3"]["problem"]
        check(report)
        assert fleet.drift("--limit", "docker3")[0].code == 4
        assert fleet.drift("--limit", "docker2")[0].code == 0
    finally:
        del fleet.hosts["docker3"]["overlay_netns_name"]
        fleet.write_inventory()
    earlier = (fleet.reports / "drift.json").read_text()
    wrong = [
        (("-e", '{"overlay_networks": [{"name": "x"}]}'), 4, "no host was touched"),
        (("--limit", "nobody"), 1, "no hosts to target"),
        # Root may write everywhere but where there is no folder to be.
        (("-e", "overlay_report_dir=/proc/nowhere"), 4, "cannot be written"),
    ]
    for args, code, text in wrong:
        played = fleet.play("-e", f"overlay_report_dir={fleet.reports}", *args, playbook="playbooks/drift.yml")
        assert played.code == code and text in played.text, played.output
    assert (fleet.reports / "drift.json").read_text() == earlier
    fleet.converge("--tags", "converge")


def test_the_blast_radius_is_told_and_limited(fleet: Fleet) -> None:
    fleet.sh("docker1", "ip link del vxlan.88 && ip link add vxlan.88 type vxlan id 77 dstport 4789 local 192.168.65.3")
    fleet.sh("docker1", "ip link set vxlan.88 alias agentless.overlay:demo")
    fleet.sh("docker2", "ip route del $(ip route show proto 157 dev vxlan.89 | awk 'NR==1 {print $1}')")
    states = {host: fleet.state(host) for host in fleet.hosts}
    for args in (("-e", "overlay_max_recreate=0"), ("-e", "overlay_max_recreate=0", "--check")):
        refused = fleet.play(*args)
        assert refused.code == 2
        words = "would make anew or remove 1 (docker1: vxlan.88), and overlay_max_recreate is 0. No host was touched."
        assert words in refused.text
    told = fleet.converge("--check").text
    assert {host: fleet.state(host) for host in fleet.hosts} == states
    done = fleet.converge("-e", "overlay_max_recreate=1", "-e", "overlay_max_restart=0").text
    for said in (told, done):
        assert "To be touched: 2 of 3 hosts: docker1, docker2." in said
        assert "Made anew: 1 (docker1: vxlan.88)." in said
        assert "Peers added: 3 (docker1: docker2, docker1: docker3, docker2: " in said
    assert "Nothing is to be done on 3 hosts." in fleet.converge().text

    # Another subnet for docker0 of one host: a restart, and its container.
    fleet.container("docker3")
    fleet.hosts["docker3"]["overlay_subnet"] = {"demo": "10.88.250.0/24"}
    fleet.write_inventory(overlay_allow_renumber=True, overlay_docker_restart="always")
    refused = fleet.play("-e", "overlay_max_restart=0")
    assert refused.code == 2 and "would restart Docker on 1 (docker3), and overlay_max_restart is 0" in refused.text
    told = fleet.converge("-e", "overlay_max_restart=1").text
    assert "Docker restarts: 1 (docker3)." in told
    assert "Containers that a restart stops and starts: 1 (docker3: c1)." in told
