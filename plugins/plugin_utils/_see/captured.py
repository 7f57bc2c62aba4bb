# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which packets to catch, and how to show one. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan

_LAYERS = (
    ("outer MAC", "outer_mac"),
    ("outer address", "outer_address"),
    ("UDP port", "udp_port"),
    ("VNI", "vni"),
    ("inner MAC", "inner_mac"),
    ("inner address", "inner_address"),
    ("what", "what"),
)


def choose_capture(plan: Plan, src: str, dst: str, name: str = "") -> dict[str, Any]:
    """What capturing needs to know of a network that two hosts are on; raises ValueError with what is wrong."""
    networks = plan.networks
    if name and name not in networks:
        raise ValueError(f"there is no network {name}; there are: {', '.join(networks)}")
    if src == dst:
        raise ValueError(f"src and dst are both {src}: nothing leaves the host")
    for network in [networks[name]] if name else networks.values():
        both = {src, dst} <= set(network.members) and dst in network.find_peers(src)
        if both and network.tunnel is not None and network.tunnel.vni:
            return {
                "network": network.name,
                "vni": network.tunnel.vni,
                "port": network.tunnel.port,
                "docker_network": network.docker_name,
                "address": network.members[dst].leases[0].gateway,
                # Of each as the other one knows it.
                "underlay": {
                    host: network.members[other].find_peer_address(network.members[host])
                    for host, other in ((src, dst), (dst, src))
                },
            }
    if name and not any(tunnel.vni for tunnel in networks[name].tunnels):
        raise ValueError(f"network {name} has no VNI, by which a capture finds its packets")
    where = f"network {name}" if name else "any network with a VNI"
    raise ValueError(f"{src} and {dst} are not both on {where}, or not peers there")


def show_capture(captured: Mapping[str, Any], sent: Mapping[str, Any], received: Mapping[str, Any]) -> str:
    """One packet, from the outside in, on both ends; raises ValueError where none was seen on both."""
    ends = {"sent": sent["packets"], "received": received["packets"]}
    # The ping itself first, before what the kernels ask of each other.
    for packet in sorted(ends["sent"], key=lambda packet: "echo request" not in packet["what"]):
        for twin in ends["received"]:
            if all(packet[key] == twin[key] for key in ("inner_address", "what", "udp_port")):
                shown = {
                    f"as it leaves by {sent['device']}": packet,
                    f"as it arrives by {received['device']}": twin,
                }
                lines = [f"network {captured['network']}"]
                for title, found in shown.items():
                    lines += ["", title, f"  {'':15}{'from':42}to"]
                    lines += [f"  {name:15}{_show_cells(found[key])}" for name, key in _LAYERS]
                return "\n".join(line.rstrip() for line in lines)
    counts = " and ".join(f"{len(packets)} {end}" for end, packets in ends.items())
    raise ValueError(
        f"no packet was seen on both ends ({counts}); where none was received, something between the hosts drops it"
    )


def _show_cells(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"{value[0]!s:42}{value[1]}"
    return str(value)
