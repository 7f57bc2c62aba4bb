# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tcpdump says of encapsulated packets. Pure. PRIVATE to the collection."""

from __future__ import annotations

import re
from typing import Any, Dict, List

_MAC = r"([0-9a-f]{2}(?::[0-9a-f]{2}){5})"
_OUTER = re.compile(
    _MAC + " > " + _MAC + r", ethertype \S+ \(0x[0-9a-f]+\), length \d+: (\S+)\.(\d+) > (\S+)\.(\d+): VXLAN, .*vni (\d+)"
)
_INNER = re.compile(_MAC + " > " + _MAC + r", ethertype [^,]+, length \d+: (.*)")
_ADDRESSES = re.compile(r"(\S+) > (\S+): (.*)")


def make_capture_filter(peer: str, port: int, vni: int) -> str:
    """A filter for packets of a VNI to or from a peer: the VNI is in bytes 12 to 14 behind the start of the UDP header."""
    # For IPv6 libpcap cannot look into UDP; there the header has a fixed 40 bytes in front.
    offset = "ip6[52:4]" if ":" in peer else "udp[12:4]"
    return "udp dst port %d and host %s and %s >> 8 = %d" % (port, peer, offset, vni)


def parse_tcpdump(said: str) -> List[Dict[str, Any]]:
    """tcpdump's lines, two for a packet, as packets from the outside in."""
    packets: List[Dict[str, Any]] = []
    outer = None
    for line in said.splitlines():
        found = _OUTER.search(line)
        if found:
            outer = found.groups()
            continue
        inner = _INNER.match(line.strip())
        if not (outer and inner):
            continue
        addresses = _ADDRESSES.match(inner.group(3))
        packets.append(
            {
                "outer_mac": [outer[0], outer[1]],
                "outer_address": [outer[2], outer[4]],
                "udp_port": [int(outer[3]), int(outer[5])],
                "vni": int(outer[6]),
                "inner_mac": [inner.group(1), inner.group(2)],
                "inner_address": [addresses.group(1), addresses.group(2)] if addresses else ["", ""],
                "what": addresses.group(3) if addresses else inner.group(3),
            }
        )
        outer = None
    return packets
