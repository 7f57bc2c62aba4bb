# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hosts told of the network that joins them: which address each has there, who sees whom. Pure. PRIVATE to the collection.

An inventory has to say what the hosts know. Here they are asked, each twice: for its addresses and its ways to where the
inventory says that the others are, and for pings of the addresses that were chosen of that.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import version_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import Pair, sort_pair

# By host, what overlay_discover returned.
Answers = Mapping[str, Mapping[str, Any]]
# Nobody's addresses (RFC 5737, RFC 3849): the way there is that to all that a host knows nothing of.
ANCHORS = {4: "192.0.2.1", 6: "2001:db8::1"}
VERSIONS = (4, 6)


@dataclass(frozen=True)
class Contact:
    """A host as the inventory has it."""

    name: str
    # How Ansible reaches it, and which addresses that is, by IP version; those that lead nowhere else are none.
    text: str
    addresses: Mapping[int, str] = field(default_factory=dict)
    # Its own variables of the underlay, and the addresses in them: its own, and what stands for them beyond a NAT.
    given: Mapping[str, Any] = field(default_factory=dict)
    underlay: Mapping[int, str] = field(default_factory=dict)
    public: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Chosen:
    """One of a host's own addresses, by which the others are to know it."""

    address: str
    prefix: int
    device: str
    mtu: int
    lasting: bool
    why: str

    @property
    def subnet(self) -> str:
        return str(ipaddress.ip_network(f"{self.address}/{self.prefix}", strict=False))


@dataclass(frozen=True)
class Surveyed:
    """A host that answered: what was chosen, what else it has, and where others may reach it that is not its own."""

    name: str
    chosen: Mapping[int, Chosen]
    others: Sequence[Mapping[str, Any]]
    macs: frozenset[str]
    foreign: Mapping[int, str]


class Sight(Enum):
    """How a host finds another one's own address."""

    DIRECT = "directly"
    ROUTED = "by a router"
    # Somebody else has that address there, or the host itself.
    MISTAKEN = "somebody else"
    LOST = "not at all"


def list_ask_targets(contacts: Iterable[Contact]) -> list[str]:
    """Where the hosts are, as far as the inventory tells; each is asked for its ways there."""
    known = {address for one in contacts for address in (*one.addresses.values(), *one.underlay.values())}
    return [*sorted(known), *ANCHORS.values()]


def choose_addresses(contacts: Sequence[Contact], answers: Answers) -> dict[str, Surveyed]:
    """By host that answered, the address that its packets to the others come from."""
    shared = Counter(one["address"] for answer in answers.values() for one in answer["addresses"])
    found = {}
    for contact in contacts:
        answer = answers.get(contact.name)
        if answer is None:
            continue
        own = {one["address"]: one for one in answer["addresses"]}
        chosen = {version: one for version in VERSIONS if (one := _choose(contact, version, answer, own, shared)) is not None}
        used = {one.address for one in chosen.values()}
        found[contact.name] = Surveyed(
            contact.name,
            chosen,
            [one for one in answer["addresses"] if one["address"] not in used and version_of(one["address"]) == 4],
            frozenset(one["mac"] for one in answer["addresses"] if one["mac"]),
            {
                version: address
                for version, address in {**contact.addresses, **contact.public}.items()
                if own and address not in own
            },
        )
    return found


def _choose(
    contact: Contact, version: int, answer: Mapping[str, Any], own: Mapping[str, Any], shared: Mapping[str, int]
) -> Chosen | None:
    """One address of a family; none where the host has none."""
    some = [one for one in own if version_of(one) == version]
    # One that other hosts have too is of a network that each has for itself.
    alone = [one for one in some if shared[one] == 1] or some
    sources = Counter(
        way["source"]
        for target, way in answer["ways"].items()
        if target != ANCHORS[version] and way["kind"] == "unicast" and way["source"] in some
    )
    most = max(sources.values(), default=0)
    anchor = answer["ways"].get(ANCHORS[version], {}).get("source", "")
    wishes = (
        (contact.underlay.get(version, ""), "overlay_underlay_ip says so"),
        (
            min((one for one, count in sources.items() if count == most), default=""),
            "its packets to the other hosts leave by it",
        ),
        (contact.addresses.get(version, ""), "Ansible reaches it there"),
        (anchor if anchor in alone else "", "its default route leads there"),
        (next(iter(alone), ""), "it is the first that no other host has"),
    )
    address, why = next(((one, why) for one, why in wishes if one in own), ("", ""))
    if not address:
        return None
    one = own[address]
    return Chosen(address, one["prefix"], one["device"], one["mtu"], one["lasting"], why)


def list_pings(surveyed: Mapping[str, Surveyed]) -> list[dict[str, Any]]:
    """What each host is to ping of the others: the addresses that were chosen, and those that the inventory has instead."""
    found = []
    for one in surveyed.values():
        mtu = min((chosen.mtu for chosen in one.chosen.values()), default=1500)
        for address in dict.fromkeys([*(chosen.address for chosen in one.chosen.values()), *one.foreign.values()]):
            found.append({"name": one.name, "address": address, "mtu": min(mtu, 65535)})
    return found


def find_sight(ping: Mapping[str, Any], macs: frozenset[str]) -> Sight:
    """How a host finds another, by its ping.

    @param macs: those of the other one's devices
    """
    if ping["kind"] == "local" or not ping["gateway"] and ping["mac"] and macs and ping["mac"] not in macs:
        return Sight.MISTAKEN
    # Who answers for its address on the same wire is there, whatever its firewall makes of pings.
    if ping["answers"] or not ping["gateway"] and ping["mac"]:
        return Sight.ROUTED if ping["gateway"] else Sight.DIRECT
    return Sight.LOST


class Sights:
    """Who finds whom, in one family, among those that pinged."""

    def __init__(self, surveyed: Mapping[str, Surveyed], pinged: Answers, version: int) -> None:
        self.version = version
        self.hosts = {name: one for name, one in surveyed.items() if version in one.chosen and name in pinged}
        self.pings = {name: pinged[name]["pings"] for name in self.hosts}
        self.sights: dict[Pair, Sight] = {
            (here, there): find_sight(ping, one.macs)
            for here, pings in self.pings.items()
            for there, one in self.hosts.items()
            if here != there and (ping := pings.get(one.chosen[version].address)) is not None
        }
        # Those whose own address some host does not reach.
        self.missed = {there for (_here, there), sight in self.sights.items() if sight in (Sight.MISTAKEN, Sight.LOST)}
        # By subnet, who says that it is on it, and of these the pairs that do not see each other directly.
        self.segments = self._list_segments()
        self.apart = self._list_apart()

    def finds(self, here: str, there: str) -> bool:
        """Whether a host reaches another one's own address."""
        return self.sights.get((here, there)) in (Sight.DIRECT, Sight.ROUTED)

    def answers(self, here: str, address: str) -> bool:
        return bool(self.pings[here].get(address, {}).get("answers"))

    def needs_public(self, there: str) -> bool:
        """Whether some host does not reach its own address, while the inventory has another one for it."""
        return there in self.missed and self.version in self.hosts[there].foreign

    def list_lost(self, names: Set[str]) -> list[Pair]:
        """Of some hosts, those between whom nothing answers in one direction at least, by whatever address."""
        return sorted(
            {
                sort_pair(here, there)
                for (here, there), sight in self.sights.items()
                if sight in (Sight.MISTAKEN, Sight.LOST)
                and here in names
                and there in names
                and not self.answers(here, self.hosts[there].foreign.get(self.version, ""))
            }
        )

    def _list_segments(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for name, one in self.hosts.items():
            chosen = one.chosen[self.version]
            # One of a single address says nothing of its neighbours.
            if chosen.prefix < (32 if self.version == 4 else 128):
                found[chosen.subnet].append(name)
        return dict(found)

    def _list_apart(self) -> dict[str, list[Pair]]:
        subnets = {name: subnet for subnet, names in self.segments.items() for name in names}
        found: dict[str, set[Pair]] = defaultdict(set)
        for (here, there), sight in self.sights.items():
            if sight is not Sight.DIRECT and here in subnets and subnets[here] == subnets.get(there):
                found[subnets[here]].add(sort_pair(here, there))
        return {subnet: sorted(pairs) for subnet, pairs in found.items()}

    def list_narrow(self) -> list[tuple[str, str, int]]:
        """Pairs between whom less passes than both devices take, and how much."""
        found = []
        for here, there in self.sights:
            chosen = self.hosts[there].chosen[self.version]
            room = min(self.hosts[here].chosen[self.version].mtu, chosen.mtu)
            own = self.finds(here, there)
            ping = self.pings[here].get(chosen.address if own else self.hosts[there].foreign.get(self.version, ""), {})
            sizes = [size for size in (ping.get("largest"), ping.get("mtu")) if size]
            if ping.get("answers") and sizes and min(sizes) < room:
                found.append((here, there, min(sizes)))
        return found
