# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nexthop objects of routes (kernel 5.3 and later). PRIVATE to the collection.

The kernel looks for the gateway of a plain IPv4 route among all gateways of the same device, one after the other, so that N
routes take N² steps; a route that names a nexthop object by its number takes one.
"""

from __future__ import annotations

import errno
import socket
import struct
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple, cast

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _raw
from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import OnDevice, join_few
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELNEXTHOP,
    RTM_GETNEXTHOP,
    RTM_NEWNEXTHOP,
    Message,
    NetlinkError,
    nhmsg,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Effects,
    Entry,
    Failure,
    Key,
    Op,
    Sections,
    Spec,
    make_entry,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import batch_commands
from ansible_collections.agentless.overlay.plugins.module_utils._marks import ROUTE_PROTOCOL
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _onlink
from ansible_collections.agentless.overlay.plugins.module_utils._resources._nexthop_users import list_routes_by
from ansible_collections.agentless.overlay.plugins.module_utils._resources._onlink import RTNH_F_ONLINK
from ansible_collections.agentless.overlay.plugins.module_utils._resources._ownership import DeviceSpec

# Well before the square of plain routes is felt, which is beyond 1,000 (docs/benchmarks.md).
WORTH = 500
_ATTRIBUTES = ("NHA_ID", "NHA_OIF", "NHA_GATEWAY", "NHA_GROUP", "NHA_GROUP_TYPE", "NHA_BLACKHOLE", "NHA_ENCAP_TYPE", "NHA_FDB")
# struct nhmsg, and what of a dump the kernel takes: id, group, its type, blackhole, device, gateway, encapsulation, FDB.
_HEADER = struct.Struct("=BBBBI")
_NHA_GROUP, _NHA_OIF = 2, 5
_TAKEN = (1, _NHA_GROUP, 3, 4, _NHA_OIF, 6, 7, 8, 11)
# struct nexthop_grp: an id, a weight in two parts.
_MEMBER = struct.Struct("=IBBH")
_RESILIENT = 1

# Device, gateway, and whether the gateway counts as reachable without a route.
Hop = Tuple[str, str, bool]


@dataclass(frozen=True)
class Nexthop(Entry):
    """A gateway on a device, under a number that routes name; of others also a device alone, a group of them, a blackhole."""

    number: int
    device: Optional[str]
    gateway: str = ""
    onlink: bool = False
    protocol: int = ROUTE_PROTOCOL
    # All of it as it was found, where it is not ours.
    raw: bytes = b""
    # Of a group each member and the device that it leads over, and whether a kernel that shrinks it moves what it carries.
    members: Tuple[Tuple[int, str], ...] = ()
    resilient: bool = False

    @property
    def key(self) -> Key:
        return (self.number,)

    @property
    def label(self) -> str:
        return "%s %s" % (self.device, self.gateway) if not self.raw else str(self.number)

    def __str__(self) -> str:
        text = "id %d" % self.number
        if self.members:
            text += " group %s" % "/".join(str(number) for number, _device in self.members)
        text += " via %s" % self.gateway if self.gateway else ""
        text += " dev %s" % self.device if self.device else ""
        return text + (" onlink" if self.onlink else "") + " proto %d" % self.protocol


@dataclass
class NexthopSpec(Spec[Nexthop]):
    """And in which tables routes are ours, and what is asked of devices, by their kind."""

    tables: Set[int] = field(default_factory=set)
    of_devices: Dict[str, DeviceSpec[Any]] = field(default_factory=dict)

    def leaves(self, host: Host, device: str) -> bool:
        """Whether a device is to go for good."""
        spec = self.of_devices.get(host.kind(device))
        if spec is None or (device,) in spec.absent:
            return spec is not None
        return spec.purge_owned and (device,) not in spec.present and host.carries_mark(host.index(device) or 0)


def compute_number(gateway: str) -> int:
    """The number of a gateway's nexthop: of IPv4 the address itself, of IPv6 a hash beyond all of those.

    Others count from 1 (the kernel, FRR), and no gateway begins with 0.
    """
    if ":" in gateway:
        return 0xE0000000 | zlib.crc32(socket.inet_pton(socket.AF_INET6, gateway))
    return int(struct.unpack(">I", socket.inet_aton(gateway))[0])


@dataclass
class Numbers:
    """Which routes of a section use nexthop objects, and the number of each; pure.

    Where two gateways would have one number, the routes of the second stay plain.
    """

    taken: Dict[int, Hop] = field(default_factory=dict)
    # The devices of the part at hand whose routes do; None for all.
    devices: Optional[Set[str]] = field(default_factory=set)

    def begin(self, part: Mapping[str, Any]) -> None:
        """Look at the next part of the section."""
        how = part.get("nexthops") or "auto"
        self.devices = None if how == "always" else set()
        if how == "auto" and len(part.get("entries") or ()) >= WORTH:
            counts = Counter(item.get("device") or part.get("device") for item in part["entries"] if item.get("gateway"))
            self.devices = {device for device, count in counts.items() if device and count >= WORTH}

    def of(self, device: Optional[str], gateway: Optional[str], onlink: bool) -> int:
        """The number for a route, or 0 for a plain one."""
        if not device or not gateway or self.devices is not None and device not in self.devices:
            return 0
        number, hop = compute_number(gateway), (device, gateway, onlink)
        return number if self.taken.setdefault(number, hop) == hop else 0


def has_nexthops(host: Host) -> bool:
    """Whether this kernel has them."""
    try:
        host.session.get(Message(RTM_GETNEXTHOP, 0, nhmsg, {}, [("NHA_ID", compute_number("255.255.255.255"))]))
    except NetlinkError as error:
        if error.code != errno.EOPNOTSUPP:
            raise
        return False
    return True


def drop_nexthops(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Dict[str, Sequence[Mapping[str, Any]]]:
    """The same sections with plain routes, those for the next boot too. Pure."""
    routes = [{**part, "nexthops": "never"} for part in sections.get("route_entry", ())]
    boot = [{**part, "sections": part.get("sections") and drop_nexthops(part["sections"])} for part in sections.get("boot", ())]
    return {**sections, "route_entry": routes, **({"boot": boot} if "boot" in sections else {})}


class Nexthops(OnDevice[Nexthop]):
    name = "nexthop"
    remedies = {"EEXIST": "somebody else has a nexthop object of that number: ip nexthop"}
    section = "route_entry"

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Nexthop]:
        spec = NexthopSpec()
        for part in sections.get(self.section, ()):
            if part.get("purge"):
                spec.purge_owned = spec.purge_owned or not part.get("device")
                spec.purge_devices.update(
                    device for device in (part.get("device"), *(item.get("device") for item in part["entries"])) if device
                )
        return spec

    def derive(self, spec: Spec[Nexthop], specs: Mapping[str, Spec[Any]]) -> None:
        spec.present = self.of(specs[self.section].present.values())
        more = cast(NexthopSpec, spec)
        more.tables = cast(Any, specs[self.section]).tables
        more.of_devices = {one.kind: one for one in specs.values() if isinstance(one, DeviceSpec)}

    def adapt(self, host: Host, spec: Spec[Nexthop], sections: Sections) -> Optional[Sections]:
        return drop_nexthops(sections) if spec.present and not has_nexthops(host) else None

    @staticmethod
    def of(routes: Iterable[Any]) -> Dict[Key, Nexthop]:
        """The nexthops that routes name."""
        return {
            (route.nexthop,): make_entry(
                Nexthop, number=route.nexthop, device=route.device, gateway=route.gateway, onlink=route.onlink
            )
            for route in routes
            if route.nexthop
        }

    def read(self, host: Host, spec: Spec[Nexthop], devices: Set[str]) -> Dict[Key, Nexthop]:
        numbers = {key[0] for key in spec.present}

        def matters(row: Mapping[str, Any]) -> bool:
            # Groups name their members by number, which may be any.
            return bool(devices) or row["protocol"] == ROUTE_PROTOCOL or row["NHA_ID"] in numbers

        try:
            rows = host.session.rows(Message(RTM_GETNEXTHOP, 0, nhmsg, {}, []), _ATTRIBUTES, matters)
        except NetlinkError as error:
            if error.code != errno.EOPNOTSUPP:
                raise
            return {}
        singles = {row["NHA_ID"]: host.name(row["NHA_OIF"]) for row in rows if row.get("NHA_OIF")}
        near = devices | spec.purge_devices
        found: Dict[Key, Nexthop] = {}
        host.nexthops.clear()
        for row in rows:
            entry = _decode_nexthop(singles, row)
            over = tuple([device for _number, device in entry.members]) or (entry.device or "",)
            host.nexthops[entry.number] = (over, entry.gateway, entry.onlink)
            ours = entry.protocol == ROUTE_PROTOCOL and not entry.raw and (spec.purge_owned or entry.device in near)
            if ours or entry.key in spec.present or not devices.isdisjoint(over):
                found[entry.key] = entry
        return found

    def way(
        self, found: Mapping[Key, Nexthop], left: Mapping[Key, Nexthop], wanted: Mapping[Key, Nexthop]
    ) -> List[Op[Nexthop]]:
        # A gateway that moves from a device that goes to a new one keeps its number, and is there until that device has gone.
        moved = [
            key for key, entry in found.items() if key not in left and key in wanted and wanted[key].device != entry.device
        ]
        return [Op(self.name, found[key], None, early=True) for key in moved]

    def effects(self, ops: Sequence[Op[Nexthop]]) -> Effects:
        # One that makes way takes its routes along before their device does, which an undo has to know.
        return Effects(interrupted={op.entry.device for op in ops if op.early and op.entry.device})

    def reach(self, spec: Spec[Nexthop], devices: Set[str]) -> Set[str]:
        # Its own are found by their numbers: what is asked for besides is what others have on devices that are shaken.
        return set()

    def reach_back(self, spec: Spec[Nexthop], devices: Set[str], snapshot: Mapping[Key, Nexthop], keys: Set[Key]) -> Set[str]:
        members = {device for entry in snapshot.values() for _number, device in entry.members}
        return members | {entry.device for entry in snapshot.values() if entry.device} | devices

    def obstacles(
        self, host: Host, spec: Spec[Nexthop], found: Mapping[Key, Nexthop], wanted: Mapping[Key, Nexthop]
    ) -> Iterable[str]:
        text = (
            "nexthop: somebody else has a nexthop object of the number %d (%s), which the one via %s on %s would get. Remove "
            "it (ip nexthop del id %d), or have plain routes (overlay_nexthops: never)"
        )
        taken = [(found[key], entry) for key, entry in spec.present.items() if key in found and not self.owned(found[key])]
        texts = [text % (one.number, one, entry.gateway, entry.device, one.number) for one, entry in taken]
        going = [one for key, one in found.items() if key not in wanted and self.owned(one)]
        return join_few([*texts, *_list_foreign_users(host, going, cast(NexthopSpec, spec))])

    def surviving(self, found: Mapping[Key, Nexthop], effects: Effects) -> Dict[Key, Nexthop]:
        left = {}
        for key, entry in super().surviving(found, effects).items():
            if entry.device in effects.blinked:
                continue
            lost = [member for member in entry.members if member[1] in effects.lost | effects.blinked]
            # What a device that goes for good takes along is not to be put back: as if nothing had happened.
            if not lost or any(device in effects.removed for _number, device in entry.members):
                left[key] = entry
            elif len(lost) < len(entry.members):
                members = tuple(member for member in entry.members if member not in lost)
                left[key] = replace(entry, members=members)
        return left

    def hindrances(self, host: Host, effects: Effects, found: Mapping[Key, Nexthop]) -> Iterable[str]:
        text = (
            "nexthop: %s: somebody else has a %sgroup of nexthop objects (id %d) over %s, which %s. Take it out of "
            "the group first (ip nexthop)"
        )
        for entry in found.values():
            over = {device for _number, device in entry.members}
            gone, lost = over & effects.removed, over & (effects.lost | effects.blinked)
            if entry.resilient and (gone or lost):
                device = min(gone | lost)
                yield text % (device, "resilient ", entry.number, device, "cannot be put back with all that it remembers")
            elif gone and lost:
                yield text % (min(gone), "", entry.number, min(gone), "goes while %s is made again" % min(lost))

    def diff(self, found: Mapping[Key, Nexthop], wanted: Mapping[Key, Nexthop]) -> List[Op[Nexthop]]:
        # A group after its members.
        ops = super().diff(found, wanted)
        groups = [op for op in ops if op.entry.members]
        return [op for op in ops if not op.entry.members] + groups if groups else ops

    def owned(self, entry: Nexthop) -> bool:
        # Groups and the like are not ours, whatever they say.
        return entry.protocol == ROUTE_PROTOCOL and not entry.raw

    def extra(self, entry: Nexthop, spec: Spec[Nexthop]) -> bool:
        return self.owned(entry) and (spec.purge_owned or super().extra(entry, spec))

    def apply(self, host: Host, ops: Sequence[Op[Nexthop]]) -> List[Failure]:
        return _onlink.apply_routes(host, ops, self.message, self.excuses)

    def excuses(self, op: Op[Nexthop], error: NetlinkError) -> bool:
        # A bridge with another port that is up has lost nothing, and who lost one need not be the first to put it back.
        return op.before is None and bool(op.entry.raw) and error.code == errno.EEXIST

    def shell(self, entries: Iterable[Nexthop]) -> List[str]:
        return batch_commands("ip", ("nexthop replace %s" % entry for entry in entries))

    @staticmethod
    def message(host: Host, op: Op[Nexthop]) -> Message:
        entry = op.entry
        if op.after is None:
            return Message(RTM_DELNEXTHOP, 0, nhmsg, {}, [("NHA_ID", entry.number)])
        # One of somebody else's under our number is not overwritten: it is an obstacle, or came since.
        flags = NLM_F_CREATE | (NLM_F_REPLACE if op.before is not None else NLM_F_EXCL)
        index = host.index(entry.device) or 0 if entry.device else 0
        if entry.raw:
            head, told = _raw.split_message(entry.raw, _HEADER.size)
            raw = _raw.join_message(head, _raw.set_attribute(told, _NHA_OIF, struct.pack("=I", index)))
            return Message(RTM_NEWNEXTHOP, flags, None, raw=raw)
        fields = {
            "family": socket.AF_INET6 if ":" in entry.gateway else socket.AF_INET,
            "protocol": entry.protocol,
            "flags": RTNH_F_ONLINK if entry.onlink else 0,
        }
        attrs = [("NHA_ID", entry.number), ("NHA_OIF", index), ("NHA_GATEWAY", entry.gateway)]
        return Message(RTM_NEWNEXTHOP, flags, nhmsg, fields, attrs)


def _list_foreign_users(host: Host, going: Sequence[Nexthop], spec: NexthopSpec) -> Iterator[str]:
    """What of others would go, or lose a member, with nexthops of ours, in sentences."""
    leaving = {device for device in {one.device or "" for one in going} if spec.leaves(host, device)}
    # With its device all that is on it goes, and that is told elsewhere.
    its = {one.number: one for one in going if one.device not in leaving}
    if not its:
        return
    text = "nexthop: id %d via %s on %s is to go, and "
    for route in list_routes_by(host, its.keys(), spec.tables):
        one = its[route.nexthop]
        yield (
            text + "the kernel would take the route to %s along, which is not ours (%s). Remove it first, or have it name %s"
        ) % (
            *(one.number, one.gateway, one.device, route.dst, route),
            "its gateway itself (via %s dev %s%s)" % (one.gateway, one.device, " onlink" if one.onlink else ""),
        )
    request = Message(RTM_GETNEXTHOP, 0, nhmsg, {}, [("NHA_GROUPS", True)])
    for row in host.session.rows(request, _ATTRIBUTES, lambda row: "NHA_GROUP" in row):
        group = _decode_nexthop({}, row)
        for number in sorted({number for number, _device in group.members} & set(its)):
            one = its[number]
            yield (
                text
                + "is in somebody else's group of nexthop objects (id %d). Take it out of the group first (ip nexthop), or "
                "remove the group"
            ) % (one.number, one.gateway, one.device, group.number)


def _decode_nexthop(singles: Mapping[int, str], row: Mapping[str, Any]) -> Nexthop:
    """A row of a dump; C(singles) are the devices of those that have one, by number."""
    number, gateway, protocol = row["NHA_ID"], row.get("NHA_GATEWAY", ""), row["protocol"]
    device, onlink = singles.get(number), bool(row["flags"] & RTNH_F_ONLINK)
    if protocol == ROUTE_PROTOCOL and device and gateway and "NHA_ENCAP_TYPE" not in row:
        return make_entry(Nexthop, number=number, device=device, gateway=gateway, onlink=onlink)
    head, attrs = _raw.split_message(row["raw"], _HEADER.size)
    family, _scope, protocol, _resvd, flags = _HEADER.unpack(head)
    raw = _raw.join_message(_HEADER.pack(family, 0, protocol, 0, flags & RTNH_F_ONLINK), _raw.keep_attributes(attrs, _TAKEN))
    group = bytes(_raw.get_attribute(attrs, _NHA_GROUP))
    ids = [member[0] for member in _MEMBER.iter_unpack(group)] if "NHA_GROUP" in row else []
    members = tuple([(one, singles.get(one, "")) for one in ids])
    kind = _raw.get_attribute(attrs, 3)
    resilient = bool(members and kind and struct.unpack("=H", kind)[0] == _RESILIENT)
    return Nexthop(number, device, gateway, onlink, protocol, raw, members, resilient)
