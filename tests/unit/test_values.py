# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses, networks and numbers as people write them, and as YAML reads them: taken, or refused with what to write."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import describe_value
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import Planned, make_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import as_address, as_network

NETWORK: dict[str, Any] = {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88}


def plan_of(network: dict[str, Any], **host: Any) -> Planned:
    values = {"underlay_ip": "192.168.65.2", **host}
    return make_plan(BACKENDS, [{**NETWORK, **network}], [Node("h1", "192.168.65.1"), Node("h2", **values)])


def refused(network: dict[str, Any], **host: Any) -> str:
    (error,) = plan_of(network, **host).errors
    return str(error)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        *(("10.0.0.1", "10.0.0.1"), (" 10.0.0.1\n", "10.0.0.1"), ("fd00::1", "fd00::1"), ("[fd00::1]", "fd00::1")),
        *(("FD00::AB", "fd00::ab"), ("fd00:0:0:0:0:0:0:1", "fd00::1"), ("fd00:0000::0001", "fd00::1")),
        *(
            (text, None)
            for text in ("10.1", "10", "0x0a000001", "010.0.0.1", "10.0.0.01", "10.0.0.256", "10.0.0.1.2", "", "h1")
        ),
        *((text, None) for text in ("fe80::1%eth0", "[10.0.0.1]", "fd00::1]", "1::2::3", "12345::", "١.0.0.1", "10.0.0.1:22")),
        *((value, None) for value in (10, 10.1, True, None, ["10.0.0.1"], {"10.0.0.1": 1})),
    ],
)
def test_addresses(text: Any, address: str | None) -> None:
    found = as_address(text)
    assert (None if found is None else str(found)) == address


@pytest.mark.parametrize(
    ("text", "network", "problem"),
    [
        ("10.88.0.0/16", "10.88.0.0/16", ""),
        ("FD00:88::/48", "fd00:88::/48", ""),
        ("[fd00:88::]/48", "fd00:88::/48", ""),
        ("10.88.0.1/16", "10.88.0.0/16", "has host bits"),
        ("10.88.0.0/255.255.0.0", "10.88.0.0/16", "has a netmask in place of a length; the network is 10.88.0.0/16"),
        *((text, None, "10.88.0.0/16") for text in ("10.88.0.0/0.0.255.255", "10.88.0.0/255.0.255.0", "10.88/16", "10.88.0.0")),
        *(
            (text, None, "10.88.0.0/16")
            for text in ("10.88.0.1-5", "10.88.*.*", "10.88.0.0/016", "10.88.0.0/33", "10.88.0.0/-1")
        ),
        *((text, None, "fd00:88::/48") for text in ("fd00::/129", "fd00::/ffff::", "fd00::", "fe80::%eth0/64")),
    ],
)
def test_networks(text: str, network: str | None, problem: str) -> None:
    found, what = as_network(text)
    assert (None if found is None else str(found)) == network
    assert problem in what and bool(what) is bool(problem)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("cidr: 10.88", "cidr = 10.88: not a network in the form 10.88.0.0/16; YAML took it for a number: quote it"),
        ("cidr: 1:20:30", "cidr = 4830: not a network in the form 10.88.0.0/16; YAML took it for a number: quote it"),
        ("cidr: 2026-12-01", "cidr = 2026-12-01: not a network in the form 10.88.0.0/16; YAML took it for a date: quote it"),
        (
            "name: no",
            "name = false: not a name of at most 32 letters, digits, _ and -; YAML took it for true or false: quote it",
        ),
        ("name: 010", "name = 8: not a name of at most 32 letters, digits, _ and -; YAML took it for a number: quote it"),
        ("device: 88", "device = 88: not a device name of at most 15 characters; YAML took it for a number: quote it"),
        ("dev: on", "dev = true: not a device name of at most 15 characters; YAML took it for true or false: quote it"),
        ("members: 7", "members = 7: neither a group nor a JMESPath expression; YAML took it for a number: quote it"),
        ("peers: [[8, all]]", "neither a group nor a JMESPath expression; YAML took it for a number: quote it"),
        ("attach: {docker_network: 5}", "not a name that Docker takes for a network; YAML took it for a number: quote it"),
        ("vni: '088'", "vni = '088': not a whole number from 1 to 16777215"),
        ("port: 4789.0", "port = 4789.0: not a whole number from 1 to 65535"),
        ("subnet_len: '+24'", "subnet_len = '+24': not a whole number from 18 to 30"),
    ],
)
def test_what_yaml_makes_of_a_text(written: str, words: str) -> None:
    assert words in refused(yaml.safe_load(written))


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (
            {"underlay_ip": 10.1},
            "overlay_underlay_ip = 10.1: not an IP address (names are not resolved); YAML took it for a number",
        ),
        ({"underlay_ip": "10.1"}, "overlay_underlay_ip = '10.1': not an IP address"),
        ({"underlay_ip": "fe80::1%eth0"}, "not an IP address"),
        ({"underlay_ip": "::ffff:192.168.65.2"}, "not an address of a single other host: IPv4 in the form of IPv6"),
        ({"underlay_ip": "fe80::1"}, "not an address of a single other host: link-local"),
        ({"underlay_ip": "169.254.0.9"}, "not an address of a single other host: link-local"),
        ({"underlay_ip": "127.0.0.1"}, "not an address of a single other host: loopback"),
        ({"underlay_ip": "::1"}, "not an address of a single other host: loopback"),
        ({"underlay_ip": "::"}, "not an address of a single other host: unspecified"),
        ({"underlay_ip": "ff05::1"}, "not an address of a single other host: a multicast group"),
        ({"underlay_ip": "255.255.255.255"}, "not an address of a single other host: the broadcast address"),
        ({"underlay_ip": "240.0.0.1"}, "not an address of a single other host: reserved"),
        (
            {"underlay_ip": "192.168.65.255/24"},
            "not an address of a single other host: the broadcast address of 192.168.65.0/24",
        ),
        ({"underlay_ip": "192.168.65.0/24"}, "not an address of a single other host: the first address of 192.168.65.0/24"),
        ({"underlay_ip": "fd65::/64"}, "not an address of a single other host: the first address of fd65::/64"),
        ({"underlay_ip": ["192.168.65.2", 0]}, "overlay_underlay_ip = 0: not an IP address"),
        ({"underlay_ip": "192.168.65.2/024"}, "not an IP address"),
        ({"underlay_subnet": ["192.168.65.0/24", "192.168.0.0/16"]}, "two IPv4 networks; a list is one of each family"),
        ({"underlay_subnet": "fd65::5/64"}, "has host bits; the network is fd65::/64. Write the network that"),
        ({"underlay_ip": "192.168.65.2/0"}, "0.0.0.0/0 is more than a network of unicast addresses"),
        ({"underlay_subnet": "128.0.0.0/1"}, "not a network of unicast addresses. Write the network that"),
        ({"underlay_dev": False}, "overlay_underlay_dev = false: not a device name"),
        ({"underlay_dev": "docker0"}, "overlay_underlay_dev = 'docker0': no device by which a host reaches others"),
        ({"underlay_mtu": "01500"}, "overlay_underlay_mtu = '01500': not an MTU"),
    ],
)
def test_a_wrong_value_of_a_host(host: dict[str, Any], words: str) -> None:
    told = refused({}, **host)
    assert told.startswith("h2: overlay_underlay_") and words in told


def test_remedies_of_ipv6_are_ipv6() -> None:
    assert "such as fd65::/64" in refused({}, underlay_subnet="fd65::5/64")
    both = {"cidr": ["10.88.0.0/16", "ff00::/48"]}
    assert "Choose a private one, such as fd00:88::/48" in refused(both)
    six = {"backend": "host-gw", "cidr": "fd00:88::/48", "attach": {"docker_network": "x"}}
    network = {key: value for key, value in {**NETWORK, **six}.items() if key != "vni"}
    (error,) = make_plan(BACKENDS, [network], [Node("h1", "fd65::1/64"), Node("h2", "fd65::2")]).errors
    assert "overlay_underlay_ip with its length behind it, such as ADDRESS/64" in str(error)
    assert "Write it as fd00:1::/48" in str(
        make_plan(BACKENDS, [NETWORK], [Node("h1", "10.0.0.1")], {}, ["fd00::x/64"]).errors[0]
    )


@pytest.mark.parametrize(
    ("one", "other"), [("[fd65::1]", "FD65::1"), ("fd65:0:0:0:0:0:0:1/64", "fd65::1"), (" 10.0.0.1", "10.0.0.1/24")]
)
def test_two_spellings_of_one_address_are_one(one: str, other: str) -> None:
    network = {**NETWORK, "cidr": ["10.88.0.0/16", "fd00:88::/48"]}
    (error,) = make_plan(BACKENDS, [network], [Node("h1", one), Node("h2", other)]).errors
    assert str(error).startswith("h2: overlay_underlay_ip = ") and "h1 has the same underlay address" in str(error)


def test_what_people_write_is_taken() -> None:
    nodes = [Node("h1", "[FD65::1]/64", subnet=" 10.88.7.0/24"), Node("h2", ["", None, "fd65:0::2"], subnet="")]
    network = {**NETWORK, "cidr": ["10.88.0.0/16", "FD00:88::/48"]}
    made = make_plan(BACKENDS, [network], nodes, {"demo": {"h2": " 10.88.8.0/24 "}})
    assert made.errors == []
    members = made.plan.networks["demo"].members
    assert [member.underlay_ip for member in members.values()] == ["fd65::1", "fd65::2"]
    assert [member.leases[0].subnet for member in members.values()] == ["10.88.7.0/24", "10.88.8.0/24"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "not set"),
        (True, "true"),
        (88, "88"),
        ("a'b", '"a\'b"'),
        ([None, {"a": False}], "[null, {'a': false}]"),
        pytest.param(10**5000, "a number of thousands of digits", id="huge"),
        pytest.param([10**5000], "a number of thousands of digits", id="huge inside"),
        ("a" * 300, "'" + "a" * 199 + "… (302 characters)"),
    ],
)
def test_a_value_is_shown_as_people_write_it(value: Any, shown: str) -> None:
    assert describe_value(value) == shown
