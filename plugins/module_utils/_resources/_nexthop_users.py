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

# What struct rtmsg says of a table whose number it has no room for (RT_TABLE_COMPAT).
_MORE = 252
# Behind struct nlmsghdr; table, protocol, scope and type are its bytes 4 to 7.
_RTMSG = 16


def list_routes_by(host: Host, numbers: Collection[int], tables: Set[int]) -> List[Route]:
    """The routes of any table that name one of some nexthop objects, less ours, which are in C(tables)."""
    request = Message(RTM_GETROUTE, 0, rtmsg, {"family": socket.AF_UNSPEC}, [])
    # Of an IPv6 gateway IPv4 routes may be too.
    named = set(numbers)

    def may_be_others(data: bytes) -> bool:
        # Nearly all of them are ours, in a table with a number that has room in struct rtmsg; these need not be decoded.
        table, protocol, _scope, kind = data[_RTMSG + 4 : _RTMSG + 8]
        return protocol != ROUTE_PROTOCOL or kind != RTN_UNICAST or table not in tables or table == _MORE

    def is_named(row: Mapping[str, Any]) -> bool:
        return row.get("RTA_NH_ID") in named

    rows = host.session.rows(request, ATTRIBUTES, is_named, may_be_others)
    found = [decode_route(host, row) for row in rows]
    return [one for one in found if not (one.ours and one.table in tables)]
