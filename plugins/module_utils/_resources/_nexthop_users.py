# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes that name a nexthop object of ours and are not ours. PRIVATE to the collection.

With the object the kernel takes them away, and tells nobody.
"""

from __future__ import annotations

import socket
from typing import Collection, List, Set

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import RTM_GETROUTE, Message, rtmsg
from ansible_collections.agentless.overlay.plugins.module_utils._resources._route import (
    ATTRIBUTES,
    Route,
    decode_route,
)


def routes_by(host: Host, numbers: Collection[int], tables: Set[int]) -> List[Route]:
    """The routes of any table that name one of some nexthop objects, less ours, which are in C(tables)."""
    request = Message(RTM_GETROUTE, 0, rtmsg, {"family": socket.AF_UNSPEC}, [])
    # Of an IPv6 gateway IPv4 routes may be too.
    rows = host.session.rows(request, ATTRIBUTES, lambda row: row.get("RTA_NH_ID") in numbers)
    found = [decode_route(host, row) for row in rows]
    return [one for one in found if not (one.ours and one.table in tables)]
