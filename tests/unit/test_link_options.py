# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of a vxlan device that the kernel would refuse, each or beside each other: the planner does before it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import make_plan


def errors(*networks: dict[str, Any]) -> list[str]:
    nodes = [Node(name=f"h{n}", underlay_ip=[f"192.168.65.{n}", f"fd65::{n}"]) for n in (1, 2)]
    named = [
        {"name": f"n{n}", "cidr": f"10.{n}.0.0/16", "vni": n, "attach": {"docker_network": f"d{n}"}, **network}
        for n, network in enumerate(networks, 1)
    ]
    return [str(error) for error in make_plan(BACKENDS, named, nodes).errors]


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"link": {"srcport_min": 9, "srcport_max": 8}}, "link.srcport_min = 9: larger than srcport_max, 8"),
        ({"link": {"srcport_min": 8, "srcport_max": 8}}, ""),
        ({"link": {"flowlabel": 7}}, "link.flowlabel = 7: packets over IPv4 have no flow label"),
        ({"link": {"flowlabel": 7}, "underlay": "ipv6"}, ""),
        ({"link": {"flowlabel": 0}}, ""),
    ],
)
def test_an_option_that_the_kernel_refuses(network: dict[str, Any], words: str) -> None:
    found = errors(network)
    assert [words in error for error in found] == ([True] if words else []), found


@pytest.mark.parametrize("option", ["gbp", "udp6zerocsumrx"])
def test_devices_on_one_port_share_a_socket(option: str) -> None:
    """Made so on a host, the second one cannot be switched on: Address already in use."""
    one, other = {"link": {option: True}}, {"link": {"ttl": 7}}
    (found,) = errors(one, other)
    assert f"link.{option}" in found and "network n1 has port 4789 too" in found
    # Not the same port, not the same family, or the same option: no matter.
    assert errors(one, {**other, "port": 8472}) == errors(one, {**other, "underlay": "ipv6"}) == errors(one, one) == []
    assert errors(one, {**other, "port": 8472, "parallel": [{"vni": 9, "port": 4789}]}) != []
