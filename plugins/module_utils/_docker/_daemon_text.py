# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of a daemon.json, in which keys are set and taken out where they stand. Pure. PRIVATE to the collection.

All else stays letter by letter: whoever wrote a number, an escape or a line break so had a reason, and dockerd has read it so.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping

from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

_BOM = "\ufeff"
_SPACE = re.compile(r"[ \t\r\n]*")
_JSON = json.JSONDecoder()


@dataclass
class _Member:
    """A key of the object with its value: where it starts, where the value does, and where that ends."""

    name: str
    value: Any
    start: int
    value_start: int
    end: int


def parse_object(text: str, path: str) -> Dict[str, Any]:
    """A daemon.json as a dict in the file's order; refuses a key that is there twice, of which nobody knows the right one."""
    members = _find_members(text, path)
    names = [member.name for member in members]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OverlayError("docker_bip: %s has the key %s twice; remove one of them" % (path, ", ".join(twice)))
    return {member.name: member.value for member in members}


def _find_start(text: str) -> int:
    """Where it starts: Docker from 23.0 takes a file with a byte order mark."""
    return len(_BOM) if text.startswith(_BOM) else 0


def _skip_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found is not None else at


def _find_members(text: str, path: str) -> List[_Member]:
    start = _find_start(text)
    if not text[start:].strip():
        return []
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise OverlayError(
            "docker_bip: %s is not UTF-8 (character %d); convert it, and run again" % (path, error.start + 1)
        ) from error
    try:
        found = json.loads(text[start:])
    except json.JSONDecodeError as error:
        raise OverlayError(
            "docker_bip: %s is not JSON: %s at line %d column %d. Correct the file, and run again"
            % (path, error.msg, error.lineno, error.colno)
        ) from error
    except RecursionError as error:
        raise OverlayError("docker_bip: %s is nested too deep; correct the file, and run again" % path) from error
    if not isinstance(found, dict):
        raise OverlayError("docker_bip: %s holds no JSON object; correct the file, and run again" % path)
    members = []
    at = _skip_space(text, _skip_space(text, start) + 1)
    while text[at] != "}":
        name, end = _JSON.raw_decode(text, at)
        value_start = _skip_space(text, _skip_space(text, end) + 1)
        value, end = _JSON.raw_decode(text, value_start)
        members.append(_Member(name, value, at, value_start, end))
        at = _skip_space(text, end)
        if text[at] == ",":
            at = _skip_space(text, at + 1)
    return members


def render_daemon_json(text: str, path: str, keys: Mapping[str, Any]) -> str:
    """The file's text with our keys set, or taken out where None; the text itself where it has them already."""
    members = _find_members(text, path)
    # Removed where they stand, replaced where they stand, or added at the end.
    kept = [member for member in members if member.name not in keys or keys[member.name] is not None]
    changed = {member.name for member in kept if member.name in keys and not _is_same_value(member.value, keys[member.name])}
    missing = [name for name, value in keys.items() if value is not None and name not in {member.name for member in members}]
    if len(kept) == len(members) and not changed and not missing:
        return text
    start, end = _skip_space(text, _find_start(text)), len(text.rstrip()) - 1
    newline = "\r\n" if "\r\n" in text else "\n"
    if not members:
        # There is no manner yet.
        if end < start:
            start, end, text = len(text), len(text), text + "{}" + newline
            end += 1
        before, between, after, colon = newline + "  ", "," + newline + "  ", newline, ": "
    else:
        first, last = members[0], members[-1]
        before, after = text[start + 1 : first.start], text[last.end : end]
        between = text[members[-2].end : last.start] if len(members) > 1 else "," + (before if "\n" in before else " ")
        colon = text[_JSON.raw_decode(text, first.start)[1] : first.value_start]
    following = {one.start: text[one.end : other.start] for one, other in zip(members, members[1:])}
    written = [
        text[member.start : member.value_start] + json.dumps(keys[member.name])
        if member.name in changed
        else text[member.start : member.end]
        for member in kept
    ]
    written += [json.dumps(name) + colon + json.dumps(keys[name]) for name in missing]
    gaps = [following.get(member.start, between) for member in kept] + [between] * len(missing)
    inner = "".join(one + gap for one, gap in zip(written, gaps[:-1] + [""]))
    return text[: start + 1] + (before + inner + after if written else "") + text[end:]


def _is_same_value(found: Any, wanted: Any) -> bool:
    """Whether dockerd takes the one for the other: it does not take 1 for true, nor 1450.0 for a number of bytes."""
    return found.__class__ is wanted.__class__ and bool(found == wanted)
