# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""New lines in a record with comments of somebody: all other lines stay as they are. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.texts import TextError, TextLoader

_HOW = "Write each host in a line of its own below its network, or take the comments out"


def insert_lines(text: str, variable: str, wanted: Mapping[str, Mapping[str, Any]]) -> str:
    """The text with what it lacks of a record, each in its place by name; what has another value gets it.

    @param variable: the key below which networks, and below these hosts, are
    """
    root = yaml.compose(text, Loader=TextLoader)
    networks = _list_children(root).get(variable, (None, None))[1]
    lines = text.splitlines()
    edits: list[tuple[int, int, list[str]]] = []
    there = _list_children(networks)
    for network, nodes in sorted(wanted.items()):
        if network not in there:
            edits.append(_make_edit(lines, networks, network, nodes))
            continue
        inner = there[network][1]
        known = _list_children(inner)
        for node, value in sorted(nodes.items()):
            key, found = known.get(node, (None, None))
            if key is None:
                edits.append(_make_edit(lines, inner, node, value))
            elif _read_node(found) != value:
                first, last = key.start_mark.line, _find_last(found)
                rest = lines[first][found.end_mark.column :] if isinstance(found, yaml.ScalarNode) else ""
                edits.append((first, last + 1, _dump_lines(node, value, key.start_mark.column, rest)))
    # From the end, so that those before it are where they were; of those at one place the later by name first.
    for _first, number in sorted(((edit[0], number) for number, edit in enumerate(edits)), reverse=True):
        first, last, new = edits[number]
        lines[first:last] = new
    return "\n".join(lines) + "\n"


def _list_children(mapping: Any) -> dict[str, tuple[Any, Any]]:
    """Keys and values of a mapping by name; refused where it is not a line each."""
    if not isinstance(mapping, yaml.MappingNode) or mapping.flow_style or not mapping.value:
        raise TextError(f"it has comments, and is not written so that lines can be added. {_HOW}")
    return {key.value: (key, value) for key, value in mapping.value}


def _make_edit(lines: Sequence[str], mapping: Any, name: str, value: Any) -> tuple[int, int, list[str]]:
    """Behind the last that comes before it by name; comments above the next stay with that."""
    before = [(key.value, found) for key, found in mapping.value if key.value < name]
    start = mapping.value[0][0].start_mark
    line = _find_last(max(before, key=lambda pair: pair[0])[1]) + 1 if before else start.line
    while not before and lines[line - 1].lstrip().startswith("#"):
        line -= 1
    return line, line, _dump_lines(name, value, start.column)


def _find_last(node: Any) -> int:
    """The last line of a value; what follows it up to the next are comments."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.line)
    last = node.value[-1]
    return _find_last(last[1] if isinstance(last, tuple) else last)


def _read_node(node: Any) -> Any:
    return [child.value for child in node.value] if isinstance(node, yaml.SequenceNode) else node.value


def _dump_lines(name: str, value: Any, indent: int, rest: str = "") -> list[str]:
    """@param rest: a comment that goes behind the first line"""
    first, *others = dump_yaml({name: value}).splitlines()
    return [" " * indent + line for line in (first + rest, *others)]


def dump_yaml(data: Any) -> str:
    """With names readable in any script, and in the order given."""
    return yaml.safe_dump(data, allow_unicode=True, default_flow_style=False, sort_keys=False)
