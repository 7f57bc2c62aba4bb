# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong between values, and what stands for nothing: found by the planner, and told once for all hosts that have it."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import group_errors
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node, PlanError
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import make_part
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import Planned, make_plan

NETWORK: dict[str, Any] = {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88}
WEB: dict[str, Any] = {"name": "web", "cidr": "10.89.0.0/16", "vni": 89, "attach": {"docker_network": "web"}}
GW: dict[str, Any] = {"name": "gw", "backend": "host-gw", "cidr": "10.90.0.0/16", "attach": {"docker_network": "gw"}}
L2: dict[str, Any] = {"name": "l2", "backend": "l2", "cidr": "10.91.0.0/16", "vni": 91, "attach": {"docker_network": "l2"}}
GROUP: dict[str, Any] = {"name": "all", "backend": "multicast", "cidr": "10.92.0.0/16", "vni": 92, "group": "239.1.1.1"}
HAND: dict[str, Any] = {"name": "hand", "backend": "none", "cidr": "10.93.0.0/16"}
SIX = {"cidr": "fd00:88::/48", "attach": {"docker_network": "six"}}


def node(number: int, **values: Any) -> Node:
    return Node(**{"name": f"h{number}", "underlay_ip": [f"192.168.65.{number}/24", f"fd65::{number}/64"], **values})


def plan_of(*networks: dict[str, Any], nodes: list[Node] | None = None, **more: Any) -> Planned:
    return make_plan(BACKENDS, list(networks), nodes or [node(1), node(2)], **more)


def messages(*networks: dict[str, Any], nodes: list[Node] | None = None, **more: Any) -> list[str]:
    return [str(error) for error in plan_of(*networks, nodes=nodes, **more).errors]


def message(*networks: dict[str, Any], nodes: list[Node] | None = None, **more: Any) -> str:
    (only,) = messages(*networks, nodes=nodes, **more)
    return only


# H5: an underlay subnet with room for one or two


@pytest.mark.parametrize("length", [24, 30, 31, 32])
@pytest.mark.parametrize("network", [{**WEB, "direct_routing": True}, GW])
def test_a_small_underlay_subnet(network: dict[str, Any], length: int) -> None:
    nodes = [node(2, underlay_ip=f"192.168.65.2/{length}"), node(3, underlay_ip=f"192.168.65.3/{length}")]
    made = plan_of(network, nodes=nodes)
    if network is GW and length in (31, 32):
        apart = length == 32
        assert bool(made.errors) is apart
        if apart:
            assert str(made.errors[0]).startswith("h3: overlay_networks[0].backend = 'host-gw': the host is on underlay subnet")
            return
    if length == 30:
        # Both are hosts' addresses of 192.168.65.0/30 but 192.168.65.3.
        assert "h3: overlay_underlay_ip = '192.168.65.3/30': not an address of a single other host" in str(made.errors[0])
        return
    assert made.errors == []
    for own in ("192.168.65.2", "192.168.65.3"):
        via = make_part(made.plan, f"h{own[-1]}")["docker_network"][0]["via"]
        subnet = ipaddress.ip_network(f"{own}/{length}", strict=False)
        assert all(ipaddress.ip_address(address) in subnet and address != own for address in via)
        assert len(via) == (0 if length == 32 else 1)


# M5: IPv6 needs 1280


@pytest.mark.parametrize(
    ("network", "mtu", "host", "words"),
    [
        ({**NETWORK, **SIX}, 1300, "h2: overlay_underlay_mtu = 1300", "IPv6 in network 'demo' needs 1330"),
        ({**NETWORK, **SIX, "underlay": "ipv6"}, 1349, "h2: overlay_underlay_mtu = 1349", "IPv6 in network 'demo' needs 1350"),
        ({**NETWORK, "underlay": "ipv6"}, 1279, "h2: overlay_underlay_mtu = 1279", "a tunnel over IPv6 needs 1280"),
        ({**GW, "cidr": "fd00:90::/48"}, 1279, "h2: overlay_underlay_mtu = 1279", "IPv6 in network 'gw' needs 1280"),
        (
            {**NETWORK, "cidr": ["10.88.0.0/16", "fd00:88::/48"], "mtu": 1000},
            *(1500, "group overlay: overlay_networks[0].mtu = 1000", "not an MTU from 1280 to 65535, as IPv6 needs"),
        ),
    ],
)
def test_ipv6_has_room(network: dict[str, Any], mtu: int, host: str, words: str) -> None:
    told = message(network, nodes=[node(1), node(2, underlay_mtu=mtu)])
    assert told.startswith(host) and words in told


def test_ipv6_has_just_enough_room() -> None:
    for network, mtu, expected in (
        ({**NETWORK, **SIX}, 1330, 1280),
        ({**NETWORK, **SIX, "underlay": "ipv6"}, 1350, 1280),
        ({**NETWORK, "underlay": "ipv6"}, 1280, 1210),
        (NETWORK, 700, 650),
    ):
        made = plan_of(network, nodes=[node(1), node(2, underlay_mtu=mtu)])
        assert made.errors == [] and made.plan.networks["demo"].mtu == expected


# M6: a key without a value is as if it were not there


EVERY = [
    *((NETWORK, key) for key in ("backend", "subnet_len", "subnet_len6", "mtu", "attach", "members", "port", "device", "dev")),
    *((NETWORK, key) for key in ("underlay", "link", "direct_routing", "peers", "parallel")),
    *((L2, key) for key in ("neigh_suppress", "static", "device")),
    *((HAND, key) for key in ("bridge", "gateway", "containers", "attach")),
]


@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize(("network", "key"), EVERY)
def test_a_key_without_a_value_is_as_if_left_out(network: dict[str, Any], key: str, empty: Any) -> None:
    wanted = plan_of({name: value for name, value in network.items() if name != key})
    made = plan_of({**network, key: empty})
    assert (made.errors, made.plan) == ([], wanted.plan)


@pytest.mark.parametrize("empty", [None, ""])
def test_so_it_is_inside_of_a_key_and_in_variables_of_hosts(empty: Any) -> None:
    container = {"name": "c", "address": "10.93.0.9"}
    for network, same in (
        ({**NETWORK, "link": {"ttl": empty}}, {**NETWORK, "link": {}}),
        ({**NETWORK, "parallel": [{"vni": 89, "device": empty}]}, {**NETWORK, "parallel": [{"vni": 89}]}),
        ({**NETWORK, "cidr": ["10.88.0.0/16", empty]}, NETWORK),
        ({**HAND, "containers": [{**container, "publish": empty}]}, {**HAND, "containers": [container]}),
    ):
        made, wanted = plan_of(network), plan_of(same)
        assert (made.errors, made.plan) == ([], wanted.plan)
    names = ("subnet", "underlay_mtu", "underlay_subnet", "underlay_dev", "labels")
    made = plan_of(NETWORK, nodes=[node(1, **dict.fromkeys(names, empty)), node(2, subnet={"demo": empty})], reserved=empty)
    assert (made.errors, made.plan) == ([], plan_of(NETWORK).plan)


@pytest.mark.parametrize("key", ["device", "dev", "underlay", "members", "link", "mtu", "port", "attach"])
def test_false_is_a_value(key: str) -> None:
    assert message({**NETWORK, key: False}).startswith(f"group overlay: overlay_networks[0].{key} = false: ")


@pytest.mark.parametrize("key", ["name", "cidr", "vni"])
def test_what_has_to_be_there_is_not_set(key: str) -> None:
    assert f"overlay_networks[0].{key} = not set: " in message({**NETWORK, key: ""})


# M7: devices


@pytest.mark.parametrize(
    ("networks", "words"),
    [
        ([{**WEB, "device": "br.89"}], "[0].device = 'br.89': its bridge would be br.89, and the network's device (device)"),
        ([{**NETWORK, "device": "br.89"}, WEB], "[1].vni = 89: its bridge would be br.89, and network demo has a device"),
        ([WEB, {**NETWORK, "device": "br.89"}], "[1].device = 'br.89': network web has a bridge of that name"),
        ([{**NETWORK, "device": "vx"}, {**WEB, "device": "vx"}], "[1].device = 'vx': network demo has the same device"),
        (
            [WEB, {**NETWORK, "parallel": [{"vni": 7, "device": "br.89"}]}],
            "[1].parallel = 'br.89': network web has a bridge of that",
        ),
        (
            [{**NETWORK, "parallel": [{"vni": 7}]}, {**WEB, "device": "vxlan.7"}],
            "[1].device = 'vxlan.7': network demo has the same",
        ),
        ([L2, {**HAND, "bridge": "br.91"}], "[1].bridge = 'br.91': network l2 has the same bridge"),
        ([GW, {**HAND, "bridge": "br.gw"}], "[1].bridge = 'br.gw': network gw has the same bridge"),
        (
            [{**HAND, "bridge": "br.gw"}, GW],
            "[1].name = 'gw': its bridge would be br.gw, and network hand has the same bridge",
        ),
        ([{**HAND, "bridge": "vxlan.88"}, NETWORK], "[1].device = 'vxlan.88': network hand has a bridge of that name"),
        ([{**NETWORK, "dev": "br.91"}, L2], "[0].dev = 'br.91': network l2 makes a bridge of that name"),
        ([{**NETWORK, "dev": "lo"}], "[0].dev = 'lo': no device by which a host reaches others"),
        ([{**NETWORK, "dev": "vxlan.88"}], "[0].dev = 'vxlan.88': network demo makes a device of that name"),
        *(
            ([{**NETWORK, "device": name}], f"[0].device = '{name}': the kernel or Docker has a device of that name")
            for name in ("lo", "docker0", "docker_gwbridge", "br-0123456789ab", "all", "default", "bonding_masters")
        ),
        ([{**HAND, "bridge": "docker0"}], "[0].bridge = 'docker0': the kernel or Docker has a device of that name"),
        (
            [{**NETWORK, "parallel": [{"vni": 7, "device": "lo"}]}],
            "[0].parallel[0].device = 'lo': the kernel or Docker has a device",
        ),
        *(
            ([{**NETWORK, "device": name}], f"[0].device = {name!r}: not a device name of at most 15 characters")
            for name in (".", "..", "a/b", "a b", "a\n", "a" * 16, "ü", "a%d")
        ),
        (
            [{**NETWORK, "link": {"srcport_min": 5000, "srcport_max": 400}}],
            "[0].link.srcport_min = 5000: larger than srcport_max, 400",
        ),
        (
            [{**NETWORK, "parallel": [{"vni": 89}, {"vni": 89}]}],
            "[0].parallel[1] = {'vni': 89}: VNI 89 and port 4789 are those of",
        ),
        (
            [{**NETWORK, "parallel": [{"port": 1, "device": "vx"}, {"port": 2, "device": "vx"}]}],
            "[0].parallel[1].device = 'vx': it needs a device name of its own",
        ),
        ([{**NETWORK, "parallel": [{"vni": 2**24}]}], "[0].parallel[0].vni = 16777216: not a whole number"),
    ],
)
def test_names_of_devices(networks: list[dict[str, Any]], words: str) -> None:
    told = message(*networks)
    assert told.startswith(f"group overlay: overlay_networks{words}")


def test_a_host_s_underlay_device_is_none_that_is_made() -> None:
    told = message(NETWORK, nodes=[node(1, underlay_dev="vxlan.88"), node(2, underlay_dev="eth0")])
    assert told.startswith("h1: overlay_underlay_dev = 'vxlan.88': network demo makes a device of that name")


def test_networks_that_share_no_host_may_share_names() -> None:
    one, other = {**NETWORK, "device": "vx", "members": "h1"}, {**WEB, "device": "vx", "members": "h2"}
    assert messages(one, other) == []


def test_containers_by_hand_share_no_name_and_no_port() -> None:
    container = {"name": "c", "address": "10.93.0.9", "publish": [{"port": 80, "to": 80}]}
    other = {**HAND, "name": "other", "cidr": "10.94.0.0/16", "containers": [{**container, "address": "10.94.0.9"}]}
    name, port = messages({**HAND, "containers": [container]}, other)
    assert "[1].containers[0].name = 'c': network hand has a namespace of that name" in name
    assert "[1].containers[0].publish = 80: network hand has port 80" in port


# M8, M9: records and pins


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ({101: "10.88.7.0", "h1": "10.88.8.0/24"}, "101: leases.yml: demo.101 = '10.88.7.0': not a network in the form"),
        (
            {"h1": ["10.88.7.0/24", "10.88.8.0/24"]},
            "h1: leases.yml: demo.h1 = ['10.88.7.0/24', '10.88.8.0/24']: two IPv4 subnets",
        ),
        ({"h1": 10.88}, "h1: leases.yml: demo.h1 = 10.88: not a network in the form 10.88.0.0/16; YAML took it for a number"),
        (["10.88.7.0/24"], "group overlay: leases.yml: demo = ['10.88.7.0/24']: not a mapping of hosts to subnets"),
    ],
)
def test_a_wrong_record(records: Any, words: str) -> None:
    assert message(NETWORK, recorded={"demo": records}, leases_file="leases.yml").startswith(words)


def test_a_numeric_host_name_is_a_name() -> None:
    made = plan_of(
        NETWORK, nodes=[node(1, name="101"), node(2)], recorded={"demo": {101: "10.88.7.0/24", "h2": "10.88.8.0/24"}}
    )
    assert made.errors == [] and made.new == {"demo": {}}
    assert made.leases == {"demo": {"101": "10.88.7.0/24", "h2": "10.88.8.0/24"}}


@pytest.mark.parametrize("pins", [["10.88.1.0/24", "10.88.2.0/24"], {"demo": ["10.88.1.0/24", "10.88.2.0/24"]}])
def test_two_pins_of_one_family(pins: Any) -> None:
    told = message(NETWORK, nodes=[node(1, subnet=pins), node(2)])
    assert told.startswith("h1: overlay_subnet") and "= ['10.88.1.0/24', '10.88.2.0/24']: two IPv4 subnets" in told


def test_a_pin_where_there_is_nothing_to_pin() -> None:
    told = message(HAND, nodes=[node(1, subnet="10.93.0.0/24"), node(2)])
    assert told.startswith("h1: overlay_subnet = '10.93.0.0/24': hosts have no lease of their own in network hand")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("members", "[*].groups", "gives ['overlay'], which is no node"),
        ("members", "[*].labels.none", "no node is a member"),
        ("members", "length(@)", "gives 2, which is no node"),
        ("members", "[::0]", "not a JMESPath expression"),
        ("members", "max([].labels)", "not a JMESPath expression"),
        ("members", "[" * 5000, "not a JMESPath expression"),
        ("members", [["h1"]], "neither a group nor a JMESPath expression"),
        ("members", {"h1": None}, "neither a group nor a JMESPath expression"),
        pytest.param("vni", 10**5000, "vni = a number of thousands of digits: not a whole number", id="huge"),
        ("vni", "9" * 5000, "(5002 characters): not a whole number"),
        # M10: nobody is meant.
        ("peers", "hubs", "no member is meant by 'hubs'"),
        ("peers", "[?name=='zz']", "no member is meant by \"[?name=='zz']\""),
        ("peers", [], "no member is meant by []"),
        ("peers", [["hubs", "all"]], "no member is meant by 'hubs'"),
        ("peers", [["h1", "hubs"]], "no member is meant by 'hubs'"),
        ("peers", "h3", "no member is meant by 'h3'"),
    ],
)
def test_who_is_meant(key: str, value: Any, words: str) -> None:
    nodes = [node(number, groups=("overlay",)) for number in (1, 2, 3)]
    network = {**NETWORK, "members": ["h1", "h2"], key: value}
    told = message(network, nodes=nodes if key == "peers" else nodes[:2], groups={"hubs": [], "overlay": ["h1", "h2", "h3"]})
    assert told.startswith(f"group overlay: overlay_networks[0].{key} = ") and words in told and len(told) < 800


def test_a_host_name_that_cannot_be_written_down() -> None:
    told = message(NETWORK, nodes=[node(1), node(2, name="a\ud800")])
    assert told == "'a\\ud800': inventory_hostname = 'a\\ud800': not a name that can be written down. Rename the host."


def test_a_strange_host_name_is_a_name_and_its_errors_are_one_line() -> None:
    assert messages(NETWORK, nodes=[node(1), node(2, name="a\nb")]) == []
    told = message(NETWORK, nodes=[node(1), node(2, name="a\nb", underlay_ip="h9")])
    assert told.startswith("'a\\nb': overlay_underlay_ip = 'h9': not an IP address") and told.isprintable()
    twice = message(NETWORK, nodes=[node(1, name="a\nb"), node(2, underlay_ip="192.168.65.1")])
    assert "a b has the same underlay address" in twice


# Backend none


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            {"gateway": "10.93.0.0"},
            "gateway = '10.93.0.0': not an address for a host of 10.93.0.0/16. Choose one, such as 10.93.0.1",
        ),
        ({"gateway": "10.93.255.255"}, "gateway = '10.93.255.255': not an address for a host of 10.93.0.0/16"),
        ({"cidr": "fd00:93::/64", "gateway": "fd00:93::"}, "gateway = 'fd00:93::': not an address for a host of fd00:93::/64"),
        ({"cidr": ["10.93.0.0/16", "fd00:93::/64"]}, "cidr = ['10.93.0.0/16', 'fd00:93::/64']: a pair"),
        (
            {"containers": [{"name": "c", "address": 10.93}]},
            "containers[0].address = 10.93: not an address for a host of 10.93.0.0/16",
        ),
        (
            {"containers": [{"name": 7, "address": "10.93.0.9"}]},
            "containers[0].name = 7: not a name for a network namespace; YAML",
        ),
        ({"containers": [None]}, "containers[0] = not set: not a mapping of name, address and publish"),
    ],
)
def test_a_wrong_network_by_hand(network: dict[str, Any], words: str) -> None:
    assert words in message({**HAND, **network})


def test_an_ipv6_port_is_published() -> None:
    publish = [{"port": 80, "to": 8080}, {"port": 81, "to": 8081, "by": "proxy"}]
    network = {**HAND, "cidr": "fd00:93::/64", "containers": [{"name": "c", "address": "FD00:93::9", "publish": publish}]}
    made = plan_of(network)
    assert made.errors == []
    sections = make_part(made.plan, "h1")
    assert sections["bridge"][0]["addresses"] == ["fd00:93::1/64"]
    assert sections["firewall"][0]["publish"] == [{"port": 80, "to": "[fd00:93::9]:8080"}]
    service, socket = (unit["content"] for unit in sections["units"])
    assert "systemd-socket-proxyd [fd00:93::9]:8081\n" in service and "ListenStream=[::]:81\n" in socket


# What is the same for many hosts


def test_many_hosts_with_one_fault_are_one_error() -> None:
    nodes = [Node(f"web{number:04}", f"192.168.{number // 250}.{number % 250 + 1}") for number in range(1000)]
    first = plan_of({**NETWORK, "subnet_len": 28}, nodes=nodes)
    assert first.errors == []
    # The cidr was changed, and all leases are on record.
    told = message(
        {**NETWORK, "cidr": "10.99.0.0/16", "subnet_len": 28}, nodes=nodes, recorded=first.leases, leases_file="leases.yml"
    )
    assert told.startswith("web0000, web0001 and 998 others: leases.yml: demo = '10.88.")
    assert "and 998 others: not inside network demo, 10.99.0.0/16. " in told and len(told) < 300
    broken = [Node(f"web{number:04}", "web.example.org") for number in range(1000)]
    (error, *_others) = messages(NETWORK, nodes=broken)
    assert error.startswith("web0000, web0001 and 998 others: overlay_underlay_ip = 'web.example.org': not an IP address")


def test_few_hosts_are_told_one_by_one() -> None:
    errors = [PlanError(f"h{number}", "mtu", str(number % 2), "wrong", "right") for number in range(3)]
    assert group_errors([*errors, *errors]) == errors
    other = PlanError("h9", "mtu", "1", "another", "right")
    more = [PlanError("h3", "mtu", "1", "wrong", "right"), other]
    together = PlanError("h0, h1 and 2 others", "mtu", "0, 1", "wrong", "right")
    assert group_errors([*errors, *more]) == [together, other]
    assert group_errors(group_errors([*errors, *more])) == [together, other]


def test_a_full_network_is_told_once() -> None:
    nodes = [Node(f"h{number:05}", f"172.16.{number >> 8}.{number & 255}") for number in range(2000)]
    records = {"demo": {f"gone{number}": f"10.88.{number}.0/24" for number in range(1, 5)}}
    told = message(NETWORK, nodes=nodes, recorded=records, leases_file="leases.yml")
    assert "full: all 255 leases of /24 are taken" in told and "from leases.yml: gone1, gone2 and 2 others" in told
