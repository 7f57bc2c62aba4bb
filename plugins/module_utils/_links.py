# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Vxlan devices. PRIVATE to the collection."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field, fields, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._entries import address_of, mac_of, need
from ansible_collections.agentless.overlay.plugins.module_utils._netlink import (
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
from ansible_collections.agentless.overlay.plugins.module_utils._resource import (
    MARK,
    Effects,
    Entry,
    Failure,
    Host,
    Key,
    Op,
    OverlayError,
    Resource,
    Spec,
    vxlan_data,
)

IFF_UP = 1
MAX_NAME = 15  # IFNAMSIZ, less the byte that ends it

# Option, attribute for IPv4, attribute for IPv6, and whether a living device
# takes a new value (drivers/net/vxlan/vxlan_core.c, vxlan_nl2conf).
_VXLAN: Tuple[Tuple[str, str, str, bool], ...] = (
    ("vni", "IFLA_VXLAN_ID", "IFLA_VXLAN_ID", False),
    ("port", "IFLA_VXLAN_PORT", "IFLA_VXLAN_PORT", False),
    ("local", "IFLA_VXLAN_LOCAL", "IFLA_VXLAN_LOCAL6", True),
    ("remote", "IFLA_VXLAN_GROUP", "IFLA_VXLAN_GROUP6", True),
    ("dev", "IFLA_VXLAN_LINK", "IFLA_VXLAN_LINK", True),
    ("learning", "IFLA_VXLAN_LEARNING", "IFLA_VXLAN_LEARNING", True),
    ("ttl", "IFLA_VXLAN_TTL", "IFLA_VXLAN_TTL", True),
    ("ttl_inherit", "IFLA_VXLAN_TTL_INHERIT", "IFLA_VXLAN_TTL_INHERIT", False),
    ("tos", "IFLA_VXLAN_TOS", "IFLA_VXLAN_TOS", True),
    ("df", "IFLA_VXLAN_DF", "IFLA_VXLAN_DF", True),
    ("flowlabel", "IFLA_VXLAN_LABEL", "IFLA_VXLAN_LABEL", True),
    ("ageing", "IFLA_VXLAN_AGEING", "IFLA_VXLAN_AGEING", True),
    ("maxaddress", "IFLA_VXLAN_LIMIT", "IFLA_VXLAN_LIMIT", False),
    ("srcport", "IFLA_VXLAN_PORT_RANGE", "IFLA_VXLAN_PORT_RANGE", False),
    ("udpcsum", "IFLA_VXLAN_UDP_CSUM", "IFLA_VXLAN_UDP_CSUM", False),
    ("udp6zerocsumtx", "IFLA_VXLAN_UDP_ZERO_CSUM6_TX", "IFLA_VXLAN_UDP_ZERO_CSUM6_TX", False),
    ("udp6zerocsumrx", "IFLA_VXLAN_UDP_ZERO_CSUM6_RX", "IFLA_VXLAN_UDP_ZERO_CSUM6_RX", False),
    ("gbp", "IFLA_VXLAN_GBP", "IFLA_VXLAN_GBP", False),
    ("proxy", "IFLA_VXLAN_PROXY", "IFLA_VXLAN_PROXY", False),
    ("rsc", "IFLA_VXLAN_RSC", "IFLA_VXLAN_RSC", False),
    ("l2miss", "IFLA_VXLAN_L2MISS", "IFLA_VXLAN_L2MISS", False),
    ("l3miss", "IFLA_VXLAN_L3MISS", "IFLA_VXLAN_L3MISS", False),
    ("localbypass", "IFLA_VXLAN_LOCALBYPASS", "IFLA_VXLAN_LOCALBYPASS", True),
)
# Given by their presence alone.
_FLAGS = ("ttl_inherit", "gbp")
_BOOLEANS = (
    *("learning", "udpcsum", "udp6zerocsumtx", "udp6zerocsumrx", "proxy", "rsc", "l2miss", "l3miss", "localbypass"),
    *_FLAGS,
)
_DF = ("unset", "set", "inherit")


@dataclass(frozen=True)
class Link(Entry):
    """A vxlan device; what is None is not asked for, or not told by the kernel."""

    name: str
    vni: Optional[int] = None
    port: Optional[int] = None
    local: Optional[str] = None
    remote: Optional[str] = None
    dev: Optional[str] = None
    learning: Optional[bool] = None
    ttl: Optional[int] = None
    ttl_inherit: Optional[bool] = None
    tos: Optional[int] = None
    df: Optional[str] = None
    flowlabel: Optional[int] = None
    ageing: Optional[int] = None
    maxaddress: Optional[int] = None
    srcport: Optional[Tuple[int, int]] = None
    udpcsum: Optional[bool] = None
    udp6zerocsumtx: Optional[bool] = None
    udp6zerocsumrx: Optional[bool] = None
    gbp: Optional[bool] = None
    proxy: Optional[bool] = None
    rsc: Optional[bool] = None
    l2miss: Optional[bool] = None
    l3miss: Optional[bool] = None
    localbypass: Optional[bool] = None
    mac: Optional[str] = None
    mtu: Optional[int] = None
    alias: Optional[str] = None
    # The bridge that it is a port of, and whether that port answers for neighbours that the bridge knows.
    master: Optional[str] = None
    neigh_suppress: Optional[bool] = None
    up: Optional[bool] = True
    # As found: the interface index, which a re-created device gets again.
    index: int = field(default=0, compare=False)

    @property
    def key(self) -> Key:
        return (self.name,)

    @property
    def owned(self) -> bool:
        return (self.alias or "").startswith(MARK)

    def same(self, wanted: Link) -> bool:
        return not self.delta(wanted)

    def delta(self, wanted: Link) -> List[str]:
        """The options whose wanted value is given and differs."""
        return [
            option.name
            for option in fields(self)
            if option.compare
            and getattr(wanted, option.name) is not None
            and getattr(wanted, option.name) != getattr(self, option.name)
        ]

    def lines(self) -> List[str]:
        return [line for option in fields(self) if option.compare for line in self.line(option.name)]

    def line(self, option: str) -> List[str]:
        value = getattr(self, option)
        if value is None or option == "name":
            return []
        if option == "srcport":
            value = "%d-%d" % value
        return ["%s %s %s" % (self.name, option, str(value).lower() if isinstance(value, bool) else value)]

    def __str__(self) -> str:
        told = ("vni", "local", "port", "mac", "mtu")
        return " ".join(
            [self.name] + ["%s %s" % (name, getattr(self, name)) for name in told if getattr(self, name) is not None]
        )


def _must_recreate(before: Link, after: Link) -> bool:
    """Whether the kernel refuses to change the one into the other in place."""
    for option, _v4, _v6, in_place in _VXLAN:
        old, new = getattr(before, option), getattr(after, option)
        if old == new:
            continue
        if not in_place:
            return True
        # An outer address can be given and changed, not taken away, and not to the other family.
        if option in ("local", "remote") and (new is None or old is not None and (":" in old) != (":" in new)):
            return True
        if option == "dev" and new is None:
            return True
    return False


class Links(Resource[Link]):
    name = section = "vxlan_link"

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
            link = self._decode(host, msg)
            if link is not None:
                found[link.key] = link
            elif (attributes(msg)["IFLA_IFNAME"],) in set(spec.present) | spec.absent:
                raise OverlayError(
                    "vxlan_link: %s exists and is not a vxlan device. Remove it or choose another name"
                    % attributes(msg)["IFLA_IFNAME"]
                )
        return found

    @staticmethod
    def _decode(host: Host, msg: Any) -> Optional[Link]:
        attrs = attributes(msg)
        data = vxlan_data(msg)
        if not data:
            return None
        values: Dict[str, Any] = {}
        for option, v4, v6, _in_place in _VXLAN:
            value = data.get(v4, data.get(v6))
            if option in _FLAGS:
                value = bytes(data.get(v4) or b"") == b"\1" if option == "ttl_inherit" else v4 in data
            elif option in _BOOLEANS and value is not None:
                value = bool(value)
            elif option == "df" and value is not None:
                value = _DF[value]
            elif option == "dev":
                value = host.name(value) if value else None
            elif option == "flowlabel" and value is not None:
                value = socket.ntohl(value)
            elif option == "srcport" and value is not None:
                value = (value["low"], value["high"])
            values[option] = value
        name = attrs["IFLA_IFNAME"]
        host.remotes[name] = values["remote"]
        master = attrs.get("IFLA_MASTER")
        port = attributes(attributes(attrs["IFLA_LINKINFO"]).get("IFLA_INFO_SLAVE_DATA") or {"attrs": []})
        suppresses = port.get("IFLA_BRPORT_NEIGH_SUPPRESS")
        return Link(
            name=name,
            mac=attrs["IFLA_ADDRESS"],
            mtu=attrs["IFLA_MTU"],
            alias=attrs.get("IFLA_IFALIAS"),
            master=host.name(master) if master else None,
            neigh_suppress=None if suppresses is None else bool(suppresses),
            up=bool(msg["flags"] & IFF_UP),
            index=msg["index"],
            **values,
        )

    def merge(self, found: Optional[Link], entry: Link) -> Link:
        if found is None:
            return entry
        return replace(found, **{name: getattr(entry, name) for name in found.delta(entry)})

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
                op = replace(op, recreate=_must_recreate(op.before, op.after))
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

    @staticmethod
    def effects(ops: Sequence[Op[Link]]) -> Effects:
        """What the operations do to what lives on the devices."""
        effects = Effects()
        for op in ops:
            if op.after is None:
                effects.removed.add(op.entry.name)
            elif op.recreate:
                effects.lost.add(op.entry.name)
            elif op.before is not None and op.before.mac != op.after.mac:
                effects.new_mac.add(op.entry.name)
        return effects

    def apply(self, host: Host, ops: Sequence[Op[Link]]) -> List[Failure]:
        for op in ops:
            try:
                self._apply(host, op)
            except NetlinkError as error:
                return [Failure(op, str(error))]
        return []

    def _apply(self, host: Host, op: Op[Link]) -> None:
        name, link = op.entry.name, op.after
        # What is still to be set once the device is there, and what of it is vxlan's own.
        changed = op.before.delta(link) if op.before is not None and link is not None else []
        fresh = op.before is None or op.recreate
        # Before anything is removed: it may find that there is no such underlay device. Of a living
        # device only what differs: the kernel refuses the mere presence of the rest, and an MTU beside it.
        data = self._data(host, link, None if fresh else changed) if link is not None else []
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
        flags = {"flags": IFF_UP if link.up else 0, "change": IFF_UP} if "up" in changed else {}
        if attrs or flags:
            self._set(host, name, flags, attrs)
        if link.neigh_suppress is not None and ("neigh_suppress" in changed or "master" in changed):
            port = [("IFLA_BRPORT_NEIGH_SUPPRESS", int(link.neigh_suppress))]
            slave = [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", {"attrs": port})]
            self._set(host, name, {}, [("IFLA_LINKINFO", {"attrs": slave})])

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

    @staticmethod
    def _data(host: Host, link: Link, options: Optional[Sequence[str]] = None) -> List[Any]:
        attrs: List[Any] = []
        for option, v4, v6, _in_place in _VXLAN:
            value = getattr(link, option)
            if value is None or options is not None and option not in options:
                continue
            if option == "dev":
                value = host.index(value)
                if value is None:
                    raise OverlayError("vxlan_link: %s: there is no device %s for dev" % (link.name, link.dev))
            elif option == "df":
                value = _DF.index(value)
            elif option == "flowlabel":
                value = socket.htonl(value)
            elif option == "srcport":
                value = {"low": value[0], "high": value[1]}
            elif option in _FLAGS:
                if not value:
                    continue
                value = b"" if option == "ttl_inherit" else True
            elif isinstance(value, bool):
                value = int(value)
            attrs.append((v6 if isinstance(value, str) and ":" in value else v4, value))
        return attrs
