# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bridges that nobody gave a MAC, and what a port of ours does to it. PRIVATE to the collection.

Such a bridge has the lowest MAC of its ports (br_stp_recalculate_bridge_id); before the first of them one that the kernel drew,
after the last one none. With each change it loses its neighbours.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, List, Optional, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _attributes
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import RTM_GETLINK, Message
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _kept

_IFLA_ADDRESS, _IFLA_MASTER, _IFLA_LINKINFO = 1, 10, 18
_KIND, _DATA = 1, 2  # IFLA_INFO_...
_IFLA_BR_BRIDGE_ID = 11
_NO_MAC, _HIGHEST = "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"


@dataclass(frozen=True)
class Master:
    """A bridge whose MAC its ports may decide. One that was given just that of its lowest port cannot be told from it."""

    name: str
    mac: str
    # Which MACs of a port are, or would be, its own: this one and all below.
    lowest: str
    # Whether the kernel drew it.
    drawn: bool = False


def read_master(host: Host, name: Optional[str], wished: Optional[str] = None) -> Optional[Master]:
    """A bridge as it is now; None where there is none yet, or where its MAC stays whatever its ports are.

    @param wished: the MAC that it is given before it gets a port
    """
    index = host.index(name) if name else None
    raw = _kept.read_raw(host, index) if index is not None else None
    told = _attributes.map_attributes(raw, _attributes.IFINFO.size) if raw is not None else {}
    info = _attributes.map_attributes(told.get(_IFLA_LINKINFO, b""))
    mac = told.get(_IFLA_ADDRESS, b"").hex(":")
    if not name or index is None or info.get(_KIND, b"").rstrip(b"\0") != b"bridge" or wished not in (None, mac):
        return None
    ports = _read_port_macs(host, index)
    if ports:
        lowest = min(ports)
        return Master(name, mac, lowest) if mac == lowest and wished is None else None
    # One that was drawn it does not have as its number.
    number = _attributes.map_attributes(info.get(_DATA, b"")).get(_IFLA_BR_BRIDGE_ID, b"")[2:].hex(":")
    return Master(name, mac, _HIGHEST, mac != _NO_MAC) if mac == _NO_MAC or mac != number else None


def _read_port_macs(host: Host, index: int) -> List[str]:
    asked = _attributes.pack_attribute(_IFLA_MASTER, struct.pack("=I", index))
    found = []
    for raw in host.session.dump_raw(Message(RTM_GETLINK, 0, None, raw=_attributes.pack_device(0, asked))):
        told = _attributes.map_attributes(raw, _attributes.IFINFO.size)
        # A kernel may tell of all devices.
        if told.get(_IFLA_MASTER) == struct.pack("=I", index):
            found.append(told.get(_IFLA_ADDRESS, b"").hex(":"))
    return found


def list_new_macs(before: Any, after: Any, anew: bool = False) -> Set[str]:
    """The bridges whose MAC a change of a device changes, if only for a moment; C(anew) is made again. Pure."""
    sides = [one for one in (before, after) if one is not None]
    if len(sides) == 2 and not anew and (before.mac, before.master) == (after.mac, after.master):
        return set()
    return {one.bridge.name for one in sides if one.bridge is not None and (one.mac or _NO_MAC) <= one.bridge.lowest}


def add_impact(drops: str, until: str, bridges: Set[str]) -> Tuple[str, str]:
    """The impact of an operation, and that of the new MACs of bridges. Pure."""
    if not bridges:
        return drops, until
    also = "packets over %s to this host" % " and ".join(sorted(bridges))
    ends = "who is on it has learnt its new MAC"
    return (drops + ", and " + also, until + ", and " + ends) if drops else (also, ends)


def list_drawn_macs(section: str, links: Iterable[Any]) -> Iterator[str]:
    """Bridges that a device joins as the first port and that could not be as they were without it, in sentences."""
    for link in links:
        bridge = link.bridge
        if bridge is not None and bridge.drawn:
            other = "%s%02x" % (bridge.mac[:-2], int(bridge.mac[-2:], 16) ^ 1)
            text = (
                "%s: %s: the bridge %s has no port and a MAC that the kernel drew, %s. A first port changes that, and nobody "
                "could put it back. Give it one that stays, another than it has: ip link set dev %s address %s"
            )
            yield text % (section, link.name, bridge.name, bridge.mac, bridge.name, other)
