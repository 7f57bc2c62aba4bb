# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attachment host: the node itself is on the network, and another runtime than Docker may be. Pure. PRIVATE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.subnet_env import add_subnet_env
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import IPNetwork, Member
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Attachment, LeaseForm, Network
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import Part


@dataclass(frozen=True)
class Host(Attachment):
    written = "host"

    @classmethod
    def parse(cls, value: Any) -> Host | None:
        return cls() if value == "host" else None

    def to_plain(self) -> str:
        return "host"

    def find_lease_form(self, shared: bool) -> LeaseForm:
        return LeaseForm.ADDRESS if shared else LeaseForm.RANGE

    def tells_runtimes(self, shared: bool) -> bool:
        return not shared

    def forwards(self, shared: bool) -> bool:
        return not shared

    def find_gateway(self, subnet: IPNetwork) -> str:
        # Without a bridge of ours a host is on the network with the address of its VTEP.
        return str(subnet.network)

    def fill_routed(self, part: Part, network: Network, own: Member) -> None:
        add_subnet_env(part, network, own)

    def fill_shared(self, part: Part, network: Network, own: Member, device: dict[str, Any]) -> None:
        device["addresses"] = own.list_gateways(network.cidrs)
