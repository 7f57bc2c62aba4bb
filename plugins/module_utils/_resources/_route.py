# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A route, and what it is in the kernel's messages. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass, field, replace
from typing import Any, List, Mapping, Optional, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _raw
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    Message,
    ifaddrmsg,
    read_attributes,
    rtmsg,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Entry, Key, Op, make_entry
from ansible_collections.agentless.overlay.plugins.module_utils._marks import ROUTE_PROTOCOL
from ansible_collections.agentless.overlay.plugins.module_utils._resources._onlink import RTNH_F_ONLINK

TABLE_MAIN = 254
RTN_UNICAST = 1
_KINDS = {2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}
RTM_F_CLONED, RTM_F_PREFIX = 0x200, 0x800
REDIRECT, KERNEL, RA = 1, 2, 9
AUTOMATIC = (REDIRECT, KERNEL, RA)
# What the kernel gives an IPv6 route that asks for none (IP6_RT_PRIO_USER).
METRIC6 = 1024
ATTRIBUTES = (
    *("RTA_TABLE", "RTA_DST", "RTA_OIF", "RTA_GATEWAY", "RTA_PREFSRC", "RTA_PRIORITY"),
    *("RTA_MULTIPATH", "RTA_NH_ID", "RTA_CACHEINFO", "RTA_METRICS"),
)
_PROTOCOLS = {REDIRECT: "redirect", KERNEL: "kernel", 3: "boot", 4: "static", RA: "ra"}
# struct rtmsg: of whom, lengths, TOS, table, protocol, scope, type, flags.
_HEADER = struct.Struct("=8BI")
_OIF, _GATEWAY, _MULTIPATH, _CACHEINFO, _VIA, _ENCAP_TYPE, _ENCAP, _EXPIRES = 4, 5, 9, 12, 18, 21, 22, 23
# What a nexthop object stands for, which the kernel tells beside its number and does not take so.
_OF_NEXTHOP = (_OIF, _GATEWAY, _MULTIPATH, _VIA, _ENCAP_TYPE, _ENCAP)
# struct rtnexthop: length, flags, weight, device.
_HOP = struct.Struct("=HBBi")
_RTNH_F_PERVASIVE = 2
_HERTZ = 100


@dataclass(frozen=True)
class Route(Entry):
    """A route; C(device) is None where the gateway alone decides, and for one found with several next hops.

    Ours are unicast, of our protocol, and no more than is here. Of others also what is not here comes back, as C(raw).
    """

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
    # Of others all of it as it was found, and in how many seconds the kernel takes it away.
    raw: bytes = b""
    expires: int = field(default=0, compare=False)
    # The devices that it leads over, where it has several next hops or a group of them, and whether it has them itself.
    over: Tuple[str, ...] = field(default=(), compare=False)
    several: bool = False
    # How many that are like it in all that is here the kernel has before it.
    twin: int = 0
    # Whether it is to be put before all others of its slot (1) or behind them (-1); else ours goes before, others' behind.
    place: int = field(default=0, compare=False)
    # The device whose address is its source, where that is one of those that are shaken: it goes with that address.
    leans: str = field(default="", compare=False)
    # On a device of ours, from a router advertisement that somebody sent there; or trailing after an address that goes.
    leftover: bool = field(default=False, compare=False)
    trailing: bool = field(default=False, compare=False)

    @property
    def slot(self) -> Key:
        """What one of ours takes up: the kernel would have to choose between it and another one there."""
        return (self.table, self.dst, self.tos, self.metric)

    @property
    def automatic(self) -> bool:
        """Whether the kernel makes it by itself, with an address, a device or a router advertisement: never ours to make."""
        return self.protocol in AUTOMATIC

    @property
    def ours(self) -> bool:
        """Whether it is of a kind that we make."""
        return self.protocol == ROUTE_PROTOCOL and self.kind == RTN_UNICAST and not self.several

    @property
    def key(self) -> Key:
        # Of one slot the kernel keeps several, as fe80::/64 of each device. Ours is one, so that its move to another device or
        # gateway is one replacement.
        if self.ours and not self.twin:
            return (self.table, self.dst, self.tos, self.metric)
        identity = (self.device, self.gateway, self.nexthop, self.kind, self.protocol, self.scope, self.src)
        return (*self.slot, *identity, self.twin)

    @property
    def devices(self) -> Tuple[str, ...]:
        """Those that it leads over."""
        return self.over or ((self.device,) if self.device else ())

    @property
    def label(self) -> str:
        return self.dst

    def same(self, wanted: Route) -> bool:
        return self == (wanted if wanted.device else replace(wanted, device=self.device))

    def __str__(self) -> str:
        text = self.dst if self.kind == RTN_UNICAST else "%s %s" % (_KINDS.get(self.kind, self.kind), self.dst)
        if self.gateway:
            text += " via %s" % self.gateway
        if self.device:
            text += " dev %s" % self.device
        text += " proto %s" % _PROTOCOLS.get(self.protocol, self.protocol)
        if self.src:
            text += " src %s" % self.src
        if self.metric and not (self.metric == METRIC6 and ":" in self.dst):
            text += " metric %d" % self.metric
        if self.table != TABLE_MAIN:
            text += " table %d" % self.table
        if self.several:
            text += " with next hops over %s" % ", ".join(self.over)
        if self.nexthop:
            text += " nhid %d" % self.nexthop
        return text + (" onlink" if self.onlink else "")


def find_slot(row: Mapping[str, Any]) -> Key:
    """The slot of a row of a dump."""
    anywhere = "::" if row["family"] == socket.AF_INET6 else "0.0.0.0"
    dst = "%s/%d" % (row.get("RTA_DST", anywhere), row["dst_len"])
    return (row.get("RTA_TABLE", row["table"]), dst, row["tos"], row.get("RTA_PRIORITY", 0))


def list_devices_over(host: Host, row: Mapping[str, Any]) -> Tuple[str, ...]:
    """The devices that a row of a dump leads over."""
    number = row.get("RTA_NH_ID", 0)
    if number in host.nexthops:
        return host.nexthops[number][0]
    if "RTA_MULTIPATH" in row:
        return tuple([host.name(index) for index in list_hop_indexes(row)])
    return (host.name(row["RTA_OIF"]),) if row.get("RTA_OIF") else ()


def decode_route(host: Host, row: Mapping[str, Any]) -> Route:
    """The route that a row of a dump tells of."""
    table, dst, tos, metric = find_slot(row)
    index, number = row.get("RTA_OIF"), row.get("RTA_NH_ID", 0)
    gateway, onlink = row.get("RTA_GATEWAY"), bool(row["flags"] & RTNH_F_ONLINK)
    several = "RTA_MULTIPATH" in row
    device = host.name(index) if index else None
    over: Tuple[str, ...] = ()
    if several or number in host.nexthops:
        over = list_devices_over(host, row)
        device = over[0] if len(set(over)) == 1 else None
        # The kernel tells them too, unless net.ipv4.nexthop_compat_mode is off.
        _over, gateway, onlink = host.nexthops.get(number, ((), None, False))
    route = make_entry(
        Route,
        dst=dst,
        device=device or None,
        gateway=gateway or None,
        onlink=onlink,
        src=row.get("RTA_PREFSRC"),
        metric=metric,
        table=table,
        protocol=row["proto"],
        scope=row["scope"],
        tos=tos,
        kind=row["type"],
        nexthop=number,
        over=over if len(over) > 1 else (),
        several=several and not number,
        twin=0,
    )
    # Ours have no metrics of their own, but somebody may have given them some.
    return (
        route
        if route.ours and "RTA_METRICS" not in row
        else replace(route, raw=_copy_route(row["raw"], bool(number)), expires=find_expiry(row))
    )


def find_expiry(row: Mapping[str, Any]) -> int:
    """The seconds that the kernel leaves it, or 0 for ever."""
    if "RTA_CACHEINFO" not in row:
        return 0
    # rta_clntref, rta_lastuse, rta_expires
    left = int(struct.unpack_from("=IIi", row["RTA_CACHEINFO"])[2])
    return max(1, -(-left // _HERTZ)) if left else 0


def list_hop_indexes(row: Mapping[str, Any]) -> List[int]:
    """The interface indexes of a row's several next hops."""
    return [
        _HOP.unpack_from(hop)[3]
        for hop in _split_hops(_raw.get_attribute(_raw.split_message(row["raw"], _HEADER.size)[1], _MULTIPATH))
    ]


def _split_hops(data: bytes) -> List[bytes]:
    found, offset = [], 0
    while offset + _HOP.size <= len(data):
        length = max(_HOP.size, (_HOP.unpack_from(data, offset)[0] + 3) & ~3)
        found.append(data[offset : offset + length])
        offset += length
    return found


def _copy_route(raw: bytes, by_number: bool) -> bytes:
    """What a dump told of a route, as the kernel takes it."""
    head, attrs = _raw.split_message(raw, _HEADER.size)
    fields = _HEADER.unpack(head)
    # Whether it is dead, offloaded and so on is the kernel's to say.
    flags = 0 if by_number else fields[8] & (RTNH_F_ONLINK | _RTNH_F_PERVASIVE)
    attrs = _raw.drop_attributes(attrs, (_CACHEINFO, _EXPIRES, *(_OF_NEXTHOP if by_number else ())))
    hops = b"".join(
        bytes([*hop[:2], hop[2] & (RTNH_F_ONLINK | _RTNH_F_PERVASIVE), *hop[3:]])
        for hop in _split_hops(_raw.get_attribute(attrs, _MULTIPATH))
    )
    return _raw.join_message(_HEADER.pack(*fields[:8], flags), _raw.set_attribute(attrs, _MULTIPATH, hops))


def encode_route(host: Host, op: Op[Route]) -> Message:
    """The message that carries an operation out."""
    entry = op.entry
    kind = RTM_DELROUTE if op.after is None else RTM_NEWROUTE
    flags = 0
    if op.after is not None:
        # Of IPv4 the kernel puts a new one before the others, unless it is appended.
        how = 0 if entry.place > 0 or entry.ours and not entry.place else NLM_F_APPEND
        flags = NLM_F_CREATE | (NLM_F_REPLACE if op.before is not None else how)
    index = host.index(entry.device) if entry.device else None
    if entry.raw:
        head, told = _raw.split_message(entry.raw, _HEADER.size)
        told = _raw.set_attribute(told, _OIF, struct.pack("=I", index or 0))
        if entry.expires and op.after is not None:
            told.append((_EXPIRES, struct.pack("=I", entry.expires)))
        return Message(kind, flags, None, raw=_raw.join_message(head, told))
    address, length = entry.dst.split("/")
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
    return Message(kind, flags, rtmsg, fields, attrs)


@dataclass
class Advertised:
    """Which routes a router advertisement left on a device of ours; asks only where a route may be one, without host never."""

    host: Optional[Host]
    # The devices of which others' addresses go: with one that has a lifetime the kernel lets its network's route stay.
    readdressed: Set[str]
    # The addresses that shall be there: the route of the network of one is the kernel's, whatever time it has.
    addresses: Set[str]
    _prefixes: Optional[Set[Tuple[str, int]]] = None

    def may_be(self, row: Mapping[str, Any]) -> bool:
        """Whether a row may be one, as far as it tells itself."""
        if self.host is None or row["family"] != socket.AF_INET6 or row["proto"] not in (RA, KERNEL):
            return False
        return bool(row.get("RTA_OIF")) and not row.get("RTA_DST", "").startswith(("fe80:", "ff"))

    def left(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of a dump is one."""
        if self.host is None or not self.may_be(row) or not self.host.carries_mark(row["RTA_OIF"]):
            return False
        if self.by_router(row):
            return True
        # The network of an address with a lifetime has it too, and while that is there nobody announced it.
        device = self.host.name(row["RTA_OIF"])
        if not find_expiry(row) or self._is_wished(row):
            return False
        return device in self.readdressed or not self._is_own(self.host, row)

    def by_router(self, row: Mapping[str, Any]) -> bool:
        """Whether one that is left tells of a router; else it is of an address that is gone, or is to go."""
        return self.host is not None and (
            row["proto"] == RA or (find_slot(row)[1], row["RTA_OIF"]) in self._announced(self.host)
        )

    def _is_wished(self, row: Mapping[str, Any]) -> bool:
        network = ipaddress.ip_network(find_slot(row)[1])
        return any(ipaddress.ip_address(one) in network for one in self.addresses)

    @staticmethod
    def _is_own(host: Host, row: Mapping[str, Any]) -> bool:
        network = ipaddress.ip_network(find_slot(row)[1])
        request = Message(RTM_GETADDR, 0, ifaddrmsg, {"family": row["family"], "index": row["RTA_OIF"]})
        addresses = [read_attributes(one).get("IFA_ADDRESS") for one in host.session.dump(request)]
        return any(ipaddress.ip_address(one) in network for one in addresses if one)

    def _announced(self, host: Host) -> Set[Tuple[str, int]]:
        """The networks that were announced as being on a wire; for ever, some of them, and then nothing else tells."""
        if self._prefixes is None:
            fields = {"family": socket.AF_INET6, "flags": RTM_F_PREFIX, "table": TABLE_MAIN}
            request = Message(RTM_GETROUTE, 0, rtmsg, fields, [("RTA_TABLE", TABLE_MAIN)])
            self._prefixes = {(find_slot(row)[1], row.get("RTA_OIF", 0)) for row in host.session.rows(request, ATTRIBUTES)}
        return self._prefixes
