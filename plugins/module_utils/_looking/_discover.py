# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host knows of the network that joins it with others, before anything of ours is on it. PRIVATE to the collection.

By the program ip alone: this is asked first, when nobody has installed what all else needs.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError
from ansible_collections.agentless.overlay.plugins.module_utils._looking._probe import Sources, ping_targets
from ansible_collections.agentless.overlay.plugins.module_utils._looking._ways import Run, query_routes

# Devices that lead to containers or into tunnels of others, and not to other hosts.
_NOT_UNDERLAY = re.compile(r"lo$|docker0$|docker_gwbridge$|br-[0-9a-f]{12}$|cni|flannel")
_KINDS = ("vxlan", "ipip", "gre", "dummy")
_ALIAS = "agentless.overlay:"
# Of each size to each target: one that is lost is no limit.
_COUNT = 2


def read_own_addresses(run: Run, inside: Sequence[Any] = ()) -> List[Dict[str, Any]]:
    """Its addresses by which other hosts may know it, each with its device.

    @param inside: networks of containers, whose addresses no other host knows
    """
    found = []
    for link in json.loads(run(["ip", "-json", "-details", "address", "show"], "") or "[]"):
        name, kind = link.get("ifname", ""), link.get("linkinfo", {}).get("info_kind", "")
        if _NOT_UNDERLAY.match(name) or kind in _KINDS or link.get("ifalias", "").startswith(_ALIAS):
            continue
        for info in link.get("addr_info", ()):
            address = ipaddress.ip_address(info.get("local", "0.0.0.0"))
            if info.get("scope") != "global" or any(address in net for net in inside if net.version == address.version):
                continue
            found.append(
                {
                    "address": str(address),
                    "prefix": info["prefixlen"],
                    "device": name,
                    "mtu": link["mtu"],
                    "mac": link.get("address", ""),
                    # For as long as nobody changes it: neither rented nor drawn anew.
                    "lasting": not (info.get("dynamic") or info.get("temporary") or info.get("deprecated")),
                }
            )
    return found


def query_ways(run: Run, addresses: Sequence[str]) -> Dict[str, Dict[str, Any]]:
    """By address by what the host's packets go there; C(mtu) where the kernel has learnt that of the path."""
    found = {}
    for address, route in query_routes(run, addresses).items():
        metrics = route.get("metrics") or [{}]
        found[address] = {
            "kind": route.get("type", "unicast"),
            "device": route.get("dev", ""),
            "gateway": route.get("gateway", ""),
            "source": route.get("prefsrc", ""),
            "mtu": metrics[0].get("mtu", 0),
        }
    return found


def ping_others(run: Run, targets: Sequence[Mapping[str, Any]], sizes: Mapping[str, int], wait: float) -> Dict[str, Any]:
    """By address whether it answers, the largest packet that does, and who answers for it on its device.

    @param sizes: the MTU of each device
    """
    ways = query_ways(run, [one["address"] for one in targets])
    reached = [one for one in targets if ways.get(one["address"], {}).get("kind") == "unicast"]
    asked = [
        {**one, "network": "", "mtu": min(one["mtu"], sizes.get(ways[one["address"]]["device"], one["mtu"]))} for one in reached
    ]
    probes = ping_targets(asked, Sources(), wait, _COUNT)
    neighbours = {
        (one.get("dst"), one.get("dev")): one["lladdr"]
        for one in json.loads(run(["ip", "-json", "neigh", "show"], "") or "[]")
        if "lladdr" in one
    }
    # The kernel may have learnt something of the path meanwhile.
    ways.update(query_ways(run, [one["address"] for one in reached]))
    found: Dict[str, Any] = {}
    for small, full in zip(probes[::2], probes[1::2]):
        address = small["address"]
        mac = neighbours.get((address, ways[address]["device"]), "")
        largest = full["largest"] if small["ok"] else 0
        found[address] = {**ways[address], "answers": small["ok"], "largest": largest, "mac": mac, "said": small["said"]}
    lost = {"answers": False, "largest": 0, "mac": "", "said": "no route"}
    nowhere = {"kind": "", "device": "", "gateway": "", "source": "", "mtu": 0}
    for one in targets:
        found.setdefault(one["address"], {**ways.get(one["address"], nowhere), **lost})
    return found


def inspect_engine(socket: str) -> Dict[str, Any]:
    """Docker's version and running containers, and the networks that containers are on; nothing where there is no Docker."""
    try:
        version = _docker_api.call_api("/version", socket)
        if version is None:
            return {"installed": _docker_api.is_docker_installed(), "version": "", "containers": [], "networks": [], "said": ""}
        networks = [one for one in _docker_api.call_api("/networks", socket) if one.get("Driver") == "bridge"]
        running = [one.name for one in _docker_api.list_running_containers(socket)]
    except OverlayError as error:
        return {"installed": True, "version": "", "containers": [], "networks": [], "said": str(error)}
    subnets = [str(subnet) for one in networks for subnet in _docker_api.list_docker_subnets(one)]
    return {"installed": True, "version": version.get("Version", ""), "containers": running, "networks": subnets, "said": ""}
