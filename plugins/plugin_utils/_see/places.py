# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which host an address of the overlay belongs to. Pure. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan


class Places:
    """The leases of a plan, to be looked up by an address in them."""

    def __init__(self, plan: Plan) -> None:
        self._nets: dict[tuple[int, int], dict[int, tuple[str, str]]] = {}
        for name, network in plan.networks.items():
            for node, member in network.members.items():
                for lease in member.leases:
                    net = ipaddress.ip_network(lease.subnet)
                    self._nets.setdefault((net.version, net.prefixlen), {})[int(net.network_address)] = (node, name)

    def find(self, address: str) -> tuple[str, str]:
        """Host and network; empty where it is nobody's lease."""
        found = ipaddress.ip_address(address)
        for (version, length), nets in self._nets.items():
            if version == found.version:
                bits = found.max_prefixlen - length
                place = nets.get(int(found) >> bits << bits)
                if place:
                    return place
        return "", ""
