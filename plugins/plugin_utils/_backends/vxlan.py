# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backend vxlan: a subnet a node, vxlan between them; in one segment plain routes, if asked for. Pure. PRIVATE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.docker0 import Docker0
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.docker_network import DockerNetwork
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.host import Host
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.routed import RoutedNetwork, find_direct_gateway
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.vxlan_device import (
    MAX_VNI,
    OPTIONS,
    VxlanNetwork,
    read_link,
    read_tunnel,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.fields import Fields
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import (
    Lease,
    Member,
    Tunnel,
    Way,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Common
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import Part
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import as_list, drop_empty


@dataclass(frozen=True, kw_only=True)
class Vxlan(VxlanNetwork, RoutedNetwork):
    backend = "vxlan"
    options = (*OPTIONS, "direct_routing", "peers", "parallel")
    attachments = (Docker0, DockerNetwork, Host)

    direct_routing: bool = False

    @classmethod
    def read(cls, item: Fields, common: Common) -> Vxlan:
        own = read_tunnel(item, common.version)
        direct = item.read_flag("direct_routing")
        if direct:
            item.require_segments("direct_routing", common.members)
        return cls(
            **common.values(),
            tunnels=(own, *_read_parallel(item, own)),
            dev=item.read_underlay_device("dev"),
            link=read_link(item, common.version),
            direct_routing=direct,
        )

    @property
    def goes_direct(self) -> bool:
        return self.direct_routing

    def find_way(self, here: Member, there: Member, version: int) -> Way:
        gateway = find_direct_gateway(here, there, version) if self.direct_routing else ""
        return Way(gateway=gateway) if gateway else Way(self.tunnel)

    def fill_tunnels(self, part: Part, own: Member, tunnelled: Sequence[tuple[Member, Lease]]) -> None:
        addresses = [f"{lease.vtep_ip}/{128 if lease.version == 6 else 32}" for lease in own.leases]
        for number, tunnel in enumerate(self.tunnels):
            self.add_vxlan(part, own, number, learning=False, addresses=list(addresses))
            neighbours = [{"dst": lease.vtep_ip, "lladdr": peer.macs[number]} for peer, lease in tunnelled]
            part.add("neigh_entry", {"device": tunnel.device, "entries": neighbours, "purge": True})
            # One of a peer, whatever leases of it are behind the tunnel.
            fdb = {peer.macs[number]: own.find_peer_address(peer) for peer, _lease in tunnelled}
            entries = [{"mac": mac, "dst": address} for mac, address in fdb.items()]
            part.add("fdb_entry", {"device": tunnel.device, "entries": entries, "purge": True})


def _read_parallel(item: Fields, own: Tunnel) -> list[Tunnel]:
    """Other VNIs and ports that are kept ready beside the network's own."""
    found: list[Tunnel] = []
    for number, given in enumerate(as_list(item.item.get("parallel"))):
        where = f"parallel[{number}]"
        options = drop_empty(given) if isinstance(given, Mapping) else {}
        if not options or set(options) - {"vni", "port", "device"}:
            item.wrong(where, "not a mapping of vni, port or device", "Write parallel: [{vni: 89}]", value=given)
            continue
        # In the place of a wrong one what clashes with none.
        vni = item.check_number(f"{where}.vni", options["vni"], 1, MAX_VNI, 0) if "vni" in options else own.vni
        port = item.check_number(f"{where}.port", options["port"], 1, 65535, 0) if "port" in options else own.port
        device = item.check_device(f"{where}.device", options.get("device", f"vxlan.{vni}"))
        if (vni, port) in [(one.vni, one.port) for one in (own, *found)]:
            problem = f"VNI {vni} and port {port} are those of the network itself, or of another one that is parallel"
            item.wrong(where, problem, "Choose another VNI or port", value=given)
        elif device and device in [one.device for one in (own, *found)]:
            remedy = "Name the device, differently from the others of the network: {port: 8472, device: vxlan.new}"
            item.wrong(f"{where}.device", "it needs a device name of its own", remedy, value=device)
        else:
            found.append(replace(own, device=device, vni=vni, port=port))
    return found
