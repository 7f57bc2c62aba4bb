# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the report shows: plan, drift and matrix brought together. Pure. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
import math
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER
from ansible_collections.agentless.overlay.plugins.plugin_utils._drift import lines_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._preview import count_of, peer_names, peer_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._sections import peers_of

# Of a link, worst first; what is drawn over what.
STATES = ("broken", "drifted", "extra", "unknown", "ok")
WORDS = {
    "broken": "does not pass",
    "drifted": "differs from the plan",
    "extra": "is not planned",
    "unknown": "nobody could look",
    "ok": "as planned",
}
_MESH = 24  # hosts up to which each pair is drawn as a line
_CUT = 12  # links of a host that do not pass, from which on they are drawn as one
_TABLE = 24  # hosts up to which a heat map is a table of values
_SLOTS = 1024  # leases up to which each has a cell of its own
_SIZE, _RADIUS = 1000, 400
_TEMPLATES = os.path.join(os.path.dirname(__file__), "..", "..", "roles", "report", "templates")


def page(plan: Mapping[str, Any], drift: Mapping[str, Any], matrix: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the template needs.

    @param drift: what overlay_drift reports
    @param matrix: what overlay_verify reports
    """
    hosts = list(drift["fleet"])
    links = links_of(plan, drift, matrix)
    return {
        "time": drift["time"],
        "plan": drift["plan"],
        "networks": [_network(network) for network in plan["networks"].values()],
        "hosts": [_host(name, plan, drift, matrix) for name in hosts],
        "drift": drift,
        "matrix": matrix,
        "topology": topology(hosts, links, drift, matrix),
        "heat": heat_maps(hosts, matrix),
        "leases": [_leases(network) for network in plan["networks"].values() if network["attach"] != "namespace"],
        "changes": changes(drift),
        "lines_of": lines_of,
        "words": WORDS,
        "count": count_of,
    }


def _network(network: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("name", "backend", "vni", "port", "mtu")
    return {**{key: network[key] for key in keys}, "cidrs": network["cidrs"], "nodes": len(network["nodes"])}


def _host(name: str, plan: Mapping[str, Any], drift: Mapping[str, Any], matrix: Mapping[str, Any]) -> dict[str, Any]:
    looked = drift["hosts"].get(name, {"status": "unknown", "drift": [], "problem": "not looked at"})
    tried = matrix["hosts"].get(name, {"status": "unknown", "problem": "not asked"})
    underlay = next(
        (network["nodes"][name]["underlay_ip"] for network in plan["networks"].values() if name in network["nodes"]), ""
    )
    return {
        "name": name,
        "underlay": underlay,
        "state": host_state(looked, tried),
        "drift": len(looked["drift"]),
        "reach": tried["status"],
        "problem": looked.get("problem") or tried.get("problem", ""),
    }


def host_state(looked: Mapping[str, Any], tried: Mapping[str, Any]) -> str:
    if tried["status"] == "broken":
        return "broken"
    if looked["status"] == "drifted":
        return "drifted"
    return "unknown" if "unknown" in (looked["status"], tried["status"]) else "ok"


def links_of(
    plan: Mapping[str, Any], drift: Mapping[str, Any], matrix: Mapping[str, Any]
) -> dict[tuple[str, str], dict[str, Any]]:
    """By pair of hosts how it is between them, and why."""
    links: dict[tuple[str, str], dict[str, Any]] = {}

    def note(one: str, other: str, state: str, why: str) -> None:
        link = links.setdefault((min(one, other), max(one, other)), {"state": "ok", "why": []})
        if STATES.index(state) < STATES.index(link["state"]):
            link["state"] = state
        if why and why not in link["why"]:
            link["why"].append(why)

    for network in plan["networks"].values():
        if network["attach"] == "namespace":
            continue
        for node in network["nodes"]:
            for peer in peers_of(network, node):
                note(node, peer, "ok", "")
    for name, host in drift["hosts"].items():
        names = peer_names(plan, name)
        if host["status"] == "unknown":
            for pair in [pair for pair in links if name in pair]:
                note(*pair, "unknown", f"{name}: could not be looked at")
        for item in host["drift"]:
            peer = peer_of(names, item)
            if peer and peer != name:
                planned = (min(name, peer), max(name, peer)) in links
                state = "extra" if item["kind"] == "extra" and not planned else "drifted"
                note(name, peer, state, f"{name}: {item['kind']} {item['resource']} {item['name']}")
            elif item["resource"] in ("vxlan_link", "bridge", "address", "sysctl"):
                # What all of its links depend on.
                for pair in [pair for pair in links if name in pair]:
                    note(*pair, "drifted", f"{name}: {item['kind']} {item['resource']} {item['name']}")
    for row in matrix["rows"]:
        if row["network"] and not row["ok"]:
            note(row["from"], row["to"], "broken", f"{row['from']} to {row['to']} on {row['network']}: {row['said']}")
    return links


def topology(
    hosts: Sequence[str],
    links: Mapping[tuple[str, str], Mapping[str, Any]],
    drift: Mapping[str, Any],
    matrix: Mapping[str, Any],
) -> dict[str, Any]:
    """Hosts on a circle, links between them; in a large fleet those that are well are one line to the middle."""
    names = sorted({*hosts, *(name for pair in links for name in pair)})
    angle = {name: 2 * math.pi * number / max(1, len(names)) - math.pi / 2 for number, name in enumerate(names)}
    place = {
        name: (round(_SIZE / 2 + _RADIUS * math.cos(a), 1), round(_SIZE / 2 + _RADIUS * math.sin(a), 1))
        for name, a in angle.items()
    }
    nodes = []
    for name in names:
        looked, tried = drift["hosts"].get(name), matrix["hosts"].get(name)
        state = host_state(looked, tried) if looked and tried else "extra" if name not in hosts else "unknown"
        right = math.cos(angle[name]) >= -0.01
        nodes.append(
            {
                "name": name,
                "x": place[name][0],
                "y": place[name][1],
                "state": state,
                # Labels look outwards; on the left they are turned so as to be read.
                "turn": 0 if len(names) <= _MESH else round(math.degrees(angle[name]) + (0 if right else 180), 1),
                "anchor": "start" if right else "end",
                "offset": 20 if right else -20,
            }
        )
    lines = [
        {"pair": pair, "state": link["state"], "why": "; ".join(link["why"][:5]), "from": place[pair[0]], "to": place[pair[1]]}
        for pair, link in links.items()
    ]
    lines.sort(key=lambda line: STATES.index(line["state"]), reverse=True)
    mesh = len(names) <= _MESH
    font = 44 if len(names) <= 12 else 28 if mesh else max(7, min(20, round(2000 / len(names))))
    # Room for the longest name, as wide as letters usually are.
    beside = round(max((len(name) for name in names), default=0) * font * 0.62) + 40 - (_SIZE // 2 - _RADIUS)
    bad = [line for line in lines if line["state"] != "ok"]
    ends = Counter((name, line["state"]) for line in bad for name in line["pair"])
    # One that is cut off from many is one line to the middle, too, in their colour.
    cut = {} if mesh else {name: state for (name, state), number in ends.items() if number > _CUT}
    return {
        "nodes": nodes,
        "bad": bad,
        "lines": lines if mesh else [line for line in bad if not set(line["pair"]) & set(cut)],
        "spokes": [] if mesh else [{"x": node["x"], "y": node["y"], "state": cut.get(node["name"], "ok")} for node in nodes],
        "counts": {state: sum(link["state"] == state for link in links.values()) for state in STATES},
        "font": font,
        "margin": (beside, -60) if mesh else (beside, beside),
        "radius": 10 if len(names) <= 60 else 4,
        "size": _SIZE,
        "wide": len(names) > 60,
    }


def mermaid(picture: Mapping[str, Any]) -> str:
    """The same for Markdown."""
    ids = {node["name"]: f"n{number}" for number, node in enumerate(picture["nodes"])}
    arrows = {"ok": "---", "drifted": "-.-", "broken": "-. x .-", "extra": "-. extra .-", "unknown": "-. ? .-"}
    lines = ["graph LR"]
    lines += [f'  {ids[node["name"]]}["{_quoted(node["name"])}"]:::{node["state"]}' for node in picture["nodes"]]
    if picture["spokes"]:
        lines.append('  hub(("overlay"))')
        lines += [f"  hub --- {ids[node['name']]}" for node in picture["nodes"]]
    lines += [
        f"  {ids[one]} {arrows[line['state']]} {ids[other]}" for line in picture["lines"] for one, other in [line["pair"]]
    ]
    colours = {"ok": "#1a7f37", "drifted": "#9a6700", "broken": "#cf222e", "extra": "#0969da", "unknown": "#6e7781"}
    lines += [f"  classDef {state} stroke:{colour},stroke-width:2px" for state, colour in colours.items()]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return text.replace('"', "'")


def heat_maps(hosts: Sequence[str], matrix: Mapping[str, Any]) -> dict[str, Any]:
    """Loss, round-trip time and largest packet between all hosts, the worst of all networks and containers."""
    worst: dict[tuple[str, str], dict[str, Any]] = {}
    for row in matrix["rows"]:
        if not row["network"]:
            continue
        cell = worst.setdefault((row["from"], row["to"]), {"loss": 0.0, "rtt": 0.0, "mtu": 1.0, "largest": row["largest"]})
        cell["loss"] = max(cell["loss"], row["loss"])
        cell["rtt"] = max(cell["rtt"], row["rtt"] or 0.0)
        cell["largest"] = min(cell["largest"], row["largest"])
        cell["mtu"] = min(cell["mtu"], row["largest"] / row["size"] if row["size"] else 1.0)
    times = sorted(cell["rtt"] for cell in worst.values() if cell["rtt"])
    usual = times[len(times) // 2] if times else 0.0
    maps = []
    for key, title, unit in (("loss", "Loss", "%"), ("rtt", "Round-trip time", "ms"), ("mtu", "Largest packet", "bytes")):
        cells = []
        for number, one in enumerate(hosts):
            for other_number, other in enumerate(hosts):
                value = worst.get((one, other))
                if one == other:
                    continue
                level, text = _level(key, value, usual)
                cells.append({"row": number, "column": other_number, "from": one, "to": other, "level": level, "text": text})
        levels = Counter(cell["level"] for cell in cells)
        table = len(hosts) <= _TABLE
        maps.append(
            {
                "key": key,
                "title": title,
                "unit": unit,
                "levels": dict(levels),
                "rows": [[cell for cell in cells if cell["row"] == number] for number in range(len(hosts))] if table else [],
                # In a large fleet what is well is the ground, and only the rest is drawn.
                "cells": [] if table else [cell for cell in cells if cell["level"] != "good"],
                "worst": [
                    (way, Counter(cell[way] for cell in cells if cell["level"] == "bad").most_common(10))
                    for way in ("from", "to")
                ],
            }
        )
    return {"hosts": list(hosts), "table": len(hosts) <= _TABLE, "maps": maps}


def _level(key: str, cell: Mapping[str, Any] | None, usual: float) -> tuple[str, str]:
    """Good, fair, bad or unknown, and the value in words."""
    if cell is None:
        return "none", "–"
    if key == "loss":
        loss = cell["loss"]
        return ("good" if loss == 0 else "fair" if loss < 0.5 else "bad"), f"{loss:.0%}"
    if key == "rtt":
        if not cell["rtt"]:
            return "bad", "no answer"
        level = "good" if cell["rtt"] <= 3 * usual + 0.5 else "fair" if cell["rtt"] <= 10 * usual + 2 else "bad"
        return level, f"{cell['rtt']:.2f}"
    return ("good" if cell["mtu"] >= 1 else "fair" if cell["largest"] else "bad"), str(cell["largest"])


def _leases(network: Mapping[str, Any]) -> dict[str, Any]:
    """Who has which lease of a network, and how much is free; of the first family."""
    cidr = ipaddress.ip_network(network["cidrs"][0])
    held = {}
    for node, record in sorted(network["nodes"].items()):
        for lease in record["leases"]:
            subnet = ipaddress.ip_network(lease["subnet"])
            if subnet.version == cidr.version:
                held[subnet] = node
    lengths = Counter(subnet.prefixlen for subnet in held)
    length = lengths.most_common(1)[0][0] if lengths else cidr.prefixlen
    total = 2 ** max(0, length - cidr.prefixlen)
    slots = []
    if total <= _SLOTS:
        for number in range(total):
            start = int(cidr.network_address) + (number << cidr.max_prefixlen - length)
            slot = ipaddress.ip_network((start, length))
            slots.append({"subnet": str(slot), "node": held.get(slot, "")})
    return {
        "network": network["name"],
        "cidr": str(cidr),
        "held": [{"node": node, "subnet": str(subnet)} for subnet, node in sorted(held.items(), key=lambda pair: pair[1])],
        "total": total,
        "used": len(held),
        "free": max(0, total - len(held)),
        "slots": slots,
    }


CLASSES = ("in place", "atomic", "re-create", "restart")
_ATOMIC = {resource.name for resource in ORDER if resource.atomic}


def changes(drift: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a run of overlay.yml would do, by host, each operation with its class."""
    found = []
    for name, host in drift["hosts"].items():
        by_class: dict[str, list[str]] = defaultdict(list)
        for operation in host["operations"]:
            by_class[_class(operation)].append(operation)
        for item in host["drift"]:
            if item["resource"] == "docker_daemon":
                by_class["restart"].append("Docker: " + "; ".join(item["found"]))
        if by_class:
            found.append(
                {"host": name, "classes": {key: by_class[key] for key in CLASSES if key in by_class}, "impact": host["impact"]}
            )
    return found


def _class(operation: str) -> str:
    resource, _colon, rest = operation.partition(": ")
    if rest.startswith("re-create "):
        return "re-create"
    return "atomic" if resource in _ATOMIC else "in place"


def render(shown: Mapping[str, Any]) -> dict[str, str]:
    """The files by name."""
    # Not with Ansible's templating: what hosts say is text, and must not become markup.
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    svg = environment.get_template("topology.svg.j2").render(t=shown["topology"], words=shown["words"])
    text = environment.get_template("report.html.j2").render(svg=Markup(svg), **shown)
    return {"report.html": text, "topology.svg": svg, "topology.mmd": mermaid(shown["topology"])}
