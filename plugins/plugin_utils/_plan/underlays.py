# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The nodes on the network that joins them. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import Errors
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.fields import MAX_MTU, MIN_MTU
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import (
    DEFAULT_UNDERLAY_MTU,
    IPAddress,
    Node,
    Underlay,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import (
    as_address,
    as_integer,
    as_list,
    as_network,
    is_device,
)

# What the smallest overlay needs over the smallest tunnel: vxlan over IPv4.
_LEAST_MTU = MIN_MTU + 50
_MTU = "overlay_underlay_mtu"


def read_underlays(nodes: Sequence[Node], errors: Errors) -> dict[str, Underlay]:
    """By name, those nodes that have an address there."""
    found: dict[str, Underlay] = {}
    for node in nodes:
        addresses, subnets = _read_addresses(node, errors)
        subnets.update(_read_subnets(node, addresses, errors))
        mtu = as_integer(node.underlay_mtu)
        if mtu is None or not _LEAST_MTU <= mtu <= MAX_MTU:
            remedy = "Set it to the MTU of the host's underlay device"
            errors.add(node.name, _MTU, node.underlay_mtu, f"not an MTU from {_LEAST_MTU} to {MAX_MTU}", remedy)
            mtu = DEFAULT_UNDERLAY_MTU
        dev = node.underlay_dev or ""
        if dev and not is_device(dev):
            problem = "not a device name of at most 15 characters"
            errors.add(node.name, "overlay_underlay_dev", dev, problem, "Name the host's underlay device, such as eth0")
            dev = ""
        if addresses:
            found[node.name] = Underlay(addresses, subnets, mtu, dev)
    return found


def _read_addresses(node: Node, errors: Errors) -> tuple[dict[int, str], dict[int, str]]:
    """A node's underlay addresses, and the subnets that their prefix lengths tell, by IP version."""
    remedy = "Set overlay_underlay_ip to the host's own address on the network that joins the hosts"
    variable = "overlay_underlay_ip"
    found: dict[int, str] = {}
    subnets: dict[int, str] = {}
    values = [value for value in as_list(node.underlay_ip) if value]
    if not values:
        errors.add(node.name, variable, node.underlay_ip, "no underlay address is known", remedy)
    for value in values:
        text, slash, _length = str(value).partition("/")
        address = as_address(text)
        subnet = as_network(str(value))[0] if slash else None
        if address is None or slash and subnet is None:
            errors.add(node.name, variable, value, "not an IP address (names are not resolved)", remedy)
        elif address.version in found:
            problem = f"two IPv{address.version} addresses; a list is one of each family"
            errors.add(node.name, variable, str(node.underlay_ip), problem, remedy)
        elif is_useless(address):
            errors.add(node.name, variable, value, "not an address of a single other host", remedy)
        else:
            found[address.version] = str(address)
            if subnet is not None:
                subnets[address.version] = str(subnet.cidr)
    return found, subnets


def is_useless(address: IPAddress) -> bool:
    """Whether no single other host can have it."""
    if address.version == 6:
        return bool(address.is_multicast() or address.is_loopback() or address.value == 0 or address.is_link_local())
    return bool(address.is_multicast() or address.is_loopback() or address.value in (0, 2**32 - 1) or address.is_reserved())


def _read_subnets(node: Node, addresses: Mapping[int, str], errors: Errors) -> dict[int, str]:
    """The subnets of its addresses that it says itself, by IP version."""
    found: dict[int, str] = {}
    for value in as_list(node.underlay_subnet):
        subnet, problem = as_network(str(value))
        if subnet is None or problem:
            remedy = "Write the network that the host's underlay address is in, such as 192.168.65.0/24"
            errors.add(node.name, "overlay_underlay_subnet", value, problem, remedy)
        elif subnet.version in addresses and addresses[subnet.version] not in subnet:
            problem = f"the host's underlay address {addresses[subnet.version]} is not in it"
            errors.add(node.name, "overlay_underlay_subnet", value, problem, "Correct one of the two")
        else:
            found[subnet.version] = str(subnet)
    return found
