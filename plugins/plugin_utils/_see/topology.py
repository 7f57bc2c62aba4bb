# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drawing of a fleet: hosts on a circle, and how it is between them. Pure. PRIVATE to the collection."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.preview import find_peer, name_peers

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
_SIZE, _RADIUS = 1000, 400
# What all links of a host depend on: its devices and settings.
_ALL_DEPEND = {"address", "sysctl", *(one.name for one in ORDER if one.shakes)}
# By pair of hosts.
Links = dict[tuple[str, str], dict[str, Any]]


def find_state(drift: Mapping[str, Any], reach: Mapping[str, Any]) -> str:
    """That of a host, from what it says of both."""
    if reach["status"] == "broken":
        return "broken"
    if drift["status"] == "drifted":
        return "drifted"
    return "unknown" if "unknown" in (drift["status"], reach["status"]) else "ok"


def find_links(plan: Plan, drift: Mapping[str, Any], matrix: Mapping[str, Any]) -> Links:
    """By pair of hosts how it is between them, and why."""
    links: Links = {}

    def note(one: str, other: str, state: str, why: str) -> None:
        link = links.setdefault((min(one, other), max(one, other)), {"state": "ok", "why": []})
        if STATES.index(state) < STATES.index(link["state"]):
            link["state"] = state
        if why and why not in link["why"]:
            link["why"].append(why)

    for network in plan.networks.values():
        for node in network.members:
            for peer in network.find_peers(node):
                note(node, peer, "ok", "")
    for name, host in drift["hosts"].items():
        names = name_peers(plan, name)
        if host["status"] == "unknown":
            for pair in [pair for pair in links if name in pair]:
                note(*pair, "unknown", f"{name}: could not be looked at")
        for item in host["drift"]:
            peer = find_peer(names, item)
            if peer and peer != name:
                planned = (min(name, peer), max(name, peer)) in links
                state = "extra" if item["kind"] == "extra" and not planned else "drifted"
                note(name, peer, state, f"{name}: {item['kind']} {item['resource']} {item['name']}")
            elif item["resource"] in _ALL_DEPEND:
                # What all of its links depend on.
                for pair in [pair for pair in links if name in pair]:
                    note(*pair, "drifted", f"{name}: {item['kind']} {item['resource']} {item['name']}")
    for row in matrix["rows"]:
        if row["network"] and not row["ok"]:
            note(row["from"], row["to"], "broken", f"{row['from']} to {row['to']} on {row['network']}: {row['said']}")
    return links


def draw_topology(hosts: Sequence[str], links: Links, drift: Mapping[str, Any], matrix: Mapping[str, Any]) -> dict[str, Any]:
    """Hosts on a circle, links between them; in a large fleet those that are well are one line to the middle."""
    names = sorted({*hosts, *(name for pair in links for name in pair)})
    mesh = len(names) <= _MESH
    angles = {name: 2 * math.pi * number / max(1, len(names)) - math.pi / 2 for number, name in enumerate(names)}
    nodes = [_draw_node(name, angle, mesh, _find_node_state(name, hosts, drift, matrix)) for name, angle in angles.items()]
    places = {node["name"]: (node["x"], node["y"]) for node in nodes}
    lines = [
        {
            "pair": pair,
            "state": link["state"],
            "why": "; ".join(link["why"][:5]),
            "from": places[pair[0]],
            "to": places[pair[1]],
        }
        for pair, link in links.items()
    ]
    lines.sort(key=lambda line: STATES.index(line["state"]), reverse=True)
    bad = [line for line in lines if line["state"] != "ok"]
    ends = Counter((name, line["state"]) for line in bad for name in line["pair"])
    # One that is cut off from many is one line to the middle, too, in their colour.
    cut = {} if mesh else {name: state for (name, state), number in ends.items() if number > _CUT}
    font = 44 if len(names) <= 12 else 28 if mesh else max(7, min(20, round(2000 / len(names))))
    # Room for the longest name, as wide as letters usually are.
    beside = round(max((len(name) for name in names), default=0) * font * 0.62) + 40 - (_SIZE // 2 - _RADIUS)
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


def _find_node_state(name: str, hosts: Sequence[str], drift: Mapping[str, Any], matrix: Mapping[str, Any]) -> str:
    found, reach = drift["hosts"].get(name), matrix["hosts"].get(name)
    if found and reach:
        return find_state(found, reach)
    return "unknown" if name in hosts else "extra"


def _draw_node(name: str, angle: float, mesh: bool, state: str) -> dict[str, Any]:
    right = math.cos(angle) >= -0.01
    return {
        "name": name,
        "x": round(_SIZE / 2 + _RADIUS * math.cos(angle), 1),
        "y": round(_SIZE / 2 + _RADIUS * math.sin(angle), 1),
        "state": state,
        # Labels look outwards; on the left they are turned so as to be read.
        "turn": 0 if mesh else round(math.degrees(angle) + (0 if right else 180), 1),
        "anchor": "start" if right else "end",
        "offset": 20 if right else -20,
    }


def write_mermaid(picture: Mapping[str, Any]) -> str:
    """The same for Markdown."""
    ids = {node["name"]: f"n{number}" for number, node in enumerate(picture["nodes"])}
    arrows = {"ok": "---", "drifted": "-.-", "broken": "-. x .-", "extra": "-. extra .-", "unknown": "-. ? .-"}
    lines = ["graph LR"]
    lines += [f'  {ids[node["name"]]}["{_escape_quotes(node["name"])}"]:::{node["state"]}' for node in picture["nodes"]]
    if picture["spokes"]:
        lines.append('  hub(("overlay"))')
        lines += [f"  hub --- {ids[node['name']]}" for node in picture["nodes"]]
    lines += [
        f"  {ids[one]} {arrows[line['state']]} {ids[other]}" for line in picture["lines"] for one, other in [line["pair"]]
    ]
    colours = {"ok": "#1a7f37", "drifted": "#9a6700", "broken": "#cf222e", "extra": "#0969da", "unknown": "#6e7781"}
    lines += [f"  classDef {state} stroke:{colour},stroke-width:2px" for state, colour in colours.items()]
    return "\n".join(lines) + "\n"


def _escape_quotes(text: str) -> str:
    return text.replace('"', "'")
