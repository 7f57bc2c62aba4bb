# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""explain.yml: the right first broken step for faults in different places, and the whole way where nothing is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from labs import Lab, Net, Played

IN_C1 = "nsenter -t $(docker inspect -f '{{.State.Pid}}' c1) -n"
# Only c1 is on it.
VETH = "$(ip -br link show master docker0 | awk -F@ 'NR==1 {print $1}')"


@dataclass(frozen=True)
class Fault:
    """What a hand does on a host, how it is undone, and the first step that is broken: host, what, and a word of why."""

    host: str
    plant: str
    undo: str
    at: str
    why: str
    # Whether a ping is lost indeed; a few faults need another packet to be seen.
    port: int = 0


OVERLAY = "overlay"
FAULTS = {
    "container without a route": Fault(
        "docker1", f"{IN_C1} ip route del default", "docker restart -t 0 c1", "docker1: container route", "has no route"
    ),
    "container's device down": Fault(
        "docker1", f"{IN_C1} ip link set eth0 down", "docker restart -t 0 c1", "docker1: container", "eth0 of c1 is down"
    ),
    "endpoint out of the bridge": Fault(
        "docker1", f"ip link set {VETH} nomaster", "docker restart -t 0 c1", "docker1: endpoint", "is no port of docker0"
    ),
    "bridge down": Fault("docker1", "ip link set docker0 down", "ip link set docker0 up", "docker1: bridge", "docker0 is down"),
    "forwarding off": Fault(
        "docker1",
        "sysctl -q net.ipv4.ip_forward=0",
        "sysctl -q net.ipv4.ip_forward=1",
        "docker1: forwarding",
        "net.ipv4.ip_forward is 0",
    ),
    "dropped in raw": Fault(
        "docker1",
        "iptables -t raw -I PREROUTING -s {src} -j DROP",
        "iptables -t raw -D PREROUTING -s {src} -j DROP",
        "docker1: firewall",
        "iptables raw PREROUTING",
    ),
    "dropped in DOCKER-USER": Fault(
        "docker1",
        "iptables -I DOCKER-USER -d {dst} -j DROP",
        "iptables -D DOCKER-USER -d {dst} -j DROP",
        "docker1: firewall",
        "iptables filter DOCKER-USER",
    ),
    "dropped by a table of the owner": Fault(
        "docker1",
        "nft add table inet own; nft add chain inet own f '{ type filter hook forward priority 5; }'; "
        "nft add rule inet own f ip daddr {dst} drop",
        "nft delete table inet own",
        "docker1: firewall",
        "nft inet own f",
    ),
    "route gone": Fault("docker1", "ip route del 10.88.87.0/24", OVERLAY, "docker1: route", "10.88.87.2"),
    "route elsewhere": Fault(
        "docker1",
        "ip route replace 10.88.87.0/24 via 192.168.65.9 proto 157",
        OVERLAY,
        "docker1: route",
        "via 192.168.65.9 by eth0; planned is by vxlan.88",
    ),
    "VTEP down": Fault("docker1", "ip link set vxlan.88 down", OVERLAY, "docker1: VTEP", "vxlan.88 is down"),
    "wrong neighbour": Fault(
        "docker1",
        "ip neigh replace 10.88.87.0 dev vxlan.88 lladdr 02:00:00:00:00:01",
        OVERLAY,
        "docker1: neighbour",
        "has 02:00:00:00:00:01, not",
    ),
    "wrong FDB entry": Fault(
        "docker1",
        "bridge fdb replace {mac} dev vxlan.88 dst 192.168.65.99 self permanent",
        OVERLAY,
        "docker1: FDB",
        "to 192.168.65.99, not to 192.168.65.4",
    ),
    "underlay blackholed": Fault(
        "docker1",
        "ip route add blackhole 192.168.65.4",
        "ip route del blackhole 192.168.65.4",
        "docker1: underlay",
        "",
    ),
    "tunnel not let out": Fault(
        "docker1",
        "iptables -A OUTPUT -p udp --dport 4789 -j DROP",
        "iptables -D OUTPUT -p udp --dport 4789 -j DROP",
        "docker1: firewall",
        "iptables filter OUTPUT",
    ),
    "tunnel not let in": Fault(
        "docker2",
        "iptables -A INPUT -p udp -m udp --dport 4789 -j REJECT",
        "iptables -D INPUT -p udp -m udp --dport 4789 -j REJECT",
        "docker2: firewall",
        "iptables filter INPUT",
    ),
    "sender not known": Fault(
        "docker2",
        "nft delete element inet agentless_overlay vteps_88 '{ 192.168.65.3 }'",
        OVERLAY,
        "docker2: firewall",
        "nft inet agentless_overlay input",
    ),
    "far VTEP gone": Fault("docker2", "ip link del vxlan.88", OVERLAY, "docker2: VTEP", "there is no vxlan.88"),
    "far VTEP with another MAC": Fault(
        "docker2",
        "ip link set vxlan.88 address 02:00:00:00:00:09",
        OVERLAY,
        "docker2: VTEP MAC",
        "vxlan.88 has 02:00:00:00:00:09",
    ),
    "far rule of ours gone": Fault(
        "docker2",
        "iptables -F DOCKER-USER",
        OVERLAY,
        "docker2: firewall",
        "iptables filter",
    ),
    "far endpoint down": Fault(
        "docker2", f"ip link set {VETH} down", "docker restart -t 0 c1", "docker2: far endpoint", "gone or down"
    ),
    "far bridge renumbered": Fault(
        "docker2",
        "ip address del 10.88.87.1/24 dev docker0",
        "ip address add 10.88.87.1/24 dev docker0",
        "docker2: bridge",
        "not 10.88.87.1",
    ),
    "no way back": Fault("docker2", "ip route del 10.88.50.0/24", OVERLAY, "docker2: route", ""),
    "port closed to others": Fault(
        "docker2",
        "iptables -I DOCKER-USER -p tcp -m tcp --dport 8080 -j DROP",
        "iptables -D DOCKER-USER -p tcp -m tcp --dport 8080 -j DROP",
        "docker2: firewall",
        "--dport 8080",
        port=8080,
    ),
}


def explain(lab: Lab, *args: str) -> Played:
    return lab.play(*args, playbook="playbooks/explain.yml")


@pytest.fixture
def undo(net: Net) -> Iterator[list[Callable[[], object]]]:
    """What a test has to undo, done whatever happens."""
    todo: list[Callable[[], object]] = []
    yield todo
    for one in reversed(todo):
        one()


def test_nothing_is_broken(net: Net) -> None:
    for src, dst, text in (
        ("docker1/c1", "docker2/c1", "REACHABLE"),
        (
            net.addresses["docker1"],
            net.addresses["docker2"],
            "c1 on docker1 (10.88.50.2) to c1 on docker2 (10.88.87.2) on demo",
        ),
        ("docker2", "docker1", "REACHABLE"),
        ("docker2", "docker1/c1", "REACHABLE"),
        ("docker1/c1", "docker2", "REACHABLE"),
    ):
        said = explain(net.lab, "-e", f"src={src}", "-e", f"dst={dst}")
        assert said.code == 0 and text in said.text and "REACHABLE, both ways." in said.text, said.output
    said = explain(net.lab, "-e", "src=docker1/c1", "-e", "dst=docker2/c1", "-e", "probe=true")
    assert "in by vxlan.88" in said.text and "with VNI 88" in said.text


@pytest.mark.parametrize("name", FAULTS)
def test_the_first_broken_step(net: Net, name: str, undo: list[Callable[[], object]]) -> None:
    lab, fault = net.lab, FAULTS[name]
    far = "docker2" if fault.host == "docker1" else "docker1"
    words = {"{src}": "10.88.50.2", "{dst}": "10.88.87.2", "{mac}": lab.json(far, "ip -j link show dev vxlan.88")[0]["address"]}
    plant, back = fault.plant, fault.undo
    for word, value in words.items():
        plant, back = plant.replace(word, value), back.replace(word, value)
    lab.sh(fault.host, plant)
    undo.append(
        lambda: lab.converge("--tags", "converge", "--limit", fault.host) if back == OVERLAY else lab.sh(fault.host, back)
    )
    if not fault.port:
        reached = lab.sh("docker1", f"{IN_C1} ping -c 1 -W 1 10.88.87.2 >/dev/null 2>&1 && echo yes; true")
        assert reached == "", "the fault is none"
    said = explain(lab, "-e", "src=docker1/c1", "-e", "dst=docker2/c1", *(("-e", f"port={fault.port}") if fault.port else ()))
    assert said.code == 2, said.output
    broken = said.text.partition("BROKEN: ")[2]
    lines = [line.strip() for line in said.output.splitlines() if "!!" in line]
    assert len(lines) == 1 and fault.at + ":" in said.text.partition("!! ")[2][:80], said.output
    assert fault.why in broken and "What to do: " in broken, said.output


def test_ends_that_are_not_there(net: Net) -> None:
    for src, dst, text in (
        ("docker9/c1", "docker2", "docker9/c1: there is no host docker9"),
        ("docker1/nope", "docker2", "no container docker1/nope runs on demo"),
        ("10.1.2.3", "docker2", "10.1.2.3: no lease of any host has this address"),
        ("docker1", "docker1/c1", "are both on docker1"),
        ("", "docker1", "give both ends"),
    ):
        said = explain(net.lab, "-e", f"src={src}", "-e", f"dst={dst}")
        assert said.code == 4 and text in said.text, said.output
    said = explain(net.lab, "-e", "src=docker1", "-e", "dst=10.88.87.77")
    assert said.code == 2 and "no container that runs there has the address 10.88.87.77" in said.text, said.output
