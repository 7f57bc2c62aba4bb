# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The multicast groups that somebody gave a port of a bridge for good. PRIVATE to the collection."""

from __future__ import annotations

import errno
import struct
from typing import Dict, List, Sequence, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _attributes
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import NLM_F_CREATE, Message, NetlinkError

# linux/rtnetlink.h, linux/if_bridge.h
_RTM_NEWMDB, _RTM_GETMDB = 84, 86
_AF_BRIDGE = 7
_HEADER = struct.Struct("=BxxxI")  # struct br_port_msg
_ENTRY = 28  # the size of struct br_mdb_entry, which begins with the port's index and whether it is permanent
_MDB, _SET_ENTRY, _SET_ATTRIBUTES = 1, 1, 2
# As told, and as asked for.
_SOURCES, _MODE, _SOURCE, _PROTOCOL = 2, 3, 4, 5
_ASKED = {_SOURCE: 1, _MODE: 3, _PROTOCOL: 4}
_ASKED_SOURCES = 2

# An entry, and what else is told of it.
Group = Tuple[bytes, Tuple[_attributes.Raw, ...]]


def read_groups(host: Host) -> Dict[int, Dict[int, List[Group]]]:
    """By the index of a bridge, or of a vxlan device, and of a port, its permanent groups."""
    found: Dict[int, Dict[int, List[Group]]] = {}
    try:
        told = host.session.dump_raw(Message(_RTM_GETMDB, 0, None, raw=_HEADER.pack(_AF_BRIDGE, 0)))
    except NetlinkError as error:
        if error.code != errno.EOPNOTSUPP:
            raise
        # A kernel that has none.
        return {}
    for raw in told:
        bridge = _HEADER.unpack_from(raw)[1]
        for number, entries in _attributes.split_attributes(raw, _HEADER.size):
            for info in (
                info
                for _kind, entry in _attributes.split_attributes(entries)
                for _kind, info in _attributes.split_attributes(entry)
            ):
                if number == _MDB and len(info) >= _ENTRY and info[4]:
                    port = struct.unpack_from("=I", info)[0]
                    found.setdefault(bridge, {}).setdefault(port, []).append(_decode_group(info))
    return found


def _decode_group(info: bytes) -> Group:
    told = dict(_attributes.split_attributes(info, _ENTRY))
    asked = [(_ASKED[number], value) for number, value in sorted(told.items()) if number in _ASKED]
    if told.get(_SOURCES):
        # Without how long each is still believed.
        addresses = (_attributes.split_attributes(one)[0] for _kind, one in _attributes.split_attributes(told[_SOURCES]))
        sources = (_attributes.nest_attributes(1, _attributes.pack_attribute(*address)) for address in addresses)
        asked.append((_ASKED_SOURCES, b"".join(sources)))
    return info[:_ENTRY], tuple(asked)


def list_lacking(host: Host, bridge: int, groups: Sequence[Group]) -> List[Group]:
    """Those of some groups that the ports of a bridge do not have."""
    there = {group for groups_of in read_groups(host).get(bridge, {}).values() for group in groups_of} if groups else set()
    return [group for group in groups if group not in there]


def put_groups(host: Host, bridge: int, groups: Sequence[Group]) -> None:
    """Give the ports of a bridge, which is up and has its multicast snooping on, groups that they lack."""
    for entry, asked in groups:
        packed = (
            _attributes.nest_attributes(*one) if one[0] == _ASKED_SOURCES else _attributes.pack_attribute(*one) for one in asked
        )
        more = [_attributes.nest_attributes(_SET_ATTRIBUTES, *packed)] if _is_special(asked) else []
        raw = _HEADER.pack(_AF_BRIDGE, bridge) + _attributes.pack_attribute(_SET_ENTRY, entry) + b"".join(more)
        host.session.write_one(Message(_RTM_NEWMDB, NLM_F_CREATE, None, raw=raw))


def _is_special(asked: Sequence[_attributes.Raw]) -> bool:
    """Whether it is more than a group: an older kernel knows nothing else."""
    return any(number in (_ASKED[_SOURCE], _ASKED_SOURCES) or value not in (b"\0", b"\x04") for number, value in asked)
