# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Netlink messages to bytes and back: by pyroute2's classes, or after their example where there are thousands. PRIVATE."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Type

from ansible_collections.agentless.overlay.plugins.module_utils._engine._attributes import NUMBER, walk_attributes


@dataclass
class Message:
    """One rtnetlink message: C(fields) of its header structure and C(attrs), both in pyroute2's names.

    Or C(raw), all that follows the netlink header: what a dump told, byte for byte, for the kernel to have again.
    """

    kind: int
    flags: int
    # None where there is C(raw).
    cls: Any
    fields: Dict[str, Any] = field(default_factory=dict)
    attrs: Sequence[Tuple[str, Any]] = ()
    raw: bytes = b""


_FLAGS = struct.Struct("=HI")
# What a packer raises for a value that is not of its kind.
_UNFIT = (AttributeError, OSError, TypeError, ValueError, struct.error)


def _try_packer(packer: Callable[[Any], bytes], value: Any) -> Optional[bytes]:
    try:
        return packer(value)
    except _UNFIT:
        return None


def _pack_mac(value: str) -> bytes:
    return bytes.fromhex(value.replace(":", ""))


def _pack_ip(value: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in value else socket.AF_INET, value)


def _pack_u32(value: int) -> bytes:
    return struct.pack("=I", value)


def _pack_be16(value: int) -> bytes:
    return struct.pack(">H", value)


@dataclass
class Template:
    """An encoded message into which the values of others of the same shape are put.

    pyroute2 encodes the first message of a shape. A value's place is used only if
    packing that value here gives the very bytes that pyroute2 gave; otherwise
    pyroute2 encodes every message, at ten times the cost.
    """

    data: bytes
    places: List[Tuple[int, int, Callable[[Any], bytes]]]

    @staticmethod
    def shape(message: Message) -> Tuple[Any, ...]:
        """What messages must have in common to be made from one template: all but the values of their attributes."""
        names = tuple([pair[0] for pair in message.attrs])
        return (message.cls, message.kind, tuple(message.fields.items()), names)

    @classmethod
    def of(cls, message: Message, data: bytes, start: int) -> Optional[Template]:
        """The template for an encoded message whose attributes begin at C(start)."""
        places: List[Tuple[int, int, Callable[[Any], bytes]]] = []
        for _name, value in message.attrs:
            if start + 4 > len(data):
                return None
            length = struct.unpack_from("=H", data, start)[0]
            packers = (_pack_mac, _pack_ip) if isinstance(value, str) else (_pack_u32, _pack_be16)
            fitting = [packer for packer in packers if _try_packer(packer, value) == data[start + 4 : start + length]]
            if not fitting:
                return None
            places.append((start + 4, length - 4, fitting[0]))
            start += (length + 3) & ~3
        return cls(data, places) if start == len(data) else None

    def fill(self, message: Message, flags: int, sequence: int) -> Optional[bytes]:
        """The message's bytes, or None where a value does not fit into its place."""
        data = bytearray(self.data)
        _FLAGS.pack_into(data, 6, flags, sequence)
        try:
            for (offset, length, packer), pair in zip(self.places, message.attrs):
                packed = packer(pair[1])
                if len(packed) != length:
                    return None
                data[offset : offset + length] = packed
        except _UNFIT:
            return None
        return bytes(data)


def _unpack_ip(data: bytes) -> str:
    return socket.inet_ntoa(data) if len(data) == 4 else socket.inet_ntop(socket.AF_INET6, data)


# How pyroute2 calls the kinds of attributes that entries are made of.
_UNPACKERS: Dict[str, Callable[[bytes], Any]] = {
    "ipaddr": _unpack_ip,
    "target": _unpack_ip,
    "lladdr": lambda data: data.hex(":"),
    "uint32": lambda data: struct.unpack("=I", data)[0],
    "be16": lambda data: struct.unpack(">H", data)[0],
    "asciiz": lambda data: data.rstrip(b"\0").decode(),
    # Of these it is enough that they are there.
    "*get_nh": bytes,
    "uint8": bytes,
    "uint16": bytes,
    "hex": bytes,
    "flag": bytes,
    "cdata": bytes,
}


class Decoder:
    """Reads the header and some attributes of one class of messages from their bytes, at a twentieth of the cost.

    Where they are and of what kind, pyroute2's class tells.
    """

    def __init__(self, cls: Type[Any], names: Sequence[str]) -> None:
        self.fields = [name for name, code in cls.fields if not code.endswith("x")]
        self.header = struct.Struct("=" + "".join(code for _name, code in cls.fields))
        self.layouts: Dict[int, _Layout] = {}
        self.attributes = {number: (name, _UNPACKERS[kind]) for number, (name, kind) in enumerate(cls.nla_map) if name in names}
        if len(self.attributes) != len(names):
            raise KeyError(names)

    @classmethod
    def of(cls, message: Type[Any], names: Sequence[str]) -> Callable[[bytes], Dict[str, Any]]:
        """What decodes messages of a class, by pyroute2 itself where its description is not understood."""
        try:
            return cls(message, names).decode
        except (KeyError, TypeError, ValueError, struct.error):
            return lambda data: decode_by_pyroute2(message, data)

    def decode(self, data: bytes) -> Dict[str, Any]:
        """The message's fields and attributes by name, and as C(raw) all that follows the netlink header."""
        layout = self.layouts.get(len(data))
        if layout is None:
            layout = self.layouts[len(data)] = _Layout.of(data, self)
        parts = layout.parts.unpack_from(data)
        row = dict(zip(self.fields, parts), raw=data[16:])
        if parts[len(self.fields) :: 2] == layout.heads:
            for name, convert, place in layout.known:
                row[name] = convert(parts[place])
            return row
        for _offset, number, value in walk_attributes(data, 16 + self.header.size):
            known = self.attributes.get(number & NUMBER)
            if known is not None:
                row[known[0]] = known[1](value)
        return row


@dataclass
class _Layout:
    """Where the attributes of messages of one length are, as the first of them has it; most others have it so too.

    Tens of thousands come in a dump: taken apart in one step they take half of the time.
    """

    parts: struct.Struct
    # Length and number of each attribute, and where among the parts those are that somebody asked for.
    heads: Tuple[bytes, ...]
    known: List[Tuple[str, Callable[[bytes], Any], int]]

    @classmethod
    def of(cls, data: bytes, decoder: Decoder) -> _Layout:
        """That of a message."""
        code, known = "=16x" + decoder.header.format[1:], []
        heads: List[bytes] = []
        end = 16 + decoder.header.size
        for offset, number, value in walk_attributes(data, end):
            code += "%dx4s%ds" % (offset - end, len(value))
            place, end = len(decoder.fields) + 2 * len(heads) + 1, offset + 4 + len(value)
            heads.append(data[offset : offset + 4])
            if number & NUMBER in decoder.attributes:
                known.append((*decoder.attributes[number & NUMBER], place))
        return cls(struct.Struct(code), tuple(heads), known)


def decode_by_pyroute2(cls: Type[Any], data: bytes) -> Dict[str, Any]:
    decoded = cls(data)
    decoded.decode()
    fields = {name: decoded[name] for name, _code in cls.fields if name in decoded}
    return {**fields, **read_attributes(decoded), "raw": data[16:]}


def read_attributes(message: Any) -> Dict[str, Any]:
    """A decoded message's attributes by name; of repeated ones the last."""
    return {pair[0]: pair[1] for pair in message["attrs"]}
