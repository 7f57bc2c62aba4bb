# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands for a host's address beyond a NAT: who may have which, who uses it. tests/golden/nat has what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import make_part
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import Planned, make_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.captured import choose_capture
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.matrix import UNDERLAY, list_targets
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.preview import name_peers

VXLAN = {"name": "main", "cidr": "10.88.0.0/16", "vni": 88, "attach": "host"}
TELL = {"name": "tell", "backend": "multicast", "cidr": "10.2.0.0/16", "vni": 3, "group": "239.1.1.1", "dev": "eth0"}


def plan_of(*hosts: tuple[Any, Any], network: dict[str, Any] | None = None) -> Planned:
    """Hosts a, b, … by what they have themselves and what they announce."""
    nodes = [Node(name=name, underlay_ip=own, public_ip=public) for name, (own, public) in zip("abcdefgh", hosts)]
    return make_plan(BACKENDS, [network or VXLAN], nodes)


def errors_of(made: Planned) -> list[str]:
    return [str(error).replace("'", "") for error in made.errors]


def destinations(made: Planned, node: str) -> list[str]:
    assert errors_of(made) == []
    part = make_part(made.plan, node)
    entries = sorted(one["dst"] for one in part["fdb_entry"][0]["entries"])
    assert sorted(part["firewall"][0]["vteps"]) == entries, "who is sent to may send, and nobody else"
    return entries


OUTSIDE = ("192.168.66.5", None)


@pytest.mark.parametrize(
    ("public", "text"),
    [
        ("nat.example.org", "a: overlay_public_ip = nat.example.org: not an IP address (names are not resolved)"),
        ("10.200.0.3/24", "a: overlay_public_ip = 10.200.0.3/24: not an IP address"),
        (3405803779, "a: overlay_public_ip = 3405803779: not an IP address"),
        ("224.0.0.1", "a: overlay_public_ip = 224.0.0.1: not an address of a single other host"),
        (["10.200.0.3", "10.200.0.4"], "two IPv4 addresses; a list is one of each family"),
        ("2001:db8::3", "the host has no IPv6 address of its own that it could stand for"),
        ("192.168.66.5", "a: overlay_public_ip = 192.168.66.5: b has it as its own underlay address"),
        ("10.88.3.4", "a: overlay_public_ip = 10.88.3.4: lies inside network main, 10.88.0.0/16"),
    ],
)
def test_what_cannot_be_announced_is_named(public: Any, text: str) -> None:
    found = errors_of(plan_of(("192.168.65.3/24", public), OUTSIDE))
    assert len(found) == 1 and text in found[0], found


def test_two_hosts_do_not_announce_one_address() -> None:
    found = errors_of(plan_of(("192.168.65.3", "10.200.0.3"), ("192.168.65.4", "10.200.0.3"), OUTSIDE))
    assert len(found) == 1 and "b: overlay_public_ip = 10.200.0.3: a announces the same address" in found[0], found


@pytest.mark.parametrize(
    ("hosts", "same"),
    [
        # Two clouds that give their hosts the same addresses.
        ([("10.0.0.5", "10.200.0.3"), ("10.0.0.5", "10.201.0.3")], False),
        ([("10.0.0.5/24", "10.200.0.3"), ("10.0.0.5/16", "10.201.0.3")], False),
        ([("10.0.0.5/24", "10.200.0.3"), ("10.0.0.5/24", "10.201.0.3")], True),
        ([("10.0.0.5", "10.200.0.3"), ("10.0.0.5", None)], True),
        ([("10.0.0.5", "10.0.0.5"), ("10.0.0.5", "10.201.0.3")], True),
    ],
)
def test_own_addresses_may_be_the_same_where_nobody_uses_them(hosts: list[tuple[Any, Any]], same: bool) -> None:
    found = errors_of(plan_of(*hosts))
    assert bool(found) is same
    assert not same or "has the same underlay address" in found[0], found


def test_each_is_reached_as_it_announces() -> None:
    made = plan_of(("10.0.0.5", "10.200.0.3"), ("10.0.0.6", "10.200.0.4"), OUTSIDE)
    assert destinations(made, "a") == ["10.200.0.4", "192.168.66.5"], "who does not say its subnet is on none"
    assert destinations(made, "c") == ["10.200.0.3", "10.200.0.4"]
    assert make_part(made.plan, "a")["vxlan_link"][0]["entries"][0]["local"] == "10.0.0.5"


def test_who_says_the_same_subnet_uses_own_addresses() -> None:
    made = plan_of(("10.0.0.5/24", "10.200.0.3"), ("10.0.0.6/24", "10.200.0.4"), ("10.0.0.7/24", None), OUTSIDE)
    assert destinations(made, "a") == ["10.0.0.6", "10.0.0.7", "192.168.66.5"]
    assert destinations(made, "c") == ["10.0.0.5", "10.0.0.6", "192.168.66.5"], "also one that announces nothing"
    assert destinations(made, "d") == ["10.0.0.7", "10.200.0.3", "10.200.0.4"]


def test_a_family_that_is_not_translated_is_as_it_is() -> None:
    six = {**VXLAN, "underlay": "ipv6"}
    made = plan_of((["10.0.0.5", "fd00::5"], "10.200.0.3"), (["192.168.66.5", "fd00::6"], None), network=six)
    assert destinations(made, "b") == ["fd00::5"]


def test_multicast_beyond_a_nat_is_refused() -> None:
    found = errors_of(plan_of(("10.0.0.5/24", "10.200.0.3"), OUTSIDE, network=TELL))
    assert (
        len(found) == 1 and "no multicast group crosses the NAT for which the host has overlay_public_ip 10.200.0.3" in found[0]
    )
    assert found[0].startswith("a: overlay_networks[0].backend = multicast") and "Choose backend l2" in found[0], found
    assert errors_of(plan_of(("10.0.0.5/24", "10.200.0.3"), ("10.0.0.6/24", None), network=TELL)) == []


def test_direct_routes_lead_to_own_addresses() -> None:
    direct = {"name": "web", "cidr": "10.89.0.0/16", "vni": 89, "attach": {"docker_network": "web"}, "direct_routing": True}
    made = plan_of(("10.0.0.5/24", "10.200.0.3"), ("10.0.0.6/24", "10.200.0.4"), ("10.1.0.5/24", "10.201.0.3"), network=direct)
    assert errors_of(made) == []
    part = make_part(made.plan, "a")
    assert {one["gateway"] for one in part["route_entry"][0]["entries"] if "device" not in one} == {"10.0.0.6"}
    assert [one["dst"] for one in part["fdb_entry"][0]["entries"]] == ["10.201.0.3"]


def test_those_who_look_use_the_address_that_is_used() -> None:
    made = plan_of(("10.0.0.5", "10.200.0.3"), OUTSIDE)
    plan = made.plan
    assert [one["address"] for one in list_targets(plan, "b", {}) if one["endpoint"] == UNDERLAY] == ["10.200.0.3"]
    assert choose_capture(plan, "b", "a")["underlay"] == {"a": "10.200.0.3", "b": "192.168.66.5"}
    assert name_peers(plan, "b")["10.200.0.3"] == "a"
