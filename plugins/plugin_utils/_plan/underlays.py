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
    IPNetwork,
    Node,
    Underlay,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import (
    as_address,
    as_integer,
    as_list,
    as_network,
    find_special,
    find_unusable,
    find_wrong_underlay_device,
    hint_quotes,
    is_empty,
    is_unicast,
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
        mtu = DEFAULT_UNDERLAY_MTU if is_empty(node.underlay_mtu) else as_integer(node.underlay_mtu)
        if mtu is None or not _LEAST_MTU <= mtu <= MAX_MTU:
            remedy = "Set it to the MTU of the host's underlay device"
            errors.add(node.name, _MTU, node.underlay_mtu, f"not an MTU from {_LEAST_MTU} to {MAX_MTU}", remedy)
            mtu = DEFAULT_UNDERLAY_MTU
        dev = "" if is_empty(node.underlay_dev) else node.underlay_dev
        problem = "" if is_empty(dev) else find_wrong_underlay_device(dev)
        if problem:
            errors.add(node.name, "overlay_underlay_dev", dev, problem, "Name the host's underlay device, such as eth0")
            dev = ""
        if addresses:
            found[node.name] = Underlay(addresses, subnets, mtu, str(dev))
    return found


def _read_addresses(node: Node, errors: Errors) -> tuple[dict[int, str], dict[int, str]]:
    """A node's underlay addresses, and the subnets that their prefix lengths tell, by IP version."""
    remedy = "Set overlay_underlay_ip to the host's own address on the network that joins the hosts"
    variable = "overlay_underlay_ip"
    found: dict[int, str] = {}
    subnets: dict[int, str] = {}
    values = [value for value in as_list(node.underlay_ip) if not is_empty(value)]
    if not values:
        errors.add(node.name, variable, node.underlay_ip, "no underlay address is known", remedy)
    for value in values:
        slash = isinstance(value, str) and "/" in value
        subnet = as_network(value)[0] if slash else None
        address = as_address(value.partition("/")[0]) if slash else as_address(value)
        if address is None or slash and subnet is None:
            problem = f"not an IP address (names are not resolved){hint_quotes(value)}"
            errors.add(node.name, variable, value, problem, remedy)
        elif address.version in found:
            problem = f"two IPv{address.version} addresses; a list is one of each family"
            errors.add(node.name, variable, node.underlay_ip, problem, remedy)
        elif kind := _find_useless(address, subnet):
            errors.add(node.name, variable, value, f"not an address of a single other host: {kind}", remedy)
        else:
            found[address.version] = str(address)
            if subnet is not None:
                subnets[address.version] = str(subnet.cidr)
    return found, subnets


def _find_useless(address: IPAddress, subnet: IPNetwork | None) -> str:
    """Why no single other host can have it; empty where one can."""
    kind = find_special(address, address)
    if kind or subnet is None:
        return kind
    if int(address) in find_unusable(subnet):
        return f"the {'first' if int(address) == subnet.first else 'broadcast'} address of {subnet.cidr}"
    return "" if is_unicast(subnet) else f"{subnet.cidr} is more than a network of unicast addresses"


def _read_subnets(node: Node, addresses: Mapping[int, str], errors: Errors) -> dict[int, str]:
    """The subnets of its addresses that it says itself, by IP version."""
    found: dict[int, str] = {}
    variable = "overlay_underlay_subnet"
    for value in as_list(node.underlay_subnet):
        if is_empty(value):
            continue
        subnet, problem = as_network(value)
        example = "fd65::/64" if isinstance(value, str) and ":" in value else "192.168.65.0/24"
        remedy = f"Write the network that the host's underlay address is in, such as {example}"
        if subnet is None or problem:
            errors.add(node.name, variable, value, problem, remedy)
        elif not is_unicast(subnet):
            errors.add(node.name, variable, value, "not a network of unicast addresses", remedy)
        elif subnet.version in found:
            problem = f"two IPv{subnet.version} networks; a list is one of each family"
            errors.add(node.name, variable, node.underlay_subnet, problem, remedy)
        elif subnet.version in addresses and addresses[subnet.version] not in subnet:
            problem = f"the host's underlay address {addresses[subnet.version]} is not in it"
            errors.add(node.name, variable, value, problem, "Correct one of the two")
        else:
            found[subnet.version] = str(subnet)
    return found
