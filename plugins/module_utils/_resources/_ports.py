# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hangs on a bridge and goes with it: its ports and what was set on them, and its own options. PRIVATE to the collection.

Read of a bridge that is to go, and of a port that is to be made anew; put back by an undo, or on the new one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _attributes
from ansible_collections.agentless.overlay.plugins.module_utils._engine._attributes import Raw
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    Message,
    ndmsg,
    read_attributes,
)
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _kept, _multicast, _vlans

_AF_BRIDGE = 7
_NTF_SELF, _NTF_MASTER, _NTF_EXT_LEARNED, _NTF_STICKY = 0x02, 0x04, 0x10, 0x40
_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 10, 18
_KIND, _DATA, _PORT_KIND, _PORT_DATA = 1, 2, 4, 5  # IFLA_INFO_...
# What can be set on a port (IFLA_BRPORT_...): its state and its numbers the kernel finds itself.
_PORT = (*range(2, 13), 25, *range(27, 35), 37, 39, 40, 42, 43, 44)
# And on a bridge (IFLA_BR_...), of which VLANs come last: some of it is refused once they are on.
_BRIDGE = (*range(1, 7), 8, 9, 20, *range(22, 26), *range(27, 40), *range(41, 47), 49)
_VLAN_FILTERING = 7
_MCAST_SNOOPING = 23
NEIGH_SUPPRESS = 32

Values = Tuple[Raw, ...]


@dataclass(frozen=True)
class Port:
    """A port of a bridge, or the bridge itself as the owner of MACs, VLANs and groups."""

    name: str
    flags: Values = ()
    # Those that nobody learnt: MAC, state, flags and VLAN as the kernel tells them.
    macs: Tuple[Tuple[str, int, int, int], ...] = ()
    vlans: _vlans.Vlans = ()
    groups: Tuple[_multicast.Group, ...] = ()


def _read_link_info(raw: bytes) -> Dict[int, bytes]:
    found = _attributes.map_attributes(raw, _attributes.IFINFO.size)
    return _attributes.map_attributes(found.get(_IFLA_LINKINFO, b""))


def _pick_values(data: bytes, numbers: Iterable[int]) -> Values:
    found = _attributes.map_attributes(data)
    return tuple((number, found[number]) for number in numbers if number in found)


def unpack_port_flags(raw: bytes) -> Values:
    """What is set on a port of a bridge, from what the kernel tells of its device."""
    info = _read_link_info(raw)
    return _pick_values(info.get(_PORT_DATA, b""), _PORT) if info.get(_PORT_KIND, b"").rstrip(b"\0") == b"bridge" else ()


def unpack_bridge_options(raw: bytes) -> Values:
    """What is set on a bridge, from what the kernel tells of it."""
    return _pick_values(_read_link_info(raw).get(_DATA, b""), (*_BRIDGE, _VLAN_FILTERING))


def read_bridge_options(host: Host, index: int) -> Values:
    raw = _kept.read_raw(host, index)
    return unpack_bridge_options(raw) if raw is not None else ()


def read_port(host: Host, device: int) -> Optional[Port]:
    """What is set on a device as a port of a bridge; None where it is none."""
    raw = _kept.read_raw(host, device)
    if raw is None or not unpack_port_flags(raw):
        return None
    master = struct.unpack("=I", _attributes.map_attributes(raw, _attributes.IFINFO.size)[_IFLA_MASTER])[0]
    found = _read_each_port(host, master, [raw])
    return found[0] if found else None


def read_ports(host: Host, index: int) -> Tuple[Port, ...]:
    """The ports of a bridge, and the bridge itself, by name."""
    asked = _attributes.pack_device(0, _attributes.pack_attribute(_IFLA_MASTER, struct.pack("=I", index)))
    ports = host.session.dump_raw(Message(RTM_GETLINK, 0, None, raw=asked))
    own = _kept.read_raw(host, index)
    return tuple(_read_each_port(host, index, ([own] if own is not None else []) + ports))


def _read_each_port(host: Host, bridge: int, devices: Sequence[bytes]) -> List[Port]:
    """What is set on devices as ports of a bridge, one of which may be the bridge itself."""
    found: Dict[int, Tuple[str, Values]] = {}
    own = set()
    for raw in devices:
        index, told = _attributes.IFINFO.unpack_from(raw)[2], _attributes.map_attributes(raw, _attributes.IFINFO.size)
        if index == bridge or told.get(_IFLA_MASTER) == struct.pack("=I", bridge):
            found[index] = (told[_IFLA_IFNAME].rstrip(b"\0").decode(), unpack_port_flags(raw) if index != bridge else ())
            own |= {told.get(_IFLA_ADDRESS, b"").hex(":")} if index != bridge else set()
    macs, vlans = _read_macs(host, bridge, own), _vlans.read_vlans(host)
    groups = _multicast.read_groups(host).get(bridge, {})
    ports = (
        Port(name, flags, tuple(sorted(macs.get(index, ()))), vlans.get(index, ()), tuple(sorted(groups.get(index, ()))))
        for index, (name, flags) in found.items()
    )
    return sorted(ports, key=lambda port: port.name)


def _read_macs(host: Host, bridge: int, own: Any) -> Dict[int, List[Tuple[str, int, int, int]]]:
    """By the index of a port, the entries of a bridge's FDB that nobody learnt."""
    macs: Dict[int, List[Tuple[str, int, int, int]]] = {}
    for msg in host.session.dump(Message(RTM_GETNEIGH, 0, ndmsg, {"family": _AF_BRIDGE}, [("NDA_MASTER", bridge)])):
        attrs = read_attributes(msg)
        given = msg["state"] & (_NUD_NOARP | _NUD_PERMANENT) or msg["flags"] & (_NTF_STICKY | _NTF_EXT_LEARNED)
        # The kernel has an entry for the MAC of each port, and for the bridge's own.
        if attrs.get("NDA_MASTER") != bridge or not given or attrs["NDA_LLADDR"] in own:
            continue
        kept = msg["flags"] & (_NTF_STICKY | _NTF_EXT_LEARNED)
        macs.setdefault(msg["ifindex"], []).append((attrs["NDA_LLADDR"], msg["state"], kept, attrs.get("NDA_VLAN") or 0))
    return macs


def put_options(host: Host, index: int, options: Values) -> None:
    """Give a bridge the options that it had."""
    now = dict(read_bridge_options(host, index))
    differing = [(number, value) for number, value in options if now.get(number) != value]
    for last in (False, True):
        _write_link_data(
            host, index, b"bridge", (_KIND, _DATA), [one for one in differing if (one[0] == _VLAN_FILTERING) is last]
        )


def put_flags(host: Host, index: int, flags: Values) -> None:
    """Give a port the flags that it had; only those that differ, as others the kernel may not know or may pin."""
    raw = _kept.read_raw(host, index)
    now = dict(unpack_port_flags(raw)) if raw is not None else {}
    _write_link_data(host, index, b"bridge", (_PORT_KIND, _PORT_DATA), [one for one in flags if now.get(one[0]) != one[1]])


def _write_link_data(host: Host, index: int, kind: bytes, numbers: Tuple[int, int], values: Sequence[Raw]) -> None:
    if not values:
        return
    data = _attributes.nest_attributes(numbers[1], *(_attributes.pack_attribute(*one) for one in values))
    info = _attributes.nest_attributes(_IFLA_LINKINFO, _attributes.pack_attribute(numbers[0], kind), data)
    host.session.write_one(Message(RTM_NEWLINK, 0, None, raw=_attributes.pack_device(index, info)))


def put_port(host: Host, index: int, port: Port, bridge: int) -> None:
    """Set on a device that is a port of a bridge, or on the bridge itself, what was set on it."""
    put_flags(host, index, port.flags)
    _vlans.put_vlans(host, index, port.vlans, index == bridge)
    for mac, state, flags, vlan in port.macs:
        target = _NTF_SELF if index == bridge else _NTF_MASTER
        fields = {"family": _AF_BRIDGE, "ifindex": index, "state": state, "flags": flags | target}
        attrs: List[Tuple[str, Any]] = [("NDA_LLADDR", mac)] + ([("NDA_VLAN", vlan)] if vlan else [])
        host.session.write_one(Message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, ndmsg, fields, attrs))
    _give_groups(host, bridge, port.groups)


def _give_groups(host: Host, bridge: int, groups: Sequence[_multicast.Group]) -> None:
    """Give ports their groups. A bridge that snoops no more keeps those that it had, and takes none before it snoops again."""
    lacking = _multicast.list_lacking(host, bridge, groups)
    is_off = bool(lacking) and dict(read_bridge_options(host, bridge)).get(_MCAST_SNOOPING) == b"\0"
    if is_off:
        _write_link_data(host, bridge, b"bridge", (_KIND, _DATA), [(_MCAST_SNOOPING, b"\1")])
    try:
        _multicast.put_groups(host, bridge, lacking)
    finally:
        if is_off:
            _write_link_data(host, bridge, b"bridge", (_KIND, _DATA), [(_MCAST_SNOOPING, b"\0")])


def put_ports(host: Host, bridge: str, ports: Sequence[Port]) -> None:
    """Make the devices that are there ports of a bridge again."""
    master = host.index(bridge) or 0
    # A port may stand in for another one.
    for port in ports:
        index = host.index(port.name)
        # Without one it went too, and is made later.
        if index is not None and index != master:
            join = _attributes.pack_device(index, _attributes.pack_attribute(_IFLA_MASTER, struct.pack("=I", master)))
            host.session.write_one(Message(RTM_NEWLINK, 0, None, raw=join))
    for port in ports:
        index = host.index(port.name)
        if index is not None:
            put_port(host, index, port, master)
