# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drawing of a fleet: hosts on a circle, and how it is between them. Pure. PRIVATE to the collection."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network, Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.preview import find_peer, name_peers
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import Pair, shorten_text, show_controls, sort_pair

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
_NAMED = 360  # hosts up to which each has room for its name on the circle
_STRANGERS = 60  # of what differs and leads to no host of the plan, how many are drawn
_MOST_LINES = 400  # links that are drawn from host to host
_MOST_WHY = 5  # reasons that are kept of a link
_MOST_LETTERS = 40  # of a name on the circle
_SIZE, _RADIUS = 1000, 400
# What all links of a host depend on: its devices and settings.
_ALL_DEPEND = {"address", "sysctl", *(one.name for one in ORDER if one.shakes)}


@dataclass
class Fault:
    """How far a link, or all links of a host, are from the plan, and why."""

    state: str = "ok"
    why: list[str] = field(default_factory=list)

    def add(self, state: str, why: str) -> None:
        self.state = _find_worst_state(self.state, state)
        if len(self.why) < _MOST_WHY and why not in self.why:
            self.why.append(why)


@dataclass
class Links:
    """The links of a fleet: those of the plan, which are too many to keep each, and what is wrong with some.

    A host's fault is one of all of its links, a pair's of that link alone.
    """

    # By host, the sets of those that it has a link to; of a full mesh all hosts share one.
    peers: dict[str, list[set[str]]] = field(default_factory=dict)
    hosts: dict[str, Fault] = field(default_factory=dict)
    pairs: dict[Pair, Fault] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)

    def has(self, one: str, other: str) -> bool:
        """Whether the plan has that link."""
        return any(other in peers for peers in self.peers.get(one, ())) or any(
            one in peers for peers in self.peers.get(other, ())
        )

    def list_pairs(self) -> Iterator[Pair]:
        """Each link once, of the plan or not."""
        for one, groups in self.peers.items():
            for other in set().union(*groups):
                if one < other or (one != other and not any(one in peers for peers in self.peers.get(other, ()))):
                    yield (one, other) if one < other else (other, one)
        yield from (pair for pair in self.pairs if not self.has(*pair))

    def list_faults(self, pair: Pair) -> list[Fault]:
        """Those of a link, from its hosts and its own."""
        found = [self.hosts[name] for name in pair if name in self.hosts]
        found = found if found and self.has(*pair) else []
        return [*found, self.pairs[pair]] if pair in self.pairs else found

    def find_state(self, pair: Pair) -> str:
        """That of a link, the worst of what there is to say of it."""
        unseen = pair[0] in self.unseen and pair[1] in self.unseen
        return _find_worst_state("unknown" if unseen else "ok", *(fault.state for fault in self.list_faults(pair)))

    def count_states(self) -> dict[str, int]:
        counts = dict.fromkeys(STATES, 0)
        for pair in self.list_pairs():
            # Of the millions of a large fleet most have nothing to them.
            touched = pair in self.pairs or not self.hosts.keys().isdisjoint(pair) or not self.unseen.isdisjoint(pair)
            counts[self.find_state(pair) if touched else "ok"] += 1
        return counts


def _find_worst_state(*states: str) -> str:
    return min(states, key=STATES.index)


def find_state(drift: Mapping[str, Any], reach: Mapping[str, Any]) -> str:
    """That of a host, from what it says of both."""
    if reach["status"] == "broken":
        return "broken"
    if drift["status"] == "drifted":
        return "drifted"
    return "unknown" if "unknown" in (drift["status"], reach["status"]) else "ok"


def find_links(plan: Plan, drift: Mapping[str, Any], matrix: Mapping[str, Any]) -> Links:
    """How it is between hosts, and why."""
    links = Links(unseen=set(plan.list_nodes()) - set(drift["hosts"]))
    for network in plan.networks.values():
        for node, peers in _list_peers(network):
            links.peers.setdefault(node, []).append(peers)
    for name, host in drift["hosts"].items():
        names = name_peers(plan, name) if host["drift"] else {}
        if host["status"] == "unknown":
            links.hosts.setdefault(name, Fault()).add("unknown", f"{name}: could not be looked at")
        for item in host["drift"]:
            why = f"{name}: {item['kind']} {item['resource']} {item['name']}"
            peer = find_peer(names, item)
            if peer and peer != name:
                state = "extra" if item["kind"] == "extra" and not links.has(name, peer) else "drifted"
                links.pairs.setdefault(sort_pair(name, peer), Fault()).add(state, why)
            elif item["resource"] in _ALL_DEPEND:
                links.hosts.setdefault(name, Fault()).add("drifted", why)
    for row in matrix["rows"]:
        if row["network"] and not row["ok"]:
            why = f"{row['from']} to {row['to']} on {row['network']}: {row['said']}"
            links.pairs.setdefault(sort_pair(row["from"], row["to"]), Fault()).add("broken", why)
    return links


def _list_peers(network: Network) -> Iterator[tuple[str, set[str]]]:
    everybody = set(network.members) if network.joins else set()
    for node, member in network.members.items():
        yield node, everybody if member.peers is None else everybody.intersection(member.peers)


def draw_topology(hosts: Sequence[str], links: Links, drift: Mapping[str, Any], matrix: Mapping[str, Any]) -> dict[str, Any]:
    """Hosts on a circle, links between them; in a large fleet those that are well are one line to the middle."""
    strangers = sorted({name for pair in links.pairs for name in pair} - set(hosts))
    names = sorted({*hosts, *strangers[:_STRANGERS]})
    mesh = len(names) <= _MESH
    angles = {name: 2 * math.pi * number / max(1, len(names)) - math.pi / 2 for number, name in enumerate(names)}
    nodes = [_draw_node(name, angle, mesh, _find_node_state(name, hosts, drift, matrix)) for name, angle in angles.items()]
    font = 44 if len(names) <= 12 else 28 if mesh else max(7, min(20, round(2000 / len(names))))
    labels = _choose_labels(nodes)
    # Room for the longest name, as wide as letters usually are.
    beside = round(max(map(len, labels.values()), default=0) * font * 0.62) + 40 - (_SIZE // 2 - _RADIUS)
    spokes = {} if mesh else _choose_spokes(names, hosts, links)
    pairs = [pair for pair in (links.list_pairs() if mesh else links.pairs) if pair[0] in angles and pair[1] in angles]
    pairs = [pair for pair in pairs if not _has_spoke(spokes, links, pair)]
    pairs.sort(key=lambda pair: STATES.index(links.find_state(pair)))
    places = {node["name"]: (node["x"], node["y"]) for node in nodes}
    drawn = pairs if mesh else pairs[:_MOST_LINES]
    lines = [{**_describe_link(links, pair), "from": places[pair[0]], "to": places[pair[1]]} for pair in reversed(drawn)]
    return {
        "nodes": nodes,
        "labels": labels,
        "lines": lines,
        "spokes": spokes,
        "paths": _draw_spokes(spokes, places),
        "counts": links.count_states(),
        "lines_left": len(pairs) - len(drawn),
        "strangers_left": len(strangers[_STRANGERS:]),
        "font": font,
        "margin": (beside, -60) if mesh else (beside, beside),
        "radius": 10 if len(names) <= 60 else 4,
        "size": _SIZE,
        "wide": len(names) > 60,
    }


def list_bad_links(links: Links, shown: int) -> dict[str, Any]:
    """What is not as planned, worst first: of hosts, with all of their links, and of pairs; and how many are not shown."""
    hosts = [(f"{name}, all links", fault) for name, fault in links.hosts.items()]
    found = sorted([*hosts, *links.pairs.items()], key=lambda one: STATES.index(one[1].state))
    rows = [
        {"link": name if isinstance(name, str) else " – ".join(name), "state": fault.state, "why": "; ".join(fault.why)}
        for name, fault in found[:shown]
    ]
    return {"count": len(found), "rows": rows}


def _describe_link(links: Links, pair: Pair) -> dict[str, Any]:
    whys = [why for fault in links.list_faults(pair) for why in fault.why]
    return {"pair": pair, "state": links.find_state(pair), "why": "; ".join(whys[:_MOST_WHY])}


def _choose_spokes(names: Sequence[str], hosts: Sequence[str], links: Links) -> dict[str, str]:
    """By host the state of its line to the middle: that of all its links, or of so many that they are drawn as one."""
    ends = Counter((name, fault.state) for pair, fault in links.pairs.items() for name in pair)
    known, spokes = set(hosts), {}
    for name in names:
        states = [state for state in STATES if ends[name, state] > _CUT]
        states += [links.hosts[name].state] if name in links.hosts else ["unknown"] if name in links.unseen else []
        if states or name in known:
            spokes[name] = _find_worst_state("ok", *states)
    return spokes


def _has_spoke(spokes: Mapping[str, str], links: Links, pair: Pair) -> bool:
    """Whether the line to the middle of one of them says as much."""
    said = links.pairs[pair].state if pair in links.pairs else "ok"
    return any(STATES.index(spokes.get(name, "ok")) <= STATES.index(said) for name in pair) and said != "ok"


def _draw_spokes(spokes: Mapping[str, str], places: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """By state one path with all lines to the middle."""
    middle = f"{_SIZE // 2} {_SIZE // 2}"
    paths: dict[str, str] = {}
    for name, state in spokes.items():
        paths[state] = paths.get(state, "") + f"M{middle}L{places[name][0]} {places[name][1]}"
    return {state: paths[state] for state in reversed(STATES) if state in paths}


def _choose_labels(nodes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """By host its name on the circle, where there is room: in a large fleet of those that are not well."""
    many, labels, free = len(nodes) > _NAMED, {}, 0.0
    for number, node in enumerate(nodes):
        if not many or (number >= free and node["state"] != "ok"):
            free = number + len(nodes) / _NAMED
            labels[node["name"]] = shorten_text(show_controls(node["name"]), _MOST_LETTERS)
    return labels


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
