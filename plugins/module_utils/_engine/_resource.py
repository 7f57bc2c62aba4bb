# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shape that every resource has. PRIVATE to the collection.

A resource is a kind of thing that is ours on a host: a vxlan device, a route, a file. It is one file in C(_resources), and one
line in its tuple, which gives the order:

    options --parse--> Spec (the wish)          |
    host ----read---> entries (what is there)   |  the engine asks each resource in turn, and knows none by name
    both ---settle--> entries (what shall be)   |
    both --obstacles-> sentences: nothing is touched
    both ----diff---> operations --apply--> host, or all of it is undone: what was read is the wish then
    wish ----shell--> its lines of the boot script

C(read), C(foresee), C(obstacles) and C(apply) meet the host, all else is pure. An entry's key is its full identity, as the
kernel or the daemon understands it; two entries with one key cannot both be there.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import (
    AbstractSet,
    Any,
    Dict,
    Generic,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
    Type,
    TypeVar,
)

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

Key = Tuple[Any, ...]
# An argument spec, as AnsibleModule takes it.
Options = Dict[str, Dict[str, Any]]
Sections = Mapping[str, Sequence[Mapping[str, Any]]]

# Resources and labels of entries.
Coming = AbstractSet[Tuple[str, str]]

# With less a device has no IPv6.
IPV6_MTU = 1280


@dataclass(frozen=True)
class Entry:
    """One thing that is or should be on a host."""

    @property
    def key(self) -> Key:
        raise NotImplementedError

    @property
    def label(self) -> str:
        """How a report calls it."""
        return " ".join(str(part) for part in self.key if part not in (None, ""))

    @property
    def overlay(self) -> str:
        """The overlay network that its mark names; empty where it names none."""
        return ""

    @property
    def needs(self) -> Tuple[Optional[str], ...]:
        """The devices that it cannot be made without."""
        return (getattr(self, "device", None),)

    def same(self, wanted: Any) -> bool:
        """Whether this one, found on the host, is already what is wanted."""
        return bool(self == wanted)

    def lines(self) -> List[str]:
        """How a diff shows it."""
        return [str(self)]


E = TypeVar("E", bound=Entry)


def make_entry(entry_class: Type[E], **values: Any) -> E:
    """An entry of some values; the others are those of its class. Thousands are made so: a frozen dataclass assigns each."""
    entry = object.__new__(entry_class)
    object.__setattr__(entry, "__dict__", values)
    return entry


@dataclass
class Op(Generic[E]):
    """One change: an addition (no before), a removal (no after), or a replacement."""

    resource: str
    before: Optional[E]
    after: Optional[E]
    # A removal that has to come before the additions, because both cannot exist at once.
    early: bool = False
    # A replacement that only works by removing first.
    recreate: bool = False

    @property
    def action(self) -> str:
        if self.before is None:
            return "add"
        if self.after is None:
            return "remove"
        return "re-create" if self.recreate else "change"

    @property
    def entry(self) -> E:
        # Asked for tens of thousands of times, where even a cast is felt.
        return self.after if self.after is not None else self.before  # type: ignore[return-value]

    def __str__(self) -> str:
        return "%s: %s %s" % (self.resource, self.action, self.entry)


@dataclass
class Spec(Generic[E]):
    """What a section of the module's options asks of one resource."""

    present: Dict[Key, E] = field(default_factory=dict)
    absent: Set[Key] = field(default_factory=set)
    # The devices whose entries are all ours, so that an unlisted one is extra.
    purge_devices: Set[str] = field(default_factory=set)
    # Everything that carries our mark is listed, so that an unlisted one is extra.
    purge_owned: bool = False

    def add(self, entry: E, state: str, resource: str) -> None:
        key = entry.key
        if key in self.present or key in self.absent:
            raise OverlayError("%s: %s is listed twice; each entry may be listed once" % (resource, entry))
        if state == "absent":
            self.absent.add(key)
        else:
            self.present[key] = entry


@dataclass
class Effects:
    """What operations on devices do to the entries on them (measured, kernel 6.18).

    A device that is removed or re-created takes everything with it; a changed
    MAC takes the permanent neighbours. A device that is down has neither
    neighbours nor routes, which a dump shows by itself.
    """

    made: Set[str] = field(default_factory=set)
    lost: Set[str] = field(default_factory=set)
    removed: Set[str] = field(default_factory=set)
    new_mac: Set[str] = field(default_factory=set)
    # What these lose is as it was asked for; only an undo brings it back.
    interrupted: Set[str] = field(default_factory=set)
    # Bridges that have no port that is up, for a moment at least, so that entries which are not permanent go.
    blinked: Set[str] = field(default_factory=set)
    # Bridges that a port leaves for good, maybe the last one: they are among the interrupted.
    left: Set[str] = field(default_factory=set)
    # Those of all these that are bridges: what is in their FDB is of their ports.
    bridges: Set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.lost or self.removed or self.new_mac or self.blinked)

    @property
    def shaken(self) -> Set[str]:
        """The devices of which something is lost."""
        return self.lost | self.removed | self.new_mac | self.interrupted | self.blinked

    def merged(self, other: Effects) -> Effects:
        return Effects(*(getattr(self, one.name) | getattr(other, one.name) for one in fields(self)))

    def add_change(self, device: str, before: Any, after: Any) -> None:
        """What a change in place takes along, as the MAC, the MTU and the state of a device decide."""
        if before.mac != after.mac:
            self.new_mac.add(device)
        if before.up and not after.up or (before.mtu or 0) >= IPV6_MTU > (after.mtu or IPV6_MTU):
            self.interrupted.add(device)


@dataclass
class Failure:
    """An operation that the host refused, and why."""

    op: Op[Any]
    reason: str


class Resource(Generic[E]):
    """A kind of thing that is ours on a host.

    To be written: name, parse, read, extra, apply; and what of the rest is not as it is here.
    """

    name = ""
    # The section of the options that describes it; of several with one section the one with options gives its argument spec.
    section = ""
    options: Optional[Options] = None
    # What else the argument spec says of them: mutually_exclusive and the like.
    rules: Mapping[str, Any] = {}
    # Whether a module of the section's name runs it alone.
    alone = False
    # The options that take all that is ours off a host; None where nothing is to be taken off.
    nothing: Optional[Sequence[Mapping[str, Any]]] = ()
    # Whether it carries out one operation after the other, and none behind one that fails.
    stops = True
    # Whether its operations are on devices, so that those of others depend on them.
    shakes = False
    # Whether an entry is replaced by another one without a packet finding neither.
    atomic = False
    # What to do about an errno, where it is not the same for all resources.
    remedies: Mapping[str, str] = {}

    def parse(self, sections: Sections) -> Spec[E]:
        """The options, validated by their argument spec, as entries. Pure."""
        raise NotImplementedError

    def derive(self, spec: Spec[E], specs: Mapping[str, Spec[Any]]) -> None:
        """Add to its spec what the options of other resources ask of it. Pure."""

    def adapt(self, host: Host, spec: Spec[E], sections: Sections) -> Optional[Sections]:
        """The options as this host's kernel can have them, where it cannot have them as they are; else None."""
        return None

    def asked(self, spec: Spec[E]) -> bool:
        """Whether the options ask anything of it."""
        return bool(spec.present or spec.absent or spec.purge_devices or spec.purge_owned)

    def devices(self, spec: Spec[E]) -> Set[str]:
        """The devices that its options name."""
        return collect_devices(spec.present) | spec.purge_devices

    def reach(self, spec: Spec[E], devices: Set[str]) -> Set[str]:
        """The devices whose entries have to be read; C(devices) are all that the options of all resources name."""
        return collect_devices(spec.present) | spec.purge_devices

    def reach_back(self, spec: Spec[E], devices: Set[str], snapshot: Mapping[Key, E], keys: Set[Key]) -> Set[str]:
        """The same for an undo, by what was found at first and the keys of what was touched."""
        return self.reach(spec, devices) | collect_devices(snapshot)

    def shaken(self, effects: Effects) -> Set[str]:
        """The devices whose entries have to be known because operations on devices may take them along."""
        return set()

    def read(self, host: Host, spec: Spec[E], devices: Set[str]) -> Dict[Key, E]:
        """What is on the host and within the spec's reach or on C(devices), those of others there with all that is needed to
        put them back. Refuses nothing and writes nothing, not into the spec either: an undo reads too."""
        raise NotImplementedError

    def settle(self, found: Mapping[Key, E], spec: Spec[E]) -> Dict[Key, E]:
        """What shall be there: all that is, less what must go, plus what must be. Pure."""
        kept = {
            key: entry
            for key, entry in found.items()
            if not (key in spec.absent and self.owned(entry)) and (key in spec.present or not self.extra(entry, spec))
        }
        for key, entry in spec.present.items():
            there = found.get(key)
            kept[key] = there if there is not None and there.same(entry) else self.merge(there, entry)
        return kept

    def foresee(self, host: Host, spec: Spec[E], found: Mapping[Key, E], wanted: Dict[Key, E]) -> Dict[Key, E]:
        """What shall be there, with what of the host has to be known to tell the effects of getting there."""
        return wanted

    def obstacles(self, host: Host, spec: Spec[E], found: Mapping[Key, E], wanted: Mapping[Key, E]) -> Iterable[str]:
        """What stands in the way of the wish, each in a sentence with what to do about it; an undo does not ask.

        Those of all resources are told together, before anything is touched.
        """
        return ()

    def hindrances(self, host: Host, effects: Effects, found: Mapping[Key, E]) -> Iterable[str]:
        """The same of what operations on devices would take along and nobody could put back."""
        return ()

    def owned(self, entry: E) -> bool:
        """Whether it is ours, so that it may be removed when its absence is asked for."""
        return True

    def extra(self, entry: E, spec: Spec[E]) -> bool:
        """Whether an unlisted entry is ours to remove."""
        raise NotImplementedError

    def merge(self, found: Optional[E], entry: E) -> E:
        """The entry as it shall be, where what is not asked for stays as it was found."""
        return entry

    def surviving(self, found: Mapping[Key, E], effects: Effects) -> Dict[Key, E]:
        """What the operations on devices leave of it."""
        return dict(found)

    def way(self, found: Mapping[Key, E], left: Mapping[Key, E], wanted: Mapping[Key, E]) -> List[Op[E]]:
        """Early removals of what will go with a device, too late for what takes its place. Pure.

        @param left: what the operations on devices leave of what was found
        """
        return []

    def diff(self, found: Mapping[Key, E], wanted: Mapping[Key, E]) -> List[Op[E]]:
        """The operations that lead from the one to the other. Pure."""
        differing = [key for key, entry in found.items() if wanted.get(key) is not entry and wanted.get(key) != entry]
        differing += [key for key in wanted if key not in found]
        return [Op(self.name, found.get(key), wanted.get(key)) for key in sorted(differing, key=make_sort_key)]

    def effects(self, ops: Sequence[Op[E]]) -> Effects:
        """What its operations do to what lives on devices. Pure."""
        return Effects()

    def impact(self, op: Op[E], coming: Coming) -> Tuple[str, str]:
        """Which packets one of its operations drops, and until when; C(coming) is what is there afterwards. Pure."""
        return "", ""

    def show(self, op: Op[E]) -> Tuple[List[str], List[str]]:
        """The lines of a difference: as it is, and as it shall be."""
        return (
            op.before.lines() if op.before is not None else [],
            op.after.lines() if op.after is not None else [],
        )

    # What C(more_drift) calls its own, beside the resource's name.
    more_names: Tuple[str, ...] = ()

    def more_drift(self, host: Host) -> List[Dict[str, Any]]:
        """What differs and no operation of the engine mends, as C(make_drift_item) makes it."""
        return []

    def forgo(self, op: Op[E]) -> List[str]:
        """What an undo of an operation does not bring back, in words."""
        return []

    def apply(self, host: Host, ops: Sequence[Op[E]]) -> List[Failure]:
        """Carry out operations that are all additions and changes, or all removals."""
        raise NotImplementedError

    def shell(self, entries: Iterable[E]) -> List[str]:
        """The lines of the boot script that make entries, some of which may be there already. Pure.

        None for what a reboot does not take away.
        """
        return []


def collect_devices(entries: Mapping[Key, Any]) -> Set[str]:
    """The devices that entries name."""
    return {entry.device for entry in entries.values() if getattr(entry, "device", None)}


def make_sort_key(key: Key) -> Tuple[Any, ...]:
    """Sorts addresses by number, not by letter, and tolerates None."""
    return tuple([_make_sortable(part) for part in key])


# Most parts of a key are those of its neighbour too: the device, the table.
@lru_cache(maxsize=1024)
def _make_sortable(part: Any) -> Tuple[int, bytes, str]:
    text = "" if part is None else str(part)
    if text[:1].isdigit() and ":" not in text:
        address, _slash, length = text.partition("/")
        try:
            # A plain number too: up to 32 bits of it count as an address.
            return 0, socket.inet_aton(address), length.rjust(2)
        except OSError:
            pass
    return 1, b"", text


def make_drift_item(resource: str, name: str, kind: str, planned: Sequence[str], found: Sequence[str]) -> Dict[str, Any]:
    """An entry of a drift report: kind is missing, extra or wrong."""
    return {"resource": resource, "name": name, "kind": kind, "planned": list(planned), "found": list(found)}
