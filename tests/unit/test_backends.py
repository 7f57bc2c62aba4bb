# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each backend makes of an inventory, and what it refuses; no kernel, no file, no Ansible."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Op
from ansible_collections.agentless.overlay.plugins.module_utils._engine._transaction import list_impacts
from ansible_collections.agentless.overlay.plugins.module_utils._looking._capture import make_capture_filter, parse_tcpdump
from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER
from ansible_collections.agentless.overlay.plugins.module_utils._resources._bridges import Bridge
from ansible_collections.agentless.overlay.plugins.module_utils._resources._fdb import FdbEntry
from ansible_collections.agentless.overlay.plugins.module_utils._resources._routes import Route
from ansible_collections.agentless.overlay.plugins.module_utils._resources._rules import list_network_rules
from ansible_collections.agentless.overlay.plugins.module_utils._resources._vxlan import Link
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import list_probe_targets, make_part
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import Planned, make_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.captured import choose_capture, show_capture

P2P = {"name": "tunnel", "backend": "p2p", "cidr": "10.0.0.0/24", "vni": 1}
MULTICAST = {"name": "all", "backend": "multicast", "cidr": "10.0.0.0/24", "vni": 2, "group": "239.1.1.1", "dev": "eth0"}
HOST_GW = {"name": "gw", "backend": "host-gw", "cidr": "10.19.0.0/16"}
L2 = {"name": "l2", "backend": "l2", "cidr": "172.18.0.0/16", "vni": 200, "attach": {"docker_network": "mynetwork"}}
BY_HAND = {
    **{"name": "byhand", "backend": "none", "cidr": "172.16.0.0/16", "gateway": "172.16.1.254", "bridge": "MyDocker0"},
    "containers": [
        {"name": "Container_ns1", "address": "172.16.1.1", "publish": [{"port": 9090, "to": 8080, "by": "proxy"}]},
        {"name": "Container_ns2", "address": "172.16.1.2", "publish": [{"port": 9091, "to": 8080}]},
    ],
}


def node(number: int, **values: Any) -> Node:
    return Node(**{"name": f"h{number}", "underlay_ip": f"192.168.65.{number}/24", **values})


def planned(network: dict[str, Any], *nodes: Node, **more: Any) -> Planned:
    plan = make_plan(BACKENDS, [network], nodes or [node(1), node(2)], **more)
    assert not plan.errors, [str(error) for error in plan.errors]
    return plan


def messages(network: dict[str, Any], *nodes: Node, **more: Any) -> list[str]:
    return [str(error) for error in make_plan(BACKENDS, [network], nodes or [node(1), node(2)], **more).errors]


@pytest.mark.parametrize(
    ("network", "nodes", "host", "words"),
    [
        (
            P2P,
            [node(1), node(2), node(3)],
            "h3",
            "members = 'all': a point-to-point network joins two nodes, and has 3: h1, h2, h3",
        ),
        (P2P, [node(1)], "group overlay", "joins two nodes, and has 1: h1"),
        ({**MULTICAST, "group": None}, [], "group overlay", "group = not set: not the address of a multicast group"),
        ({**MULTICAST, "group": "10.1.1.1"}, [], "group overlay", "not the address of a multicast group"),
        ({**MULTICAST, "group": "ff05::1"}, [], "group overlay", "an IPv6 group, while the underlay is IPv4"),
        (
            {**MULTICAST, "dev": ""},
            [node(1, underlay_dev="eth0"), node(2)],
            "h2",
            "a multicast group needs the device to join it on",
        ),
        (
            HOST_GW,
            [node(1), node(2, underlay_ip="192.168.66.2/24")],
            "h2",
            "the host is on underlay subnet 192.168.66.0/24, and h1 on",
        ),
        (HOST_GW, [node(1), node(2, underlay_ip="192.168.65.2")], "h2", "the underlay subnet of the host is not known"),
        ({**HOST_GW, "cidr": "fd00::/48", "attach": {"docker_network": "x"}}, [node(1)], "h1", "has no IPv6 underlay address"),
        ({**HOST_GW, "vni": 3}, [], "group overlay", "vni = 3: backend host-gw has no such option"),
        (
            L2,
            [node(1, subnet="172.19.1.0/24"), node(2)],
            "h1",
            "the ip-range of the host is not inside network l2, 172.18.0.0/16",
        ),
        ({**L2, "attach": "docker0"}, [], "group overlay", "attach = 'docker0': there is no such choice"),
        (
            {key: value for key, value in L2.items() if key != "attach"},
            [],
            "group overlay",
            "needs a Docker network of its own",
        ),
        (P2P, [node(1), node(2, underlay_ip="fd65::2")], "h2", "an IPv6 address alone, while other members have IPv4 alone"),
        (
            {**P2P, "underlay": "ipv6"},
            [node(1, underlay_ip=["192.168.65.1", "fd65::1"]), node(2)],
            "h2",
            "no such underlay address",
        ),
        (P2P, [node(1, subnet="10.0.1.6"), node(2)], "h1", "not an address for a host of network tunnel, 10.0.0.0/24"),
        (P2P, [node(1, subnet="10.0.0.255"), node(2)], "h1", "not an address for a host"),
        (P2P, [node(1, subnet="10.0.0.6"), node(2, subnet="10.0.0.6/24")], "h2", "overlaps h1's 10.0.0.6/32"),
        ({**P2P, "cidr": "10.0.0.0/31"}, [], "group overlay", "too small for an address each"),
        ({**P2P, "subnet_len": 24}, [], "group overlay", "leases of this network are single addresses"),
        ({"name": "six", "cidr": "fd00::/48", "vni": 6}, [], "group overlay", "IPv6 alone, while docker0 has to have IPv4"),
        (
            {**BY_HAND, "gateway": "10.1.1.1"},
            [],
            "group overlay",
            "gateway = '10.1.1.1': not an address for a host of 172.16.0.0/16",
        ),
        (
            {**BY_HAND, "containers": [{"name": "a", "address": "172.16.1.254"}]},
            *([], "group overlay", "containers[0].address = '172.16.1.254': the gateway has it"),
        ),
        (
            {**BY_HAND, "containers": [{"name": "a", "address": "172.16.1.1", "publish": [{"port": 1}]}]},
            *([], "group overlay", "not a mapping of port, to and by"),
        ),
    ],
)
def test_a_wrong_inventory_is_refused(network: dict[str, Any], nodes: list[Node], host: str, words: str) -> None:
    found = messages(network, *nodes)
    assert len(found) == 1 and found[0].startswith(f"{host}: ") and words in found[0], found


# Addresses


def test_leases_of_flat_networks() -> None:
    """An address each, where the hosts themselves are on it; a range each, where their containers are."""
    plan = planned(P2P, node(1, subnet="10.0.0.106/24"), node(2))
    members = plan.plan.networks["tunnel"].members
    assert members["h1"].leases[0].gateway == "10.0.0.106"
    assert plan.leases["tunnel"]["h2"].endswith("/32") and plan.leases["tunnel"]["h2"].startswith("10.0.0.")
    section = make_part(plan.plan, "h1")
    assert section["vxlan_link"][0]["entries"][0]["addresses"] == ["10.0.0.106/24"]
    assert section["vxlan_link"][0]["entries"][0]["remote"] == "192.168.65.2"
    assert section["docker_bip"] == [{"state": "absent"}] and section["sysctl"] == []
    section = make_part(planned(L2, node(1, subnet="172.18.50.0/24"), node(2)).plan, "h1")
    docker = section["docker_network"][0]
    assert (docker["subnets"], docker["ip_ranges"], docker["gateways"]) == (
        ["172.18.0.0/16"],
        ["172.18.50.0/24"],
        ["172.18.50.1"],
    )
    assert section["bridge"][0]["addresses"] == ["172.18.50.1/16"]
    assert section["fdb_entry"][0]["entries"] == [{"mac": "00:00:00:00:00:00", "dst": "192.168.65.2"}]
    assert section["route_entry"][0]["entries"] == []


def test_a_family_that_comes_later_leaves_the_first_as_it_is() -> None:
    network: dict[str, Any] = {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88}
    first = planned(network)
    both = {**network, "cidr": ["10.88.0.0/16", "fd00:88::/48"]}
    second = planned(both, recorded=first.leases)
    for name in ("h1", "h2"):
        old, new = first.leases["demo"][name], second.leases["demo"][name]
        assert new[0] == old and new[1].startswith("fd00:88:") and new[1].endswith("/64")
    assert planned(both, recorded=second.leases).new == {"demo": {}}
    # And back: what is on record stays there.
    assert planned(network, recorded=second.leases).leases == second.leases


def test_ipv6_in_all_its_places() -> None:
    network = {"name": "demo", "cidr": ["10.88.0.0/16", "fd00:88::/48"], "vni": 88, "underlay": "ipv6"}
    fleet = [
        node(
            number,
            underlay_ip=[f"192.168.65.{number}", f"fd65::{number}"],
            subnet=[f"10.88.{number}.0/24", f"fd00:88:0:{number}::/64"],
        )
        for number in (1, 2)
    ]
    plan = planned(network, *fleet).plan
    assert plan.networks["demo"].mtu == 1430, "an outer IPv6 header is 20 bytes longer"
    section = make_part(plan, "h1")
    device = section["vxlan_link"][0]["entries"][0]
    assert device["local"] == "fd65::1" and device["addresses"] == ["10.88.1.0/32", "fd00:88:0:1::/128"]
    assert section["fdb_entry"][0]["entries"][0]["dst"] == "fd65::2"
    assert [entry["dst"] for entry in section["neigh_entry"][0]["entries"]] == ["10.88.2.0", "fd00:88:0:2::"]
    assert [entry["dst"] for entry in section["route_entry"][0]["entries"]] == ["10.88.2.0/24", "fd00:88:0:2::/64"]
    assert section["docker_bip"][0]["bip6"] == "fd00:88:0:1::1/64"
    assert [entry["name"] for entry in section["sysctl"]] == ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"]
    assert "FLANNEL_IPV6_SUBNET=fd00:88:0:1::1/64\nFLANNEL_MTU=1430\n" in section["files"][0]["content"]


# Ways


def test_only_peers_on_one_subnet_are_reached_without_the_tunnel() -> None:
    network = {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88, "direct_routing": True}
    fleet = [node(1), node(2), node(3, underlay_ip="192.168.66.3", underlay_subnet="192.168.66.0/24")]
    section = make_part(planned(network, *fleet).plan, "h1")
    ways = {entry["dst"]: entry for entry in section["route_entry"][0]["entries"]}
    direct = [entry["gateway"] for entry in ways.values() if "device" not in entry]
    assert direct == ["192.168.65.2"] and len(ways) == 2
    assert [entry["dst"] for entry in section["fdb_entry"][0]["entries"]] == ["192.168.66.3"]
    assert section["firewall"][0]["devices"] == ["vxlan.88", ""]
    # One that is alone on its subnet lets them in as well: its Docker network could not be told later.
    alone = {**network, "attach": {"docker_network": "x"}}
    section = make_part(planned(alone, *fleet).plan, "h3")
    assert section["docker_network"][0]["devices"] == ["vxlan.88", ""] and section["docker_network"][0]["via"] == [
        "192.168.66.1"
    ]
    assert make_part(planned(alone, *fleet).plan, "h1")["docker_network"][0]["via"] == ["192.168.65.2"]


def test_members_and_peers() -> None:
    groups = {"web": ["h1", "h2"], "hubs": ["h1"], "elsewhere": ["x"]}
    fleet = [node(number, groups=("web",) if number < 3 else (), labels={"zone": "a"}) for number in (1, 2, 3)]
    network = {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88}
    for members in ("web", "[?contains(groups, 'web')]", "[?contains(groups, 'web')].name", ["h1", "h2"]):
        plan = planned({**network, "members": members}, *fleet, groups=groups)
        assert sorted(plan.plan.networks["demo"].members) == ["h1", "h2"], members
        assert make_part(plan.plan, "h3")["vxlan_link"][0]["entries"] == []
    plan = planned({**network, "members": "[?labels.zone=='a']", "peers": "hubs"}, *fleet, groups=groups).plan
    assert [host for host in ("h1", "h2", "h3") if len(make_part(plan, host)["fdb_entry"][0]["entries"]) == 2] == ["h1"]
    assert make_part(plan, "h2")["firewall"][0]["vteps"] == ["192.168.65.1"]
    assert [target["name"] for target in list_probe_targets(plan, "h2", {})] == ["h1"]
    assert "no node is a member" in messages({**network, "members": "elsewhere"}, *fleet, groups=groups)[0]


def test_two_hosts_of_two_networks_may_share_docker0() -> None:
    """What a host has one of is only asked of hosts that are on both."""
    groups = {"a": ["h1", "h2"], "b": ["h3", "h4"]}
    networks = [
        {"name": name, "cidr": f"10.{number}.0.0/16", "vni": number, "members": name} for number, name in enumerate("ab", 1)
    ]
    fleet = [node(number) for number in (1, 2, 3, 4)]
    assert make_plan(BACKENDS, networks, fleet, groups=groups).errors == []
    del networks[1]["members"]
    assert any("has docker0 already" in str(error) for error in make_plan(BACKENDS, networks, fleet, groups=groups).errors)


def test_a_routed_network_for_another_runtime() -> None:
    """Attached to the host: the VTEP, the way to each peer and subnet.env, and nothing of Docker's."""
    network = {"name": "n", "cidr": "10.9.0.0/16", "vni": 9, "attach": "host"}
    plan = planned(network, node(1), node(2)).plan
    own = plan.networks["n"].members["h1"].leases[0]
    sections = make_part(plan, "h1")
    assert own.subnet.endswith("/24") and own.gateway == own.vtep_ip == own.subnet.partition("/")[0]
    assert f"FLANNEL_SUBNET={own.vtep_ip[:-1]}1/24\n" in sections["files"][0]["content"]
    assert (sections["docker_bip"], sections["docker_network"]) == ([{"state": "absent"}], [])
    assert sections["sysctl"] == [{"name": "net.ipv4.ip_forward", "value": "1"}]
    rules = list_network_rules({"bridge": "docker0", **sections["firewall"][0]})
    assert {rule.where.split()[0] for rule in rules} == {"nft"} and not any('""' in rule.rule for rule in rules)
    assert [target["address"] for target in list_probe_targets(plan, "h1", {})] == [
        plan.networks["n"].members["h2"].leases[0].vtep_ip
    ]
    for other in ("host", "docker0"):
        both = [network, {"name": "o", "cidr": "10.10.0.0/16", "vni": 10, "attach": other}]
        assert ["subnet.env" in str(error) for error in make_plan(BACKENDS, both, [node(1), node(2)]).errors] == [True]


def test_a_parallel_vni_is_ready_beside_the_one_in_use() -> None:
    plan = planned({"name": "demo", "cidr": "10.88.0.0/16", "vni": 88, "parallel": [{"vni": 89}]}).plan
    section = make_part(plan, "h1")
    devices = [entry["name"] for entry in section["vxlan_link"][0]["entries"]]
    assert devices == ["vxlan.88", "vxlan.89"]
    assert [len(part["entries"]) for part in section["fdb_entry"]] == [1, 1]
    assert {entry["device"] for entry in section["route_entry"][0]["entries"]} == {"vxlan.88"}
    assert section["firewall"][0]["tunnels"] == [{"protocol": "udp", "port": 4789, "vni": vni} for vni in (88, 89)]
    # The other way round, the VTEPs of both are the same as before.
    turned = {"name": "demo", "cidr": "10.88.0.0/16", "vni": 89, "parallel": [{"vni": 88}]}
    swapped = make_part(planned(turned).plan, "h1")
    macs = {entry["name"]: entry["mac"] for entry in section["vxlan_link"][0]["entries"]}
    assert {entry["name"]: entry["mac"] for entry in swapped["vxlan_link"][0]["entries"]} == macs


def test_containers_of_unknown_peers_are_kept() -> None:
    """In a limited run nobody has asked the other hosts what runs on them: what is known of it stays."""
    plan = planned({**L2, "static": True}).plan
    known = {"h2": {"mynetwork": [{"name": "c", "addresses": ["172.18.7.2"], "mac": "02:00:00:00:00:01"}]}}
    section = make_part(plan, "h1", containers=known)
    assert section["neigh_entry"][0]["entries"] == [{"dst": "172.18.7.2", "lladdr": "02:00:00:00:00:01"}]
    assert section["neigh_entry"][0]["purge"] and section["neigh_entry"][0]["device"] == "br.200"
    # They are of the moment: a boot brings others.
    assert section["boot"][0]["sections"]["neigh_entry"] == [] and len(section["fdb_entry"]) == 2
    assert [len(part["entries"]) for part in section["boot"][0]["sections"]["fdb_entry"]] == [1]
    section = make_part(plan, "h1", containers={"h1": {}})
    assert not section["neigh_entry"][0]["purge"]
    assert section["fdb_entry"][0]["purge"] and section["fdb_entry"][1]["keep_unicast"]


def test_the_bridge_of_a_long_name_is_a_device_name() -> None:
    long = {**HOST_GW, "name": "a-name-longer-than-a-device", "attach": {"docker_network": "x"}}
    for network in (long, {**BY_HAND, "name": "a-name-longer-than-a-device", "bridge": None}):
        wanted = {key: value for key, value in network.items() if value is not None}
        assert len(planned(wanted).plan.networks["a-name-longer-than-a-device"].bridge) == 15
    assert planned({**HOST_GW, "attach": {"docker_network": "x"}}).plan.networks["gw"].bridge == "br.gw"


def test_containers_by_hand() -> None:
    section = make_part(planned(BY_HAND).plan, "h1")
    assert section["bridge"][0]["name"] == "MyDocker0" and section["bridge"][0]["addresses"] == ["172.16.1.254/16"]
    assert [(one["name"], one["address"]) for one in section["sandbox"]] == [
        ("Container_ns1", "172.16.1.1/16"),
        ("Container_ns2", "172.16.1.2/16"),
    ]
    assert section["firewall"][0]["publish"] == [{"port": 9091, "to": "172.16.1.2:8080"}]
    assert [unit["name"] for unit in section["units"]] == [
        "agentless-overlay-proxy-9090.service",
        "agentless-overlay-proxy-9090.socket",
    ]


# A packet


def test_what_to_capture() -> None:
    plan = planned({"name": "demo", "cidr": "10.88.0.0/16", "vni": 88}).plan
    assert choose_capture(plan, "h1", "h2")["underlay"] == {"h1": "192.168.65.1", "h2": "192.168.65.2"}
    for arguments, words in (
        (("h1", "h1"), "nothing leaves the host"),
        (("h1", "h9"), "not both on any network"),
        (("h1", "h2", "web"), "there is no network web"),
    ):
        with pytest.raises(ValueError, match=words):
            choose_capture(plan, *arguments)
    packet = {
        **{"outer_mac": ["a", "b"], "outer_address": ["1", "2"], "udp_port": [1, 2], "vni": 88, "inner_mac": ["c", "d"]},
        **{"inner_address": ["3", "4"], "what": "seq 1"},
    }
    shown = show_capture({"network": "demo"}, {"device": "eth0", "packets": [packet]}, {"device": "eth1", "packets": [packet]})
    assert "as it leaves by eth0" in shown and "as it arrives by eth1" in shown and shown.count("VNI            88") == 2
    with pytest.raises(ValueError, match=r"1 sent and 0 received"):
        show_capture({"network": "demo"}, {"device": "eth0", "packets": [packet]}, {"device": "eth1", "packets": []})


SAID = """\
08:45:30.276300 72:ab:97:68:73:f9 > 32:95:46:76:b4:81, ethertype IPv6 (0x86dd), length 156: fd65::2.54747 > fd65::1.8472: \
VXLAN, flags [I] (0x08), vni 6
2e:1b:78:c1:07:c4 > f6:3a:26:70:7e:51, ethertype IPv6 (0x86dd), length 86: fd00:6::2 > fd00:6::1: ICMP6, neighbor \
advertisement, tgt is fd00:6::2, length 32
08:45:33.328455 32:95:46:76:b4:81 > 72:ab:97:68:73:f9, ethertype IPv4 (0x0800), length 148: 10.65.0.1.56158 > 10.65.0.2.8472: \
VXLAN, flags [I] (0x08), vni 4
7e:53:ff:52:7d:ee > 36:2d:b4:06:dc:cd, ethertype IPv4 (0x0800), length 98: 10.4.0.1 > 10.4.0.2: ICMP echo request, id 8316, \
seq 1, length 64
08:45:35.358522 72:ab:97:68:73:f9 > 32:95:46:76:b4:81, ethertype IPv4 (0x0800), length 92: 10.65.0.2.44205 > 10.65.0.1.8472: \
VXLAN, flags [I] (0x08), vni 4
36:2d:b4:06:dc:cd > 7e:53:ff:52:7d:ee, ethertype ARP (0x0806), length 42: Request who-has 10.4.0.1 tell 10.4.0.2, length 28
"""


def test_what_tcpdump_says_of_a_packet() -> None:
    six, four, arp = parse_tcpdump(SAID)
    assert (six["outer_address"], six["udp_port"], six["vni"]) == (["fd65::2", "fd65::1"], [54747, 8472], 6)
    assert six["inner_address"] == ["fd00:6::2", "fd00:6::1"]
    assert four["outer_mac"] == ["32:95:46:76:b4:81", "72:ab:97:68:73:f9"]
    assert four["inner_mac"] == ["7e:53:ff:52:7d:ee", "36:2d:b4:06:dc:cd"]
    assert (four["inner_address"], four["what"]) == (["10.4.0.1", "10.4.0.2"], "ICMP echo request, id 8316, seq 1, length 64")
    assert arp["inner_address"] == ["", ""] and arp["what"].startswith("Request who-has 10.4.0.1")
    assert parse_tcpdump("") == [] and "ip6[52:4] >> 8 = 6" in make_capture_filter("fd65::1", 8472, 6)


# What a change drops


def test_which_changes_drop_packets() -> None:
    device = Link("vx", vni=88, port=4789, local="10.1.1.1", mac="02:00:00:00:00:01", udpcsum=True)
    cases: list[tuple[Op[Any], str]] = [
        (Op("vxlan_link", None, device), ""),
        (Op("vxlan_link", device, replace(device, ttl=7)), ""),
        (Op("vxlan_link", device, replace(device, mtu=1400)), ""),
        (Op("vxlan_link", device, replace(device, udpcsum=False), recreate=True), "some milliseconds later"),
        (Op("vxlan_link", device, replace(device, vni=89), recreate=True), "parallel in overlay_networks avoids that"),
        (Op("vxlan_link", device, replace(device, local="10.1.1.9")), "each peer has been converged too"),
        (Op("vxlan_link", device, replace(device, mac="02:00:00:00:00:02")), "each peer has been converged too"),
        (Op("fdb_entry", FdbEntry("vx", "02:00:00:00:00:05", "1.1.1.1"), FdbEntry("vx", "02:00:00:00:00:05", "1.1.1.2")), ""),
        (Op("route_entry", Route("10.1.0.0/24", "vx"), Route("10.1.0.0/24", "eth0")), ""),
        (Op("route_entry", Route("10.1.0.0/24", "vx"), None), "there is a route again"),
        (Op("bridge", Bridge("br.7"), None), "there is such a bridge again"),
    ]
    for op, until in cases:
        found = list_impacts(ORDER, [op])
        assert len(found) == bool(until), str(op)
        assert not until or until in found[0]["until"]
    # A route that goes while another to the same place comes drops nothing.
    old, new = Route("10.1.0.0/24", "vx", metric=5), Route("10.1.0.0/24", "vx")
    assert list_impacts(ORDER, [Op("route_entry", None, new), Op("route_entry", old, None)]) == []
