# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shape that every resource has. PRIVATE to the collection.

A resource file has the same parts in the same order: the entry (a frozen
dataclass with its key), C(read) (the host to entries), C(diff) (pure), and
C(apply) (operations to the host). Whoever knows one knows all.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Dict, Generic, List, Mapping, Optional, Sequence, Set, Tuple, TypeVar, cast

from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    RTM_GETLINK,
    Message,
    Session,
    attributes,
    ifinfmsg,
)
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

Key = Tuple[Any, ...]

# Routes that carry this number are ours (rtm_protocol; iproute2 leaves it unnamed).
ROUTE_PROTOCOL = 157
# Devices whose alias starts so are ours, and rules whose comment does.
MARK = "agentless.overlay:"
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

    def same(self, wanted: Any) -> bool:
        """Whether this one, found on the host, is already what is wanted."""
        return bool(self == wanted)

    def lines(self) -> List[str]:
        """How a diff shows it."""
        return [str(self)]


E = TypeVar("E", bound=Entry)


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
        return cast(E, self.after if self.after is not None else self.before)

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

    lost: Set[str] = field(default_factory=set)
    removed: Set[str] = field(default_factory=set)
    new_mac: Set[str] = field(default_factory=set)
    # What these lose is as it was asked for; only an undo brings it back.
    interrupted: Set[str] = field(default_factory=set)
    # Those of all these that are bridges: what is in their FDB is of their ports.
    bridges: Set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.lost or self.removed or self.new_mac)

    @property
    def shaken(self) -> Set[str]:
        """The devices of which something is lost."""
        return self.lost | self.removed | self.new_mac | self.interrupted

    def merged(self, other: Effects) -> Effects:
        return Effects(*(getattr(self, one.name) | getattr(other, one.name) for one in fields(self)))

    def add_change(self, device: str, before: Any, after: Any) -> None:
        """What a change in place takes along, as the MAC, the MTU and the state of a device decide."""
        if before.mac != after.mac:
            self.new_mac.add(device)
        if before.up and not after.up or (before.mtu or 0) >= IPV6_MTU > (after.mtu or IPV6_MTU):
            self.interrupted.add(device)


def vxlan_data(message: Any) -> Dict[str, Any]:
    """The vxlan attributes of a decoded device by name, its remote or group as C(remote); empty for another device."""
    attrs = attributes(message)
    info = attributes(attrs["IFLA_LINKINFO"]) if "IFLA_LINKINFO" in attrs else {}
    if info.get("IFLA_INFO_KIND") != "vxlan":
        return {}
    data = attributes(info["IFLA_INFO_DATA"])
    data["remote"] = data.get("IFLA_VXLAN_GROUP", data.get("IFLA_VXLAN_GROUP6"))
    return data


@dataclass
class Host:
    """The edge: what resources read from and write to."""

    session: Session = field(default_factory=Session)
    # Runs a program: (arguments, standard input) to (exit code, output, error output).
    run: Any = None
    indexes: Dict[str, Optional[int]] = field(default_factory=dict)
    # Of a vxlan device the outer address that the kernel itself made an FDB entry for.
    remotes: Dict[str, Optional[str]] = field(default_factory=dict)
    # Of what the number of a nexthop object is short for: device, gateway, onlink.
    nexthops: Dict[int, Tuple[str, str, bool]] = field(default_factory=dict)
    # What a resource found out that the result should tell, by resource.
    facts: Dict[str, Dict[str, Any]] = field(default_factory=dict)
    # Whether the device with an index carries our mark.
    marks: Dict[int, bool] = field(default_factory=dict)
    rolling_back: bool = False

    def index(self, device: str) -> Optional[int]:
        """The interface index of a device, or None where there is none."""
        if device not in self.indexes:
            found = self.session.get(Message(RTM_GETLINK, 0, ifinfmsg, {}, [("IFLA_IFNAME", device)]))
            self.indexes[device] = found["index"] if found is not None else None
            self.remotes[device] = vxlan_data(found).get("remote") if found is not None else None
        return self.indexes[device]

    def name(self, index: int) -> str:
        """The name of the device with an interface index."""
        for name, known in self.indexes.items():
            if known == index:
                return name
        found = self.session.get(Message(RTM_GETLINK, 0, ifinfmsg, {"index": index}))
        if found is None:
            return "if%d" % index
        name = str(attributes(found)["IFLA_IFNAME"])
        self.indexes[name] = index
        return name

    def carries_mark(self, index: int) -> bool:
        """Whether the device with an interface index is ours."""
        if index not in self.marks:
            found = self.session.get(Message(RTM_GETLINK, 0, ifinfmsg, {"index": index}))
            alias = attributes(found).get("IFLA_IFALIAS") if found is not None else None
            self.marks[index] = (alias or "").startswith(MARK)
        return self.marks[index]

    def command(self, args: Sequence[str], stdin: Optional[str] = None) -> str:
        code, out, err = self.run(list(args), stdin)
        if code:
            raise OverlayError("%s: exit code %s: %s" % (" ".join(args), code, (err or out).strip()))
        return str(out)


@dataclass
class Failure:
    """An operation that the host refused, and why."""

    op: Op[Any]
    reason: str


class Resource(Generic[E]):
    """A kind of thing that is ours on a host."""

    name = ""
    # The section of the module's options that describes it.
    section = ""
    # Whether it carries out one operation after the other, and none behind one that fails.
    stops = True

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[E]:
        """The options, validated by their argument spec, as entries."""
        raise NotImplementedError

    def asked(self, spec: Spec[E]) -> bool:
        """Whether the options ask anything of it."""
        return bool(spec.present or spec.absent or spec.purge_devices or spec.purge_owned)

    def reach(self, spec: Spec[E], devices: Set[str]) -> Set[str]:
        """The devices whose entries have to be read; C(devices) are all that the options name."""
        return devices_of(spec.present) | spec.purge_devices

    def reach_back(self, spec: Spec[E], devices: Set[str], snapshot: Mapping[Key, E], keys: Set[Key]) -> Set[str]:
        """The same for an undo, by what was found at first and the keys of what was touched."""
        return self.reach(spec, devices) | devices_of(snapshot)

    def shaken(self, effects: Effects) -> Set[str]:
        """The devices whose entries have to be known because operations on devices may take them along."""
        return set()

    def read(self, host: Host, spec: Spec[E], devices: Set[str]) -> Dict[Key, E]:
        """What is on the host and within the spec's reach or on C(devices); refuses nothing where C(host.rolling_back)."""
        raise NotImplementedError

    def wanted(self, actual: Mapping[Key, E], spec: Spec[E]) -> Dict[Key, E]:
        """What shall be there: all that is, less what must go, plus what must be."""
        kept = {
            key: entry
            for key, entry in actual.items()
            if not (key in spec.absent and self.owned(entry)) and (key in spec.present or not self.extra(entry, spec))
        }
        for key, entry in spec.present.items():
            found = actual.get(key)
            kept[key] = found if found is not None and found.same(entry) else self.merge(found, entry)
        return kept

    def owned(self, entry: E) -> bool:
        """Whether it may be removed when its absence is asked for."""
        return True

    def extra(self, entry: E, spec: Spec[E]) -> bool:
        """Whether an unlisted entry is ours to remove."""
        raise NotImplementedError

    def merge(self, found: Optional[E], entry: E) -> E:
        """The entry as it shall be, where what is not asked for stays as it was found."""
        return entry

    def surviving(self, actual: Mapping[Key, E], effects: Effects) -> Dict[Key, E]:
        """What the operations on devices leave of it."""
        return dict(actual)

    def diff(self, actual: Mapping[Key, E], wanted: Mapping[Key, E]) -> List[Op[E]]:
        differing = [key for key, entry in actual.items() if wanted.get(key) is not entry and wanted.get(key) != entry]
        differing += [key for key in wanted if key not in actual]
        return [Op(self.name, actual.get(key), wanted.get(key)) for key in sorted(differing, key=sort_key)]

    def show(self, op: Op[E]) -> Tuple[List[str], List[str]]:
        """The lines of a difference: as it is, and as it shall be."""
        return (
            op.before.lines() if op.before is not None else [],
            op.after.lines() if op.after is not None else [],
        )

    def forgo(self, op: Op[E]) -> List[str]:
        """What an undo of an operation does not bring back, in words."""
        return []

    def apply(self, host: Host, ops: Sequence[Op[E]]) -> List[Failure]:
        """Carry out operations that are all additions and changes, or all removals."""
        raise NotImplementedError


def devices_of(entries: Mapping[Key, Any]) -> Set[str]:
    """The devices that entries name."""
    return {entry.device for entry in entries.values() if getattr(entry, "device", None)}


def sort_key(key: Key) -> Tuple[Any, ...]:
    """Sorts addresses by number, not by letter, and tolerates None."""
    return tuple([_sortable(part) for part in key])


# Most parts of a key are those of its neighbour too: the device, the table.
@lru_cache(maxsize=1024)
def _sortable(part: Any) -> Tuple[int, bytes, str]:
    text = "" if part is None else str(part)
    if text[:1].isdigit() and ":" not in text:
        address, _slash, length = text.partition("/")
        try:
            # A plain number too: up to 32 bits of it count as an address.
            return 0, socket.inet_aton(address), length.rjust(2)
        except OSError:
            pass
    return 1, b"", text
