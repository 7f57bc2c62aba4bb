# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attributes of netlink messages as bytes: what is put back as the kernel told it. Pure. PRIVATE to the collection.

By number, so that no release of pyroute2 has to know them.
"""

from __future__ import annotations

import struct
from typing import Dict, Iterator, List, Tuple

# Number and value.
Raw = Tuple[int, bytes]

_HEADER = struct.Struct("=HH")
# Beside its number an attribute may say that others are in it.
_NESTED, NUMBER = 0x8000, 0x3FFF
# family, type, index, flags, change (struct ifinfomsg)
IFINFO = struct.Struct("=BxHiII")


def walk_attributes(data: bytes, start: int = 0) -> Iterator[Tuple[int, int, bytes]]:
    """From an offset on, where each attribute begins, its number with what the kernel sets beside it, and its value."""
    while start + 4 <= len(data):
        length, kind = _HEADER.unpack_from(data, start)
        if length < 4:
            return
        yield start, kind, data[start + 4 : start + length]
        start += (length + 3) & ~3


def split_attributes(data: bytes, start: int = 0) -> List[Raw]:
    """The attributes from an offset on, in their order."""
    return [(kind & NUMBER, value) for _start, kind, value in walk_attributes(data, start)]


def map_attributes(data: bytes, start: int = 0) -> Dict[int, bytes]:
    """The same by number; of repeated ones the last."""
    return dict(split_attributes(data, start))


def pack_attribute(kind: int, value: bytes) -> bytes:
    return _HEADER.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def nest_attributes(kind: int, *attributes: bytes) -> bytes:
    return pack_attribute(kind | _NESTED, b"".join(attributes))


def pack_device(index: int, *attributes: bytes, family: int = 0, flags: int = 0, change: int = 0) -> bytes:
    """What follows the netlink header in a message about a device."""
    return IFINFO.pack(family, 0, index, flags, change) + b"".join(attributes)
