# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan in a file, for runs that see a part of the inventory only, and whether it still holds. PRIVATE to the collection.

Beside the plan are prints of what it was made from: of the variables of the whole fleet, and of each host's own. A run that
uses it compares those of the hosts that it sees.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import EVERYWHERE, Node, PlanError
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network, Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.store import replace_files

VARIABLE = "overlay_plan_file"
# Counts up with each change of what a plan looks like as plain data.
_FORMAT = 2
_REMEDY = "Run playbooks/plan.yml with the whole inventory, and keep what it writes with the inventory"


class PlanFileError(Exception):
    """The file cannot be read or written; the text says why and what to do."""


def make_fingerprints(fleet: Mapping[str, Any], nodes: Iterable[Node]) -> dict[str, Any]:
    """What a plan is made from, as far as it can be compared where only some hosts are known.

    Of a host's groups those count that the networks speak of: a part of the inventory may lack the others.
    """
    words = json.dumps(fleet, sort_keys=True, default=str)
    return {
        "fleet": _compute_fingerprint(fleet),
        "nodes": {node.name: _compute_fingerprint(_choose_counting(node, words)) for node in nodes},
    }


def _choose_counting(node: Node, words: str) -> dict[str, Any]:
    return {**vars(node), "groups": sorted(group for group in node.groups if group in words)}


def _compute_fingerprint(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def render_plan(plan: Mapping[str, Any], made_from: Mapping[str, Any]) -> str:
    """The file's text, a line an item so that a diff says what differs."""
    return json.dumps({"format": _FORMAT, "made_from": made_from, "plan": plan}, indent=1, sort_keys=True) + "\n"


def write_plan(path: str, text: str) -> None:
    """Replace the file in one step."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        replace_files({path: text})
    except OSError as error:
        raise PlanFileError(f"{path}: the plan cannot be written: {error}. Set overlay_plan_file") from error


def read_plan_text(path: str) -> str:
    """The file's text; empty where there is none."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise PlanFileError(f"{path}: the plan cannot be read: {error}") from error


def use_plan_file(
    path: str, shown: str, backends: Mapping[str, type[Network]], fleet: Mapping[str, Any], nodes: Iterable[Node]
) -> tuple[Plan, list[PlanError]]:
    """The plan on file, and in what it is not the plan of these hosts.

    @param shown: the path for messages
    """
    text = read_plan_text(path)
    if not text:
        return Plan(), [PlanError(EVERYWHERE, VARIABLE, shown, "there is no such file", _REMEDY)]
    try:
        data = json.loads(text)
        if data.get("format") != _FORMAT:
            raise ValueError(f"format {data.get('format')}, not {_FORMAT}")
        plan = Plan.from_plain(data["plan"], backends)
        made_from = {"fleet": data["made_from"]["fleet"], "nodes": dict(data["made_from"]["nodes"])}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise PlanFileError(
            f"{shown} is not a plan of this version of the collection ({error.__class__.__name__}: {error}). {_REMEDY}"
        ) from error
    now, errors = make_fingerprints(fleet, nodes), []
    if made_from["fleet"] != now["fleet"]:
        problem = f"{' and '.join(fleet)} are not those that the plan was made from"
        errors.append(PlanError(EVERYWHERE, VARIABLE, shown, problem, _REMEDY))
    for name, mark in now["nodes"].items():
        if made_from["nodes"].get(name) != mark:
            known = name in made_from["nodes"]
            problem = "the host's variables are not those that the plan was made from" if known else "the plan lacks the host"
            errors.append(PlanError(name, VARIABLE, shown, problem, _REMEDY))
    return plan, errors
