# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""IPv6 gateways that count as on the link, and of which the kernel knows another way. PRIVATE to the collection.

The kernel refuses such a gateway on a device where its own routes lead to the gateway over another one. So does a route through
a gateway of its own network, as a VTEP's is, when it shall move to another device: it stands in its own way. With a route to
the gateway alone over the new device, for the moment, both can be: no packet finds a gap.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, Callable, List, Sequence

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    Message,
    NetlinkError,
    rtmsg,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Failure, Op
from ansible_collections.agentless.overlay.plugins.module_utils._marks import ROUTE_PROTOCOL

RTNH_F_ONLINK = 4
_MAIN, _UNICAST = 254, 1
# Nobody else's: a route of that metric to one address.
_METRIC = 0x9D9D9D9D


def apply_routes(
    host: Host,
    ops: Sequence[Op[Any]],
    message: Callable[[Host, Op[Any]], Message],
    excuses: Callable[[Op[Any], NetlinkError], bool] = lambda _op, _error: False,
) -> List[Failure]:
    """Send what carries operations out, and once more, with a way to the gateway, what is refused for the lack of one."""
    failed = host.session.write([message(host, op) for op in ops])
    again = [index for index, error in failed.items() if error.code == errno.EINVAL and _is_onlink(ops[index])]
    if again:
        sent: List[Message] = []
        for index in again:
            sent += [
                _make_way(host, ops[index], RTM_NEWROUTE),
                message(host, ops[index]),
                _make_way(host, ops[index], RTM_DELROUTE),
            ]
            del failed[index]
        for index, error in host.session.write(sent).items():
            # What fails at the way itself shows in what needs it.
            if index % 3 == 1:
                failed[again[index // 3]] = error
    return [Failure(ops[index], str(error)) for index, error in sorted(failed.items()) if not excuses(ops[index], error)]


def _is_onlink(op: Op[Any]) -> bool:
    entry = op.after
    return bool(entry is not None and entry.onlink and entry.device and ":" in (entry.gateway or ""))


def _make_way(host: Host, op: Op[Any], kind: int) -> Message:
    """The route to the gateway of an operation's entry, and to it alone."""
    entry = op.entry
    fields = {"family": socket.AF_INET6, "dst_len": 128, "table": _MAIN, "proto": ROUTE_PROTOCOL, "type": _UNICAST}
    attrs = [("RTA_DST", entry.gateway), ("RTA_OIF", host.index(entry.device) or 0), ("RTA_PRIORITY", _METRIC)]
    flags = NLM_F_CREATE | NLM_F_EXCL if kind == RTM_NEWROUTE else 0
    return Message(kind, flags, rtmsg, fields, attrs)
