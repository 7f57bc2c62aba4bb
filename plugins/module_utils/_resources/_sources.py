# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes whose source is an address of one of our devices. PRIVATE to the collection.

With the address the kernel takes them away, wherever they lead; of IPv6 it takes only the source out of them.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Dict, Iterable, Iterator, Mapping, Set

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import RTM_GETROUTE, Message, rtmsg
from ansible_collections.agentless.overlay.plugins.module_utils._resources._addresses import list_local_addresses
from ansible_collections.agentless.overlay.plugins.module_utils._resources._route import (
    ATTRIBUTES,
    AUTOMATIC,
    TABLE_MAIN,
    decode_route,
)


def read_source_addresses(host: Host, devices: Iterable[str]) -> Dict[str, str]:
    """The addresses of devices, with the name of theirs."""
    return {address: device for device in sorted(devices) for address in list_local_addresses(host, device)}


def find_source_device(row: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """The device whose address is the source of a row of a dump; the kernel looks in the main table."""
    if not sources or row["proto"] in AUTOMATIC or row.get("RTA_TABLE", row["table"]) != TABLE_MAIN:
        return ""
    return sources.get(row.get("RTA_PREFSRC", ""), "")


def list_routes_without(host: Host, devices: Set[str], staying: Set[str]) -> Iterator[str]:
    """Others' routes whose source is an address that goes while its device stays; C(staying) are those that shall be there."""
    there = read_source_addresses(host, devices)
    going = {one: device for one, device in there.items() if one not in staying and not ipaddress.ip_address(one).is_link_local}
    if not going:
        return
    fields = {"family": socket.AF_UNSPEC, "table": TABLE_MAIN}
    request = Message(RTM_GETROUTE, 0, rtmsg, fields, [("RTA_TABLE", TABLE_MAIN)])
    for row in host.session.rows(request, ATTRIBUTES, lambda row: bool(find_source_device(row, going))):
        entry = decode_route(host, row)
        # Ours is replaced by one with another source, or goes.
        if not entry.ours:
            yield (
                "route_entry: %s is a route of somebody else's (%s) whose source is an address of %s that is to go. Remove it "
                "first, or list the address" % (entry.dst, entry, find_source_device(row, going))
            )
