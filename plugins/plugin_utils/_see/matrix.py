# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verification matrix: what every host should reach, and what came back. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import version_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import list_probe_targets

# Pairs that are looked at more closely, so that a fleet that is down does not keep everybody busy.
_MOST_PAIRS = 60
# What is pinged: a peer's bridge or VTEP, a container of its, or its underlay address.
HOST, CONTAINER, UNDERLAY = "host", "container", "underlay"


def list_targets(plan: Plan, node: str, containers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a node is to ping: each peer's bridge or VTEP, its container, and its underlay address; each with what it is."""
    targets = []
    for network in plan.list_networks_of(node):
        for target in list_probe_targets(Plan({network.name: network}), node, containers):
            peer, slash, _container = target["name"].partition("/")
            endpoint = CONTAINER if slash else HOST
            targets.append({**target, "peer": peer, "overlay": network.name, "endpoint": endpoint})
        room = network.mtu + (network.tunnel.overhead if network.tunnel is not None else 0)
        for name, peer_member in network.find_peers(node).items():
            address = network.members[node].find_peer_address(peer_member)
            if address:
                ping = {"name": name, "address": address, "network": "", "mtu": room}
                targets.append({**ping, "peer": name, "overlay": network.name, "endpoint": UNDERLAY})
    # Two networks between the same hosts share an underlay: once is enough, with the larger packet.
    once: dict[tuple[str, str], dict[str, Any]] = {}
    for target in sorted(targets, key=lambda target: int(target["mtu"])):
        once[(target["endpoint"], target["address"])] = target
    return list(once.values())


def make_probe_options(targets: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same as options of overlay_probe."""
    return [{key: target[key] for key in ("name", "address", "network", "mtu")} for target in targets]


def make_rows(plan: Plan, node: str, containers: Mapping[str, Any], answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each target and source of a node: what came back, how fast, how large.

    @param answer: what overlay_probe returned there
    """
    by_key: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for probe in answer["probes"]:
        by_key[(probe["source"], probe["address"])].append(probe)
    rows = []
    for target in list_targets(plan, node, containers):
        for source in (HOST, CONTAINER):
            probes = by_key.get((source, target["address"]))
            if not probes:
                continue
            row = _make_row(node, source, target, probes)
            if source == HOST:
                row.update(_compare_path(plan, node, target, answer.get("ways", {}).get(target["address"])))
            rows.append(row)
    return rows


def _make_row(node: str, source: str, target: Mapping[str, Any], probes: Collection[Mapping[str, Any]]) -> dict[str, Any]:
    small, full = min(probes, key=lambda probe: int(probe["size"])), max(probes, key=lambda probe: int(probe["size"]))
    sent = small["sent"] + full["sent"]
    received = small["received"] + full["received"]
    return {
        "from": node,
        "to": target["peer"],
        "network": "" if target["endpoint"] == UNDERLAY else target["overlay"],
        "source": source,
        "endpoint": target["endpoint"],
        "target": target["name"],
        "address": target["address"],
        "ok": full["ok"] and small["ok"],
        "reached": small["ok"],
        "loss": round(1 - received / sent, 3) if sent else 1.0,
        "rtt": small["rtt"],
        "size": full["size"],
        "largest": full["largest"] if small["ok"] else 0,
        "said": small["said"] or full["said"],
    }


def _compare_path(plan: Plan, node: str, target: Mapping[str, Any], way: Mapping[str, Any] | None) -> dict[str, Any]:
    """By what the host's packets go there, and by what they should."""
    device, mtu = (way["device"], way["mtu"]) if way else ("", 0)
    path = expected = ""
    if way is not None and target["endpoint"] != UNDERLAY:
        network = plan.networks[target["overlay"]]
        here, there = network.members[node], network.members[target["peer"]]
        path, expected = network.compare_path(here, there, version_of(target["address"]), device, way["gateway"])
    return {"path": path, "expected": expected, "device": device, "device_mtu": mtu}


def find_broken_pairs(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """The pairs of hosts, with the network, between which small packets of the overlay are lost."""
    found = set()
    for row in rows:
        if row["network"] and not row["reached"]:
            one, other = sorted((row["from"], row["to"]))
            found.add((one, other, row["network"]))
    return sorted(found)


def choose_pairs(pairs: Collection[tuple[str, str, str]], hosts: Collection[str]) -> list[tuple[str, str, str]]:
    """Those of them that are worth a closer look: both hosts are there to be asked; some of each host."""
    chosen: list[tuple[str, str, str]] = []
    seen: dict[str, int] = defaultdict(int)
    for one, other, network in pairs:
        if one in hosts and other in hosts and len(chosen) < _MOST_PAIRS and min(seen[one], seen[other]) < 3:
            seen[one] += 1
            seen[other] += 1
            chosen.append((one, other, network))
    return chosen


def list_partners(pairs: Iterable[tuple[str, str, str]]) -> dict[str, list[str]]:
    """By host, those that it is to ping once more while both listen."""
    partners: dict[str, set[str]] = defaultdict(set)
    for one, other, _network in pairs:
        partners[one].add(other)
        partners[other].add(one)
    return {name: sorted(names) for name, names in partners.items()}
