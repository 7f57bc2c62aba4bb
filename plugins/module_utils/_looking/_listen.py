# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pings as they pass a host's devices, outside a tunnel and inside it. PRIVATE to the collection."""

from __future__ import annotations

import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Collection, Dict, List, Optional, Tuple

_ETH_P_ALL = 3
_OUTGOING = 4  # linux/if_packet.h
_IPV4, _IPV6, _ARP, _ICMP, _IPIP, _UDP, _ICMPV6 = 0x0800, 0x86DD, 0x0806, 1, 4, 17, 58
_WITH_ETHERNET = (1, 772)  # ARPHRD_ETHER, ARPHRD_LOOPBACK
_ECHO = {
    (_ICMP, 8): "request",
    (_ICMP, 0): "reply",
    (_ICMPV6, 128): "request",
    (_ICMPV6, 129): "reply",
    # On one switch, what comes first; of a ping that nobody answers it is all that there is.
    (_ARP, 1): "arp request",
    (_ARP, 2): "arp reply",
}


@dataclass(frozen=True)
class Passed:
    """A ping that passed a device; C(outer) and C(vni) are of the tunnel that it was in, if it was."""

    device: str
    way: str
    source: str
    target: str
    what: str
    outer: Optional[Tuple[str, str]] = None
    vni: int = 0


def _parse_frame(data: bytes) -> Optional[Tuple[str, str, int, bytes]]:
    """Source, target, protocol and payload of a frame that carries ARP, or IP and is no later fragment."""
    if len(data) < 34:
        return None
    kind = struct.unpack_from("!H", data, 12)[0]
    if kind == _ARP and len(data) >= 42:
        return socket.inet_ntop(socket.AF_INET, data[28:32]), socket.inet_ntop(socket.AF_INET, data[38:42]), _ARP, data[21:22]
    if kind == _IPV4:
        if struct.unpack_from("!H", data, 20)[0] & 0x1FFF:
            return None
        start = 14 + (data[14] & 15) * 4
        return (
            socket.inet_ntop(socket.AF_INET, data[26:30]),
            socket.inet_ntop(socket.AF_INET, data[30:34]),
            data[23],
            data[start:],
        )
    if kind == _IPV6 and len(data) >= 54:
        return (
            socket.inet_ntop(socket.AF_INET6, data[22:38]),
            socket.inet_ntop(socket.AF_INET6, data[38:54]),
            data[20],
            data[54:],
        )
    return None


def _add_ethernet(packet: bytes) -> bytes:
    """A packet as a frame, of a device that has none."""
    kind = _IPV6 if packet[:1] and packet[0] >> 4 == 6 else _IPV4
    return bytes(12) + struct.pack("!H", kind) + packet


def parse_ping(data: bytes, device: str, way: str, ports: Collection[int]) -> Optional[Passed]:
    """What a frame is, where it is a ping, or a packet of vxlan or of IP in IP with one in it. Pure."""
    outside = _parse_frame(data)
    if outside is None:
        return None
    source, target, protocol, payload = outside
    if protocol == _IPIP:
        inside = _parse_frame(_add_ethernet(payload))
        what = _ECHO.get((inside[2], inside[3][0])) if inside and inside[3] else None
        return Passed(device, way, inside[0], inside[1], what, (source, target)) if inside and what else None
    if protocol != _UDP:
        what = _ECHO.get((protocol, payload[0])) if payload else None
        return Passed(device, way, source, target, what) if what else None
    if len(payload) < 16 or struct.unpack_from("!H", payload, 2)[0] not in ports:
        return None
    inside = _parse_frame(payload[16:])
    what = _ECHO.get((inside[2], inside[3][0])) if inside and inside[3] else None
    if inside is None or what is None:
        return None
    return Passed(device, way, inside[0], inside[1], what, (source, target), int.from_bytes(payload[12:15], "big"))


def listen_for_pings(seconds: float, ports: Collection[int]) -> List[Dict[str, Any]]:
    """All pings that pass any device meanwhile, each kind with how often."""
    seen: Dict[Passed, int] = Counter()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            sock.settimeout(left)
            try:
                data, (device, _protocol, kind, hardware, _address) = sock.recvfrom(512)
            except socket.timeout:
                break
            data = data if hardware in _WITH_ETHERNET else _add_ethernet(data)
            found = parse_ping(data, device, "out" if kind == _OUTGOING else "in", ports)
            if found is not None:
                seen[found] += 1
    return [dict(one.__dict__, outer=list(one.outer or ()), count=count) for one, count in seen.items()]


def count_checksum_errors() -> int:
    """UDP packets that the kernel dropped for a wrong checksum since it booted, of both families."""
    total = 0
    with open("/proc/net/snmp") as handle:
        lines = [line.split() for line in handle if line.startswith("Udp:")]
    names, values = lines
    if "InCsumErrors" in names:
        total += int(values[names.index("InCsumErrors")])
    try:
        with open("/proc/net/snmp6") as handle:
            total += sum(int(line.split()[1]) for line in handle if line.startswith("Udp6InCsumErrors"))
    except FileNotFoundError:
        pass  # a kernel without IPv6
    return total
