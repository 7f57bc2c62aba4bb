# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with the inventory, gathered, in words. Pure. PRIVATE to the collection."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import EVERYWHERE, PlanError

# What is wrong with so many hosts alike is told host by host; with more, once for all of them.
_MOST_ALIKE = 3
_MOST_CHARACTERS = 200
_MOST_LEVELS = 4


class Errors:
    """All that is found, each once."""

    def __init__(self) -> None:
        self._found: set[PlanError] = set()

    def add(self, host: str, variable: str, value: Any, problem: str, remedy: str) -> None:
        shown = host if host.isprintable() else describe_value(host)
        told = (_make_printable(text) for text in (variable, describe_value(value), problem, remedy))
        self._found.add(PlanError(shown or EVERYWHERE, *told))

    def list_all(self) -> list[PlanError]:
        """In an order that does not depend on how they were found."""
        return group_errors(self._found)


def group_errors(errors: Iterable[PlanError]) -> list[PlanError]:
    """Each once, sorted; those of many hosts that differ in the host and its value only as one."""
    alike: dict[tuple[str, str, str], list[PlanError]] = {}
    for error in sorted(set(errors)):
        # A line of the record is a host's own variable.
        variable = error.variable.removesuffix(f".{error.host}")
        alike.setdefault((variable, error.problem, error.remedy), []).append(error)
    found: list[PlanError] = []
    for (variable, problem, remedy), some in alike.items():
        hosts = list(dict.fromkeys(error.host for error in some))
        if len(hosts) <= _MOST_ALIKE:
            found += some
        else:
            values = dict.fromkeys(error.value for error in some)
            found.append(PlanError(list_few(hosts), variable, list_few(values), problem, remedy))
    return sorted(found)


def list_few(names: Iterable[str]) -> str:
    """All names where they are few, else the first two and the number of the others."""
    given = list(names)
    if len(given) <= _MOST_ALIKE:
        return ", ".join(given)
    return f"{', '.join(given[:2])} and {len(given) - 2} others"


def describe_value(value: Any) -> str:
    """A value as the inventory has it, on one line, and not all of a long one."""
    if value is None:
        return "not set"
    try:
        text = _write_flow(value, _MOST_LEVELS)
    except ValueError:
        # Python writes no number of more digits.
        text = "a number of thousands of digits"
    return abridge(text)


def abridge(text: str) -> str:
    """On one line, and not all of what is long."""
    text = _make_printable(text)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}… ({len(text)} characters)"


def _make_printable(text: str) -> str:
    """Names of hosts, which are in texts too, may have anything in them."""
    return text if text.isprintable() else "".join(one if one.isprintable() else " " for one in text)


def show_key(key: Any) -> str:
    """A key of a mapping as part of a variable's name."""
    return key if isinstance(key, str) and re.fullmatch(r"[\w.-]{1,64}", key) else describe_value(key)


def _write_flow(value: Any, levels: int) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, (list, tuple, Mapping)) and not levels:
        return "…"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_write_flow(key, 0)}: {_write_flow(one, levels - 1)}' for key, one in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_write_flow(one, levels - 1) for one in value)}]"
    return str(value)
