# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One host's part of the plan, as the options of overlay_host. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

MARK = "agentless.overlay:"
SUBNET_ENV = "/run/flannel/subnet.env"


def host_sections(plan: Mapping[str, Any], node: str, allow_renumber: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Everything that must be true on a node, in sections named after the modules.

    @param plan: what Plan.as_dict returns
    """
    sections: dict[str, list[dict[str, Any]]] = {
        "sysctl": [{"name": "net.ipv4.ip_forward", "value": "1"}],
        "managers": [],
        "firewall": [],
        "vxlan_link": [{"entries": [], "purge": True}],
        "neigh_entry": [],
        "fdb_entry": [],
        "route_entry": [{"entries": [], "purge": True}],
        "files": [],
        "boot": [{}],
        "docker_bip": [],
        "docker_network": [],
    }
    mine = [network for network in plan["networks"].values() if node in network["nodes"]]
    if mine:
        sections["managers"].append(
            {
                "devices": [network["device"] for network in mine],
                "ports": sorted({network["port"] for network in mine}),
            }
        )
    for network in mine:
        own = network["nodes"][node]
        device = network["device"]
        peers = [peer for name, peer in network["nodes"].items() if name != node]
        sections["vxlan_link"][0]["entries"].append(
            {
                "name": device,
                "vni": network["vni"],
                "port": network["port"],
                "local": own["underlay_ip"],
                "learning": False,
                "mac": own["vtep_mac"],
                "mtu": network["mtu"],
                "alias": MARK + network["name"],
                "up": True,
                "addresses": [own["vtep_ip"] + "/32"],
            }
        )
        sections["neigh_entry"].append(
            {
                "device": device,
                "entries": [{"dst": peer["vtep_ip"], "lladdr": peer["vtep_mac"]} for peer in peers],
                "purge": True,
            }
        )
        sections["fdb_entry"].append(
            {
                "device": device,
                "entries": [{"mac": peer["vtep_mac"], "dst": peer["underlay_ip"]} for peer in peers],
                "purge": True,
            }
        )
        sections["route_entry"][0]["entries"] += [
            {"dst": peer["subnet"], "gateway": peer["vtep_ip"], "device": device, "onlink": True} for peer in peers
        ]
        prefix = own["subnet"].partition("/")[2]
        bip = f"{own['gateway']}/{prefix}"
        sections["firewall"].append(
            {
                "network": network["name"],
                "cidr": network["cidr"],
                "lease": own["subnet"],
                "device": device,
                "bridge": network["bridge"],
                "vni": network["vni"],
                "port": network["port"],
                "vteps": sorted(peer["underlay_ip"] for peer in peers),
            }
        )
        if network["docker_network"]:
            sections["docker_network"].append(
                {
                    "name": network["docker_network"],
                    "network": network["name"],
                    "subnet": own["subnet"],
                    "gateway": own["gateway"],
                    "bridge": network["bridge"],
                    "device": device,
                    "mtu": network["mtu"],
                }
            )
            continue
        sections["files"].append(
            {
                "path": SUBNET_ENV,
                "content": (
                    f"FLANNEL_NETWORK={network['cidr']}\nFLANNEL_SUBNET={bip}\n"
                    f"FLANNEL_MTU={network['mtu']}\nFLANNEL_IPMASQ=true\n"
                ),
            }
        )
        sections["docker_bip"].append({"bip": bip, "mtu": network["mtu"], "ip_masq": False, "allow_renumber": allow_renumber})
    if not sections["docker_bip"]:
        # What an earlier run put into daemon.json, for a network that had docker0 then.
        sections["docker_bip"].append({"state": "absent"})
    return sections


def probe_targets(
    plan: Mapping[str, Any], node: str, containers: Mapping[str, Any], waiting: Collection[str] = ()
) -> list[dict[str, Any]]:
    """What a node should be able to reach: every peer's bridge, and the containers known on it.

    @param containers: by node, what overlay_probe returned as containers, or nothing
    @param waiting: nodes whose Docker waits for a restart by its owner: docker0 has no lease yet
    """
    targets = []
    for network in plan["networks"].values():
        if node not in network["nodes"]:
            continue
        docker_network = network["docker_network"] or "bridge"
        shared = {"network": docker_network, "mtu": network["mtu"]}
        for name, peer in network["nodes"].items():
            if name == node:
                continue
            if name in waiting and docker_network == "bridge":
                targets.append({"name": name, "address": peer["vtep_ip"], **shared})
                continue
            targets.append({"name": name, "address": peer["gateway"], **shared})
            container = (containers.get(name) or {}).get(docker_network)
            if container:
                targets.append({"name": f"{name}/{container['name']}", "address": container["address"], **shared})
    return targets


def docker_networks(plan: Mapping[str, Any]) -> list[str]:
    """The Docker networks that hold leases, as Docker calls them."""
    return sorted({network["docker_network"] or "bridge" for network in plan["networks"].values()})
