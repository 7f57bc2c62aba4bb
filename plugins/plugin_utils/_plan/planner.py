# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The planner: the inventory's values in, the plan or all errors out. PRIVATE to the collection.

Pure: no Ansible, no file, no host. The same values give the same plan,
whichever hosts a run is limited to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.announced import read_announced
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.claims import Claims, Leases
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.clashes import find_clashes, find_overlaps
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.devices import find_own_clashes, find_underlay_clashes
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import Errors, describe_value
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.fields import Fields, Item, Peers
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import (
    EVERYWHERE,
    Member,
    Node,
    PlanError,
    Underlay,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network, Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.underlays import read_underlays
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import hint_quotes, is_empty

_EXAMPLE = (
    "Write for example: overlay_networks: [{name: main, cidr: 10.88.0.0/16, vni: 88}], in the inventory or in group_vars "
    "beside it, as Ansible reads none that are beside a playbook which imports another"
)


@dataclass
class Planned:
    """The plan of the whole fleet, or what is wrong with the inventory.

    C(leases) holds, by network and node, what has to be on record; C(new) those
    of them that are not yet.
    """

    plan: Plan = field(default_factory=Plan)
    leases: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    new: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: list[PlanError] = field(default_factory=list)


def make_plan(
    backends: Mapping[str, type[Network]],
    networks: Any,
    nodes: Iterable[Node],
    recorded: Mapping[str, Mapping[str, Any]] | None = None,
    reserved: Any = (),
    leases_file: str = "the leases file",
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Planned:
    """Work out the plan, or every error there is.

    @param backends: the kinds of networks that there are, by name
    @param networks: overlay_networks as in the inventory
    @param recorded: leases on record: network to node to subnet, or to one subnet a family
    @param reserved: overlay_reserved_cidrs as in the inventory
    @param leases_file: where the record is, for messages
    @param groups: the inventory's groups, for members and peers
    """
    errors = Errors()
    ordered = sorted(nodes, key=lambda node: node.name)
    if not ordered:
        errors.add(EVERYWHERE, "hosts", None, "the group has no host", "Put the Docker hosts into the group overlay")
    ordered = [node for node in ordered if _is_host_name(node.name, errors)]
    underlays = read_announced(ordered, read_underlays(ordered, errors), errors)
    # The names of all networks, also of those that are too wrong to be planned.
    names: set[str] = set()
    items = _read_items(backends, networks, ordered, underlays, groups or {}, names, errors)
    find_overlaps(items, underlays, reserved, errors)
    claims = Claims(ordered, recorded or {}, leases_file, names, errors)
    claims.refuse_unknown()
    planned = Planned()
    made: dict[str, Network] = {}
    for item in items:
        leases = claims.give(item)
        made[item.network.name] = replace(item.network, members=_make_members(item, leases, underlays))
        planned.leases[item.network.name], planned.new[item.network.name] = leases.records, leases.new
    planned.plan = Plan(made)
    _compare_macs(planned.plan, errors)
    planned.errors = errors.list_all()
    return planned


def _read_items(
    backends: Mapping[str, type[Network]],
    networks: Any,
    nodes: Sequence[Node],
    underlays: Mapping[str, Underlay],
    groups: Mapping[str, Sequence[str]],
    names: set[str],
    errors: Errors,
) -> list[Item]:
    if not isinstance(networks, list) or not networks:
        errors.add(EVERYWHERE, "overlay_networks", networks, "a list with at least one network is needed", _EXAMPLE)
        return []
    found: list[tuple[str, Item]] = []
    for number, given in enumerate(networks):
        where = f"overlay_networks[{number}]"
        if not isinstance(given, dict):
            errors.add(EVERYWHERE, where, given, "not a mapping", "Give name, cidr and vni")
            continue
        name = _read_name(where, given, names, errors)
        item = Fields(where, given, nodes, underlays, groups, errors.add).read(name, backends)
        if item is None:
            continue
        find_own_clashes(where, item, errors)
        for _where, other in found:
            find_clashes(where, item, other, errors)
        found.append((where, item))
    find_underlay_clashes(found, underlays, errors)
    return [item for _where, item in found]


def _is_host_name(name: str, errors: Errors) -> bool:
    """Whether it can be written down, as in records and reports: a YAML file can hold half a character."""
    good = bool(name) and not re.search("[\ud800-\udfff]", name)
    if not good:
        problem = "not a name that can be written down"
        errors.add(describe_value(name), "inventory_hostname", name, problem, "Rename the host")
    return good


def _read_name(where: str, given: Mapping[str, Any], names: set[str], errors: Errors) -> str:
    name = None if is_empty(given.get("name")) else given["name"]
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", name):
        problem = f"not a name of at most 32 letters, digits, _ and -{hint_quotes(name)}"
        errors.add(EVERYWHERE, f"{where}.name", name, problem, "Name the network, for example main")
        name = where
    elif name in names:
        errors.add(EVERYWHERE, f"{where}.name", name, "another network has this name", "Give each network its own name")
        name = where
    names.add(name)
    return name


def _make_members(item: Item, leases: Leases, underlays: Mapping[str, Underlay]) -> dict[str, Member]:
    members = {}
    # Who says that it is on one subnet with another counts where somebody has one address for it and another for the rest.
    announcing = any(item.version in underlays[name].public for name in leases.subnets if name in underlays)
    for name, subnets in sorted(leases.subnets.items()):
        if name in underlays:
            member = item.network.make_member(name, underlays[name], item.version, subnets)
            if announcing and item.network.tunnels:
                member = replace(member, segments=underlays[name].subnets)
            members[name] = member if item.peers is None else replace(member, peers=_find_peers(name, item.peers))
    return members


def _find_peers(node: str, pairs: Peers) -> tuple[str, ...]:
    names: set[str] = set()
    for some, others in pairs:
        names |= (others if node in some else frozenset()) | (some if node in others else frozenset())
    return tuple(sorted(names - {node}))


def _compare_macs(plan: Plan, errors: Errors) -> None:
    """No two VTEPs of the fleet may have one MAC."""
    owner: dict[str, tuple[str, str]] = {}
    for name, network in plan.networks.items():
        for node, member in network.members.items():
            for mac in dict.fromkeys(member.macs):
                if mac in owner:
                    other, where = owner[mac]
                    problem = f"its VTEP MAC in network {name} is that of {other} in {where}"
                    errors.add(node, "inventory_hostname", node, problem, "Rename one of the hosts or change the VNI")
                owner[mac] = (node, name)
