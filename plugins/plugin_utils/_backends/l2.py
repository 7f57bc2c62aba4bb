# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backend l2: a Docker network stretched over all nodes, which send what is for all to each. Pure. PRIVATE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.docker_network import DockerNetwork
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.shared import SharedNetwork
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.vxlan_device import OPTIONS, read_link, read_tunnel
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.fields import Fields
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import ZERO_MAC, Member
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Common
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import Options, Part


@dataclass(frozen=True, kw_only=True)
class L2(SharedNetwork):
    backend = "l2"
    options = (*OPTIONS, "neigh_suppress", "static")
    attachments = (DockerNetwork,)

    # Whether each node has entries for the containers of the others, so that nobody has to ask for them.
    static: bool = False

    @classmethod
    def read(cls, item: Fields, common: Common) -> L2:
        return cls(
            **common.values(),
            tunnels=(read_tunnel(item, common.version),),
            dev=item.read_underlay_device("dev"),
            link=read_link(item, common.version),
            neigh_suppress=item.read_flag("neigh_suppress"),
            static=item.read_flag("static"),
        )

    @property
    def asks_containers(self) -> bool:
        return self.static

    def list_entries(self, own: Member, peers: Mapping[str, Member]) -> list[Options]:
        # Head-end replication: what is for all goes to each.
        return [{"mac": ZERO_MAC, "dst": own.find_peer_address(peer)} for peer in peers.values()]

    def fill_moment(self, part: Part, own: Member, containers: Mapping[str, Any]) -> None:
        peers = self.find_peers(own.name)
        # Of a peer that nobody asked what runs on it, what is there stays.
        known = set(peers) <= set(containers)
        fdb, neighbours = [], []
        for name, peer in peers.items():
            for container in (containers.get(name) or {}).get(self.docker_name, []):
                fdb.append({"mac": container["mac"], "dst": own.find_peer_address(peer)})
                neighbours += [{"dst": address, "lladdr": container["mac"]} for address in container["addresses"]]
        entries = {"device": self.tunnels[0].device, "entries": fdb, "purge": True, "keep_unicast": not known}
        part.add("fdb_entry", entries)
        part.add("neigh_entry", {"device": self.bridge, "entries": neighbours, "purge": known})
