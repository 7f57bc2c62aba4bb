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
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import OnDevice
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
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Entry, Key, Op, Sections, Spec
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import batch
from ansible_collections.agentless.overlay.plugins.module_utils._marks import ROUTE_PROTOCOL

# Well before the square of plain routes is felt, which is beyond 1,000 (docs/benchmarks.md).
WORTH = 500
RTNH_F_ONLINK = 4
_ATTRIBUTES = ("NHA_ID", "NHA_OIF", "NHA_GATEWAY", "NHA_GROUP", "NHA_BLACKHOLE", "NHA_ENCAP_TYPE", "NHA_FDB")

# Device, gateway, and whether the gateway counts as reachable without a route.
Hop = Tuple[str, str, bool]


@dataclass(frozen=True)
class Nexthop(Entry):
    """A gateway on a device, under a number that routes name."""

    number: int
    device: str
    gateway: str
    onlink: bool = False
    protocol: int = ROUTE_PROTOCOL

    @property
    def key(self) -> Key:
        return (self.device, self.number)

    @property
    def label(self) -> str:
        return "%s %s" % (self.device, self.gateway)

    def __str__(self) -> str:
        onlink = " onlink" if self.onlink else ""
        return "id %d via %s dev %s%s proto %d" % (self.number, self.gateway, self.device, onlink, self.protocol)


def number_of(gateway: str) -> int:
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
        number, hop = number_of(gateway), (device, gateway, onlink)
        return number if self.taken.setdefault(number, hop) == hop else 0


def supported(host: Host) -> bool:
    """Whether this kernel has them."""
    try:
        host.session.get(Message(RTM_GETNEXTHOP, 0, nhmsg, {}, [("NHA_ID", number_of("255.255.255.255"))]))
    except NetlinkError as error:
        if error.code != errno.EOPNOTSUPP:
            raise
        return False
    return True


def plain(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Dict[str, Sequence[Mapping[str, Any]]]:
    """The same sections with plain routes, those for the next boot too. Pure."""
    routes = [{**part, "nexthops": "never"} for part in sections.get("route_entry", ())]
    boot = [{**part, "sections": part.get("sections") and plain(part["sections"])} for part in sections.get("boot", ())]
    return {**sections, "route_entry": routes, **({"boot": boot} if "boot" in sections else {})}


class Nexthops(OnDevice[Nexthop]):
    name = "nexthop"
    remedies = {"EEXIST": "somebody else has a nexthop object of that number: ip nexthop"}
    section = "route_entry"

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Nexthop]:
        spec: Spec[Nexthop] = Spec()
        for part in sections.get(self.section, ()):
            if part.get("purge"):
                spec.purge_owned = spec.purge_owned or not part.get("device")
                spec.purge_devices.update(
                    device for device in (part.get("device"), *(item.get("device") for item in part["entries"])) if device
                )
        return spec

    def derive(self, spec: Spec[Nexthop], specs: Mapping[str, Spec[Any]]) -> None:
        spec.present = self.of(specs[self.section].present.values())

    def adapt(self, host: Host, spec: Spec[Nexthop], sections: Sections) -> Optional[Sections]:
        return plain(sections) if spec.present and not supported(host) else None

    @staticmethod
    def of(routes: Iterable[Any]) -> Dict[Key, Nexthop]:
        """The nexthops that routes name."""
        found = (Nexthop(route.nexthop, route.device, route.gateway, route.onlink) for route in routes if route.nexthop)
        return {entry.key: entry for entry in found}

    def read(self, host: Host, spec: Spec[Nexthop], devices: Set[str]) -> Dict[Key, Nexthop]:
        found: Dict[Key, Nexthop] = {}
        indexes = {index: device for index, device in ((host.index(device), device) for device in devices) if index}
        # Those of a device the kernel sorts out; ours on all devices nobody but us.
        requests: List[List[Tuple[str, Any]]] = (
            [[]] if spec.purge_owned else [[("NHA_OIF", index)] for index in sorted(indexes)]
        )
        for attrs in requests:
            try:
                rows = host.session.rows(Message(RTM_GETNEXTHOP, 0, nhmsg, {}, attrs), _ATTRIBUTES)
            except NetlinkError as error:
                if error.code != errno.EOPNOTSUPP:
                    raise
                return {}
            for row in rows:
                ours = row["protocol"] == ROUTE_PROTOCOL or row.get("NHA_OIF") in indexes
                # Groups and the like are not ours, whatever they say.
                if not ours or not row.get("NHA_OIF") or not row.get("NHA_GATEWAY") or "NHA_ENCAP_TYPE" in row:
                    continue
                device = indexes.get(row["NHA_OIF"]) or host.name(row["NHA_OIF"])
                entry = Nexthop(row["NHA_ID"], device, row["NHA_GATEWAY"], bool(row["flags"] & RTNH_F_ONLINK), row["protocol"])
                found[entry.key] = entry
        host.nexthops = {entry.number: (entry.device, entry.gateway, entry.onlink) for entry in found.values()}
        return found

    def owned(self, entry: Nexthop) -> bool:
        return entry.protocol == ROUTE_PROTOCOL

    def extra(self, entry: Nexthop, spec: Spec[Nexthop]) -> bool:
        return self.owned(entry) and (spec.purge_owned or super().extra(entry, spec))

    def shell(self, entries: Iterable[Nexthop]) -> List[str]:
        return batch("ip", ("nexthop replace %s" % entry for entry in entries))

    @staticmethod
    def message(host: Host, op: Op[Nexthop]) -> Message:
        entry = op.entry
        if op.after is None:
            return Message(RTM_DELNEXTHOP, 0, nhmsg, {}, [("NHA_ID", entry.number)])
        fields = {
            "family": socket.AF_INET6 if ":" in entry.gateway else socket.AF_INET,
            "protocol": entry.protocol,
            "flags": RTNH_F_ONLINK if entry.onlink else 0,
        }
        attrs = [("NHA_ID", entry.number), ("NHA_OIF", host.index(entry.device) or 0), ("NHA_GATEWAY", entry.gateway)]
        # One of somebody else's under our number is not overwritten.
        how = NLM_F_REPLACE if op.before is not None else NLM_F_EXCL
        return Message(RTM_NEWNEXTHOP, NLM_F_CREATE | how, nhmsg, fields, attrs)
