# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes to the peers' subnets. PRIVATE to the collection."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple, cast

from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import (
    Bounds,
    OnDevice,
    join_few,
    list_items,
    parse_address,
    parse_network,
    require_one_family,
    require_range,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    RTM_GETROUTE,
    Message,
    NetlinkError,
    rtmsg,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._options import STATE, make_bulk_spec
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Coming,
    Effects,
    Failure,
    Key,
    Op,
    Options,
    Spec,
    collect_devices,
    make_entry,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import batch_commands
from ansible_collections.agentless.overlay.plugins.module_utils._marks import ROUTE_PROTOCOL
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _onlink
from ansible_collections.agentless.overlay.plugins.module_utils._resources._nexthops import Numbers
from ansible_collections.agentless.overlay.plugins.module_utils._resources._route import (
    ATTRIBUTES,
    AUTOMATIC,
    KERNEL,
    METRIC6,
    RTM_F_CLONED,
    RTN_UNICAST,
    TABLE_MAIN,
    Advertised,
    Route,
    decode_route,
    encode_route,
    find_slot,
    list_hop_indexes,
)
from ansible_collections.agentless.overlay.plugins.module_utils._resources._slots import (
    group_by_slot,
    join_slots,
    order_additions,
)
from ansible_collections.agentless.overlay.plugins.module_utils._resources._sources import (
    find_source_device,
    list_routes_without,
    read_source_addresses,
)

__all__ = ["TABLE_MAIN", "Route", "Routes"]
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass
class RouteSpec(Spec[Route]):
    """And in which tables ours are, and where somebody else's route may be replaced."""

    tables: Set[int] = field(default_factory=lambda: {TABLE_MAIN})
    adopt: Set[Key] = field(default_factory=set)
    # The devices whose addresses are all ours, so that others' go, and leave the routes of their networks for a while.
    readdressed: Set[str] = field(default_factory=set)
    # The addresses that shall be there, on any device.
    addresses: Set[str] = field(default_factory=set)


def _find_slot_obstacle(found: Route, adopted: bool) -> str:
    """Why what stands where one of ours shall be can neither be replaced nor be beside it; empty where it can."""
    if found.several:
        return (
            "route_entry: %s is a route with several next hops that somebody else made. Remove it first: "
            "replacing it could not be undone" % found.dst
        )
    if found.protocol == KERNEL:
        return (
            "route_entry: %s is this host's own directly connected network (%s): a local network overlaps "
            "the peer's subnet. Remove the local network or give the peer another subnet" % (found.dst, found)
        )
    if found.automatic:
        return (
            "route_entry: a router of this host's own network leads to %s (%s), and would again after a removal. "
            "Give the peer another subnet" % (found.dst, found)
        )
    if not adopted:
        return (
            "route_entry: somebody else has a route to %s (%s), and it is not ours to take away. Remove it, give the peer "
            "another subnet, or set adopt: true on the entry (variable overlay_adopt) to have it replaced" % (found.dst, found)
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
    "adopt": {"type": "bool"},
    **STATE,
}
_BOUNDS: Bounds = {"metric": (0, (1 << 32) - 1), "table": (1, (1 << 32) - 1)}
_OPTIONS, _RULES = make_bulk_spec(_ROUTE, "dst", more={"nexthops": {"type": "str", "choices": ["auto", "always", "never"]}})


class Routes(OnDevice[Route]):
    name = section = "route_entry"
    atomic = True
    remedies = {"ENETUNREACH": "the gateway is not reachable through the device: set onlink: true"}
    options = _OPTIONS
    alone = True
    nothing = ({"entries": [], "purge": True},)
    rules = _RULES

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Route]:
        spec = RouteSpec()
        for part in sections.get(self.section, ()):
            # With no device named, everything that carries our protocol is in reach.
            spec.purge_owned = spec.purge_owned or bool(part.get("purge") and not part.get("device"))
        reach: Spec[Route] = Spec()
        numbers, adopts = Numbers(), [False]

        def begin(part: Mapping[str, Any]) -> None:
            adopts[0] = bool(part.get("adopt"))
            numbers.begin(part)

        for item, state in list_items(sections, self.section, reach, "gateway", begin):
            dst, gateway = parse_network(self.name, item, "dst"), parse_address(self.name, item, "gateway")
            onlink = bool(item.get("onlink"))
            src = parse_address(self.name, item, "src") if item.get("src") else None
            require_range(self.name, item, "dst", _BOUNDS)
            if src or (":" in (gateway or "")) != (":" in dst):
                require_one_family(self.name, item, "dst", "gateway", "src")
            entry = make_entry(
                Route,
                dst=dst,
                device=item["device"],
                gateway=gateway,
                onlink=onlink,
                src=src,
                metric=item.get("metric") or (METRIC6 if ":" in dst else 0),
                table=item.get("table") or TABLE_MAIN,
                # Without a gateway the kernel asks for link scope, as iproute2 does.
                scope=0 if gateway or ":" in dst else 253,
                nexthop=numbers.of(item["device"], gateway, onlink) if state == "present" else 0,
                # As by default, and asked for often.
                protocol=ROUTE_PROTOCOL,
                kind=RTN_UNICAST,
                several=False,
                twin=0,
            )
            spec.add(entry, state, self.name)
            spec.tables.add(entry.table)
            if item.get("adopt") or adopts[0]:
                spec.adopt.add(entry.key)
        spec.purge_devices = reach.purge_devices
        return spec

    def derive(self, spec: Spec[Route], specs: Mapping[str, Spec[Any]]) -> None:
        more = cast(RouteSpec, spec)
        more.readdressed = specs["address"].purge_devices
        more.addresses = {entry.address.partition("/")[0] for entry in specs["address"].present.values()}

    def reach(self, spec: Spec[Route], devices: Set[str]) -> Set[str]:
        # Its own are found by their slots and their protocol: what is asked for besides is what others have on devices that
        # are shaken.
        return set()

    def reach_back(self, spec: Spec[Route], devices: Set[str], snapshot: Mapping[Key, Route], keys: Set[Key]) -> Set[str]:
        return devices.union(*(entry.devices for entry in snapshot.values() if not entry.ours), collect_devices(snapshot))

    def read(self, host: Host, spec: Spec[Route], devices: Set[str]) -> Dict[Key, Route]:
        view = _View(host, cast(RouteSpec, spec), {host.index(device) for device in devices} - {None}, devices)
        found: Dict[Key, Route] = {}
        for row in view.rows():
            leftover = view.advertised.left(row)
            if not leftover and view.advertised.may_be(row) and not view.matters(row):
                continue
            entry = decode_route(host, row)
            over = find_source_device(row, view.sources)
            if leftover or over:
                entry = replace(entry, leftover=leftover, leans=over, trailing=leftover and not view.advertised.by_router(row))
            key = entry.key
            while key in found:
                entry = replace(entry, twin=entry.twin + 1)
                key = entry.key
            found[key] = entry
        return found

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
        adopt = cast(RouteSpec, spec).adopt
        in_slot = [one for key, one in found.items() if not one.ours and one.slot in spec.present and not one.leftover]
        # What the kernel has behind ours today, it may have before ours tomorrow.
        standing = [one for one in in_slot if one.automatic or one.key not in wanted]
        texts = [text for text in (_find_slot_obstacle(one, one.slot in adopt) for one in standing) if text]
        more = cast(RouteSpec, spec)
        return join_few([*texts, *list_routes_without(host, more.readdressed, more.addresses)])

    def hindrances(self, host: Host, effects: Effects, found: Mapping[Key, Route]) -> Iterable[str]:
        gone = effects.lost | effects.removed
        text = "route_entry: %s is a route of somebody else's (%s) %s. Remove it first, and make it again afterwards"
        for entry in found.values():
            if entry.several and not gone.isdisjoint(entry.over):
                yield text % (entry.dst, entry, "of which a next hop would go with %s" % min(gone & set(entry.over)))
            # Of IPv6 the kernel takes only the source out of it.
            elif (
                not entry.ours
                and gone.isdisjoint(entry.devices)
                and entry.leans in (gone if ":" in entry.dst else effects.removed)
            ):
                yield text % (entry.dst, entry, "whose source is an address that goes with %s" % entry.leans)
        left, slots = self.surviving(found, effects), group_by_slot(found.values())
        for entries in slots.values():
            stays = [number for number, entry in enumerate(entries) if entry.key in left]
            for number, entry in enumerate(entries):
                if not stays or entry.key in left or effects.lost.isdisjoint(entry.devices) or number > stays[-1]:
                    continue
                # Of IPv6 nothing can be put before what is there, of IPv4 nothing between.
                if ":" in entry.dst or number > stays[0]:
                    yield text % (
                        entry.dst,
                        entry,
                        "before that over %s, where it cannot be put back" % entries[stays[-1]].device,
                    )

    def surviving(self, found: Mapping[Key, Route], effects: Effects) -> Dict[Key, Route]:
        return {key: entry for key, entry in found.items() if _survives(entry, effects)}

    def diff(self, found: Mapping[Key, Route], wanted: Mapping[Key, Route]) -> List[Op[Route]]:
        # What the kernel made comes back by itself, or for a good reason does not.
        ops = [op for op in super().diff(found, wanted) if op.after is None or not op.after.automatic or op.after.trailing]
        return order_additions(join_slots(ops), wanted) if ops else ops

    def owned(self, entry: Route) -> bool:
        return entry.ours

    def extra(self, entry: Route, spec: Spec[Route]) -> bool:
        if not entry.ours or entry.table not in cast(RouteSpec, spec).tables:
            return entry.leftover
        return spec.purge_owned or super().extra(entry, spec)

    def forgo(self, op: Op[Route]) -> List[str]:
        if op.after is not None or not op.entry.leftover or op.entry.trailing:
            return []
        return ["route_entry: %s stays away, which a router advertisement on a device of ours had made" % op.entry]

    def impact(self, op: Op[Route], coming: Coming) -> Tuple[str, str]:
        entry = op.entry
        if op.after is not None or entry.leftover or coming and (self.name, entry.label) in coming:
            return "", ""
        return "packets to %s" % entry.dst, "there is a route again"

    def excuses(self, op: Op[Route], error: NetlinkError) -> bool:
        if op.after is None and op.entry.automatic and error.code == errno.ESRCH:
            # Its time was up.
            return True
        # Who took somebody else's route away with a device need not be the first to put it back.
        return op.before is None and not self.owned(op.entry) and error.code == errno.EEXIST

    def shell(self, entries: Iterable[Route]) -> List[str]:
        # What the nexthop says already, the route must not say.
        plain = (replace(one, gateway=None, device=None, onlink=False) if one.nexthop else one for one in entries)
        return batch_commands("ip", ("route replace %s" % one for one in plain))

    def apply(self, host: Host, ops: Sequence[Op[Route]]) -> List[Failure]:
        return _onlink.apply_routes(host, ops, self.message, self.excuses)

    @staticmethod
    def message(host: Host, op: Op[Route]) -> Message:
        return encode_route(host, op)


def _survives(entry: Route, effects: Effects) -> bool:
    """Whether the kernel has it when devices have gone."""
    devices, gone = set(entry.devices), effects.lost | effects.removed
    if entry.leans in gone and ":" not in entry.dst:
        # Wherever it leads, with the address that is its source.
        return False
    if devices.isdisjoint(gone):
        return True
    if entry.several:
        # Of IPv4 all of it goes with one of its devices.
        return ":" in entry.dst
    # Of a group of nexthop objects the last one takes it along; for good, where a device of theirs goes for good.
    return not devices <= gone or bool(entry.over) and not effects.removed.isdisjoint(devices)


@dataclass
class _View:
    """Which rows of the kernel's tables are of interest: a few among what may be all routes of the Internet."""

    host: Host
    spec: RouteSpec
    # Of the devices that are shaken.
    indexes: Set[Optional[int]]
    devices: Set[str]
    slots: Set[Key] = field(default_factory=set)
    # In which there is something on such a device.
    shaken: Set[Key] = field(default_factory=set)
    # The addresses of such devices, with the name of theirs.
    sources: Dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.slots = set(self.spec.present) | self.spec.absent
        self.advertised = Advertised(self.host if self.spec.purge_owned else None, self.spec.readdressed, self.spec.addresses)
        self.sources = read_source_addresses(self.host, self.devices)

    def rows(self) -> List[Dict[str, Any]]:
        """The rows that count."""
        # What is on a device that is shaken may be in any table.
        tables = [0] if self.indexes else sorted(self.spec.tables)
        found = [row for table in tables for row in self._dump(table)]
        # With it, all that the kernel has in the same places: it comes back in its order.
        self.shaken = {find_slot(row) for row in found if self._is_on_shaken(row)} if self.indexes else set()
        return self._dump(0) if self.shaken else found

    def _dump(self, table: int) -> List[Dict[str, Any]]:
        # A purge finds what is ours in both families, whatever is listed.
        versions = {":" in slot[1] for slot in self.slots}
        both = self.indexes or self.spec.purge_owned or self.spec.purge_devices or len(versions) != 1
        family = socket.AF_UNSPEC if both else socket.AF_INET6 if True in versions else socket.AF_INET
        fields = {"family": family, "table": min(table, 255)}
        message = Message(RTM_GETROUTE, 0, rtmsg, fields, [("RTA_TABLE", table)] if table else [])
        return self.host.session.rows(message, ATTRIBUTES, lambda row: self._counts(row, table))

    def _counts(self, row: Mapping[str, Any], table: int) -> bool:
        # It asks nobody: the kernel is telling the next one.
        if row["family"] not in _FAMILIES or row["flags"] & RTM_F_CLONED:
            return False
        if table and row.get("RTA_TABLE", row["table"]) != table:
            return False
        return self.matters(row) or self.advertised.may_be(row)

    def matters(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is of interest, whoever made it."""
        if row["proto"] == ROUTE_PROTOCOL and row.get("RTA_TABLE", row["table"]) in self.spec.tables:
            return True
        # Not by protocol: somebody else's route to a destination of ours has to be seen.
        slot = find_slot(row)
        if slot in self.slots:
            return True
        if not self.indexes:
            return False
        # What the kernel made on a device it makes again with the next one.
        comes_back = row["proto"] in AUTOMATIC and row.get("RTA_OIF") in self.indexes
        return self._is_on_shaken(row) or slot in self.shaken and not comes_back

    def _is_on_shaken(self, row: Mapping[str, Any]) -> bool:
        if row["proto"] in AUTOMATIC:
            return False
        if row.get("RTA_OIF") in self.indexes or find_source_device(row, self.sources):
            return True
        over = self.host.nexthops.get(row.get("RTA_NH_ID", 0))
        if over is not None:
            return not self.devices.isdisjoint(over[0])
        return "RTA_MULTIPATH" in row and not self.indexes.isdisjoint(list_hop_indexes(row))
