# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes to the peers' subnets. PRIVATE to the collection."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import (
    OnDevice,
    address_of,
    listed,
    network_of,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    Message,
    NetlinkError,
    rtmsg,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._options import STATE, bulk
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Entry,
    Key,
    Op,
    Options,
    Spec,
    devices_of,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import batch
from ansible_collections.agentless.overlay.plugins.module_utils._marks import ROUTE_PROTOCOL
from ansible_collections.agentless.overlay.plugins.module_utils._resources._nexthops import RTNH_F_ONLINK, Numbers

TABLE_MAIN = 254
RTN_UNICAST = 1
RTM_F_CLONED, RTM_F_PREFIX = 0x200, 0x800
_REDIRECT, _KERNEL, _RA = 1, 2, 9
# What the kernel gives an IPv6 route that asks for none (IP6_RT_PRIO_USER).
_METRIC6 = 1024
_ATTRIBUTES = (
    *("RTA_TABLE", "RTA_DST", "RTA_OIF", "RTA_GATEWAY", "RTA_PREFSRC", "RTA_PRIORITY"),
    *("RTA_MULTIPATH", "RTA_NH_ID", "RTA_CACHEINFO"),
)
_PROTOCOLS = {_REDIRECT: "redirect", _KERNEL: "kernel", 3: "boot", 4: "static", _RA: "ra"}


@dataclass(frozen=True)
class Route(Entry):
    """A unicast route; C(device) is None where the gateway alone decides, and for one found with several next hops."""

    dst: str
    device: Optional[str]
    gateway: Optional[str] = None
    onlink: bool = False
    src: Optional[str] = None
    metric: int = 0
    table: int = TABLE_MAIN
    protocol: int = ROUTE_PROTOCOL
    scope: int = 0
    tos: int = 0
    kind: int = RTN_UNICAST
    # The nexthop object that stands for device, gateway and onlink; 0 where the route has these itself.
    nexthop: int = 0
    # What this class does not model, so that a route of somebody else's can be put back.
    rest: str = ""
    # On a device of ours, from a router advertisement that somebody sent there.
    leftover: bool = field(default=False, compare=False)

    @property
    def slot(self) -> Key:
        """What one of ours takes up: the kernel would have to choose between it and another one there."""
        return (self.table, self.dst, self.tos, self.metric)

    @property
    def automatic(self) -> bool:
        """Whether the kernel makes it by itself, with an address, a device or a router advertisement: never ours to make."""
        return self.protocol in (_REDIRECT, _KERNEL, _RA)

    @property
    def key(self) -> Key:
        # Of one slot the kernel keeps several, as fe80::/64 of each device. Ours is one, so that its move to another device or
        # gateway is one replacement.
        return self.slot if self.protocol == ROUTE_PROTOCOL else (*self.slot, self.device, self.gateway)

    @property
    def label(self) -> str:
        return self.dst

    def same(self, wanted: Route) -> bool:
        return self == (wanted if wanted.device else replace(wanted, device=self.device))

    def __str__(self) -> str:
        text = self.dst
        if self.gateway:
            text += " via %s" % self.gateway
        if self.device:
            text += " dev %s" % self.device
        text += " proto %s" % _PROTOCOLS.get(self.protocol, self.protocol)
        if self.src:
            text += " src %s" % self.src
        if self.metric and not (self.metric == _METRIC6 and ":" in self.dst):
            text += " metric %d" % self.metric
        if self.table != TABLE_MAIN:
            text += " table %d" % self.table
        if self.nexthop:
            text += " nhid %d" % self.nexthop
        return text + (" onlink" if self.onlink else "")


def _slot(row: Mapping[str, Any]) -> Key:
    anywhere = "::" if row["family"] == socket.AF_INET6 else "0.0.0.0"
    dst = "%s/%d" % (row.get("RTA_DST", anywhere), row["dst_len"])
    return (row.get("RTA_TABLE", row["table"]), dst, row["tos"], row.get("RTA_PRIORITY", 0))


def _decode(host: Host, row: Mapping[str, Any]) -> Route:
    table, dst, tos, metric = _slot(row)
    index, number = row.get("RTA_OIF"), row.get("RTA_NH_ID", 0)
    # The kernel tells them too, unless net.ipv4.nexthop_compat_mode is off.
    device, gateway, onlink = host.nexthops.get(number) or (
        host.name(index) if index else None,
        row.get("RTA_GATEWAY"),
        bool(row["flags"] & RTNH_F_ONLINK),
    )
    return Route(
        dst=dst,
        device=device,
        gateway=gateway,
        onlink=onlink,
        src=row.get("RTA_PREFSRC"),
        metric=metric,
        table=table,
        protocol=row["proto"],
        scope=row["scope"],
        tos=tos,
        kind=row["type"],
        rest="multipath" if "RTA_MULTIPATH" in row else "",
        nexthop=number,
    )


@dataclass
class _Advertised:
    """Which routes a router advertisement left on a device of ours; asks only where a route may be one, without host never."""

    host: Optional[Host]
    _prefixes: Optional[Set[Tuple[str, int]]] = None

    def left(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of a dump is one."""
        index = row.get("RTA_OIF")
        if self.host is None or row["family"] != socket.AF_INET6 or row["proto"] not in (_RA, _KERNEL) or not index:
            return False
        if row.get("RTA_DST", "").startswith(("fe80:", "ff")) or not self.host.carries_mark(index):
            return False
        return row["proto"] == _RA or _expires(row) or (_slot(row)[1], index) in self._announced(self.host)

    def _announced(self, host: Host) -> Set[Tuple[str, int]]:
        """The networks that were announced as being on a wire; for ever, some of them, and then nothing else tells."""
        if self._prefixes is None:
            fields = {"family": socket.AF_INET6, "flags": RTM_F_PREFIX, "table": TABLE_MAIN}
            request = Message(RTM_GETROUTE, 0, rtmsg, fields, [("RTA_TABLE", TABLE_MAIN)])
            self._prefixes = {(_slot(row)[1], row.get("RTA_OIF", 0)) for row in host.session.rows(request, _ATTRIBUTES)}
        return self._prefixes


def _expires(row: Mapping[str, Any]) -> bool:
    # rta_clntref, rta_lastuse, rta_expires
    return bool("RTA_CACHEINFO" in row and struct.unpack_from("=IIi", row["RTA_CACHEINFO"])[2])


def _join(ops: Sequence[Op[Route]]) -> List[Op[Route]]:
    """What goes and what comes in one slot: of IPv4 one replacement, of IPv6 the one before the other. Pure.

    IPv6 routes not beside each other: the kernel would replace the one that it finds first, or make one route of both.
    """
    added = {op.entry.slot: op for op in reversed(ops) if op.before is None and ":" not in op.entry.dst}
    taken = {op.entry.slot for op in ops if op.after is not None and ":" in op.entry.dst}
    joined: List[Op[Route]] = []
    instead: Dict[Key, Op[Route]] = {}
    for op in ops:
        slot = op.entry.slot
        if op.after is None and slot in added:
            one = added.pop(slot)
            instead[one.entry.key] = replace(one, before=op.before)
        else:
            joined.append(replace(op, early=True) if op.after is None and slot in taken else op)
    return [instead.get(op.entry.key, op) if op.before is None else op for op in joined]


def _obstacle(found: Route) -> str:
    """Why what stands where one of ours shall be can neither be replaced nor be beside it; empty where it can."""
    if found.rest:
        return (
            "route_entry: %s is a route with several next hops that somebody else made. Remove it first: "
            "replacing it could not be undone" % found.dst
        )
    if found.protocol == _KERNEL:
        return (
            "route_entry: %s is this host's own directly connected network (%s): a local network overlaps "
            "the peer's subnet. Remove the local network or give the peer another subnet" % (found.dst, found)
        )
    if found.automatic:
        return (
            "route_entry: a router of this host's own network leads to %s (%s), and would again after a removal. "
            "Give the peer another subnet" % (found.dst, found)
        )
    return ""


_ROUTE: Options = {
    "device": {"type": "str"},
    "dst": {"type": "str"},
    "gateway": {"type": "str"},
    "onlink": {"type": "bool"},
    "src": {"type": "str"},
    "metric": {"type": "int"},
    "table": {"type": "int"},
    **STATE,
}
_OPTIONS, _RULES = bulk(_ROUTE, "dst", more={"nexthops": {"type": "str", "choices": ["auto", "always", "never"]}})


def _replaces(op: Op[Any], route: Route) -> bool:
    return op.resource == Routes.name and op.after is not None and op.after.dst == route.dst


class Routes(OnDevice[Route]):
    name = section = "route_entry"
    atomic = True
    remedies = {"ENETUNREACH": "the gateway is not reachable through the device: set onlink: true"}
    options = _OPTIONS
    alone = True
    nothing = ({"entries": [], "purge": True},)
    rules = _RULES

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Route]:
        spec: Spec[Route] = Spec()
        for part in sections.get(self.section, ()):
            # With no device named, everything that carries our protocol is in reach.
            spec.purge_owned = spec.purge_owned or bool(part.get("purge") and not part.get("device"))
        reach: Spec[Route] = Spec()
        numbers = Numbers()
        for item, state in listed(sections, self.section, reach, "gateway", numbers.begin):
            dst, gateway = network_of(self.name, item, "dst"), address_of(self.name, item, "gateway")
            onlink = bool(item.get("onlink"))
            entry = Route(
                dst=dst,
                device=item["device"],
                gateway=gateway,
                onlink=onlink,
                src=address_of(self.name, item, "src"),
                metric=item.get("metric") or (_METRIC6 if ":" in dst else 0),
                table=item.get("table") or TABLE_MAIN,
                # Without a gateway the kernel asks for link scope, as iproute2 does.
                scope=0 if gateway or ":" in dst else 253,
                nexthop=numbers.of(item["device"], gateway, onlink) if state == "present" else 0,
            )
            spec.add(entry, state, self.name)
        spec.purge_devices = reach.purge_devices
        return spec

    def read(self, host: Host, spec: Spec[Route], devices: Set[str]) -> Dict[Key, Route]:
        indexes = {host.index(device) for device in devices} - {None}
        slots = set(spec.present) | spec.absent
        tables = {slot[0] for slot in slots} | {TABLE_MAIN}
        # A purge finds what is ours in both families, whatever is listed.
        versions = {":" in slot[1] for slot in slots}
        both = spec.purge_owned or spec.purge_devices or len(versions) != 1
        family = socket.AF_UNSPEC if both else socket.AF_INET6 if True in versions else socket.AF_INET
        advertised = _Advertised(host if spec.purge_owned else None)
        found: Dict[Key, Route] = {}
        for table in sorted(tables):
            # Not by protocol: somebody else's route to a destination of ours has to be seen, to be replaced or refused.
            fields = {"family": family, "table": min(table, 255)}
            for row in host.session.rows(Message(RTM_GETROUTE, 0, rtmsg, fields, [("RTA_TABLE", table)]), _ATTRIBUTES):
                if row["family"] not in (socket.AF_INET, socket.AF_INET6) or row["flags"] & RTM_F_CLONED:
                    continue
                if row.get("RTA_TABLE", row["table"]) != table:
                    continue
                wanted = _slot(row) in slots or row["proto"] == ROUTE_PROTOCOL
                if advertised.left(row):
                    entry = replace(_decode(host, row), leftover=True)
                    found[entry.key] = entry
                # What the kernel made on a device it makes again with the next one.
                elif wanted or row.get("RTA_OIF") in indexes and row["proto"] not in (_REDIRECT, _KERNEL, _RA):
                    entry = _decode(host, row)
                    found.setdefault(entry.key, entry)
        return found

    def reach(self, spec: Spec[Route], devices: Set[str]) -> Set[str]:
        return devices_of(spec.present) | spec.purge_devices | devices

    def settle(self, found: Mapping[Key, Route], spec: Spec[Route]) -> Dict[Key, Route]:
        kept = super().settle(found, spec)
        # Somebody else's IPv6 route would stand beside ours; of IPv4 the kernel uses the first.
        first: Dict[Key, Key] = {}
        for key, entry in found.items():
            first.setdefault(entry.slot, key)
        return {
            key: entry
            for key, entry in kept.items()
            if key in spec.present or entry.slot not in spec.present or ":" not in entry.dst and first[entry.slot] != key
        }

    def obstacles(
        self, host: Host, spec: Spec[Route], found: Mapping[Key, Route], wanted: Mapping[Key, Route]
    ) -> Iterable[str]:
        return filter(None, (_obstacle(one) for one in found.values() if one.slot in spec.present and not one.leftover))

    def diff(self, actual: Mapping[Key, Route], wanted: Mapping[Key, Route]) -> List[Op[Route]]:
        # What the kernel made comes back by itself, or for a good reason does not.
        ops = [op for op in super().diff(actual, wanted) if op.after is None or not op.after.automatic]
        return _join(ops)

    def owned(self, entry: Route) -> bool:
        return entry.protocol == ROUTE_PROTOCOL

    def extra(self, entry: Route, spec: Spec[Route]) -> bool:
        return entry.leftover or self.owned(entry) and (spec.purge_owned or super().extra(entry, spec))

    def forgo(self, op: Op[Route]) -> List[str]:
        if op.after is not None or not op.entry.leftover:
            return []
        return ["route_entry: %s stays away, which a router advertisement on a device of ours had made" % op.entry]

    def impact(self, op: Op[Route], ops: Sequence[Op[Any]]) -> Tuple[str, str]:
        if op.after is not None or op.entry.leftover or any(_replaces(one, op.entry) for one in ops):
            return "", ""
        return "packets to %s" % op.entry.dst, "there is a route again"

    def excuses(self, op: Op[Route], error: NetlinkError) -> bool:
        if op.after is None and op.entry.automatic and error.code == errno.ESRCH:
            # Its time was up.
            return True
        # Who took somebody else's route away with a device need not be the first to put it back.
        return op.before is None and not self.owned(op.entry) and error.code == errno.EEXIST

    def shell(self, entries: Iterable[Route]) -> List[str]:
        # What the nexthop says already, the route must not say.
        plain = (replace(one, gateway=None, device=None, onlink=False) if one.nexthop else one for one in entries)
        return batch("ip", ("route replace %s" % one for one in plain))

    @staticmethod
    def message(host: Host, op: Op[Route]) -> Message:
        entry = op.entry
        address, length = entry.dst.split("/")
        index = host.index(entry.device) if entry.device else None
        fields = {
            "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
            "dst_len": int(length),
            "tos": entry.tos,
            "table": min(entry.table, 255),
            "proto": entry.protocol,
            "scope": entry.scope,
            "type": entry.kind,
            "flags": RTNH_F_ONLINK if entry.onlink and not entry.nexthop else 0,
        }
        attrs: List[Any] = [("RTA_TABLE", entry.table), ("RTA_DST", address)]
        if entry.nexthop:
            attrs.append(("RTA_NH_ID", entry.nexthop))
        elif entry.gateway:
            attrs.append(("RTA_GATEWAY", entry.gateway))
        if index and not entry.nexthop:
            attrs.append(("RTA_OIF", index))
        if entry.src:
            attrs.append(("RTA_PREFSRC", entry.src))
        if entry.metric:
            attrs.append(("RTA_PRIORITY", entry.metric))
        if op.after is None:
            return Message(RTM_DELROUTE, 0, rtmsg, fields, attrs)
        # Where there was none that we know of, one that is there all the same is somebody else's: ours goes before it, and
        # what is put back of others behind it.
        behind = 0 if entry.protocol == ROUTE_PROTOCOL else NLM_F_APPEND
        how = behind if op.before is None else NLM_F_REPLACE
        return Message(RTM_NEWROUTE, NLM_F_CREATE | how, rtmsg, fields, attrs)
