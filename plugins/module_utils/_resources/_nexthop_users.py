# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes that name a nexthop object of ours and are not ours. PRIVATE to the collection.

With the object the kernel takes them away, and tells nobody.
"""

from __future__ import annotations

import socket
from typing import Any, Collection, List, Mapping, Set

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import RTM_GETROUTE, Message, rtmsg
from ansible_collections.agentless.overlay.plugins.module_utils._marks import ROUTE_PROTOCOL
from ansible_collections.agentless.overlay.plugins.module_utils._resources._route import (
    ATTRIBUTES,
    RTN_UNICAST,
    Route,
    decode_route,
)


def routes_by(host: Host, numbers: Collection[int], tables: Set[int]) -> List[Route]:
    """The routes of any table that name one of some nexthop objects, less ours, which are in C(tables)."""
    request = Message(RTM_GETROUTE, 0, rtmsg, {"family": socket.AF_UNSPEC}, [])
    # Of an IPv6 gateway IPv4 routes may be too.
    named = set(numbers)

    def is_others(row: Mapping[str, Any]) -> bool:
        if row.get("RTA_NH_ID") not in named:
            return False
        # As nearly all of them are; these need not be decoded.
        plain = row["proto"] == ROUTE_PROTOCOL and row["type"] == RTN_UNICAST and "RTA_MULTIPATH" not in row
        return not plain or row.get("RTA_TABLE", row["table"]) not in tables

    if not host.session.rows(request, ("RTA_NH_ID", "RTA_TABLE", "RTA_MULTIPATH"), is_others):
        return []
    found = [decode_route(host, row) for row in host.session.rows(request, ATTRIBUTES, is_others)]
    return [one for one in found if not (one.ours and one.table in tables)]
