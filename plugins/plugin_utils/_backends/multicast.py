# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backend multicast: nodes that find each other by a group of the underlay. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.docker_network import DockerNetwork
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.host import Host
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.shared import SharedNetwork
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.vxlan_device import OPTIONS, read_link, read_tunnel
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.fields import Fields
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import ZERO_MAC, Member
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Common
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import Options
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import as_address, hint_quotes


@dataclass(frozen=True, kw_only=True)
class Multicast(SharedNetwork):
    backend = "multicast"
    options = (*OPTIONS, "group")
    attachments = (Host, DockerNetwork)
    needs_dev: ClassVar[bool] = True

    group: str = ""

    @classmethod
    def read(cls, item: Fields, common: Common) -> Multicast:
        dev = item.read_underlay_device("dev")
        for name in sorted(common.members & set(item.underlay)):
            if not (dev or item.underlay[name].dev):
                remedy = "Set dev in the network, or overlay_underlay_dev on the host, to its underlay device"
                item.wrong("dev", "a multicast group needs the device to join it on", remedy, name)
        _refuse_nat(item, common)
        tunnel, link = read_tunnel(item, common.version), read_link(item, common.version)
        return cls(**common.values(), tunnels=(tunnel,), dev=dev, link=link, group=_read_group(item, common.version))

    def find_remote(self, own: Member, peers: Mapping[str, Member]) -> Options:
        return {"group": self.group}

    def find_entry(self, here: Member, there: Member) -> tuple[str, str]:
        # Everybody is at the group until the device has learnt better.
        return ZERO_MAC, self.group


def _refuse_nat(item: Fields, common: Common) -> None:
    """No group reaches beyond a NAT; between members that are all on one subnet there is none."""
    members = {name: item.underlay[name] for name in sorted(common.members & set(item.underlay))}
    subnets = {underlay.subnets.get(common.version) for underlay in members.values()}
    for name, underlay in members.items():
        if common.version in underlay.public and (len(subnets) > 1 or None in subnets):
            problem = (
                f"no multicast group crosses the NAT for which the host has overlay_public_ip {underlay.public[common.version]}"
            )
            remedy = "Choose backend l2, or say that all members are on one subnet: overlay_underlay_ip with its prefix length"
            item.wrong("backend", problem, remedy, name)


def _read_group(item: Fields, version: int) -> str:
    group = as_address(item.item.get("group"))
    if group is None or not group.is_multicast():
        problem = f"not the address of a multicast group{hint_quotes(item.item.get('group'))}"
        item.wrong("group", problem, "Choose one, such as 239.1.1.1 or ff05::100")
        return ""
    if group.version != version:
        problem = f"an IPv{group.version} group, while the underlay is IPv{version}: one tunnel, one family"
        item.wrong("group", problem, "Choose a group of the underlay's family, or set underlay")
        return ""
    return str(group)
