# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes to the peers' subnets. PRIVATE to the collection."""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set

from ansible_collections.agentless.overlay.plugins.module_utils._entries import (
    OnDevice,
    address_of,
    listed,
    network_of,
)
from ansible_collections.agentless.overlay.plugins.module_utils._netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    Message,
    rtmsg,
)
from ansible_collections.agentless.overlay.plugins.module_utils._nexthops import RTNH_F_ONLINK, Numbers
from ansible_collections.agentless.overlay.plugins.module_utils._resource import (
    ROUTE_PROTOCOL,
    Entry,
    Host,
    Key,
    Op,
    OverlayError,
    Spec,
    devices_of,
)

TABLE_MAIN = 254
RTN_UNICAST = 1
RTM_F_CLONED = 0x200
_KERNEL = 2
# What the kernel gives an IPv6 route that asks for none (IP6_RT_PRIO_USER).
_METRIC6 = 1024
_ATTRIBUTES = (
    *("RTA_TABLE", "RTA_DST", "RTA_OIF", "RTA_GATEWAY", "RTA_PREFSRC", "RTA_PRIORITY"),
    *("RTA_MULTIPATH", "RTA_NH_ID"),
)
_PROTOCOLS = {_KERNEL: "kernel", 3: "boot", 4: "static"}


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

    @property
    def key(self) -> Key:
        return (self.table, self.dst, self.tos, self.metric)

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


class Routes(OnDevice[Route]):
    name = section = "route_entry"

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
        keys = set(spec.present) | spec.absent
        tables = {key[0] for key in keys} | {TABLE_MAIN}
        # A purge finds what is ours in both families, whatever is listed.
        versions = {":" in key[1] for key in keys}
        both = spec.purge_owned or spec.purge_devices or len(versions) != 1
        family = socket.AF_UNSPEC if both else socket.AF_INET6 if True in versions else socket.AF_INET
        found: Dict[Key, Route] = {}
        for table in sorted(tables):
            # Not by protocol: somebody else's route to a destination of ours has to be seen, to be replaced or refused.
            fields = {"family": family, "table": min(table, 255)}
            for row in host.session.rows(Message(RTM_GETROUTE, 0, rtmsg, fields, [("RTA_TABLE", table)]), _ATTRIBUTES):
                if row["family"] not in (socket.AF_INET, socket.AF_INET6) or row["flags"] & RTM_F_CLONED:
                    continue
                index = row.get("RTA_OIF")
                anywhere = "::" if row["family"] == socket.AF_INET6 else "0.0.0.0"
                dst = "%s/%d" % (row.get("RTA_DST", anywhere), row["dst_len"])
                key = (row.get("RTA_TABLE", row["table"]), dst, row["tos"], row.get("RTA_PRIORITY", 0))
                if key[0] != table or not (key in keys or row["proto"] == ROUTE_PROTOCOL or index in indexes):
                    continue
                number = row.get("RTA_NH_ID", 0)
                # The kernel tells them too, unless net.ipv4.nexthop_compat_mode is off.
                device, gateway, onlink = host.nexthops.get(number) or (
                    host.name(index) if index else None,
                    row.get("RTA_GATEWAY"),
                    bool(row["flags"] & RTNH_F_ONLINK),
                )
                found[key] = Route(
                    dst=dst,
                    device=device,
                    gateway=gateway,
                    onlink=onlink,
                    src=row.get("RTA_PREFSRC"),
                    metric=key[3],
                    table=table,
                    protocol=row["proto"],
                    scope=row["scope"],
                    tos=row["tos"],
                    kind=row["type"],
                    rest="multipath" if "RTA_MULTIPATH" in row else "",
                    nexthop=number,
                )
        return found

    def reach(self, spec: Spec[Route], devices: Set[str]) -> Set[str]:
        return devices_of(spec.present) | spec.purge_devices | devices

    def wanted(self, actual: Mapping[Key, Route], spec: Spec[Route]) -> Dict[Key, Route]:
        for key in spec.present:
            found = actual.get(key)
            if found is not None and found.rest:
                raise OverlayError(
                    "route_entry: %s is a route with several next hops that somebody else made. Remove it first: "
                    "replacing it could not be undone" % found.dst
                )
            if found is not None and found.protocol == _KERNEL:
                raise OverlayError(
                    "route_entry: %s is this host's own directly connected network (%s): a local network overlaps "
                    "the peer's subnet. Remove the local network or give the peer another subnet" % (found.dst, found)
                )
        return super().wanted(actual, spec)

    def owned(self, entry: Route) -> bool:
        return entry.protocol == ROUTE_PROTOCOL

    def extra(self, entry: Route, spec: Spec[Route]) -> bool:
        return self.owned(entry) and (spec.purge_owned or super().extra(entry, spec))

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
        return Message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, rtmsg, fields, attrs)
