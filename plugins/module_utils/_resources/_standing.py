# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands on a device, goes with it, and nobody could put back. PRIVATE to the collection.

So a device that it stands on is not touched before its owner has decided.
"""

from __future__ import annotations

import re
import struct
from typing import Any, Dict, Iterator, List, Mapping, Optional, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _attributes
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import RTM_GETLINK, Message
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Effects, Key
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _multicast

_RTM_GETQDISC = 38
_TCMSG = struct.Struct("=BxxxiIII")  # family, index, handle, parent, info
_IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_LINKINFO, _IFLA_LINK_NETNSID, _IFLA_XDP = 3, 4, 5, 18, 37, 43
_KIND, _DATA, _PORT_KIND, _PORT_DATA = 1, 2, 4, 5  # IFLA_INFO_...
_IFLA_VXLAN_LINK, _IFLA_BRPORT_BACKUP_PORT, _IFLA_XDP_ATTACHED = 3, 34, 2
# Of a vxlan device what no option of ours is about, and how iproute2 calls it; a flag among them is set by being there.
_VXLAN = {
    **{21: "remcsumtx", 22: "remcsumrx", 24: "remcsum without partial checksums", 25: "external", 27: "gpe"},
    **{30: "vnifilter", 32: "label_policy", 34: "mc_route"},
}
_HOOK = re.compile(
    r"hook (?:ingress|egress) devices?(?: =)? (?P<devices>\{[^}]*\}|\S+)|^\s*devices = (?P<table>\{[^}]*\})", re.M
)


def list_dependents(host: Host, section: str, effects: Effects, devices: Mapping[str, int]) -> Iterator[str]:
    """Each thing, in a sentence with what to do; C(devices) are ours by name, with their index."""
    going = {index: name for name, index in devices.items() if name in effects.lost | effects.removed}
    if not going:
        return
    links = _read_links(host)
    found = [
        *_find_on_top(going, links, effects.removed),
        *_find_programs(going, links),
        *_find_lost_options(going, links),
        *_find_queues(host, going),
        *_find_groups(host, going, links),
        *_find_hooks(host, going),
    ]
    for index, thing, remedy in sorted(found):
        fate = "has to be made anew" if going[index] in effects.lost else "is to be removed"
        yield "%s: %s %s, and %s, which nobody could put back. %s" % (section, going[index], fate, thing, remedy)


def list_affected(host: Host, section: str, found: Mapping[Key, Any], wanted: Mapping[Key, Any]) -> Iterator[str]:
    """What a change in place of ours would do to devices of others on top, or what these keep it from. Each in a sentence."""
    pairs = [(there, wanted[key]) for key, there in found.items() if key in wanted]
    lowered = {there.index: there for there, wish in pairs if wish.mtu and there.mtu and wish.mtu < there.mtu}
    # Bridges have none.
    bound = {
        there.index: wish
        for there, wish in pairs
        if getattr(wish, "master", None) and getattr(there, "master", None) != wish.master
    }
    if not lowered and not bound:
        return
    links, mtus = _read_links(host), {there.index: wish.mtu for there, wish in pairs}
    for link in links.values():
        below = _unpack_number(link.get(_IFLA_LINK)) if _IFLA_LINK_NETNSID not in link else 0
        info = _attributes.map_attributes(link.get(_IFLA_LINKINFO, b""))
        kind, name, mtu = info.get(_KIND, b"").rstrip(b"\0").decode(), _unpack_name(link), _unpack_number(link.get(_IFLA_MTU))
        if below in lowered and mtu > mtus[below] and kind != "vxlan":
            text = "%s: %s: mtu %d would take that of %s (%s) along, which is %d, and which nobody could put back. %s"
            remedy = "ip link set %s mtu %d" % (name, mtus[below])
            yield text % (section, lowered[below].name, mtus[below], name, kind, mtu, remedy)
        if below in bound and kind.startswith(("macv", "ipv")):
            text = "%s: %s cannot be a port of %s while the device %s (%s) is on it. ip link delete %s, or move it"
            yield text % (section, bound[below].name, bound[below].master, name, kind, name)


_Found = Iterator[Tuple[int, str, str]]
_Links = Dict[int, Dict[int, bytes]]


def _read_links(host: Host) -> _Links:
    raws = host.session.dump_raw(Message(RTM_GETLINK, 0, None, raw=_attributes.pack_device(0)))
    size = _attributes.IFINFO.size
    return {_attributes.IFINFO.unpack_from(raw)[2]: _attributes.map_attributes(raw, size) for raw in raws}


def _unpack_number(value: Optional[bytes]) -> int:
    return int(struct.unpack("=I", value)[0]) if value is not None and len(value) == 4 else 0


def _unpack_name(link: Mapping[int, bytes]) -> str:
    return link[_IFLA_IFNAME].rstrip(b"\0").decode()


def _unpack_kind(links: _Links, index: int) -> str:
    info = _attributes.map_attributes(links.get(index, {}).get(_IFLA_LINKINFO, b""))
    return info.get(_KIND, b"").rstrip(b"\0").decode()


def _find_on_top(going: Mapping[int, str], links: _Links, removed: Set[str]) -> _Found:
    for link in links.values():
        info = _attributes.map_attributes(link.get(_IFLA_LINKINFO, b""))
        kind, data = info.get(_KIND, b"").rstrip(b"\0").decode(), _attributes.map_attributes(info.get(_DATA, b""))
        name = _unpack_name(link)
        # One in another network namespace counts its own way.
        below = _unpack_number(link.get(_IFLA_LINK)) if _IFLA_LINK_NETNSID not in link else 0
        bound = _unpack_number(data.get(_IFLA_VXLAN_LINK)) if kind == "vxlan" else 0
        for index in {below, bound} & set(going):
            if name not in removed:
                yield index, "the device %s (%s) is on it" % (name, kind), "ip link delete %s, or move it" % name
        port = _attributes.map_attributes(info.get(_PORT_DATA, b"")) if info.get(_PORT_KIND, b"").startswith(b"bridge") else {}
        backup = _unpack_number(port.get(_IFLA_BRPORT_BACKUP_PORT))
        if backup in going and name not in removed:
            yield backup, "port %s falls back on it" % name, "bridge link set dev %s nobackup_port" % name


def _find_programs(going: Mapping[int, str], links: _Links) -> _Found:
    for index, name in going.items():
        xdp = _attributes.map_attributes(links.get(index, {}).get(_IFLA_XDP, b""))
        if any(xdp.get(_IFLA_XDP_ATTACHED, b"")):
            yield index, "an XDP program is attached to it", "ip link set dev %s xdp off" % name


def _find_lost_options(going: Mapping[int, str], links: _Links) -> _Found:
    for index, name in going.items():
        info = _attributes.map_attributes(links.get(index, {}).get(_IFLA_LINKINFO, b""))
        if _unpack_kind(links, index) != "vxlan":
            continue
        data = _attributes.map_attributes(info.get(_DATA, b""))
        words = [word for number, word in _VXLAN.items() if number in data and (not data[number] or any(data[number]))]
        if words:
            yield index, "it was made with %s" % ", ".join(words), "ip link delete %s" % name


def _find_queues(host: Host, going: Mapping[int, str]) -> _Found:
    for raw in host.session.dump_raw(Message(_RTM_GETQDISC, 0, None, raw=_TCMSG.pack(0, 0, 0, 0, 0))):
        _family, index, handle, parent, _info = _TCMSG.unpack_from(raw)
        # What the kernel attaches by itself has no number.
        if index in going and handle:
            kind = _attributes.map_attributes(raw, _TCMSG.size).get(1, b"").rstrip(b"\0").decode()
            place = {0xFFFFFFFF: "root", 0xFFFFFFF1: kind}.get(parent)
            if place:
                remedy = "tc qdisc delete dev %s %s" % (going[index], place)
                yield index, "it has a qdisc %s with what hangs on it" % kind, remedy


def _find_groups(host: Host, going: Mapping[int, str], links: _Links) -> _Found:
    groups = _multicast.read_groups(host)
    for index, name in going.items():
        # A vxlan device's own, not those that it has as a port of a bridge.
        if groups.get(index, {}).get(index) and _unpack_kind(links, index) == "vxlan":
            yield index, "it has multicast groups of its own", "See bridge mdb show dev %s, and remove them" % name


def _find_hooks(host: Host, going: Mapping[int, str]) -> _Found:
    said: List[str] = []
    for what in ("chains", "flowtables"):
        try:
            code, out, _err = host.run(["nft", "list", what], None)
        except OSError:
            # No nft.
            return
        said.append(out if code == 0 else "")
    named = {
        word.strip('"')
        for match in _HOOK.finditer("\n".join(said))
        for word in re.split(r"[\s,;{}]+", match.group("devices") or match.group("table"))
    }
    for index, name in going.items():
        if name in named:
            remedy = "See nft list chains and nft list flowtables, and delete that chain or flowtable"
            yield index, "nft has a chain or flowtable that is bound to it", remedy
