# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backend host-gw: a subnet a node, and plain routes between nodes of one segment. Pure. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.docker0 import Docker0
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.docker_network import DockerNetwork
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.routed import RoutedNetwork, find_direct_gateway
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.fields import Fields
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Member, Way
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Common


@dataclass(frozen=True, kw_only=True)
class HostGw(RoutedNetwork):
    backend = "host-gw"
    options = ("peers",)
    attachments = (Docker0, DockerNetwork)

    @classmethod
    def read(cls, item: Fields, common: Common) -> HostGw:
        for version in item.list_versions():
            _require_one_segment(item, common.members, version)
        return cls(**common.values())

    @property
    def goes_direct(self) -> bool:
        return True

    def find_way(self, here: Member, there: Member, version: int) -> Way:
        return Way(gateway=find_direct_gateway(here, there, version))


def _require_one_segment(item: Fields, members: frozenset[str], version: int) -> None:
    """Every node has to reach every other with no router in between."""
    first, where = "", None
    for name in sorted(members & set(item.underlay)):
        underlay = item.underlay[name]
        subnet = underlay.subnets.get(version)
        if version not in underlay.addresses:
            problem = f"has no IPv{version} underlay address, which is the gateway to its containers"
            item.wrong("backend", problem, "Add one to its overlay_underlay_ip", name)
        elif subnet is None:
            item.refuse_unknown_segment("backend", name, version)
        elif where is None:
            first, where = name, subnet
        elif subnet != where:
            problem = f"the host is on underlay subnet {subnet}, and {first} on {where}: with a router between them"
            item.wrong("backend", problem, "Choose backend vxlan, with direct_routing: true if you like", name)
