# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bridges that we make: of networks at layer 2, whose vxlan device is a port, and by hand. PRIVATE to the collection.

Docker takes over a bridge that it finds under the name of one of its networks, and leaves it when it removes the network.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple, cast

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _netlink
from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import (
    Bounds,
    parse_device_name,
    parse_mac,
    require_range,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import Message, NetlinkError
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Coming,
    Effects,
    Failure,
    Key,
    Op,
    Options,
    OverlayError,
    Resource,
    Spec,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import attempt_command, list_make_commands
from ansible_collections.agentless.overlay.plugins.module_utils._marks import MARK
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _kept, _ports, _ra, _settings
from ansible_collections.agentless.overlay.plugins.module_utils._resources._addresses import leave_groups
from ansible_collections.agentless.overlay.plugins.module_utils._resources._ownership import (
    Device,
    DeviceSpec,
    give_up_devices,
    list_strangers,
    list_wrong_kinds,
    make_device,
    remember_aliases,
)
from ansible_collections.agentless.overlay.plugins.module_utils._resources._standing import list_affected, list_dependents

_IFF_UP = 1
# What a report does not show: it is others', or is the name.
_HIDDEN = ("name", "ports", "options", "kept")
_BOUNDS: Bounds = {"mtu": (68, 65535)}


@dataclass(frozen=True)
class Bridge(Device):
    """A bridge; what is None is not asked for. Without a MAC of its own it takes that of a port."""

    name: str
    mac: Optional[str] = None
    mtu: Optional[int] = None
    alias: Optional[str] = None
    up: bool = True
    # Whether it takes router advertisements, and addresses from them; None, as found, for a bridge without IPv6.
    accept_ra: Optional[int] = None
    autoconf: Optional[int] = None
    # As found: an interface index, which a bridge that is put back gets again.
    index: int = field(default=0, compare=False)
    mtu6: Optional[int] = field(default=None, compare=False)
    # As found, of one that is to go: what hangs on it, and what is set on it, as on a bridge and as on any device.
    ports: Tuple[_ports.Port, ...] = ()
    options: _ports.Values = ()
    kept: Optional[_kept.Kept] = None

    @property
    def key(self) -> Key:
        return (self.name,)

    def same(self, wanted: Bridge) -> bool:
        settings = {
            name: getattr(self, name)
            for name in _ra.OPTIONS
            if not _ra.is_ra_different(getattr(self, name), getattr(wanted, name))
        }
        return self == replace(wanted.over(self), **settings)

    def over(self, found: Bridge) -> Bridge:
        """It as it shall be, where what is not asked for stays as it was found."""
        settings = {name: getattr(found if getattr(self, name) is None else self, name) for name in _ra.OPTIONS}
        return replace(
            found,
            mac=self.mac or found.mac,
            mtu=self.mtu or found.mtu,
            alias=self.alias or found.alias,
            up=self.up,
            **settings,
        )

    def lines(self) -> List[str]:
        shown = [(one.name, getattr(self, one.name)) for one in fields(self) if one.compare and one.name not in _HIDDEN]
        return [
            "%s %s %s" % (self.name, name, str(value).lower() if isinstance(value, bool) else value)
            for name, value in shown
            if value is not None
        ]

    def __str__(self) -> str:
        return self.name


_OPTIONS: Options = {
    "name": {"type": "str", "required": True},
    "mac": {"type": "str"},
    "mtu": {"type": "int"},
    "alias": {"type": "str"},
    **_ra.SPEC,
    "addresses": {"type": "list", "elements": "str"},
    "adopt": {"type": "bool"},
}


class Bridges(Resource[Bridge]):
    name = section = "bridge"
    shakes = True
    options = _OPTIONS

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Bridge]:
        spec: DeviceSpec[Bridge] = DeviceSpec(purge_owned=self.section in sections, kind="bridge")
        for item in sections.get(self.section, ()):
            settings: Dict[str, Any] = {name: item.get(name) for name in _ra.OPTIONS}
            name = parse_device_name(self.name, item)
            require_range(self.name, item, "name", _BOUNDS)
            entry = Bridge(name, parse_mac(self.name, item, "mac"), item.get("mtu"), item.get("alias"), **settings)
            spec.adopted |= {entry.name} if item.get("adopt") else set()
            spec.add(entry, "present", self.name)
        return spec

    def reach_back(self, spec: Spec[Bridge], devices: Set[str], snapshot: Mapping[Key, Bridge], keys: Set[Key]) -> Set[str]:
        return {entry.name for entry in snapshot.values() if entry.options}

    def shaken(self, effects: Effects) -> Set[str]:
        return effects.removed & effects.bridges

    def effects(self, ops: Sequence[Op[Bridge]]) -> Effects:
        effects = Effects(bridges={op.entry.name for op in ops}, made={op.entry.name for op in ops if op.after is not None})
        for op in ops:
            if op.after is None:
                effects.removed.add(op.entry.name)
            elif op.before is not None:
                effects.add_change(op.entry.name, op.before, op.after)
        return effects

    def impact(self, op: Op[Bridge], coming: Coming) -> Tuple[str, str]:
        if op.after is not None:
            return "", ""
        return "packets of all containers on %s" % op.entry.name, "there is such a bridge again"

    def read(self, host: Host, spec: Spec[Bridge], devices: Set[str]) -> Dict[Key, Bridge]:
        if not spec.purge_owned:
            return {}
        found: Dict[Key, Bridge] = {}
        kind = [("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "bridge")]})]
        for msg in host.session.dump(Message(_netlink.RTM_GETLINK, 0, _netlink.ifinfmsg, {}, kind)):
            attrs = _netlink.read_attributes(msg)
            name, alias = attrs["IFLA_IFNAME"], attrs.get("IFLA_IFALIAS")
            if (name,) not in spec.present and not (alias or "").startswith(MARK):
                continue
            host.indexes[name] = msg["index"]
            host.aliases.setdefault(msg["index"], alias or "")
            entry = Bridge(
                name,
                attrs["IFLA_ADDRESS"],
                attrs["IFLA_MTU"],
                alias,
                bool(msg["flags"] & _IFF_UP),
                index=msg["index"],
                mtu6=_settings.read_mtu6(name),
                ports=_ports.read_ports(host, msg["index"]) if name in devices else (),
                options=_ports.read_bridge_options(host, msg["index"]) if name in devices else (),
                kept=_kept.read_kept(host, name, msg["index"], master=True) if name in devices else None,
                **_ra.read_ra_settings(name),
            )
            found[entry.key] = entry
        return found

    def obstacles(
        self, host: Host, spec: Spec[Bridge], found: Mapping[Key, Bridge], wanted: Mapping[Key, Bridge]
    ) -> Iterable[str]:
        yield from list_wrong_kinds(host, self.name, {key[0] for key in spec.present}, found, "bridge")
        yield from list_strangers(self.name, spec, found, cast("DeviceSpec[Bridge]", spec).adopted)
        yield from list_affected(host, self.name, found, wanted)

    def hindrances(self, host: Host, effects: Effects, found: Mapping[Key, Bridge]) -> Iterable[str]:
        return list_dependents(host, self.name, effects, {bridge.name: bridge.index for bridge in found.values()})

    def settle(self, found: Mapping[Key, Bridge], spec: Spec[Bridge]) -> Dict[Key, Bridge]:
        return give_up_devices(found, super().settle(found, remember_aliases(found, spec)), spec)

    def merge(self, found: Optional[Bridge], entry: Bridge) -> Bridge:
        return entry if found is None else entry.over(found)

    def extra(self, entry: Bridge, spec: Spec[Bridge]) -> bool:
        return spec.purge_owned and entry.owned

    def show(self, op: Op[Bridge]) -> Tuple[List[str], List[str]]:
        before, after = super().show(op)
        if op.before is None or op.after is None:
            return before, after
        return [line for line in before if line not in after], [line for line in after if line not in before]

    def apply(self, host: Host, ops: Sequence[Op[Bridge]]) -> List[Failure]:
        for op in ops:
            try:
                self._apply(host, op)
            except (NetlinkError, OverlayError, OSError) as error:
                return [Failure(op, str(error))]
        return []

    def shell(self, entries: Iterable[Bridge]) -> List[str]:
        lines: List[str] = []
        for entry in entries:
            change = ["ip", "link", "set", "dev", entry.name]
            mac = ["address", entry.mac] if entry.mac else []
            lines += list_make_commands(entry.name, entry.alias, ["ip", "link", "add", entry.name, *mac, "type", "bridge"])
            settings = ["mtu", str(entry.mtu)] if entry.mtu else []
            # The MTU decides whether there is IPv6, and that whether it takes router advertisements.
            lines += [attempt_command([*change, *settings])] if settings else []
            lines += [*_ra.list_ra_commands(entry.name, entry), attempt_command([*change, "up"])]
        return lines

    @staticmethod
    def _apply(host: Host, op: Op[Bridge]) -> None:
        entry = op.entry
        if op.after is None:
            leave_groups(host, host.index(entry.name) or 0)
            host.session.write_one(Message(_netlink.RTM_DELLINK, 0, _netlink.ifinfmsg, {"index": host.index(entry.name)}))
            host.indexes[entry.name] = None
            return
        if op.before is None:
            mac = [("IFLA_ADDRESS", entry.mac)] if entry.mac else []
            make_device(host, entry, entry.index, [("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "bridge")]}), *mac])
        # The same MAC once more would take the neighbours along as well as another one.
        same = op.before is None or op.before.mac == entry.mac
        attrs: List[Any] = [("IFLA_ADDRESS", entry.mac)] if entry.mac and not same else []
        # Of one that is there: only an MTU that is changed stays when the last port goes (br_change_mtu).
        attrs += [("IFLA_MTU", entry.mtu)] if entry.mtu else []
        if op.before is not None and op.before.alias != entry.alias:
            # Taken away only in an undo.
            attrs.append(("IFLA_IFALIAS", entry.alias or ""))
        index = host.index(entry.name) or 0
        if attrs:
            host.session.write_one(Message(_netlink.RTM_NEWLINK, 0, _netlink.ifinfmsg, {"index": index}, attrs))
            _settings.keep_mtu6(host, entry.name, op.before, entry)
        if entry.kept is not None:
            _kept.put_kept(host, entry.name, entry.kept)
        # Before it is up, and after an MTU that brings IPv6, with the kernel's own settings.
        _ra.write_ra_settings(entry.name, entry, op.before)
        state = {"flags": _IFF_UP if entry.up else 0, "change": _IFF_UP, "index": index}
        host.session.write_one(Message(_netlink.RTM_NEWLINK, 0, _netlink.ifinfmsg, state))
        if entry.kept is not None:
            _kept.put_again(entry.name, entry.kept)
        if entry.options:
            _ports.put_options(host, index, entry.options)
            _ports.put_ports(host, entry.name, entry.ports)
