# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An item of overlay_networks, option by option, or all that is wrong with it. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import describe_value, show_key
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import (
    DEFAULT_UNDERLAY_MTU,
    IPNetwork,
    Node,
    Underlay,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Attachment, Common, LeaseForm, Network
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import (
    SEGMENT_LENGTH,
    as_integer,
    as_list,
    as_network,
    drop_empty,
    find_wrong_underlay_device,
    hint_quotes,
    is_device,
    is_empty,
    is_reserved_device,
    is_unicast,
    select_nodes,
)

MIN_MTU, MAX_MTU = 576, 65535
# IPv6 has no addresses on a device that carries less (RFC 8200, 5).
MIN_MTU6 = 1280

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
    nodes: frozenset[str]
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
        self.where, self.nodes, self.underlay, self.groups = where, nodes, underlay, groups
        # A key without a value is as if it had been left out.
        self.item, self._keys = drop_empty(item), frozenset(item)
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
        peers = self._read_peers(kind, members)
        version = self._read_underlay(kind, members) if kind.overheads else 4
        mtu = self._read_mtu(version, kind.overheads.get(version, 0), members)
        cidrs, lengths = self._read_cidrs(attach.find_lease_form(kind.shared), attach.has_ipv4)
        network = kind.read(self, Common(name, cidrs, mtu, attach, members, version))
        if not cidrs:
            return None
        return Item(network, cidrs, lengths, members, version, peers)

    def _refuse_unknown(self, kind: type[Network], backends: Mapping[str, type[Network]]) -> None:
        known = (*_COMMON, *kind.options)
        for key in sorted(self._keys - set(known), key=show_key):
            elsewhere = sorted(other for other, one in backends.items() if key in one.options)
            problem = f"backend {kind.backend} has no such option" if elsewhere else "there is no such option"
            hint = f"; backend {', '.join(elsewhere)} has it" if elsewhere else ""
            self.wrong(show_key(key), problem, f"Known are: {', '.join(known)}{hint}", value=self.item.get(key))

    # Single values

    def read_number(self, key: str, low: int, high: int, default: int) -> int:
        return self.check_number(key, self.item.get(key), low, high, default)

    def check_number(self, key: str, given: Any, low: int, high: int, default: int) -> int:
        value = as_integer(default if given is None else given)
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
        return self.check_device(key, self.item.get(key, default))

    def check_device(self, key: str, value: Any) -> str:
        """The name of a device to be made."""
        problem = ""
        if not is_device(value):
            problem = f"not a device name of at most 15 characters{hint_quotes(value)}"
            remedy = "Choose at most 15 letters, digits, dots, - and _, or leave it out"
        elif is_reserved_device(value):
            problem, remedy = "the kernel or Docker has a device of that name, or may make one", "Choose another name"
        if problem:
            self.wrong(key, problem, remedy, value=value)
            return ""
        return str(value)

    def read_underlay_device(self, key: str) -> str:
        """The name of a device that every host has; empty where none is given."""
        value = self.item.get(key, "")
        problem = "" if is_empty(value) else find_wrong_underlay_device(value)
        if problem:
            self.wrong(key, problem, "Name the hosts' underlay device, such as eth0")
            return ""
        return str(value)

    def list_versions(self) -> list[int]:
        """Those IP versions that the item has a network of."""
        given = [as_network(value)[0] for value in as_list(self.item.get("cidr"))]
        return [version for version in (4, 6) if any(cidr is not None and cidr.version == version for cidr in given)]

    def require_segments(self, key: str, members: frozenset[str]) -> None:
        """Every node has to know which subnet it is on."""
        for name in sorted(members & set(self.underlay)):
            if not self.underlay[name].subnets:
                self.refuse_unknown_segment(key, name, min(self.underlay[name].addresses))

    def refuse_unknown_segment(self, key: str, host: str, version: int) -> None:
        length = SEGMENT_LENGTH[version]
        remedy = (
            f"Write overlay_underlay_ip with its length behind it, such as ADDRESS/{length}, or set overlay_underlay_subnet"
        )
        self.wrong(key, "the underlay subnet of the host is not known", remedy, host)

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

    def _read_peers(self, kind: type[Network], members: frozenset[str]) -> Peers | None:
        if "peers" not in self.item or "peers" not in kind.options:
            return None
        value = self.item["peers"]
        # One selection is a hub: its nodes are the peers of all.
        paired = isinstance(value, list) and value and all(isinstance(pair, list) for pair in value)
        found = []
        for pair in value if paired else [[value, "all"]]:
            sides = [self._select_peers(side, members) for side in pair] if len(pair) == 2 else [(members, "not a pair")]
            problems = [problem for _names, problem in sides if problem]
            if problems:
                remedy = "Write the group of the hubs, or a list of pairs of groups: [[hubs, spokes], [hubs, hubs]]"
                self.wrong("peers", problems[0], remedy)
                continue
            found.append((sides[0][0], sides[1][0]))
        return tuple(found)

    def _select_peers(self, side: Any, members: frozenset[str]) -> tuple[frozenset[str], str]:
        names, problem = select_nodes(side, self.nodes, self.groups)
        if not problem and self.knows_members and not names & members:
            return names, f"no member is meant by {describe_value(side)}"
        return names & members, problem

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

    def _read_mtu(self, version: int, overhead: int, members: frozenset[str]) -> int:
        """The overlay's MTU: as given, or what the smallest underlay of a member leaves. All members get the same."""
        sizes = [(self.underlay[name].mtu, name) for name in members if name in self.underlay]
        smallest, host = min(sizes) if sizes else (DEFAULT_UNDERLAY_MTU, "")
        most = smallest - overhead
        if self._refuse_small_underlays(version, overhead, sizes):
            return most
        least = MIN_MTU6 if 6 in self.list_versions() else MIN_MTU
        value = as_integer(self.item.get("mtu", most))
        if value is None or not least <= value <= MAX_MTU:
            why = ", as IPv6 needs" if least == MIN_MTU6 else ""
            self.wrong("mtu", f"not an MTU from {least} to {MAX_MTU}{why}", f"Leave it out for {most}")
            return most
        if value > most:
            carries = f"the underlay of {host} carries {smallest}"
            problem = f"too large: {carries}, and the tunnel needs {overhead} of it" if overhead else f"too large: {carries}"
            self.wrong("mtu", problem, f"Choose {most} or less (mtu is the overlay's, not the underlay's)")
        return value

    def _refuse_small_underlays(self, version: int, overhead: int, sizes: Sequence[tuple[int, str]]) -> bool:
        """Whether an underlay has no room for IPv6, inside of the tunnel or outside."""
        inside, outside = 6 in self.list_versions(), bool(overhead) and version == 6
        least = MIN_MTU6 + overhead if inside else MIN_MTU6 if outside else 0
        what = f"IPv6 in network {describe_value(self.item.get('name'))}" if inside else "a tunnel over IPv6"
        small = [(size, name) for size, name in sizes if size < least]
        for size, name in small:
            remedy = f"Give the underlay {least} or more, or the network IPv4 alone"
            self._error(name, "overlay_underlay_mtu", size, f"too small: {what} needs {least}", remedy)
        return bool(small)

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
        given = [value for value in as_list(self.item.get("cidr")) if not is_empty(value)]
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
                private = "10.88.0.0/16" if cidr.version == 4 else "fd00:88::/48"
                self.wrong(
                    "cidr", "not a network of unicast addresses", f"Choose a private one, such as {private}", value=value
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
