# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host variables that follow from what hosts told of their underlay. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import DEFAULT_UNDERLAY_MTU
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.survey import (
    VERSIONS,
    Answers,
    Contact,
    Sights,
    Surveyed,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import Pair

IP, DEV, MTU, PUBLIC = "overlay_underlay_ip", "overlay_underlay_dev", "overlay_underlay_mtu", "overlay_public_ip"


@dataclass(frozen=True)
class Proposal:
    """Of all hosts that answered, and in which family; C(differing) is what their owners have set otherwise."""

    surveyed: Mapping[str, Surveyed]
    sights: Mapping[int, Sights]
    families: Mapping[str, Sequence[int]]
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    differing: Sequence[tuple[str, str, Any, Any]] = ()
    # Public addresses that several hosts have, so that they are no host's.
    shared: Set[str] = frozenset()

    def list_users(self, version: int) -> set[str]:
        """Those whose address of a family is used."""
        return {name for name, families in self.families.items() if version in families}

    def list_lost(self) -> list[Pair]:
        """Those that do not answer each other."""
        return sorted({pair for version, sights in self.sights.items() for pair in sights.list_lost(self.list_users(version))})

    def list_kinds(self) -> dict[tuple[int, ...], list[str]]:
        """Hosts by the families that they have addresses of; none of those of whom no address is used."""
        found: dict[tuple[int, ...], list[str]] = {}
        for name, families in sorted(self.families.items()):
            found.setdefault(tuple(families), []).append(name)
        return found

    def list_cut_off(self) -> set[str]:
        """Those that have no family in common with some other host, so that no ping between them was even tried."""
        kinds = self.list_kinds()
        return {
            name
            for kind, names in kinds.items()
            if not kind or any(other and not set(kind) & set(other) for other in kinds)
            for name in names
        }


def propose_variables(contacts: Sequence[Contact], surveyed: Mapping[str, Surveyed], pinged: Answers) -> Proposal:
    """What each host's variables should say; those that its owner has set are left out."""
    sights = {version: Sights(surveyed, pinged, version) for version in VERSIONS}
    common = _list_common(surveyed, sights)
    families = {one.name: _choose_families(one, surveyed[one.name], common) for one in contacts if one.name in surveyed}
    count = Counter(address for one in surveyed.values() for address in one.foreign.values())
    shared = {address for address, number in count.items() if number > 1}
    apart = {version: _list_doubted(sights[version]) for version in VERSIONS}
    narrow: dict[str, int] = {}
    for version in VERSIONS:
        for here, there, size in sights[version].list_narrow():
            narrow.update({name: min(size, narrow.get(name, size)) for name in (here, there)})
    values: dict[str, dict[str, Any]] = {}
    differing: list[tuple[str, str, Any, Any]] = []
    for contact in contacts:
        if contact.name not in pinged or not families.get(contact.name):
            continue
        one, versions = surveyed[contact.name], families[contact.name]
        found: dict[str, Any] = {}
        chosen = [one.chosen[version] for version in versions]
        # A length says that all of that subnet see each other.
        lengths = ["" if contact.name in apart[version] else f"/{one.chosen[version].prefix}" for version in versions]
        found[IP] = _unwrap([f"{each.address}{length}" for each, length in zip(chosen, lengths)])
        found[DEV] = chosen[0].device
        mtu = min([min(each.mtu for each in chosen), narrow.get(contact.name, 65535), 65535])
        if mtu != DEFAULT_UNDERLAY_MTU:
            found[MTU] = mtu
        public = [
            one.foreign[version]
            for version in versions
            if sights[version].needs_public(contact.name) and one.foreign[version] not in shared
        ]
        if public:
            found[PUBLIC] = _unwrap(public)
        values[contact.name] = {key: value for key, value in found.items() if key not in contact.given}
        found.setdefault(MTU, mtu)
        differing += [
            (contact.name, key, contact.given[key], value)
            for key, value in found.items()
            if key in contact.given and not _is_same(contact.given[key], value)
        ]
    return Proposal(surveyed, sights, families, values, differing, shared)


def _list_common(surveyed: Mapping[str, Surveyed], sights: Mapping[int, Sights]) -> set[int]:
    """The families in which all have an address that lasts, and reach each other by it."""
    found = set()
    for version, seen in sights.items():
        everybody = len(seen.hosts) == len(surveyed) and bool(seen.sights) and all(seen.finds(*pair) for pair in seen.sights)
        if everybody and (version == 4 or all(one.chosen[version].lasting for one in seen.hosts.values())):
            found.add(version)
    return found


def _choose_families(contact: Contact, one: Surveyed, common: Set[int]) -> list[int]:
    """That by which the inventory knows the host, or else the first that it has; and those that are of use to all."""
    known = {*contact.addresses, *contact.underlay} or {min(one.chosen, default=4)}
    return [version for version in VERSIONS if version in one.chosen and version in known | common]


def _list_doubted(sights: Sights) -> set[str]:
    """Hosts whose subnet is not one segment, as some of it do not see each other, or which is theirs alone by its length."""
    whole = {name for subnet, names in sights.segments.items() if subnet not in sights.apart for name in names}
    return set(sights.hosts) - whole


def _unwrap(values: list[str]) -> Any:
    return values[0] if len(values) == 1 else values


def _is_same(given: Any, found: Any) -> bool:
    """Whether they name the same; a length that one of them lacks is no difference."""
    some = [[str(one).partition("/") for one in (value if isinstance(value, list) else [value])] for value in (given, found)]
    here, there = ({address: length for address, _slash, length in one} for one in some)
    return all(
        address in there and (not length or not there[address] or length == there[address]) for address, length in here.items()
    )
