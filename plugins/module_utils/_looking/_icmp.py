# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many pings at once from one process, each with DF set. PRIVATE to the collection.

A ping process for each of thousands of targets costs more than the pings do.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Sequence, Tuple, TypeVar

SMALL = {4: 84, 6: 104}  # bytes: what ping sends by itself, headers included
HEADERS = {4: 28, 6: 48}  # bytes: IPv4 20 or IPv6 40, ICMP 8
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
# linux/in.h, linux/in6.h: DF set, whatever the kernel believes of the path's MTU.
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _IPV6_DONTFRAG, _PROBE = 10, 23, 62, 3
_CLONE_NEWNET = 0x40000000
_BURST = 64  # requests that are sent before answers are read
_COOKIE = struct.Struct("!8sI")

T = TypeVar("T")


def find_ip_version(address: str) -> int:
    return 6 if ":" in address else 4


@dataclass
class Ping:
    """One thing to ping, and what came of it."""

    address: str
    size: int
    sent: int = 0
    # Round-trip times in milliseconds, one for each answer.
    times: List[float] = field(default_factory=list)
    # Why the last request could not be sent; empty where it was.
    error: str = ""

    @property
    def said(self) -> str:
        return "" if self.times else self.error or "no answer"


def send_pings(pings: Sequence[Ping], rounds: int, wait: float, until_answered: bool) -> None:
    """Send to all of them, in rounds, and wait after each for the answers.

    @param until_answered: no more to one that has answered; else as many to each as there are rounds
    @param wait: seconds that an answer may take
    """
    for _round in range(rounds):
        asked = [one for one in pings if not (until_answered and one.times)]
        for version in (4, 6):
            some = [one for one in asked if find_ip_version(one.address) == version]
            if some:
                _run_round(some, version, wait)


def _open_socket(version: int) -> socket.socket:
    if version == 4:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PROBE)
    else:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PROBE)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    sock.setblocking(False)
    return sock


def _run_round(pings: Sequence[Ping], version: int, wait: float) -> None:
    cookie = os.urandom(8)
    # None that a ping in a container takes for its own: busybox's is its process id, which is a small number there.
    ident = 0x8000 | int.from_bytes(os.urandom(2), "big")
    due: Dict[int, Tuple[Ping, float]] = {}
    failed = False
    began = time.monotonic()
    with _open_socket(version) as sock:
        for number, one in enumerate(pings):
            one.sent += 1
            one.error = ""
            due[number] = (one, time.monotonic())
            try:
                sock.sendto(_make_packet(version, ident, cookie, number, one.size), (one.address, 0))
            except OSError as error:
                # EAGAIN is an answer that cannot be waited for either: the round ends without one.
                one.error = _describe_error(error)
                failed = True
                del due[number]
            if number % _BURST == _BURST - 1:
                _read_answers(sock, version, cookie, due, 0)
        deadline = time.monotonic() + wait
        while due and time.monotonic() < deadline:
            _read_answers(sock, version, cookie, due, deadline - time.monotonic())
    if failed:
        # An error comes at once where something restarts: it is to have as long as a lost packet.
        time.sleep(max(0.0, began + wait - time.monotonic()))


def _describe_error(error: OSError) -> str:
    if error.errno == errno.EMSGSIZE:
        return "larger than the MTU of the device"
    return os.strerror(error.errno or 0)


def _make_packet(version: int, ident: int, cookie: bytes, number: int, size: int) -> bytes:
    payload = _COOKIE.pack(cookie, number).ljust(max(size - HEADERS[version], _COOKIE.size), b"\0")
    head = struct.pack("!BBHHH", _REQUEST[version], 0, 0, ident, number & 0xFFFF)
    # Of ICMPv6 the kernel fills it in, which has the addresses that it is over.
    check = _compute_checksum(head + payload) if version == 4 else 0
    return head[:2] + struct.pack("!H", check) + head[4:] + payload


def _compute_checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _read_answers(sock: socket.socket, version: int, cookie: bytes, due: Dict[int, Tuple[Ping, float]], wait: float) -> None:
    if not select.select([sock], [], [], max(0.0, wait))[0]:
        return
    while due:
        try:
            data, sender = sock.recvfrom(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            continue  # an ICMP error about an earlier request
        now = time.monotonic()
        start = (data[0] & 15) * 4 if version == 4 else 0
        if len(data) < start + 8 + _COOKIE.size or data[start] != _REPLY[version]:
            continue
        found, number = _COOKIE.unpack_from(data, start + 8)
        if found == cookie and number in due and sender[0].partition("%")[0] == due[number][0].address:
            one, sent = due.pop(number)
            one.times.append((now - sent) * 1000)


def find_largest_sizes(pings: Sequence[Ping], wait: float) -> List[int]:
    """By bisection and all at once, the largest size of each that is answered, from the smallest ping's to C(size)."""
    low = [SMALL[find_ip_version(one.address)] for one in pings]
    high = [one.size for one in pings]
    while any(high[number] - low[number] > 1 for number in range(len(pings))):
        tried = [
            (number, Ping(one.address, (low[number] + high[number]) // 2))
            for number, one in enumerate(pings)
            if high[number] - low[number] > 1
        ]
        # Two tries: one lost packet is no limit.
        send_pings([trial for _number, trial in tried], 2, wait, True)
        for number, trial in tried:
            if trial.times:
                low[number] = trial.size
            else:
                high[number] = trial.size
    return low


def run_in_namespace(pid: int, work: Callable[[], T]) -> T:
    """Do something in the network namespace of a process, in a thread that ends with it."""

    def enter() -> T:
        libc: Any = ctypes.CDLL(None, use_errno=True)
        with open("/proc/%d/ns/net" % pid) as handle:
            if libc.setns(handle.fileno(), _CLONE_NEWNET):
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
        return work()

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(enter).result()
