# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drawing of a fleet as Mermaid, within what it takes: 500 edges and 50,000 characters. Pure. PRIVATE to the collection."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._see.topology import STATES, WORDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import (
    count_noun,
    shorten_text,
    show_controls,
    take_whole,
)

# Of maxEdges and maxTextSize, which a page like GitHub's does not let its users raise.
_MOST_EDGES, _MOST_LINKS, _MOST_CHARACTERS = 450, 150, 45_000
_MOST_LETTERS = 40  # of a name
_ARROWS = {"ok": "---", "drifted": "-.-", "broken": "-. x .-", "extra": "-. extra .-", "unknown": "-. ? .-"}
_COLOURS = {"ok": "#1a7f37", "drifted": "#9a6700", "broken": "#cf222e", "extra": "#0969da", "unknown": "#6e7781"}


def draw_mermaid(picture: Mapping[str, Any]) -> tuple[str, str]:
    """The text, and a sentence on what is summed up in it; empty where all is drawn.

    @param picture: what draw_topology made
    """
    spokes = picture["spokes"]
    links = sorted(picture["lines"], key=lambda line: STATES.index(line["state"]))
    links = links[:_MOST_LINKS] if spokes else links
    wanted = _choose_nodes(picture, _MOST_EDGES - len(links))
    ids = {node["name"]: f"n{number}" for number, node in enumerate(wanted)}
    lines = ["graph LR", '  hub(("overlay"))'] if spokes else ["graph LR"]
    for node in wanted:
        name = ids[node["name"]]
        lines.append(f'  {name}["{_escape_text(node["name"])}"]:::{node["state"]}')
        lines += [f"  hub {_ARROWS[spokes[node['name']]]} {name}"] if node["name"] in spokes else []
    drawn = [line for line in links if set(line["pair"]) <= set(ids)]
    lines += [f"  {ids[one]} {_ARROWS[line['state']]} {ids[other]}" for line in drawn for one, other in [line["pair"]]]
    rest = Counter(node["state"] for node in picture["nodes"] if node["name"] not in ids)
    for state, number in rest.items():
        lines += [f'  more_{state}["{count_noun(number, "more host")}: {WORDS[state]}"]:::{state}', f"  hub --- more_{state}"]
    sentence = _describe_rest(sum(rest.values()), len(picture["lines"]) - len(drawn) + picture["lines_left"])
    lines += [f"  %% {sentence}"] if sentence else []
    lines += [f"  classDef {state} stroke:{colour},stroke-width:2px" for state, colour in _COLOURS.items()]
    return "\n".join(lines) + "\n", sentence


def _choose_nodes(picture: Mapping[str, Any], edges: int) -> Sequence[Mapping[str, Any]]:
    """The hosts that are drawn one by one: all, or those that are not well first."""
    spokes = picture["spokes"]
    if not spokes:
        return picture["nodes"]
    ordered = sorted(
        picture["nodes"], key=lambda node: min(STATES.index(node["state"]), STATES.index(spokes.get(node["name"], "ok")))
    )
    sizes = [len(_escape_text(node["name"])) + 60 for node in ordered]
    taken = take_whole(ordered, sizes, _MOST_CHARACTERS - 60 * _MOST_LINKS)[: edges - len(STATES)]
    shown = {node["name"] for node in taken}
    return [node for node in picture["nodes"] if node["name"] in shown]


def _describe_rest(hosts: int, links: int) -> str:
    parts = [count_noun(number, noun) for number, noun in ((hosts, "host"), (links, "link")) if number]
    sentence = f"summed up, as Mermaid refuses a larger drawing: {', '.join(parts)}; report.html has more of them"
    return sentence if parts else ""


def _escape_text(text: str) -> str:
    """Of a label, what Mermaid or HTML would take for its own as the number of the character."""
    line = shorten_text(" ".join(show_controls(text).split()), _MOST_LETTERS)
    return re.sub(r"[^\w .:/-]", lambda found: f"#{ord(found[0])};", line)
