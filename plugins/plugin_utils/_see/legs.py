# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hosts that listened to each other's pings saw, and how far the packets came. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network, Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.places import Places
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import join_names

# By host, what overlay_listen returned.
Heard = Mapping[str, Mapping[str, Any]]


@dataclass
class Leg:
    """One direction between two hosts on a network."""

    # Addresses of the other tunnel end, each with the VNI; the address is empty without a tunnel.
    sent: set[tuple[str, int]] = field(default_factory=set)
    arrived: set[tuple[str, int]] = field(default_factory=set)
    # How many came out of the tunnel.
    unwrapped: int = 0


@dataclass(frozen=True)
class Stage:
    """How far the packets of one direction came, and where the rest was lost, if one host can be named."""

    name: str
    text: str = ""
    where: str = ""


_ARRIVED = Stage("ok")


def collect_legs(plan: Plan, heard: Heard) -> dict[tuple[str, str, str], Leg]:
    """By source, target and network, what was seen of each direction."""
    places = Places(plan)
    found: dict[tuple[str, str, str], Leg] = defaultdict(Leg)
    for host, answer in heard.items():
        for packet in answer.get("packets", ()):
            (source, network), (target, _network) = places.find(packet["source"]), places.find(packet["target"])
            if not source or not target or source == target:
                continue
            leg, outer = found[(source, target, network)], tuple(packet["outer"])
            tunnel = plan.networks[network].tunnel
            if host == source and packet["way"] == "out" and (outer or tunnel is None):
                leg.sent.add((outer[1] if outer else "", packet["vni"]))
            elif host == target and packet["way"] == "in" and (outer or tunnel is None):
                leg.arrived.add((outer[0] if outer else "", packet["vni"]))
            elif host == target and packet["way"] == "in" and tunnel is not None and packet["device"] == tunnel.device:
                leg.unwrapped += packet["count"]
    return dict(found)


def find_stage(network: Network, leg: Leg | None, source: str, target: str, heard: Heard) -> Stage:
    """How far the packets of one direction came."""
    if leg is not None and leg.unwrapped:
        return _ARRIVED
    wrong = _find_wrong_entry(network, source, target, heard)
    if wrong is not None:
        return wrong
    if leg is None or not (leg.sent or leg.arrived):
        return Stage("not_sent", f"{source} sends nothing to {target}", source)
    packets = network.tunnel.packets if network.tunnel is not None else "packets"
    if not leg.arrived:
        return Stage("lost", f"{packets} from {source} do not arrive at {target}")
    if network.tunnel is None:
        return _ARRIVED
    vnis, device = {vni for _address, vni in leg.arrived}, network.tunnel.device
    if not vnis & {tunnel.vni for tunnel in network.tunnels}:
        text = f"{source} sends with VNI {join_names(map(str, sorted(vnis)))}, not {network.tunnel.vni}"
        return Stage("vni", text, source)
    if heard.get(target, {}).get("checksum_errors"):
        text = f"what {source} sends arrives at {target} with a wrong UDP checksum, and its kernel drops it"
        return Stage("checksum", text, source)
    return Stage("dropped", f"{packets} from {source} arrive at {target} and not in {device}: {target} drops them", target)


def _find_wrong_entry(network: Network, source: str, target: str, heard: Heard) -> Stage | None:
    """Where the source's FDB leads elsewhere."""
    if network.tunnel is None:
        return None
    mac, expected = network.find_entry(network.members[source], network.members[target])
    entries = heard.get(source, {}).get("fdb", {}).get(network.tunnel.device) or []
    elsewhere = sorted(str(dst) for known, dst in entries if known == mac)
    # Where there is none, plain routes may lead there, or the kernel has learnt it.
    if not elsewhere or expected in elsewhere:
        return None
    text = f"{source} sends what is for {target} to {join_names(elsewhere)}, not to {expected}: its FDB entry is wrong"
    return Stage("fdb", text, source)
