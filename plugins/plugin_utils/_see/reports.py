# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the reports have in common: of which plan they are, and how they are written. Pure. PRIVATE to the collection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import count_noun, show_controls, take_whole


def make_head(schema: str, version: int, plan: Plan, time: str) -> dict[str, Any]:
    """What every report begins with.

    @param time: when, as ISO 8601
    """
    text = json.dumps(plan.to_plain(), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"schema": schema, "version": version, "time": time, "plan": digest, "fleet": plan.list_nodes()}


# GitHub takes a comment of 65,536 characters, and a little is left for whoever adds a line.
_MOST_CHARACTERS = 65_000


@dataclass(frozen=True)
class Case:
    """One thing that was looked at: well, failed or unknown."""

    name: str
    failure: str = ""
    # What there is to say of the failure beside one line.
    text: str = ""
    error: str = ""


def write_junit(title: str, suites: Iterable[tuple[str, Sequence[Case]]]) -> str:
    """A test suite per host."""
    root = ElementTree.Element("testsuites", name=f"agentless.overlay {title}")
    for host, cases in suites:
        counts = {"tests": len(cases), "failures": 0, "errors": 0}
        counts["failures"] = sum(bool(case.failure) for case in cases)
        counts["errors"] = sum(bool(case.error) for case in cases)
        name = show_controls(host)
        suite = ElementTree.SubElement(root, "testsuite", {"name": name, **{key: str(value) for key, value in counts.items()}})
        for case in cases:
            element = ElementTree.SubElement(suite, "testcase", classname=name, name=show_controls(case.name))
            if case.error:
                ElementTree.SubElement(element, "error", message=show_controls(case.error))
            elif case.failure:
                failure = ElementTree.SubElement(element, "failure", message=show_controls(case.failure))
                failure.text = show_controls(case.text) or None
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def write_markdown(
    report: dict[str, Any],
    sentence: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    more: Sequence[str] = (),
    data: str = "the JSON",
) -> str:
    """For a merge request: what is wrong first, and no more than a comment there can hold.

    @param rows: of cells in Markdown
    @param more: what stands below the table, each part of it as a whole or left out
    @param data: the file that leaves nothing out
    """
    head = f"## Overlay: {sentence}\n\n"
    foot = f"\nPlan `{report['plan'][:12]}`, {report['time']}.\n"
    top = "| " + " | ".join(columns) + " |\n" + "|" + "---|" * len(columns) + "\n" if rows else ""
    lines = ["|" + "".join(f" {cell} |" if cell else " |" for cell in row) + "\n" for row in rows]
    room = _MOST_CHARACTERS - len(head) - len(foot) - len(top) - 300  # the sentences below
    lines_shown = take_whole(lines, map(len, lines), room)
    parts = [f"{part}\n" for part in more]
    parts_shown = take_whole(parts, map(len, parts), room - sum(map(len, lines_shown)))
    rows_left, parts_left = len(lines) - len(lines_shown), len(parts) - len(parts_shown)
    left = [f"{count_noun(rows_left, 'more row')}, which a comment could not hold: see {data}.\n\n"] if rows_left else []
    left += [f"{count_noun(parts_left, 'more detail')}, which a comment could not hold: see {data}.\n\n"] if parts_left else []
    return "".join([head, top, *lines_shown, "\n" if rows else "", *left, *parts_shown, foot])
