# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What networks have in common where each node has a subnet of its own, with routes between. Pure. PRIVATE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Hop, IPNetwork, Lease, Member, Underlay, Way
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import Options, Part


@dataclass(frozen=True, kw_only=True)
class RoutedNetwork(Network):
    """A route to each peer's subnet: through the tunnel, or straight to its underlay address."""

    @property
    def goes_direct(self) -> bool:
        """Whether packets may go without a tunnel."""
        return False

    def make_member(self, node: str, underlay: Underlay, version: int, subnets: Sequence[IPNetwork]) -> Member:
        member = super().make_member(node, underlay, version, subnets)
        return replace(member, addresses=underlay.addresses, segments=underlay.subnets) if self.goes_direct else member

    def fill(self, part: Part, own: Member) -> None:
        peers = self.find_peers(own.name)
        ways = [(peer, lease, self.find_way(own, peer, lease.version)) for peer in peers.values() for lease in peer.leases]
        self.fill_tunnels(part, own, [(peer, lease) for peer, lease, way in ways if way.tunnel is not None])
        part.add_routes([_make_route(lease, way) for _peer, lease, way in ways])
        firewall: Options = {
            "network": self.name,
            "cidrs": list(self.cidrs),
            "leases": [lease.subnet for lease in own.leases],
            # Ready before the first peer without a tunnel comes: Docker 28 cannot be told later.
            "devices": [tunnel.device for tunnel in self.tunnels] + ([""] if self.goes_direct else []),
            "bridge": self.bridge,
            **self.list_senders(own, peers),
        }
        part.add("firewall", firewall)
        self.attach.fill_routed(part, self, own)

    def fill_tunnels(self, part: Part, own: Member, tunnelled: Sequence[tuple[Member, Lease]]) -> None:
        """Add the devices, and what on them leads to the peers behind them."""

    def list_hops(self, way: Way, leaves_container: bool, enters_container: bool) -> list[Hop]:
        tunnel = way.tunnel
        hops = [Hop.LEAVE_CONTAINER, Hop.BRIDGE] if leaves_container else []
        if tunnel is not None:
            # Before the route, which goes with its device.
            hops.append(Hop.VTEP)
        hops += [Hop.FORWARDING, Hop.ROUTE, Hop.FIREWALL_FORWARD] if leaves_container else [Hop.ROUTE, Hop.FIREWALL_OUT]
        if tunnel is not None and tunnel.ethernet:
            hops += [Hop.NEIGHBOUR, Hop.FDB]
        hops.append(Hop.UNDERLAY)
        if tunnel is not None:
            hops += [Hop.TUNNEL_OUT, Hop.TUNNEL_IN, Hop.FAR_VTEP]
            hops += [Hop.FAR_MAC] if tunnel.ethernet else []
        if not enters_container:
            return [*hops, Hop.FAR_END]
        return [*hops, Hop.FAR_BRIDGE, Hop.FAR_FORWARDING, Hop.FAR_ROUTE, Hop.FAR_FIREWALL, Hop.ENTER_CONTAINER]

    def compare_path(self, here: Member, there: Member, version: int, device: str, gateway: str) -> tuple[str, str]:
        way = self.find_way(here, there, version)
        tunnelled = device in [tunnel.device for tunnel in self.tunnels]
        found = f"by {device or 'no route'}"
        if way.tunnel is not None:
            expected = f"tunnel, by {way.tunnel.device}"
            return (expected if tunnelled else found), expected
        expected = f"direct, via {way.gateway}"
        return (expected if gateway == way.gateway and not tunnelled else found), expected

    def find_probe_address(self, there: Member, lease: Lease, waiting: bool) -> str:
        # Before Docker 28 a bridge of its own has no working IPv6 address until a container is on it.
        if not waiting and lease.version == 4:
            return lease.gateway
        # Without a tunnel no device has the address of the VTEP.
        return lease.vtep_ip if self.tunnels else ""


def find_direct_gateway(here: Member, there: Member, version: int) -> str:
    """The other's underlay address, where both are on one subnet; else nothing."""
    subnet = here.segments.get(version)
    return there.addresses.get(version, "") if subnet is not None and there.segments.get(version) == subnet else ""


def _make_route(lease: Lease, way: Way) -> dict[str, Any]:
    if way.tunnel is None:
        return {"dst": lease.subnet, "gateway": way.gateway}
    return {"dst": lease.subnet, "gateway": way.gateway or lease.vtep_ip, "device": way.tunnel.device, "onlink": True}
