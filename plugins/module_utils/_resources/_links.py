# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Vxlan devices. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import address_of, mac_of, need
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host, vxlan_data
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
    Message,
    NetlinkError,
    attributes,
    ifinfmsg,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._options import STATE, bulk
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Effects,
    Failure,
    Key,
    Op,
    Options,
    OverlayError,
    Resource,
    Spec,
)
from ansible_collections.agentless.overlay.plugins.module_utils._marks import MARK
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _ports, _ra
from ansible_collections.agentless.overlay.plugins.module_utils._resources._vxlan import (
    IFF_UP,
    Link,
    decode_link,
    encode_data,
    must_recreate,
    shell_lines,
)

DEFAULT_AGEING = 300  # FDB_AGE_DEFAULT
_UNTIL_PEERS = "each peer has been converged too"
MAX_NAME = 15  # IFNAMSIZ, less the byte that ends it


_LINK: Options = {
    "name": {"type": "str"},
    "vni": {"type": "int"},
    "port": {"type": "int"},
    "local": {"type": "str"},
    "remote": {"type": "str"},
    "group": {"type": "str"},
    "dev": {"type": "str"},
    "learning": {"type": "bool"},
    "ttl": {"type": "int"},
    "ttl_inherit": {"type": "bool"},
    "tos": {"type": "int"},
    "df": {"type": "str", "choices": ["unset", "set", "inherit"]},
    "flowlabel": {"type": "int"},
    "ageing": {"type": "int"},
    "maxaddress": {"type": "int"},
    "srcport_min": {"type": "int"},
    "srcport_max": {"type": "int"},
    "udpcsum": {"type": "bool"},
    "udp6zerocsumtx": {"type": "bool"},
    "udp6zerocsumrx": {"type": "bool"},
    "gbp": {"type": "bool"},
    "proxy": {"type": "bool"},
    "rsc": {"type": "bool"},
    "l2miss": {"type": "bool"},
    "l3miss": {"type": "bool"},
    "localbypass": {"type": "bool"},
    "mac": {"type": "str"},
    "mtu": {"type": "int"},
    "alias": {"type": "str"},
    "master": {"type": "str"},
    "neigh_suppress": {"type": "bool"},
    "up": {"type": "bool"},
    **_ra.SPEC,
    "addresses": {"type": "list", "elements": "str"},
    **STATE,
}
_SRCPORT = ["srcport_min", "srcport_max"]
_SRCPORT = ["srcport_min", "srcport_max"]
_OPTIONS, _RULES = bulk(_LINK, "name", {"mutually_exclusive": [["remote", "group"]], "required_together": [_SRCPORT]})


class Links(Resource[Link]):
    name = section = "vxlan_link"
    remedies = {
        "EEXIST": "another device of this host has the same VNI and port, or the name is taken: ip -d link show type vxlan",
        "EAFNOSUPPORT": "local and remote or group have to be of one family",
    }
    options = _OPTIONS
    alone = True
    nothing = ({"entries": [], "purge": True},)
    rules = _RULES

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Link]:
        spec: Spec[Link] = Spec()
        options = [option.name for option in fields(Link) if option.compare]
        for part in sections.get(self.section, ()):
            plain = part.get("entries") is None
            spec.purge_owned = spec.purge_owned or bool(part.get("purge"))
            for item in [part] if plain else part["entries"]:
                values = {name: item[name] for name in options if item.get(name) is not None}
                if item.get("group") is not None:
                    values["remote"] = item["group"]
                if item.get("srcport_min") is not None:
                    values["srcport"] = (item["srcport_min"], item["srcport_max"])
                if values.get("ageing") == 0:
                    # What the kernel takes it for, and tells.
                    values["ageing"] = DEFAULT_AGEING
                for option in ("local", "remote"):
                    if option in values:
                        values[option] = address_of(self.name, values, option)
                if "mac" in values:
                    values["mac"] = mac_of(self.name, values, "mac")
                state = item.get("state") or part.get("state") or "present"
                if not 0 < len(values["name"].encode()) <= MAX_NAME:
                    raise OverlayError(
                        "vxlan_link: %r is not a device name of at most %d characters" % (values["name"], MAX_NAME)
                    )
                need(self.name, item, "vni", values.get("vni"), state)
                if not 0 < values.get("vni", 1) < 1 << 24:
                    raise OverlayError("vxlan_link: %s: vni %d is not from 1 to 16777215" % (values["name"], values["vni"]))
                spec.add(Link(**values), state, self.name)
        return spec

    def devices(self, spec: Spec[Link]) -> Set[str]:
        return {key[0] for key in set(spec.present) | spec.absent}

    def reach(self, spec: Spec[Link], devices: Set[str]) -> Set[str]:
        return self.devices(spec)

    def reach_back(self, spec: Spec[Link], devices: Set[str], snapshot: Mapping[Key, Link], keys: Set[Key]) -> Set[str]:
        return {key[0] for key in keys | set(snapshot)}

    def shaken(self, effects: Effects) -> Set[str]:
        # A bridge that goes lets its ports go.
        return effects.removed & effects.bridges

    def read(self, host: Host, spec: Spec[Link], devices: Set[str]) -> Dict[Key, Link]:
        found: Dict[Key, Link] = {}
        links = []
        for device in sorted(devices):
            msg = host.session.get(Message(RTM_GETLINK, 0, ifinfmsg, {}, [("IFLA_IFNAME", device)]))
            host.indexes[device] = msg["index"] if msg is not None else None
            if msg is not None:
                links.append(msg)
        if spec.purge_owned:
            kind = [("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "vxlan")]})]
            seen = {msg["index"] for msg in links}
            for msg in host.session.dump(Message(RTM_GETLINK, 0, ifinfmsg, {}, kind)):
                attrs = attributes(msg)
                if msg["index"] not in seen and (attrs.get("IFLA_IFALIAS") or "").startswith(MARK):
                    links.append(msg)
                    host.indexes[attrs["IFLA_IFNAME"]] = msg["index"]
        for msg in links:
            link = decode_link(host, msg)
            if link is not None:
                found[link.key] = link
            elif (attributes(msg)["IFLA_IFNAME"],) in set(spec.present) | spec.absent and not host.rolling_back:
                raise OverlayError(
                    "vxlan_link: %s exists and is not a vxlan device. Remove it or choose another name"
                    % attributes(msg)["IFLA_IFNAME"]
                )
        return found

    def merge(self, found: Optional[Link], entry: Link) -> Link:
        if found is None:
            return entry
        # What counts as 0 because there is no IPv6 has to be so when a larger MTU brings it.
        given = [name for name in _ra.OPTIONS if getattr(entry, name) is not None]
        return replace(found, **{name: getattr(entry, name) for name in [*found.delta(entry), *given]})

    def extra(self, entry: Link, spec: Spec[Link]) -> bool:
        return spec.purge_owned and entry.owned

    def diff(self, actual: Mapping[Key, Link], wanted: Mapping[Key, Link]) -> List[Op[Link]]:
        ops = super().diff(actual, wanted)
        # Two devices cannot share VNI and port, so a device that takes over another's
        # cannot be made before the other is gone.
        taken = {(op.after.vni, op.after.port) for op in ops if op.after is not None}
        result = []
        for op in ops:
            if op.before is not None and op.after is not None:
                op = replace(op, recreate=must_recreate(op.before, op.after))
            elif op.before is not None and (op.before.vni, op.before.port) in taken:
                op = replace(op, early=True)
            result.append(op)
        return result

    def show(self, op: Op[Link]) -> Tuple[List[str], List[str]]:
        if op.before is None or op.after is None:
            return super().show(op)
        changed = op.before.delta(op.after)
        return (
            [line for option in changed for line in op.before.line(option)],
            [line for option in changed for line in op.after.line(option)],
        )

    def effects(self, ops: Sequence[Op[Link]]) -> Effects:
        effects = Effects(made={op.entry.name for op in ops if op.after is not None})
        for op in ops:
            if op.after is None:
                effects.removed.add(op.entry.name)
            elif op.recreate:
                effects.lost.add(op.entry.name)
            elif op.before is not None:
                effects.add_change(op.entry.name, op.before, op.after)
        return effects

    def impact(self, op: Op[Link], ops: Sequence[Op[Any]]) -> Tuple[str, str]:
        before, after = op.before, op.after
        if before is None or after is None:
            # Its routes say which packets.
            return "", ""
        both_ways = "packets over %s, both ways" % after.name
        if (before.vni, before.port) != (after.vni, after.port):
            return both_ways, _UNTIL_PEERS + "; parallel in overlay_networks avoids that"
        if op.recreate:
            return both_ways, "it is made again with all its entries, some milliseconds later"
        if before.mac != after.mac:
            return "packets over %s to this host" % after.name, _UNTIL_PEERS
        if before.local != after.local:
            return both_ways, _UNTIL_PEERS
        if before.up and not after.up:
            return both_ways, "it is up again"
        return "", ""

    def apply(self, host: Host, ops: Sequence[Op[Link]]) -> List[Failure]:
        for op in ops:
            try:
                self._apply(host, op)
            except (NetlinkError, OverlayError, OSError) as error:
                return [Failure(op, str(error))]
        return []

    def shell(self, entries: Iterable[Link]) -> List[str]:
        return [line for entry in entries for line in shell_lines(entry)]

    def _apply(self, host: Host, op: Op[Link]) -> None:
        name, link = op.entry.name, op.after
        # What is still to be set once the device is there, and what of it is vxlan's own.
        changed = op.before.delta(link) if op.before is not None and link is not None else []
        fresh = op.before is None or op.recreate
        # Before anything is removed: it may find that there is no such underlay device. Of a living
        # device only what differs: the kernel refuses the mere presence of the rest, and an MTU beside it.
        data = encode_data(host, link, None if fresh else changed) if link is not None else []
        info = [("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "vxlan"), ("IFLA_INFO_DATA", {"attrs": data})]})]
        if link is None or op.recreate:
            host.session.write_one(Message(RTM_DELLINK, 0, ifinfmsg, {"index": host.index(name)}))
            host.indexes[name] = None
        if link is None:
            return
        if fresh:
            attrs: List[Any] = [("IFLA_IFNAME", name), *info, *self._device(link, ("mac", "mtu"))]
            index = op.before.index if op.before is not None else link.index
            host.session.write_one(Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ifinfmsg, {"index": index}, attrs))
            del host.indexes[name]
            changed = ["alias", "up", "master", "neigh_suppress"]
        elif data:
            self._set(host, name, {}, info)
        attrs = self._device(link, changed)
        if "master" in changed and link.master is not None:
            master = host.index(link.master)
            if master is None:
                raise OverlayError("vxlan_link: %s: there is no bridge %s for master" % (name, link.master))
            attrs.append(("IFLA_MASTER", master))
        if op.before is not None and not fresh:
            # Only in an undo is something wanted that is not there.
            attrs += [("IFLA_MASTER", 0)] if op.before.master and not link.master else []
            attrs += [("IFLA_IFALIAS", "")] if op.before.alias and not link.alias else []
        if attrs:
            self._set(host, name, {}, attrs)
        if link.localbypass is False and (fresh or "localbypass" in changed):
            self._require_localbypass(host, name)
        # Before it is up, and after an MTU that brings IPv6, with the kernel's own settings.
        _ra.write_settings(name, link, op.before)
        if "up" in changed:
            self._set(host, name, {"flags": IFF_UP if link.up else 0, "change": IFF_UP}, [])
        if link.neigh_suppress is not None and ("neigh_suppress" in changed or "master" in changed):
            port = [("IFLA_BRPORT_NEIGH_SUPPRESS", int(link.neigh_suppress))]
            slave = [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", {"attrs": port})]
            self._set(host, name, {}, [("IFLA_LINKINFO", {"attrs": slave})])
        if fresh and link.master is not None:
            _ports.put_flags(host, host.index(name) or 0, link.port_flags)

    @staticmethod
    def _require_localbypass(host: Host, name: str) -> None:
        """A kernel passes over an option that it does not have, which would then be a difference for ever."""
        made = host.session.get(Message(RTM_GETLINK, 0, ifinfmsg, {"index": host.index(name)}))
        if made is not None and "IFLA_VXLAN_LOCALBYPASS" not in vxlan_data(made):
            raise OverlayError(
                "vxlan_link: %s: the kernel of this host cannot switch localbypass off, which Linux 6.5 and later can. "
                "Take localbypass out of the options of the device" % name
            )

    def _set(self, host: Host, name: str, flags: Dict[str, int], attrs: List[Any]) -> None:
        host.session.write_one(Message(RTM_NEWLINK, 0, ifinfmsg, dict(flags, index=host.index(name)), attrs))

    @staticmethod
    def _device(link: Link, options: Sequence[str]) -> List[Any]:
        names = {"mac": "IFLA_ADDRESS", "mtu": "IFLA_MTU", "alias": "IFLA_IFALIAS"}
        return [
            (names[option], getattr(link, option))
            for option in options
            if option in names and getattr(link, option) is not None
        ]
