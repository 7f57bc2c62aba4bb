# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands for a node's underlay address beyond a NAT, and that no two nodes are taken for one. Pure. PRIVATE.

Where a NAT gives each node behind it an address of its own (1:1), the node's device has one address, and the nodes outside send
to another one and get packets from there. Nodes that say that they are on one subnet use the addresses that they have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import Errors
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node, Underlay
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import (
    as_address,
    as_list,
    find_special,
    hint_quotes,
    is_empty,
)

_VARIABLE = "overlay_public_ip"
_REMEDY = "Set it to the address that the NAT gives the host, or leave it out where there is none"
_EVERYBODY = "everybody"


class Owner(NamedTuple):
    """A node that has an address or announces it, and who knows it there: everybody, those of a subnet, or nobody else."""

    name: str
    variable: str
    where: str


def read_announced(nodes: Sequence[Node], underlays: Mapping[str, Underlay], errors: Errors) -> dict[str, Underlay]:
    """The same, with what each announces in place of its own address."""
    found = dict(underlays)
    for node in nodes:
        if node.name in found:
            found[node.name] = replace(found[node.name], public=_read_public(node, found[node.name], errors))
    _refuse_shared(found, errors)
    return found


def _read_public(node: Node, underlay: Underlay, errors: Errors) -> dict[int, str]:
    """What it announces, by IP version; its own address announced is nothing."""
    found: dict[int, str] = {}
    for value in as_list(node.public_ip):
        if is_empty(value):
            continue
        address = as_address(value)
        if address is None:
            errors.add(node.name, _VARIABLE, value, f"not an IP address (names are not resolved){hint_quotes(value)}", _REMEDY)
        elif address.version in found:
            problem = f"two IPv{address.version} addresses; a list is one of each family"
            errors.add(node.name, _VARIABLE, node.public_ip, problem, _REMEDY)
        elif kind := find_special(address, address):
            errors.add(node.name, _VARIABLE, value, f"not an address of a single other host: {kind}", _REMEDY)
        elif address.version not in underlay.addresses:
            problem = f"the host has no IPv{address.version} address of its own that it could stand for"
            errors.add(node.name, _VARIABLE, value, problem, "Add that to its overlay_underlay_ip")
        else:
            found[address.version] = str(address)
    return {version: address for version, address in found.items() if address != underlay.addresses[version]}


def _refuse_shared(underlays: Mapping[str, Underlay], errors: Errors) -> None:
    """No packet may be one node's or another's.

    Of an address that only those of its own subnet use, another subnet elsewhere may have one that is the same.
    """
    owners: dict[str, list[Owner]] = defaultdict(list)
    for name, underlay in sorted(underlays.items()):
        for version, address in underlay.addresses.items():
            where = underlay.subnets.get(version, "") if version in underlay.public else _EVERYBODY
            owners[address].append(Owner(name, "overlay_underlay_ip", where))
        for address in underlay.public.values():
            owners[address].append(Owner(name, _VARIABLE, _EVERYBODY))
    for address, some in owners.items():
        for number, second in enumerate(some):
            # One sentence for each that is not the first.
            first = next((one for one in some[:number] if _are_mixed_up(one, second)), None)
            if first is not None:
                _refuse_second(errors, address, first, second)


def _are_mixed_up(one: Owner, other: Owner) -> bool:
    return _EVERYBODY in (one.where, other.where) or bool(one.where) and one.where == other.where


def _refuse_second(errors: Errors, address: str, first: Owner, second: Owner) -> None:
    if first.variable == second.variable:
        what = "announces the same address" if first.variable == _VARIABLE else "has the same underlay address"
        # Only with a subnet to their addresses can two that announce others be mixed up.
        apart = "" if _EVERYBODY in (first.where, second.where) else ", or leave out the subnet of both where they are apart"
        errors.add(second.name, second.variable, address, f"{first.name} {what}", f"Give each host its own{apart}")
    else:
        announcing, owning = (first, second) if first.variable == _VARIABLE else (second, first)
        errors.add(announcing.name, _VARIABLE, address, f"{owning.name} has it as its own underlay address", _REMEDY)
