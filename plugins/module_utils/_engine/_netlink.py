# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The netlink session, the only file that talks to a netlink socket. PRIVATE to the collection.

pyroute2's message classes encode and decode; the socket itself is the standard
library's, because pyroute2's changed its core between 0.7 and 0.9 while the
message classes did not, and because a batch has to be one C(send).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._codec import (
    Decoder,
    Message,
    Template,
    read_attributes,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._messages import (
    PYROUTE2_IMPORT_ERROR,
    ifaddrmsg,
    ifinfmsg,
    ndmsg,
    nhmsg,
    rtmsg,
)

# For all who talk to the kernel.
__all__ = [
    "PYROUTE2_IMPORT_ERROR",
    "Counters",
    "Message",
    "NetlinkError",
    "Session",
    "ifaddrmsg",
    "ifinfmsg",
    "ndmsg",
    "nhmsg",
    "read_attributes",
    "rtmsg",
]

# linux/netlink.h, linux/rtnetlink.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_DUMP, NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x300, 0x100, 0x200, 0x400, 0x800
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT_CHK = 270, 10, 11, 12
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_NLM_F_ACK_TLVS, _NLMSGERR_ATTR_MSG = 0x200, 1

# The kernel works through one send before it returns, so its answers must fit
# into the receive buffer: only the last message of a batch asks for an
# acknowledgement, the others speak up only if they fail.
BATCH = 1000
_BUFFER = 8 * 1024 * 1024
# How often a table that changes meanwhile is read, and how much longer each time is waited: four seconds in all.
_ATTEMPTS, _PAUSE = 20, 0.02
# Of a row, and in all that comes with it.
_MOVES = ("raw", "RTA_CACHEINFO")


class NetlinkError(Exception):
    """The kernel refused a message: its errno, and its own words where it sent any."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        # One number has two names, of which Python gives the other in some versions.
        name = "EOPNOTSUPP" if self.code == errno.EOPNOTSUPP else errno.errorcode.get(self.code, self.code)
        words = "%s: %s" % (name, os.strerror(self.code))
        return "%s (the kernel says: %s)" % (words, self.text) if self.text else words


@dataclass
class Counters:
    """What a resource cost: whole dumps, single look-ups, sends that write, and messages in them."""

    dumps: int = 0
    requests: int = 0
    batches: int = 0
    messages: int = 0


@dataclass
class Session:
    """A netlink socket of the current network namespace.

    C(account) names whose counters the next calls go to.
    """

    account: str = ""
    counters: Dict[str, Counters] = field(default_factory=dict)
    _sequence: int = 0
    _socket: Optional[socket.socket] = None
    _templates: Dict[Tuple[Any, ...], Optional[Template]] = field(default_factory=dict)

    def _open(self) -> socket.socket:
        if self._socket is None:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            sock.bind((0, 0))
            sock.settimeout(60)
            for option in (_CAP_ACK, _EXT_ACK, _STRICT_CHK):
                sock.setsockopt(_SOL_NETLINK, option, 1)
            for option in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):
                # Reading needs no privilege; a write without it will be refused with EPERM.
                with contextlib.suppress(PermissionError):
                    sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
            self._socket = sock
        return self._socket

    @property
    def _counter(self) -> Counters:
        return self.counters.setdefault(self.account, Counters())

    def _encode_once(self, message: Message, flags: int) -> bytes:
        self._sequence += 1
        flags |= message.flags | NLM_F_REQUEST
        return self._encode_raw(message, flags) if message.raw else self._encode_whole(message, message.attrs, flags)

    def _encode(self, message: Message, flags: int) -> bytes:
        """As one of many: a template costs two encodings, and pays with the third message of its shape."""
        self._sequence += 1
        flags |= message.flags | NLM_F_REQUEST
        if message.raw:
            return self._encode_raw(message, flags)
        shape = Template.shape(message)
        template = self._templates.get(shape)
        data = template.fill(message, flags, self._sequence) if template is not None else None
        if data is None:
            data = self._encode_whole(message, message.attrs, flags)
            if shape not in self._templates:
                start = len(self._encode_whole(message, (), flags))
                self._templates[shape] = Template.of(message, data, start)
        return data

    def _encode_raw(self, message: Message, flags: int) -> bytes:
        padded = message.raw + bytes(-len(message.raw) % 4)
        return struct.pack("=IHHII", 16 + len(message.raw), message.kind, flags, self._sequence, 0) + padded

    def _encode_whole(self, message: Message, attrs: Sequence[Tuple[str, Any]], flags: int) -> bytes:
        msg = message.cls()
        msg.update(message.fields)
        msg["attrs"] = list(attrs)
        msg["header"] = {"type": message.kind, "flags": flags, "sequence_number": self._sequence, "pid": 0}
        msg.encode()
        return bytes(msg.data)

    def _replies(self) -> Iterator[Tuple[int, int, int, bytes]]:
        sock = self._open()
        while True:
            data = sock.recv(1 << 18)
            offset = 0
            while offset + 16 <= len(data):
                length, kind, flags, sequence = struct.unpack_from("=IHHI", data, offset)
                yield kind, flags, sequence, data[offset : offset + length]
                offset += (length + 3) & ~3

    @staticmethod
    def _error(flags: int, data: bytes) -> Optional[NetlinkError]:
        code = -struct.unpack_from("=i", data, 16)[0]
        if not code:
            return None
        text, offset = "", 36  # nlmsghdr, the error, and the header of the message that it answers
        while flags & _NLM_F_ACK_TLVS and offset + 4 <= len(data):
            length, kind = struct.unpack_from("=HH", data, offset)
            if kind & 0x3FFF == _NLMSGERR_ATTR_MSG:
                text = data[offset + 4 : offset + length].rstrip(b"\0").decode("utf-8", "replace")
            offset += max(4, (length + 3) & ~3)
        return NetlinkError(code, text)

    def dump(self, message: Message) -> List[Any]:
        """All objects that match, as pyroute2 decodes them."""
        return self._dump(message, lambda data: _decode_message(message, data))

    def rows(
        self,
        message: Message,
        names: Sequence[str],
        matters: Optional[Callable[[Dict[str, Any]], bool]] = None,
        passes: Optional[Callable[[bytes], bool]] = None,
    ) -> List[Dict[str, Any]]:
        """The same with only the header's fields and the attributes of these names, for what there are thousands of.

        And as C(raw) all of it that follows the netlink header.

        @param matters: which of them are given; what changes among the others does not count
        @param passes: which of them are looked at, by their bytes, where these tell already
        """
        decode = Decoder.of(message.cls, names)
        if matters is None and passes is None:
            return self._dump(message, decode)

        def one(data: bytes) -> Optional[Dict[str, Any]]:
            if passes is not None and not passes(data):
                return None
            row = decode(data)
            return row if matters is None or matters(row) else None

        return self._dump(message, one)

    def _dump(self, message: Message, decode: Callable[[bytes], Any]) -> List[Any]:
        """Read again if they changed while they were read; a router's table may never stand still.

        Then what matters of it has to be the same twice: what one such dump leaves out, or tells twice, the next hardly does.
        """
        before: List[Any] = []
        for attempt in range(_ATTEMPTS):
            time.sleep(_PAUSE * attempt if attempt > 2 else 0)
            self._counter.dumps += 1
            self._open().send(self._encode_once(message, NLM_F_DUMP))
            found, torn = [], False
            for kind, flags, sequence, data in self._replies():
                if sequence != self._sequence:
                    continue
                torn = torn or bool(flags & NLM_F_DUMP_INTR)
                if kind == NLMSG_DONE:
                    _raise_unfinished(data)
                    break
                if kind == NLMSG_ERROR:
                    error = self._error(flags, data)
                    if error:
                        raise error
                    continue
                one = decode(data)
                if one is not None:
                    found.append(one)
            if not torn:
                return found
            found, still = _drop_repeated(found)
            if still == before and attempt:
                return found
            before = still
        raise NetlinkError(errno.EAGAIN, "the table changed during each of %d dumps" % _ATTEMPTS)

    def dump_raw(self, message: Message) -> List[bytes]:
        """Of all objects that match what follows the netlink header."""
        return self._dump(message, lambda data: data[16:])

    def get(self, message: Message) -> Any:
        """One object, or None where the kernel has none."""
        data = self._get(message)
        return None if data is None else _decode_message(message, data)

    def get_raw(self, message: Message) -> Optional[bytes]:
        """Of one object what follows the netlink header, or None where the kernel has none."""
        data = self._get(message)
        return None if data is None else data[16:]

    def _get(self, message: Message) -> Optional[bytes]:
        self._counter.requests += 1
        self._open().send(self._encode_once(message, 0))
        for kind, flags, sequence, data in self._replies():
            if sequence != self._sequence:
                continue
            if kind == NLMSG_ERROR:
                error = self._error(flags, data)
                if error and error.code not in (errno.ENODEV, errno.ENOENT):
                    raise error
                return None
            return data
        return None

    def write(self, messages: Sequence[Message]) -> Dict[int, NetlinkError]:
        """Send messages in batches; the result maps the index of each message that failed to its error."""
        failed: Dict[int, NetlinkError] = {}
        for start in range(0, len(messages), BATCH):
            batch = messages[start : start + BATCH]
            first = self._sequence + 1
            encode = self._encode if len(batch) > 2 else self._encode_once
            data = [encode(message, 0) for message in batch[:-1]]
            data.append(encode(batch[-1], NLM_F_ACK))
            self._counter.batches += 1
            self._counter.messages += len(batch)
            self._open().send(b"".join(data))
            for kind, flags, sequence, reply in self._replies():
                if kind != NLMSG_ERROR or sequence < first:
                    continue
                error = self._error(flags, reply)
                if error:
                    failed[start + sequence - first] = error
                if sequence == self._sequence:
                    break
        return failed

    def write_one(self, message: Message) -> None:
        """Send one message; raise what the kernel says against it."""
        for error in self.write([message]).values():
            raise error

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _decode_message(message: Message, data: bytes) -> Any:
    decoded = message.cls(data)
    decoded.decode()
    return decoded


def _drop_repeated(found: Sequence[Any]) -> Tuple[List[Any], List[Any]]:
    """Without what is there twice; and what of it stands still, as lifetimes do not."""
    if not all(isinstance(one, dict) and "raw" in one for one in found):
        # As pyroute2 decodes it.
        return list(found), list(found)
    rows = list({one["raw"]: one for one in found}.values())
    return rows, [{name: value for name, value in one.items() if name not in _MOVES} for one in rows]


def _raise_unfinished(data: bytes) -> None:
    """Raise what ended a dump before its end; a table that is not there is an empty one."""
    code = -struct.unpack_from("=i", data, 16)[0] if len(data) >= 20 else 0
    if code > 0 and code != errno.ENOENT:
        raise NetlinkError(code, "it ended a dump")
