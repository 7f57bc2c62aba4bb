# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attachment docker0: each node's lease goes to Docker's own bridge, through daemon.json. Pure. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.subnet_env import (
    add_subnet_env,
    list_runtime_addresses,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Member
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Attachment, Network
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import Part


@dataclass(frozen=True)
class Docker0(Attachment):
    written = "docker0"
    has_ipv4: ClassVar[bool] = True
    waits_for_docker: ClassVar[bool] = True

    @classmethod
    def parse(cls, value: Any) -> Docker0 | None:
        return cls() if value == "docker0" else None

    def to_plain(self) -> str:
        return "docker0"

    @property
    def docker_name(self) -> str:
        return "bridge"

    def name_bridge(self, network: Network) -> str:
        return "docker0"

    def tells_runtimes(self, shared: bool) -> bool:
        return True

    def fill_routed(self, part: Part, network: Network, own: Member) -> None:
        add_subnet_env(part, network, own)
        bips = {"bip6" if ":" in address else "bip": address for address in list_runtime_addresses(own)}
        part.add("docker_bip", {**bips, "mtu": network.mtu, "ip_masq": False, "allow_renumber": part.allow_renumber})
