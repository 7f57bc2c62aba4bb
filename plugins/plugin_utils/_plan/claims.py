# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who has which lease: the pin, then the record, then a free slot by a stable rule. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.allocation import Ledger
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import Errors, describe_value, list_few, show_key
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.fields import Item
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import EVERYWHERE, IPNetwork, Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import LeaseForm
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import (
    as_address,
    as_list,
    as_network,
    hint_quotes,
    is_empty,
)

_CORRECT = "Correct the line; deleting it gives the host a new lease"


@dataclass(frozen=True)
class Leases:
    """Those of one network."""

    # By node, one a family.
    subnets: Mapping[str, tuple[IPNetwork, ...]] = field(default_factory=dict)
    # What has to be on record, and that of it which is not yet.
    records: Mapping[str, Any] = field(default_factory=dict)
    new: Mapping[str, Any] = field(default_factory=dict)


class Claims:
    """Gives leases; what is wrong with pins and records it tells.

    @param recorded: leases on record: network to node to subnet, or to one subnet a family
    @param file: where they are, for messages
    @param names: of all networks, also of those that are too wrong to be planned
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        recorded: Mapping[str, Mapping[str, Any]],
        file: str,
        names: set[str],
        errors: Errors,
    ) -> None:
        self.nodes, self.recorded, self.file, self.names, self.errors = nodes, recorded, file, names, errors
        self._known = {node.name for node in nodes}

    def give(self, item: Item) -> Leases:
        """The leases of one network."""
        members = [node for node in self.nodes if node.name in item.nodes]
        if item.network.lease_form is LeaseForm.WHOLE:
            # Each host for itself: nothing is divided.
            self._refuse_pins(item)
            return Leases({node.name: item.cidrs for node in members})
        ledgers = _open_ledgers(item)
        for node in self.nodes:
            variable, pins = self._read_pins(node, item)
            for ledger in ledgers:
                if ledger.cidr.version in pins:
                    self._claim(ledger, node.name, pins[ledger.cidr.version], item, variable, "Pin another subnet")
        records = self._read_records(item)
        refused: set[str] = set()
        for name, value in sorted(records.items()):
            variable = f"{self.file}: {item.network.name}.{name}"
            if not self._recall_all(ledgers, item, name, variable, value):
                refused.add(name)
        fresh: dict[str, list[str]] = {}
        for ledger in ledgers:
            left = []
            for node in members:
                if node.name in ledger.given or node.name in refused:
                    continue
                subnet = ledger.allocate(node.name)
                if subnet is None:
                    left.append(node.name)
                else:
                    fresh.setdefault(node.name, []).append(str(subnet))
            self._refuse_full(left, item, ledger)
        subnets = {
            node.name: tuple(ledger.given[node.name] for ledger in ledgers)
            for node in members
            if all(node.name in ledger.given for ledger in ledgers)
        }
        found = {name: [*(str(value) for value in _list_given(records.get(name))), *more] for name, more in fresh.items()}
        new = {name: one[0] if len(one) == 1 else one for name, one in found.items()}
        return Leases(subnets, {**records, **new}, new)

    def _read_records(self, item: Item) -> dict[str, Any]:
        """What is on record of a network, by host; who edits it may leave the quotes of a number away."""
        found = self.recorded.get(item.network.name)
        if found is None or isinstance(found, Mapping):
            return {str(name): value for name, value in (found or {}).items()}
        remedy = "Write a line for each host: its name and its subnet"
        self.errors.add(EVERYWHERE, f"{self.file}: {item.network.name}", found, "not a mapping of hosts to subnets", remedy)
        return {}

    def _recall_all(self, ledgers: Sequence[Ledger], item: Item, name: str, variable: str, value: Any) -> bool:
        """Give a node what is on record for it; whether there is nothing wrong with that."""
        found: dict[int, Any] = {}
        good = True
        for text in _list_given(value):
            network, problem = as_network(text)
            one = network if network is not None else as_address(text)
            if one is None:
                self.errors.add(name, variable, text, problem, _CORRECT)
                good = False
            elif one.version in found:
                self.errors.add(name, variable, value, f"two IPv{one.version} subnets; a list is one of each family", _CORRECT)
                good = False
            else:
                found[one.version] = text
        for ledger in ledgers:
            text = found.get(ledger.cidr.version)
            if text is not None and not self._recall(ledger, item, name, variable, text):
                good = False
        return good

    def _recall(self, ledger: Ledger, item: Item, name: str, variable: str, text: Any) -> bool:
        if name in ledger.given:
            # Pinned since: what it had is kept from others, for the day the pin goes.
            before = _read_lease(item, ledger, text)
            if before is not None and before in ledger.cidr:
                ledger.keep(before.first, before.last)
            return True
        # A host that is out of the inventory today may be back tomorrow: its lease stays its own.
        subnet = self._read_subnet(name, variable, text, item, ledger, _CORRECT)
        if subnet is not None:
            self._claim(ledger, name, subnet, item, variable, "Delete one of the two lines, or change the pin")
        return name in ledger.given

    def refuse_unknown(self) -> None:
        """Pins in networks that there are not."""
        for node in self.nodes:
            if isinstance(node.subnet, dict):
                for name in sorted(set(node.subnet) - self.names, key=show_key):
                    variable = f"overlay_subnet.{show_key(name)}"
                    remedy = "Use a name from overlay_networks"
                    self.errors.add(node.name, variable, node.subnet[name], "there is no such network", remedy)

    def _refuse_pins(self, item: Item) -> None:
        for node in self.nodes:
            variable, value = self._find_pin(node, item)
            if not is_empty(value):
                problem = f"hosts have no lease of their own in network {item.network.name}"
                self.errors.add(node.name, variable, value, problem, "Remove the pin")

    def _find_pin(self, node: Node, item: Item) -> tuple[str, Any]:
        """The variable that pins a host's lease in a network, and its value."""
        variable, value = "overlay_subnet", node.subnet
        if isinstance(value, dict):
            return f"{variable}.{item.network.name}", value.get(item.network.name)
        if not is_empty(value) and len(self.names) > 1:
            example = f"Write overlay_subnet: {{{item.network.name}: {describe_value(value)}}}"
            self.errors.add(node.name, variable, value, "there are several networks, and it does not say which", example)
            return variable, None
        return variable, value

    def _read_pins(self, node: Node, item: Item) -> tuple[str, dict[int, IPNetwork]]:
        """A host's pins in a network by IP version, and the variable that says so."""
        variable, value = self._find_pin(node, item)
        found: dict[int, IPNetwork] = {}
        versions: dict[int, tuple[IPNetwork, int]] = {
            cidr.version: (cidr, length) for cidr, length in zip(item.cidrs, item.lengths)
        }
        for text in _list_given(value):
            version = 6 if isinstance(text, str) and ":" in text else 4
            if isinstance(text, str) and version not in versions:
                remedy = "Remove the pin, or give the network a cidr of that family"
                self.errors.add(node.name, variable, text, f"network {item.network.name} has no IPv{version}", remedy)
                continue
            cidr, length = versions.get(version) or next(iter(versions.values()))
            ledger = _open_ledger(item, cidr, length)
            remedy = "Pin a subnet inside the network, or remove the pin"
            subnet = self._read_subnet(node.name, variable, text, item, ledger, remedy)
            if version in found:
                problem = f"two IPv{version} subnets; a list is one of each family"
                self.errors.add(node.name, variable, value, problem, "Pin one of them")
            elif subnet is not None:
                found[version] = subnet
        return variable, found

    def _read_subnet(self, host: str, variable: str, value: Any, item: Item, ledger: Ledger, remedy: str) -> IPNetwork | None:
        if item.network.lease_form is LeaseForm.ADDRESS:
            return self._read_address(host, variable, value, item, ledger)
        subnet, problem = as_network(value)
        longest = 30 if ledger.cidr.version == 4 else 126
        if subnet is None or problem:
            self.errors.add(host, variable, value, problem, remedy)
        elif subnet not in ledger.cidr:
            what = "the ip-range of the host is " if item.network.shared else ""
            self.errors.add(host, variable, value, f"{what}not inside network {item.network.name}, {ledger.cidr}", remedy)
        elif not ledger.cidr.prefixlen < subnet.prefixlen <= longest:
            self.errors.add(host, variable, value, f"not from /{ledger.cidr.prefixlen + 1} to /{longest}", remedy)
        else:
            return subnet
        return None

    def _read_address(self, host: str, variable: str, value: Any, item: Item, ledger: Ledger) -> IPNetwork | None:
        """A lease of one address, with or without a prefix length behind it."""
        lease = _read_lease(item, ledger, value)
        address = lease.ip if lease is not None else None
        ends = (ledger.cidr.first, ledger.cidr.last) if ledger.cidr.version == 4 else (ledger.cidr.first,)
        if address is None:
            problem = f"not an IP address{hint_quotes(value)}"
            self.errors.add(host, variable, value, problem, f"Write an address of {ledger.cidr}")
        elif address not in ledger.cidr or address.value in ends:
            problem = f"not an address for a host of network {item.network.name}, {ledger.cidr}"
            self.errors.add(host, variable, value, problem, f"Write another address of {ledger.cidr}")
        else:
            return lease
        return None

    def _claim(self, ledger: Ledger, name: str, subnet: IPNetwork, item: Item, variable: str, remedy: str) -> None:
        other = ledger.claim(name, subnet)
        if other:
            problem = f"overlaps {other}'s {ledger.given[other]} in network {item.network.name}"
            self.errors.add(name, variable, str(subnet), problem, remedy)

    def _refuse_full(self, hosts: Sequence[str], item: Item, ledger: Ledger) -> None:
        """@param hosts: those that no lease is left for"""
        remedy = "Choose a larger cidr or a longer subnet_len"
        if hosts and (gone := sorted(set(ledger.given) - self._known)):
            remedy += f", or delete the leases of hosts that will not return from {self.file}: {list_few(gone)}"
        problem = f"full: all {ledger.capacity} leases of /{ledger.length} are taken"
        for host in hosts:
            self.errors.add(host, f"overlay_networks: {item.network.name}.cidr", str(ledger.cidr), problem, remedy)


def _open_ledgers(item: Item) -> list[Ledger]:
    return [_open_ledger(item, cidr, length) for cidr, length in zip(item.cidrs, item.lengths)]


def _open_ledger(item: Item, cidr: IPNetwork, length: int) -> Ledger:
    return Ledger(item.network.name, cidr, length, item.network.lease_form is LeaseForm.ADDRESS)


def _list_given(value: Any) -> list[Any]:
    """A subnet, or one of each family, as a list of those that are there."""
    return [one for one in as_list(value) if not is_empty(one)]


def _read_lease(item: Item, ledger: Ledger, value: Any) -> IPNetwork | None:
    """The subnet that is meant, or the address, with or without a length behind it, where leases are addresses."""
    network, _problem = as_network(value)
    if item.network.lease_form is not LeaseForm.ADDRESS:
        return network
    text = value if network is None else value.partition("/")[0]
    address = as_address(text)
    return None if address is None else IPNetwork((int(address), ledger.length), version=address.version)
