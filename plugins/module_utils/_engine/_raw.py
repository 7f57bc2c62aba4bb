# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a dump told, as bytes for the kernel to have again: with all that nobody here has a name for. PRIVATE to the collection.

Bytes as they are after the netlink header: a structure of the family's own, and attributes. Their numbers are those of
C(_attributes) with what the kernel sets beside them, so that nothing changes on the way.
"""

from __future__ import annotations

import struct
from typing import Collection, Iterable, List, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._attributes import (
    NUMBER,
    pack_attribute,
    walk_attributes,
)

Attribute = Tuple[int, bytes]


def split_message(raw: bytes, header: int) -> Tuple[bytes, List[Attribute]]:
    """The structure, which has C(header) bytes, and the attributes behind it. Pure."""
    return raw[:header], [(number, value) for _start, number, value in walk_attributes(raw, header)]


def join_message(head: bytes, attrs: Iterable[Attribute]) -> bytes:
    """The same in the other direction. Pure."""
    return head + b"".join([pack_attribute(number, value) for number, value in attrs])


def drop_attributes(attrs: Iterable[Attribute], numbers: Collection[int]) -> List[Attribute]:
    """Without some attributes: what the kernel only tells, and what comes and goes. Pure."""
    return [attr for attr in attrs if attr[0] & NUMBER not in numbers]


def keep_attributes(attrs: Iterable[Attribute], numbers: Collection[int]) -> List[Attribute]:
    """Some attributes, where the kernel refuses those that it does not know. Pure."""
    return [attr for attr in attrs if attr[0] & NUMBER in numbers]


def move_to_device(raw: bytes, index: int) -> bytes:
    """A neighbour, an FDB entry or an address on the device with an interface index. Pure."""
    return raw[:4] + struct.pack("=i", index) + raw[8:]


def set_attribute(attrs: Iterable[Attribute], number: int, value: bytes) -> List[Attribute]:
    """With another value of an attribute that is there. Pure."""
    return [(one, value if one & NUMBER == number else old) for one, old in attrs]


def get_attribute(attrs: Iterable[Attribute], number: int) -> bytes:
    """An attribute's value; empty where it is not there. Pure."""
    return next((value for one, value in attrs if one & NUMBER == number), b"")
