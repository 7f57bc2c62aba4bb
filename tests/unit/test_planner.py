# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The planner: values in, plan or errors out; no kernel, no file, no Ansible."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import IPNetwork, Node, Tunnel, compute_mac
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import Planned, make_plan

NETWORK = {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88}


def nodes(count: int) -> list[Node]:
    return [Node(f"docker{n}", f"192.168.{n // 250}.{n % 250 + 1}") for n in range(1, count + 1)]


def messages(plan: Planned) -> list[str]:
    return [str(error) for error in plan.errors]


def subnets(plan: Planned, network: str = "demo") -> dict[str, str]:
    members = plan.plan.networks[network].members.values()
    return {member.name: ",".join(lease.subnet for lease in member.leases) for member in members}


def test_defaults_are_those_of_the_articles() -> None:
    plan = make_plan(BACKENDS, [NETWORK], nodes(2))
    network = plan.plan.networks["demo"]
    assert (network.backend, network.mtu, network.docker_name, network.bridge) == ("vxlan", 1450, "bridge", "docker0")
    assert network.tunnels == (Tunnel("vxlan.88", "udp", 4789, 88, overhead=50),)


def test_a_part_of_the_plan_follows_from_the_lease() -> None:
    node = Node("docker1", "192.168.65.3", subnet="10.88.50.0/24")
    assert make_plan(BACKENDS, [NETWORK], [node]).plan.to_plain()["networks"]["demo"]["members"] == {
        "docker1": {
            "underlay_ip": "192.168.65.3",
            "macs": [compute_mac("demo", 88, "docker1")],
            "leases": [{"subnet": "10.88.50.0/24", "vtep_ip": "10.88.50.0", "gateway": "10.88.50.1"}],
        }
    }


def test_macs_are_local_unicast_and_differ() -> None:
    macs = [compute_mac(network, vni, f"n{n}") for network in ("a", "b") for vni in (1, 2) for n in range(2500)]
    assert len(set(macs)) == 10000
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)
    # What is on hosts already must not change with a version of this collection.
    assert compute_mac("demo", 88, "docker1") == "c6:88:e3:6e:57:75"


def test_order_and_company_do_not_matter() -> None:
    fleet = nodes(40)
    first = make_plan(BACKENDS, [NETWORK], fleet)
    shuffled = fleet[:]
    random.Random(1).shuffle(shuffled)
    assert make_plan(BACKENDS, [NETWORK], shuffled).plan == first.plan
    joined = [Node("aaa", "172.16.0.1"), *shuffled, Node("zzz", "172.16.0.2")]
    later = subnets(make_plan(BACKENDS, [NETWORK], joined, first.leases))
    assert {name: later[name] for name in subnets(first)} == subnets(first)


@pytest.mark.parametrize("seed", range(20))
def test_leases_never_move_and_never_overlap(seed: int) -> None:
    """Hosts come and go at random, with pins or without; a lease once given stays, and no two overlap."""
    chance = random.Random(seed)
    network = {**NETWORK, "cidr": "10.88.0.0/20"}
    recorded: dict[str, dict[str, str]] = {}
    seen: dict[str, str] = {}
    pool = [Node(f"h{n}", f"192.168.0.{n + 1}", subnet=f"10.88.{n}.0/25" if n in (3, 5) else None) for n in range(13)]
    for _round in range(15):
        plan = make_plan(BACKENDS, [network], chance.sample(pool, chance.randint(1, 13)), recorded)
        pinned_late = [error for error in plan.errors if "overlaps" in error.problem]
        if pinned_late:  # a pin onto somebody's recorded lease is an error, and changes nothing
            assert plan.errors == pinned_late
            continue
        assert not plan.errors, messages(plan)
        recorded = plan.leases
        for name, subnet in subnets(plan).items():
            assert seen.setdefault(name, subnet) == subnet
        given = [IPNetwork(subnet) for subnet in subnets(plan).values()]
        assert not any(a in b for a in given for b in given if a is not b)


def test_pin_comes_before_record_before_free_slot() -> None:
    recorded = {"demo": {"docker1": "10.88.7.0/24", "docker2": "10.88.8.0/24"}}
    plan = make_plan(BACKENDS, [NETWORK], [Node("docker1", "192.168.0.1", subnet="10.88.50.0/24"), *nodes(3)[1:]], recorded)
    assert subnets(plan)["docker1"] == "10.88.50.0/24"
    assert subnets(plan)["docker2"] == "10.88.8.0/24"
    assert list(plan.new["demo"]) == ["docker3"]


def test_what_a_pinned_host_had_before_is_kept_for_it() -> None:
    network = {**NETWORK, "cidr": "10.88.0.0/28"}
    recorded = {"demo": {"docker1": "10.88.0.4/30"}}
    fleet = [Node("docker1", "192.168.0.1", subnet="10.88.0.8/30"), *nodes(2)[1:]]
    plan = make_plan(BACKENDS, [network], fleet, recorded)
    assert subnets(plan) == {"docker1": "10.88.0.8/30", "docker2": "10.88.0.12/30"}
    assert subnets(make_plan(BACKENDS, [network], nodes(2), plan.leases)) == {
        "docker1": "10.88.0.4/30",
        "docker2": "10.88.0.12/30",
    }


def test_the_lease_of_a_host_that_is_away_stays_its_own() -> None:
    network = {**NETWORK, "cidr": "10.88.0.0/28"}
    recorded = {"demo": {"gone": "10.88.0.4/30"}}
    plan = make_plan(BACKENDS, [network], nodes(3), recorded)
    assert "gone" in messages(plan)[0] and "full: all 3 leases of /30 are taken" in messages(plan)[0]
    assert subnets(make_plan(BACKENDS, [network], [Node("gone", "192.168.9.9"), *nodes(2)], recorded))["gone"] == "10.88.0.4/30"


def test_a_pin_may_be_larger_or_smaller_than_the_others() -> None:
    fleet = [
        Node("big", "192.168.0.1", subnet="10.88.64.0/18"),
        Node("small", "192.168.0.2", subnet="10.88.1.0/28"),
        *nodes(150)[2:],
    ]
    plan = make_plan(BACKENDS, [NETWORK], fleet)
    assert not plan.errors
    given = sorted(IPNetwork(subnet) for subnet in subnets(plan).values())
    assert not any(left.last >= right.first for left, right in zip(given, given[1:]))


def test_the_smallest_underlay_decides_the_mtu() -> None:
    fleet = [*nodes(2), Node("wg", "192.168.9.9", underlay_mtu="1420")]
    assert make_plan(BACKENDS, [NETWORK], fleet).plan.networks["demo"].mtu == 1370


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"vni": 0}, "vni = 0: not a whole number from 1 to 16777215"),
        ({"vni": None}, "vni = not set: not a whole number"),
        ({"vni": True}, "vni = true: not a whole number"),
        ({"vni": 2**24}, "vni = 16777216: not a whole number"),
        ({"cidr": "10.88.0.1/16"}, "has host bits; the network is 10.88.0.0/16. Write 10.88.0.0/16."),
        ({"cidr": "10.88.0.0"}, "not a network in the form"),
        ({"cidr": "hosts/16"}, "not a network in the form"),
        ({"cidr": None}, "cidr = not set"),
        ({"cidr": "10.88.0.0/31"}, "too small to be divided"),
        ({"cidr": "224.0.0.0/8"}, "not a network of unicast addresses"),
        ({"cidr": "ff00::/48"}, "not a network of unicast addresses"),
        ({"cidr": "fe80::/64"}, "not a network of unicast addresses"),
        ({"cidr": ["10.88.0.0/16", "10.89.0.0/16"]}, "two IPv4 networks; a pair is one of each family"),
        ({"cidr": ["10.88.0.0/16", "fd00::/48"], "subnet_len6": 127}, "subnet_len6 = 127: not a whole number from 50 to 126"),
        ({"group": "239.1.1.1"}, "backend vxlan has no such option"),
        ({"link": {"ttl": 300}}, "link.ttl = 300: not a whole number from 0 to 255"),
        ({"link": {"tll": 3}}, "link.tll = 3: there is no such option"),
        ({"link": {"srcport_min": 3}}, "srcport_min and srcport_max go together"),
        ({"members": "nobody"}, "members = 'nobody': there is no such group"),
        ({"members": "[?name=="}, "not a JMESPath expression"),
        ({"members": "[].labels"}, "which is no node"),
        ({"peers": [["hubs", "all"]]}, "there is no such group"),
        ({"peers": [["all"]]}, "not a pair"),
        ({"underlay": "ipx"}, "Choose from: ipv4, ipv6"),
        ({"direct_routing": "often"}, "neither true nor false"),
        ({"parallel": [{"vni": 88}]}, "parallel[0] = {'vni': 88}: VNI 88 and port 4789 are those of the network itself"),
        ({"parallel": [{"port": 8472}]}, "parallel[0].device = 'vxlan.88': it needs a device name of its own"),
        ({"subnet_len": 31}, "subnet_len = 31: not a whole number from 18 to 30"),
        ({"subnet_len": 16}, "subnet_len = 16: not a whole number from 18 to 30"),
        ({"port": 0}, "port = 0"),
        ({"device": "a/b"}, "not a device name"),
        ({"mtu": 1451}, "too large: the underlay of docker1 carries 1500, and the tunnel needs 50 of it"),
        ({"mtu": 100}, "not an MTU from 576"),
        ({"backend": "geneve"}, "there is no such choice. Choose from: vxlan, host-gw, p2p, multicast, l2, none."),
        (
            {"attach": "br0"},
            "there is no such choice. Write attach: docker0, or attach: {docker_network: NAME}, or attach: host.",
        ),
        ({"attach": {"docker_network": "a b"}}, "not a name that Docker takes for a network"),
        ({"attach": {"docker_network": "bridge"}}, "Docker has a network of its own by that name"),
        ({"attach": {"bridge": "br0"}}, "there is no such choice"),
        ({"name": "a b"}, "not a name"),
        ({"vnl": 1}, "vnl = 1: there is no such option. Known are: name"),
    ],
)
def test_a_wrong_network_is_refused(network: dict[str, Any], words: str) -> None:
    plan = make_plan(BACKENDS, [{**NETWORK, **network}], nodes(2))
    assert len(plan.errors) == 1, messages(plan)
    assert words in messages(plan)[0]
    assert messages(plan)[0].startswith("group overlay: overlay_networks[0].")


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"underlay_ip": None}, "overlay_underlay_ip = not set: no underlay address is known"),
        ({"underlay_ip": "docker1.example.org"}, "not an IP address (names are not resolved)"),
        ({"underlay_ip": "224.0.0.1"}, "not an address of a single other host"),
        ({"underlay_ip": "127.0.0.1"}, "not an address of a single other host"),
        ({"underlay_ip": "0.0.0.0"}, "not an address of a single other host"),
        ({"underlay_ip": "fd00::1"}, "an IPv6 address alone, while other members have IPv4 alone"),
        ({"underlay_ip": ["192.168.0.9", "192.168.0.10"]}, "two IPv4 addresses; a list is one of each family"),
        ({"underlay_subnet": "192.168.1.0/24"}, "the host's underlay address 192.168.0.9 is not in it"),
        ({"underlay_subnet": "192.168.0.1/24"}, "has host bits"),
        ({"underlay_dev": "a/b"}, "not a device name"),
        ({"subnet": "fd00::/64"}, "network demo has no IPv6"),
        ({"underlay_ip": "192.168.0.3"}, "docker2 has the same underlay address"),
        ({"underlay_ip": "10.88.1.1"}, "lies inside network demo"),
        ({"subnet": "10.88.50.1/24"}, "has host bits; the network is 10.88.50.0/24"),
        ({"subnet": "10.89.0.0/24"}, "not inside network demo, 10.88.0.0/16"),
        ({"subnet": "10.88.0.0/16"}, "not from /17 to /30"),
        ({"subnet": "10.88.0.0/31"}, "not from /17 to /30"),
        ({"subnet": 7}, "not a network in the form"),
        ({"subnet": {"other": "10.88.1.0/24"}}, "there is no such network"),
        ({"underlay_mtu": "big"}, "overlay_underlay_mtu = 'big': not an MTU"),
    ],
)
def test_a_wrong_host_is_refused(node: dict[str, Any], words: str) -> None:
    values = {"underlay_ip": "192.168.0.9", **node}
    plan = make_plan(BACKENDS, [NETWORK], [*nodes(3)[1:], Node("x", **values)])
    assert len(plan.errors) == 1, messages(plan)
    assert messages(plan)[0].startswith("x: overlay_") and words in messages(plan)[0]


def test_overlapping_pins_are_refused() -> None:
    fleet = [Node("a", "192.168.0.1", subnet="10.88.50.0/24"), Node("b", "192.168.0.2", subnet="10.88.50.128/25")]
    assert messages(make_plan(BACKENDS, [NETWORK], fleet)) == [
        "b: overlay_subnet = '10.88.50.128/25': overlaps a's 10.88.50.0/24 in network demo. Pin another subnet."
    ]


def test_an_error_hides_no_other() -> None:
    """A network with a bad VNI and host bits still overlaps, is full, and knows its pins."""
    networks = [
        {"name": "a", "cidr": "10.88.0.5/28", "vni": 0},
        {"name": "b", "cidr": "10.88.0.0/16", "vni": "x"},
        {"name": "a", "cidr": "nonsense", "vni": 3},
    ]
    fleet = [Node("first", "192.168.0.9", subnet={"a": "10.99.0.0/30", "b": "10.88.1.0/24"}), *nodes(3)]
    text = "\n".join(messages(make_plan(BACKENDS, networks, fleet)))
    for words in (
        "overlay_networks[0].vni = 0: not a whole number",
        "overlay_networks[0].cidr = '10.88.0.5/28': has host bits; the network is 10.88.0.0/28. Write 10.88.0.0/28.",
        "overlay_networks[1].vni = 'x': not a whole number",
        "overlay_networks: b.cidr = '10.88.0.0/16': overlaps network a, 10.88.0.0/28",
        "overlay_networks[2].name = 'a': another network has this name",
        "overlay_networks[2].cidr = 'nonsense': not a network",
        "first: overlay_subnet.a = '10.99.0.0/30': not inside network a",
        "first: overlay_networks: a.cidr = '10.88.0.0/28': full",
    ):
        assert words in text, f"{words!r} is not in\n{text}"
    assert "same VNI" not in text and "no such network" not in text


@pytest.mark.parametrize("networks", [None, [], {}, "x", [7]])
def test_no_networks_is_an_error(networks: Any) -> None:
    assert len(make_plan(BACKENDS, networks, nodes(1)).errors) == 1


def test_no_nodes_is_an_error() -> None:
    assert "the group has no host" in messages(make_plan(BACKENDS, [NETWORK], []))[0]


def test_numbers_may_come_as_text() -> None:
    """As they do from -e and from ini inventories."""
    plan = make_plan(BACKENDS, [{**NETWORK, "vni": "88", "port": "8472", "mtu": "1400"}], nodes(1))
    assert not plan.errors and plan.plan.networks["demo"].tunnels == (Tunnel("vxlan.88", "udp", 8472, 88, overhead=50),)


@pytest.mark.parametrize("more", [{}, {"members": "list"}, {"peers": "hubs"}, {"cidr": "10.88.0.0/22"}])
def test_a_large_fleet_is_planned_in_one_pass(more: dict[str, Any]) -> None:
    """Ten times the nodes take about ten times as long, not a hundred times; those that find no lease too."""
    times = []
    for count in (300, 3000):
        # Names that differ late, as those of real hosts do.
        names = [f"web{n:05}.rack{n % 40:02}.dc1.example.com" for n in range(count)]
        fleet = [Node(name, f"172.{16 + n // 62500}.{n // 250 % 250}.{n % 250 + 1}") for n, name in enumerate(names)]
        network = {**NETWORK, "cidr": "10.0.0.0/8", "subnet_len": 24, **more}
        network.update({"members": names} if "members" in more else {})
        start = time.process_time()
        plan = make_plan(BACKENDS, [network], fleet, groups={"hubs": names[:2]})
        plan.plan.to_plain()
        times.append(time.process_time() - start)
        if "cidr" in more:
            assert [error.problem for error in plan.errors] == ["full: all 3 leases of /24 are taken"]
            continue
        assert not plan.errors and len(subnets(plan)) == count
        # And once more from the record, where every lease is compared with the others.
        start = time.process_time()
        assert not make_plan(BACKENDS, [network], fleet, plan.leases, groups={"hubs": names[:2]}).errors
        times[-1] += time.process_time() - start
    assert times[1] < 40 * times[0]
