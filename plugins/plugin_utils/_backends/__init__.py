# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kinds of networks, a file each, and the one list of them. Pure. PRIVATE to the collection."""

from __future__ import annotations

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.by_hand import ByHand
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.host_gw import HostGw
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.l2 import L2
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.multicast import Multicast
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.p2p import P2p
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.vxlan import Vxlan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Plain
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network, Plan

# By the name that an item of overlay_networks has; the first one is the default.
BACKENDS: dict[str, type[Network]] = {kind.backend: kind for kind in (Vxlan, HostGw, P2p, Multicast, L2, ByHand)}


def restore_plan(plain: Plain) -> Plan:
    """The plan that was registered, or kept in a file, as plain data."""
    return Plan.from_plain(plain, BACKENDS)
