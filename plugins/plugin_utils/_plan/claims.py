# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who has which lease: the pin, then the record, then a free slot by a stable rule. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.allocation import Ledger
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import Errors
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.fields import Item
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import IPNetwork, Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import LeaseForm
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import as_address, as_list, as_network


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

    def give(self, item: Item) -> Leases:
        """The leases of one network."""
        members = [node for node in self.nodes if node.name in item.nodes]
        if item.network.lease_form is LeaseForm.WHOLE:
            # Each host for itself: nothing is divided.
            return Leases({node.name: item.cidrs for node in members})
        ledgers = _open_ledgers(item)
        for node in self.nodes:
            variable, pins = self._read_pins(node, item)
            for ledger in ledgers:
                if ledger.cidr.version in pins:
                    self._claim(ledger, node.name, pins[ledger.cidr.version], item, variable, "Pin another subnet")
        records: dict[str, Any] = dict(self.recorded.get(item.network.name) or {})
        refused: set[str] = set()
        for name, value in sorted(records.items()):
            variable = f"{self.file}: {item.network.name}.{name}"
            for ledger in ledgers:
                if not self._recall(ledger, item, name, variable, value):
                    refused.add(name)
        fresh: dict[str, list[str]] = {}
        for node in members:
            for ledger in ledgers:
                if node.name in ledger.given or node.name in refused:
                    continue
                subnet = ledger.allocate(node.name)
                if subnet is None:
                    self._refuse_full(node, item, ledger)
                else:
                    fresh.setdefault(node.name, []).append(str(subnet))
        subnets = {
            node.name: tuple(ledger.given[node.name] for ledger in ledgers)
            for node in members
            if all(node.name in ledger.given for ledger in ledgers)
        }
        found = {name: [*(str(value) for value in as_list(records.get(name))), *more] for name, more in fresh.items()}
        new = {name: one[0] if len(one) == 1 else one for name, one in found.items()}
        return Leases(subnets, {**records, **new}, new)

    def _recall(self, ledger: Ledger, item: Item, name: str, variable: str, value: Any) -> bool:
        """Give a node what is on record for it; whether there is nothing wrong with that."""
        remedy = "Correct the line; deleting it gives the host a new lease"
        good = True
        for text in as_list(value):
            parsed, _problem = as_network(str(text))
            if parsed is not None and parsed.version != ledger.cidr.version:
                continue
            if name in ledger.given:
                # Pinned since: what it had is kept from others, for the day the pin goes.
                if parsed is not None and parsed in ledger.cidr:
                    ledger.keep(parsed.first, parsed.last)
                continue
            # A host that is out of the inventory today may be back tomorrow: its lease stays its own.
            subnet = self._read_subnet(name, variable, text, item, ledger, remedy)
            if subnet is None:
                good = False
            else:
                self._claim(ledger, name, subnet, item, variable, "Delete one of the two lines, or change the pin")
                good = good and name in ledger.given
        return good

    def _read_pins(self, node: Node, item: Item) -> tuple[str, dict[int, IPNetwork]]:
        """A host's pins in a network by IP version, and the variable that says so."""
        value = node.subnet
        variable = "overlay_subnet"
        if isinstance(value, dict):
            for name in sorted(set(value) - self.names, key=str):
                self.errors.add(
                    node.name, f"{variable}.{name}", value[name], "there is no such network", "Use a name from overlay_networks"
                )
            value, variable = value.get(item.network.name), f"{variable}.{item.network.name}"
        elif value is not None and len(self.names) > 1:
            example = f"Write overlay_subnet: {{{item.network.name}: {value}}}"
            self.errors.add(node.name, variable, value, "there are several networks, and it does not say which", example)
            return variable, {}
        found: dict[int, IPNetwork] = {}
        for text in as_list(value):
            versions = {cidr.version: (cidr, length) for cidr, length in zip(item.cidrs, item.lengths)}
            version = 6 if ":" in str(text) else 4
            if version not in versions:
                remedy = "Remove the pin, or give the network a cidr of that family"
                self.errors.add(node.name, variable, text, f"network {item.network.name} has no IPv{version}", remedy)
                continue
            cidr, length = versions[version]
            ledger = _open_ledger(item, cidr, length)
            remedy = "Pin a subnet inside the network, or remove the pin"
            subnet = self._read_subnet(node.name, variable, text, item, ledger, remedy)
            if subnet is not None:
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
        address = as_address(str(value).partition("/")[0])
        ends = (ledger.cidr.first, ledger.cidr.last) if ledger.cidr.version == 4 else (ledger.cidr.first,)
        if address is None:
            self.errors.add(host, variable, value, "not an IP address", f"Write an address of {ledger.cidr}")
        elif address not in ledger.cidr or address.value in ends:
            problem = f"not an address for a host of network {item.network.name}, {ledger.cidr}"
            self.errors.add(host, variable, value, problem, f"Write another address of {ledger.cidr}")
        else:
            return IPNetwork(f"{address}/{ledger.length}")
        return None

    def _claim(self, ledger: Ledger, name: str, subnet: IPNetwork, item: Item, variable: str, remedy: str) -> None:
        other = ledger.claim(name, subnet)
        if other:
            problem = f"overlaps {other}'s {ledger.given[other]} in network {item.network.name}"
            self.errors.add(name, variable, str(subnet), problem, remedy)

    def _refuse_full(self, node: Node, item: Item, ledger: Ledger) -> None:
        gone = sorted(set(ledger.given) - {node.name for node in self.nodes})
        remedy = "Choose a larger cidr or a longer subnet_len"
        if gone:
            remedy += f", or delete the leases of hosts that will not return from {self.file}: {', '.join(gone)}"
        problem = f"full: all {ledger.capacity} leases of /{ledger.length} are taken"
        self.errors.add(node.name, f"overlay_networks: {item.network.name}.cidr", str(ledger.cidr), problem, remedy)


def _open_ledgers(item: Item) -> list[Ledger]:
    return [_open_ledger(item, cidr, length) for cidr, length in zip(item.cidrs, item.lengths)]


def _open_ledger(item: Item, cidr: IPNetwork, length: int) -> Ledger:
    return Ledger(item.network.name, cidr, length, item.network.lease_form is LeaseForm.ADDRESS)
