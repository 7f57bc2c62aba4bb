# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others set on a device of ours, and what goes with it. PRIVATE to the collection.

Read before a device goes, and put on the one that takes its place. Compared there with what a new device has by itself: only
what differs is written, so that nothing is asked for that this kernel does not know.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Optional, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _attributes
from ansible_collections.agentless.overlay.plugins.module_utils._engine._attributes import Raw
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import RTM_GETLINK, RTM_NEWLINK, Message
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _settings

_U32 = struct.Struct("=I")
_RTM_NEWLINKPROP = 108
_IFLA_MTU, _IFLA_MASTER, _IFLA_PROP_LIST, _IFLA_ALT_IFNAME = 4, 10, 52, 53
# The length of its queue, its group, whether it is dormant or held down, and how large packets may be until they are cut.
_VALUES = (13, 17, 27, 39, 40, 41, 58, 63, 64)
# debug, notrailers, noarp, promisc, allmulti, multicast, dynamic
_FLAGS = 0x4 | 0x20 | 0x80 | 0x100 | 0x200 | 0x1000 | 0x8000


@dataclass(frozen=True)
class Kept:
    """What was set on a device."""

    flags: int = 0
    values: Tuple[Raw, ...] = ()
    # Its other names.
    names: Tuple[bytes, ...] = ()
    settings: _settings.Settings = ()


def read_raw(host: Host, index: int) -> Optional[bytes]:
    """All that the kernel tells of a device."""
    return host.session.get_raw(Message(RTM_GETLINK, 0, None, raw=_attributes.pack_device(index)))


def read_kept(host: Host, name: str, index: int, master: bool = False) -> Kept:
    """What is set on a device, and with C(master) also whose port it is."""
    raw = read_raw(host, index)
    return decode_kept(name, raw, master) if raw is not None else Kept()


def decode_kept(name: str, raw: bytes, master: bool) -> Kept:
    flags = _attributes.IFINFO.unpack_from(raw)[3]
    found = _attributes.map_attributes(raw, _attributes.IFINFO.size)
    asked = (*_VALUES, _IFLA_MASTER) if master else _VALUES
    names = _attributes.split_attributes(found.get(_IFLA_PROP_LIST, b""))
    return Kept(
        flags=flags & _FLAGS,
        values=tuple((number, found[number]) for number in asked if number in found),
        names=tuple(value for number, value in names if number == _IFLA_ALT_IFNAME),
        settings=_settings.read_device_settings(name, _U32.unpack_from(found[_IFLA_MTU])[0]),
    )


def put_kept(host: Host, name: str, kept: Kept) -> None:
    """Set it on the device that is there now; before that is up, as some of it counts then only."""
    index = host.index(name) or 0
    raw = read_raw(host, index)
    if raw is None:
        return
    now = decode_kept(name, raw, master=True)
    _settings.write_device_settings(name, kept.settings)
    values = [
        _attributes.pack_attribute(number, value) for number, value in kept.values if dict(now.values).get(number) != value
    ]
    if values or kept.flags != now.flags:
        changed = _attributes.pack_device(index, *values, flags=kept.flags, change=_FLAGS)
        host.session.write_one(Message(RTM_NEWLINK, 0, None, raw=changed))
    names = [_attributes.pack_attribute(_IFLA_ALT_IFNAME, one) for one in kept.names if one not in now.names]
    if names:
        named = _attributes.pack_device(index, _attributes.nest_attributes(_IFLA_PROP_LIST, *names))
        host.session.write_one(Message(_RTM_NEWLINKPROP, 0, None, raw=named))


def put_again(name: str, kept: Kept) -> None:
    """The same once the device is up, which gives it an IPv6 MTU."""
    _settings.write_device_settings(name, kept.settings)
