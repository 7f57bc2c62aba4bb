# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An item of overlay_networks, option by option, or all that is wrong with it. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import (
    DEFAULT_UNDERLAY_MTU,
    IPNetwork,
    Node,
    Underlay,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Attachment, Common, LeaseForm, Network
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import (
    as_integer,
    as_list,
    as_network,
    is_device,
    is_unicast,
    select_nodes,
)

MIN_MTU, MAX_MTU = 576, 65535

_COMMON = ("name", "backend", "cidr", "subnet_len", "subnet_len6", "mtu", "attach", "members")
# Who is a peer of whom: pairs of sets of nodes, or None for all of all.
Peers = tuple[tuple[frozenset[str], frozenset[str]], ...]


@dataclass(frozen=True)
class Item:
    """A validated item: its network, still without members, and what its members and leases are made from."""

    network: Network
    cidrs: tuple[IPNetwork, ...]
    # Of a lease, beside each of them.
    lengths: tuple[int, ...]
    nodes: tuple[str, ...]
    # The IP version that carries the tunnel.
    version: int
    peers: Peers | None = None


class Fields:
    """Reads one item. What is wrong with one option does not keep the others from being checked."""

    def __init__(
        self,
        where: str,
        item: Mapping[str, Any],
        nodes: Sequence[Node],
        underlay: Mapping[str, Underlay],
        groups: Mapping[str, Sequence[str]],
        error: Callable[[str, str, Any, str, str], None],
    ) -> None:
        self.where, self.item, self.nodes, self.underlay, self.groups = where, item, nodes, underlay, groups
        self._error = error
        # Whether it could be told who takes part.
        self.knows_members = True

    def wrong(self, key: str, problem: str, remedy: str, host: str = "", value: Any = None) -> None:
        shown = value if value is not None else self.item.get(key)
        self._error(host, f"{self.where}.{key}", shown, problem, remedy)

    def read(self, name: str, backends: Mapping[str, type[Network]]) -> Item | None:
        """The network, or None where it is too wrong to be planned."""
        kind = backends[self.read_choice("backend", tuple(backends))]
        self._refuse_unknown(kind, backends)
        attach = self._read_attachment(kind)
        members = self._read_members()
        peers = self._read_peers(kind)
        version = self._read_underlay(kind, members) if kind.overheads else 4
        mtu = self._read_mtu(kind.overheads.get(version, 0), members)
        cidrs, lengths = self._read_cidrs(attach.find_lease_form(kind.shared), attach.has_ipv4)
        network = kind.read(self, Common(name, cidrs, mtu, attach, members, version))
        if not cidrs:
            return None
        return Item(network, cidrs, lengths, tuple(sorted(members)), version, peers)

    def _refuse_unknown(self, kind: type[Network], backends: Mapping[str, type[Network]]) -> None:
        known = (*_COMMON, *kind.options)
        for key in sorted(set(self.item) - set(known), key=str):
            elsewhere = sorted(other for other, one in backends.items() if key in one.options)
            problem = f"backend {kind.backend} has no such option" if elsewhere else "there is no such option"
            hint = f"; backend {', '.join(elsewhere)} has it" if elsewhere else ""
            self.wrong(key, problem, f"Known are: {', '.join(known)}{hint}")

    # Single values

    def read_number(self, key: str, low: int, high: int, default: int, item: Mapping[str, Any] | None = None) -> int:
        given = (self.item if item is None else item).get(key, default)
        value = as_integer(given)
        if value is None or not low <= value <= high:
            self.wrong(key, f"not a whole number from {low} to {high}", f"Choose one from {low} to {high}", value=given)
            return default
        return value

    def read_choice(self, key: str, choices: Sequence[str]) -> str:
        value = self.item.get(key, choices[0])
        if value not in choices:
            self.wrong(key, "there is no such choice", f"Choose from: {', '.join(choices)}")
            return choices[0]
        return str(value)

    def read_flag(self, key: str) -> bool:
        value = self.item.get(key, False)
        if not isinstance(value, bool):
            self.wrong(key, "neither true nor false", "Write true or false")
            return False
        return value

    def read_device(self, key: str, default: str) -> str:
        value = self.item.get(key)
        if value is None or value == default:
            return default
        if not is_device(value):
            self.wrong(key, "not a device name of at most 15 characters", "Choose a shorter name, or leave it out")
            return default
        return str(value)

    def list_versions(self) -> list[int]:
        """Those IP versions that the item has a network of."""
        given = [as_network(value)[0] for value in as_list(self.item.get("cidr"))]
        return [version for version in (4, 6) if any(cidr is not None and cidr.version == version for cidr in given)]

    def require_segments(self, key: str, members: frozenset[str]) -> None:
        """Every node has to know which subnet it is on."""
        for name in sorted(members & set(self.underlay)):
            if not self.underlay[name].subnets:
                address = next(iter(self.underlay[name].addresses.values()))
                remedy = f"Write overlay_underlay_ip: {address}/24 or set overlay_underlay_subnet"
                self.wrong(key, "the underlay subnet of the host is not known", remedy, name)

    # Who takes part

    def _read_members(self) -> frozenset[str]:
        members, problem = select_nodes(self.item.get("members", "all"), self.nodes, self.groups)
        remedy = "Write a group of the inventory, or for example \"[?contains(groups, 'web')]\""
        if problem:
            self.wrong("members", problem, remedy)
            self.knows_members = False
        elif not members and self.nodes:
            self.wrong("members", "no node is a member", remedy)
        return members

    def _read_peers(self, kind: type[Network]) -> Peers | None:
        if "peers" not in self.item or "peers" not in kind.options:
            return None
        value = self.item["peers"]
        # One selection is a hub: its nodes are the peers of all.
        pairs = value if isinstance(value, list) and all(isinstance(pair, list) for pair in value) else [[value, "all"]]
        found = []
        for pair in pairs:
            sides = (
                [select_nodes(side, self.nodes, self.groups) for side in pair]
                if len(pair) == 2
                else [(frozenset(), "not a pair")]
            )
            problems = [problem for _names, problem in sides if problem]
            if problems:
                remedy = "Write the group of the hubs, or a list of pairs of groups: [[hubs, spokes], [hubs, hubs]]"
                self.wrong("peers", problems[0], remedy)
                continue
            found.append((sides[0][0], sides[1][0]))
        return tuple(found)

    # The underlay

    def _read_underlay(self, kind: type[Network], members: frozenset[str]) -> int:
        """The IP version that carries the tunnel: one that every member has an address of."""
        has = {name: set(self.underlay[name].addresses) for name in members if name in self.underlay}
        given = self.item.get("underlay")
        if given is not None:
            choices = {f"ipv{version}": version for version in kind.overheads}
            version = choices.get(given) if isinstance(given, str) else None
            if version is None:
                self.wrong("underlay", "there is no such choice", f"Choose from: {', '.join(choices)}")
                return 4
            for name in sorted(name for name, versions in has.items() if version not in versions):
                self.wrong("underlay", "the host has no such underlay address", "Add one to its overlay_underlay_ip", name)
            return version
        for version in kind.overheads:
            if all(version in versions for versions in has.values()):
                return version
        for name in sorted(name for name, versions in has.items() if 4 not in versions):
            problem = "an IPv6 address alone, while other members have IPv4 alone: a tunnel needs one family on both ends"
            remedy = "Give it both, as a list, or choose the members so that they share a family"
            self._error(name, "overlay_underlay_ip", self.underlay[name].addresses[6], problem, remedy)
        return 4

    # What it is attached to

    def _read_attachment(self, kind: type[Network]) -> Attachment:
        """Where the leases go."""
        first, given = kind.attachments[0], self.item.get("attach")
        if "attach" not in self.item and (default := first.make_default()) is not None:
            return default
        found = next((parsed for one in kind.attachments if (parsed := one.parse(given)) is not None), None)
        problem = found.find_problem() if found is not None else ("there is no such choice", "")
        if found is not None and problem is None:
            return found
        if "attach" not in self.item:
            problem = (first.missing, "")
        what, remedy = problem or ("", "")
        written = f"Write attach: {', or attach: '.join(one.written for one in kind.attachments)}"
        self.wrong("attach", what, remedy or written)
        return first.make_placeholder()

    # Addresses and sizes

    def _read_mtu(self, overhead: int, members: frozenset[str]) -> int:
        """The overlay's MTU: as given, or what the smallest underlay of a member leaves. All members get the same."""
        sizes = [(self.underlay[name].mtu, name) for name in members if name in self.underlay]
        smallest, host = min(sizes) if sizes else (DEFAULT_UNDERLAY_MTU, "")
        most = smallest - overhead
        value = as_integer(self.item.get("mtu", most))
        if value is None or not MIN_MTU <= value <= MAX_MTU:
            self.wrong("mtu", f"not an MTU from {MIN_MTU} to {MAX_MTU}", f"Leave it out for {most}")
            return most
        if value > most:
            carries = f"the underlay of {host} carries {smallest}"
            problem = f"too large: {carries}, and the tunnel needs {overhead} of it" if overhead else f"too large: {carries}"
            self.wrong("mtu", problem, f"Choose {most} or less (mtu is the overlay's, not the underlay's)")
        return value

    def _read_cidrs(self, form: LeaseForm, has_ipv4: bool) -> tuple[tuple[IPNetwork, ...], tuple[int, ...]]:
        """The networks, IPv4 first, and the lengths of their leases."""
        found = self._read_families()
        lengths = {version: self._read_length(version, cidr, form) for version, cidr in found.items()}
        versions = sorted(version for version, length in lengths.items() if length)
        if has_ipv4 and versions == [6]:
            self.wrong(
                "cidr", "IPv6 alone, while docker0 has to have IPv4", "Give a pair, or attach a Docker network of its own"
            )
        return tuple(found[version] for version in versions), tuple(lengths[version] for version in versions)

    def _read_families(self) -> dict[int, IPNetwork]:
        """The networks by IP version."""
        given = as_list(self.item.get("cidr"))
        found: dict[int, IPNetwork] = {}
        example = "Write a network such as 10.88.0.0/16, or a pair: [10.88.0.0/16, 'fd00:88::/48']"
        if not given:
            self.wrong("cidr", "not a network in the form 10.88.0.0/16", example)
        for value in given:
            cidr, problem = as_network(value)
            if problem:
                self.wrong("cidr", problem, f"Write {cidr}" if cidr is not None else example, value=value)
            if cidr is None:
                continue
            if cidr.version in found:
                self.wrong("cidr", f"two IPv{cidr.version} networks; a pair is one of each family", example)
            elif not is_unicast(cidr):
                self.wrong(
                    "cidr", "not a network of unicast addresses", "Choose a private one, such as 10.88.0.0/16", value=value
                )
            else:
                found[cidr.version] = cidr
        return found

    def _read_length(self, version: int, cidr: IPNetwork, form: LeaseForm) -> int:
        """That of the leases of a network; 0 where it has no room for them."""
        bits = 32 if version == 4 else 128
        key = "subnet_len" if version == 4 else "subnet_len6"
        single = form is not LeaseForm.RANGE
        smallest = bits - 2 if single else bits - 4
        if cidr.prefixlen > smallest:
            problem = "too small for an address each" if single else "too small to be divided among hosts"
            hint = "for 2 hosts or more" if single else "for 3 hosts or more"
            self.wrong("cidr", problem, f"Choose a /{smallest} or larger, {hint}", value=str(cidr))
            return 0
        if single:
            if key in self.item:
                self.wrong(key, "leases of this network are single addresses", "Leave it out")
            return bits
        # As flannel: two bits for four leases at the least, two bits for two containers; /24 and /64 where there is room.
        usual = 24 if version == 4 else 64
        default = usual if cidr.prefixlen <= usual - 2 else cidr.prefixlen + 2
        return self.read_number(key, cidr.prefixlen + 2, bits - 2, default)
