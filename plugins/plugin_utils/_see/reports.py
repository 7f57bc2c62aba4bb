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
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import escape_cell, escape_xml


def make_head(schema: str, version: int, plan: Plan, time: str) -> dict[str, Any]:
    """What every report begins with.

    @param time: when, as ISO 8601
    """
    text = json.dumps(plan.to_plain(), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"schema": schema, "version": version, "time": time, "plan": digest, "fleet": plan.list_nodes()}


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
        suite = ElementTree.SubElement(root, "testsuite", {"name": host, **{key: str(value) for key, value in counts.items()}})
        for case in cases:
            element = ElementTree.SubElement(suite, "testcase", classname=host, name=case.name)
            if case.error:
                ElementTree.SubElement(element, "error", message=escape_xml(case.error))
            elif case.failure:
                failure = ElementTree.SubElement(element, "failure", message=escape_xml(case.failure))
                failure.text = escape_xml(case.text) or None
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def write_markdown(
    report: dict[str, Any], sentence: str, columns: Sequence[str], rows: Sequence[Sequence[str]], more: Sequence[str] = ()
) -> str:
    """For a merge request: what is wrong first.

    @param more: lines below the table
    """
    lines = [f"## Overlay: {sentence}", ""]
    if rows:
        lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["|" + "".join(f" {escape_cell(cell)} |" if cell else " |" for cell in row) for row in rows]
        lines.append("")
    return "\n".join([*lines, *more, f"Plan `{report['plan'][:12]}`, {report['time']}.", ""])
