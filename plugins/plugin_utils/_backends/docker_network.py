# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attachment {docker_network: NAME}: a Docker network of its own, beside docker0. Pure. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Member, name_bridge
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Attachment, Network
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import Part
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import hint_quotes

# What Docker calls its own networks.
_DOCKERS_OWN = ("bridge", "default", "host", "none", "ingress", "docker_gwbridge")


@dataclass(frozen=True)
class DockerNetwork(Attachment):
    written = "{docker_network: NAME}"
    missing: ClassVar[str] = "a network at layer 2 needs a Docker network of its own"

    name: str

    @classmethod
    def parse(cls, value: Any) -> DockerNetwork | None:
        # Whether the name is one, find_problem says.
        return cls(value["docker_network"]) if isinstance(value, dict) and set(value) == {"docker_network"} else None

    def to_plain(self) -> dict[str, str]:
        return {"docker_network": self.name}

    @classmethod
    def make_default(cls) -> None:
        return None

    @classmethod
    def make_placeholder(cls) -> DockerNetwork:
        return cls("")

    def find_problem(self) -> tuple[str, str] | None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}", self.name):
            return f"not a name that Docker takes for a network{hint_quotes(self.name)}", ""
        if self.name in _DOCKERS_OWN:
            return "Docker has a network of its own by that name", "Choose another name"
        return None

    @property
    def docker_name(self) -> str:
        return self.name

    def name_bridge(self, network: Network) -> str:
        vni = network.tunnel.vni if network.tunnel is not None else 0
        return f"br.{vni}" if vni else name_bridge(network.name)

    def list_words(self) -> Iterable[str]:
        return (self.name,)

    def fill_routed(self, part: Part, network: Network, own: Member) -> None:
        part.add(
            "docker_network",
            {
                "name": self.name,
                "network": network.name,
                "subnets": [lease.subnet for lease in own.leases],
                "gateways": [lease.gateway for lease in own.leases],
                "bridge": network.bridge,
                "devices": part.sections["firewall"][-1]["devices"],
                # The name of the underlay device only the host knows.
                "via": _find_neighbouring(own),
                "mtu": network.mtu,
                "masquerade": False,
            },
        )

    def fill_shared(self, part: Part, network: Network, own: Member, device: dict[str, Any]) -> None:
        device.update(master=network.bridge, addresses=[])
        part.add_bridge(
            network.name,
            {
                "name": network.bridge,
                # Not that of the lowest port, which would change with each container.
                "mac": own.macs[0],
                "mtu": network.mtu,
                "addresses": own.list_gateways(network.cidrs),
            },
        )
        part.add(
            "docker_network",
            {
                "name": self.name,
                "network": network.name,
                "subnets": list(network.cidrs),
                "gateways": [lease.gateway for lease in own.leases],
                "ip_ranges": [lease.subnet for lease in own.leases],
                "bridge": network.bridge,
                "devices": [],
                "via": [],
                "mtu": network.mtu,
                "masquerade": True,
            },
        )


def _find_neighbouring(own: Member) -> list[str]:
    """An address that the host's underlay device leads to, and that is not the host's own."""
    for version, segment in sorted(own.segments.items()):
        # On a /31 both addresses are hosts'; on a /32 there is nobody else, and no route to a peer goes by it.
        hosts = map(str, islice(ipaddress.ip_network(segment).hosts(), 2))
        others = [address for address in hosts if address != own.addresses.get(version)]
        if others:
            return others[:1]
    return []
