# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a walk between two ends carries: both hosts' tables, and the steps up to the first broken one. Pure. PRIVATE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Member, Tunnel, Way, version_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.ends import End
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.filtering import Packet, find_stop

# What overlay_tables returns.
Tables = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """One thing that a packet needs, whether it is so, and if not, why and what mends it."""

    host: str
    what: str
    found: str
    broken: str = ""
    remedy: str = ""


@dataclass
class Walk:
    """One direction: collects steps until one is broken."""

    network: Network
    here: End
    there: End
    near: Tables
    far: Tables
    # Of what is sent: protocol, port and state of connection tracking.
    protocol: str = "icmp"
    port: int = 0
    state: str = "new"
    steps: list[Step] = field(default_factory=list)

    @property
    def own(self) -> Member:
        return self.network.members[self.here.host]

    @property
    def peer(self) -> Member:
        return self.network.members[self.there.host]

    @property
    def version(self) -> int:
        return version_of(self.there.address)

    @property
    def way(self) -> Way:
        return self.network.find_way(self.own, self.peer, self.version)

    @property
    def tunnel(self) -> Tunnel:
        """That of a way which has one."""
        tunnel = self.way.tunnel
        if tunnel is None:
            raise ValueError(f"{self.network.name}: a hop of a tunnel on a way without one")
        return tunnel

    @property
    def broken(self) -> Step | None:
        return self.steps[-1] if self.steps and self.steps[-1].broken else None

    def add(self, host: str, what: str, found: str, broken: str = "", remedy: str = "") -> None:
        self.steps.append(Step(host, what, found, broken, remedy))

    def add_broken(self, host: str, what: str, broken: str, remedy: str) -> None:
        self.add(host, what, "", broken, remedy)

    def make_inner(self, tables: Tables, come: str = "", go: str = "") -> Packet:
        """The packet between the ends, as one host sees it."""
        local = frozenset(list_addresses(tables["addresses"]))
        return Packet(self.here.address, self.there.address, self.protocol, self.port, come, go, state=self.state, local=local)

    def make_outer(self, tables: Tables, come: str = "", go: str = "") -> Packet:
        """What it is wrapped in; where a NAT is in between, each side sees its own address and what stands for the other's."""
        tunnel, local = self.tunnel, frozenset(list_addresses(tables["addresses"]))
        ends = (self.own.underlay_ip, self.own.find_peer_address(self.peer))
        if tables is self.far:
            ends = (self.peer.find_peer_address(self.own), self.peer.underlay_ip)
        return Packet(*ends, tunnel.protocol, tunnel.port, come, go, vni=tunnel.vni, local=local)

    def check_firewall(self, host: str, tables: Tables, packet: Packet, hooks: Sequence[str]) -> None:
        stop = find_stop(tables, packet, hooks)
        what = f"{packet.protocol} {packet.source} to {packet.target}" + (f" port {packet.port}" if packet.port else "")
        if stop:
            self.add_broken(host, "firewall", f"{stop.where} stops {what}: {stop.rule}", stop.remedy)
        else:
            self.add(host, "firewall", f"lets {what} pass ({', '.join(hooks)})")


def find_link(tables: Tables, name: str) -> dict[str, Any]:
    return next((link for link in tables["links"] if link.get("ifname") == name), {})


def is_up(link: Mapping[str, Any]) -> bool:
    return "UP" in link.get("flags", [])


def list_addresses(links: Sequence[Mapping[str, Any]], device: str = "") -> set[str]:
    """All addresses, or those of one device."""
    return {
        info["local"]
        for link in links
        if not device or link.get("ifname") == device
        for info in link.get("addr_info", ())
        if "local" in info
    }


def find_underlay_device(tables: Tables) -> str:
    """The device by which a host sends to the other one's underlay address."""
    return str(tables["routes"].get("underlay", {}).get("dev", ""))


def suggest_run(host: str) -> str:
    return f"ansible-playbook playbooks/overlay.yml --limit {host}"
