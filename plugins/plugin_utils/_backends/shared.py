# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What networks have in common whose nodes share one subnet, as if they were on one switch. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.vxlan_device import VxlanNetwork
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import ZERO_MAC, Hop, Member, Way
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import Options, Part


@dataclass(frozen=True, kw_only=True)
class SharedNetwork(VxlanNetwork):
    """Ethernet in vxlan, whose device is the node's own or a port of a bridge."""

    shared: ClassVar[bool] = True

    # Whether the port answers for neighbours that the bridge knows.
    neigh_suppress: bool = False

    def fill(self, part: Part, own: Member) -> None:
        peers = self.find_peers(own.name)
        options: dict[str, Any] = {"learning": True, **self.find_remote(own, peers)}
        self.attach.fill_shared(part, self, own, options)
        if options.get("master"):
            options["neigh_suppress"] = self.neigh_suppress
        self.add_vxlan(part, own, 0, **options)
        entries = self.list_entries(own, peers)
        part.add("fdb_entry", {"device": self.tunnels[0].device, "entries": entries, "purge": True})
        part.add("firewall", {"network": self.name, **self.list_senders(own, peers)})

    def find_remote(self, own: Member, peers: Mapping[str, Member]) -> Options:
        """Where the device sends what is for all, or what it does not know; as options of it."""
        return {}

    def list_entries(self, own: Member, peers: Mapping[str, Member]) -> list[Options]:
        """The same as entries of its FDB."""
        return []

    def list_hops(self, way: Way, leaves_container: bool, enters_container: bool) -> list[Hop]:
        hops = [Hop.LEAVE_CONTAINER, Hop.BRIDGE] if leaves_container else []
        hops.append(Hop.VTEP)
        hops += [] if self.bridge else [Hop.ROUTE]
        hops.append(Hop.FIREWALL_BRIDGE if leaves_container else Hop.FIREWALL_OUT)
        hops += [Hop.FDB, Hop.UNDERLAY, Hop.TUNNEL_OUT, Hop.TUNNEL_IN, Hop.FAR_VTEP]
        return [*hops, Hop.FAR_BRIDGE, Hop.ENTER_CONTAINER] if enters_container else [*hops, Hop.FAR_END]

    def find_entry(self, here: Member, there: Member) -> tuple[str, str]:
        return ZERO_MAC, here.find_peer_address(there)

    def compare_path(self, here: Member, there: Member, version: int, device: str, gateway: str) -> tuple[str, str]:
        return f"layer 2, by {device}" if device else "by no route", f"layer 2, by {self.bridge or self.tunnels[0].device}"
