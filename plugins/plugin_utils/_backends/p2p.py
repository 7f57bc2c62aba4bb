# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backend p2p: a tunnel between two nodes. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.docker_network import DockerNetwork
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.host import Host
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.shared import SharedNetwork
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.vxlan_device import OPTIONS, read_link, read_tunnel
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import list_few
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.fields import Fields
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Member
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Common
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import Options


@dataclass(frozen=True, kw_only=True)
class P2p(SharedNetwork):
    backend = "p2p"
    options = OPTIONS
    attachments = (Host, DockerNetwork)

    @classmethod
    def read(cls, item: Fields, common: Common) -> P2p:
        if item.knows_members and len(common.members) != 2:
            names = list_few(sorted(common.members)) or "none"
            problem = f"a point-to-point network joins two nodes, and has {len(common.members)}: {names}"
            for host in sorted(common.members)[2:] or [""]:
                item.wrong("members", problem, "Name two members, or choose backend l2 or vxlan", host, "all")
        tunnel, link = read_tunnel(item, common.version), read_link(item, common.version)
        return cls(**common.values(), tunnels=(tunnel,), dev=item.read_underlay_device("dev"), link=link)

    def find_remote(self, own: Member, peers: Mapping[str, Member]) -> Options:
        return {"remote": next(map(own.find_peer_address, peers.values()), None)}
