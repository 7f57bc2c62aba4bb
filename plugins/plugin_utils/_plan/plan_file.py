# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan in a file, for runs that see a part of the inventory only, and whether it still holds. PRIVATE to the collection.

Beside the plan are prints of what it was made from: of the variables of the whole fleet, of each host's own, and of what was on
record for each. A run that uses it compares those of the hosts that it sees, and the record, where it has one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.leases import Records, join_subnets
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import EVERYWHERE, Node, PlanError
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network, Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.store import name_reason, replace_files
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.texts import TextError, decode_text, parse_json

VARIABLE = "overlay_plan_file"
# Counts up with each change of what a plan looks like as plain data.
_FORMAT = 3
_REMEDY = "Run playbooks/plan.yml with the whole inventory, and keep what it writes with the inventory"


class PlanFileError(Exception):
    """The file cannot be read or written; the text says why and what to do."""


def make_fingerprints(fleet: Mapping[str, Any], nodes: Iterable[Node], records: Records) -> dict[str, Any]:
    """What a plan is made from, as far as it can be compared where only some hosts are known.

    Of a host's groups those count that the networks speak of: a part of the inventory may lack the others.

    @param records: the leases on record
    """
    words = set(_split_words(fleet))
    recorded: dict[str, dict[str, str]] = {}
    for network, subnets in records.items():
        for name, subnet in subnets.items():
            recorded.setdefault(name, {})[network] = join_subnets(subnet)
    return {
        "fleet": _compute_fingerprint(fleet),
        "nodes": {node.name: _compute_fingerprint(_choose_counting(node, words)) for node in nodes},
        "leases": {name: _compute_fingerprint(subnets) for name, subnets in recorded.items()},
    }


def _split_words(value: Any) -> Iterator[str]:
    """Of all texts in a value, whole and word by word: a group's name is one, by itself or in an expression."""
    if isinstance(value, Mapping):
        value = value.values()
    if isinstance(value, str):
        yield value
        yield from re.findall(r"[\w.-]+", value)
    elif isinstance(value, Iterable):
        for item in value:
            yield from _split_words(item)


def _choose_counting(node: Node, words: set[str]) -> dict[str, Any]:
    return {**vars(node), "groups": sorted(words.intersection(node.groups))}


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
        raise PlanFileError(f"{path}: the plan cannot be written: {name_reason(error)}. Set overlay_plan_file") from None


def read_plan_text(path: str) -> str:
    """The file's text; empty where there is none."""
    try:
        with open(path, "rb") as handle:
            return decode_text(handle.read())
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise PlanFileError(f"{path}: the plan cannot be read: {name_reason(error)}") from None
    except TextError as error:
        raise PlanFileError(f"{path}: the plan cannot be read: {error}") from None


def use_plan_file(
    path: str,
    shown: str,
    backends: Mapping[str, type[Network]],
    fleet: Mapping[str, Any],
    nodes: Iterable[Node],
    records: Records | None,
) -> tuple[Plan, list[PlanError]]:
    """The plan on file, and in what it is not the plan of these hosts.

    @param shown: the path for messages
    @param records: the leases on record; None where a run has no record
    """
    text = read_plan_text(path)
    if not text:
        return Plan(), [PlanError(EVERYWHERE, VARIABLE, shown, "there is no such file", _REMEDY)]
    plan, made_from = _parse_plan(text, shown, backends)
    now, errors = make_fingerprints(fleet, nodes, records or {}), []
    if made_from["fleet"] != now["fleet"]:
        problem = f"{' and '.join(fleet)} are not those that the plan was made from"
        errors.append(PlanError(EVERYWHERE, VARIABLE, shown, problem, _REMEDY))
    for name, mark in now["nodes"].items():
        if made_from["nodes"].get(name) != mark:
            known = name in made_from["nodes"]
            problem = "the host's variables are not those that the plan was made from" if known else "the plan lacks the host"
            errors.append(PlanError(name, VARIABLE, shown, problem, _REMEDY))
    # A lease of a host that is not in the plan is kept for the day it comes back.
    for name in made_from["nodes"] if records is not None else ():
        if made_from["leases"].get(name) != now["leases"].get(name):
            problem = "the host's leases on record are not those that the plan was made from"
            errors.append(PlanError(name, VARIABLE, shown, problem, _REMEDY))
    return plan, errors


def _parse_plan(text: str, shown: str, backends: Mapping[str, type[Network]]) -> tuple[Plan, dict[str, Any]]:
    try:
        data = parse_json(text)
        found = data.get("format") if isinstance(data, dict) else None
        if found != _FORMAT and isinstance(found, int):
            raise PlanFileError(
                f"{shown} was written by another version of the collection (format {found}; this one has {_FORMAT}). {_REMEDY}"
            )
        if found != _FORMAT:
            raise TextError("it has no such format")
        made_from = data["made_from"]
        marks = {"fleet": made_from["fleet"], "nodes": dict(made_from["nodes"]), "leases": dict(made_from["leases"])}
        return Plan.from_plain(data["plan"], backends), marks
    except TextError as error:
        raise PlanFileError(f"{shown} is not a plan of this version of the collection: {error}. {_REMEDY}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise PlanFileError(f"{shown} is not a plan of this version of the collection: a part is missing. {_REMEDY}") from None
