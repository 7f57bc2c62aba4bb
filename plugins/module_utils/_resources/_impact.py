# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What operations do to packets that are on their way. Pure. PRIVATE to the collection.

What is not listed drops nothing: additions; attributes that the kernel changes on a living device; neighbours, FDB entries
and routes, of which the kernel replaces one by another in one step; our nft table, which is replaced as a whole.
"""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Op
from ansible_collections.agentless.overlay.plugins.module_utils._resources._vxlan import Link

_UNTIL_PEERS = "each peer has been converged too"


def impacts(ops: Sequence[Op[Any]]) -> List[Dict[str, str]]:
    """The operations that drop packets: which packets, and for how long."""
    replaced = {op.after.dst for op in ops if op.resource == "route_entry" and op.after is not None}
    found = []
    for op in ops:
        drops, until = _impact(op, replaced)
        if drops:
            found.append({"operation": str(op), "drops": drops, "until": until})
    return found


def _impact(op: Op[Any], replaced: Any) -> Any:
    if op.before is None:
        return "", ""
    if op.resource == "vxlan_link":
        return _link(op)
    if op.after is None and op.resource == "route_entry" and op.before.dst not in replaced and not op.before.leftover:
        return "packets to %s" % op.before.dst, "there is a route again"
    if op.after is None and op.resource == "bridge":
        return "packets of all containers on %s" % op.before.name, "there is such a bridge again"
    if op.resource == "docker_network":
        return "", ""  # refused where a container uses it
    if op.resource == "sandbox" and op.after is None:
        return "packets of %s" % op.before.name, "it is made again"
    return "", ""


def _link(op: Op[Link]) -> Any:
    before, after = op.before, op.after
    if before is None or after is None:
        # Its routes say which packets.
        return "", ""
    if (before.vni, before.port) != (after.vni, after.port):
        return "packets over %s, both ways" % after.name, _UNTIL_PEERS + "; parallel in overlay_networks avoids that"
    if op.recreate:
        return "packets over %s, both ways" % after.name, "it is made again with all its entries, some milliseconds later"
    if before.mac != after.mac:
        return "packets over %s to this host" % after.name, _UNTIL_PEERS
    if before.local != after.local:
        return "packets over %s, both ways" % after.name, _UNTIL_PEERS
    if before.up and not after.up:
        return "packets over %s, both ways" % after.name, "it is up again"
    return "", ""
