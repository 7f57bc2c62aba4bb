# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of all roles, by their argument specs, and what is wrong with one. Pure. PRIVATE to the collection.

The plan looks at those of all hosts and roles, whichever role a run comes to: what a role finds itself it finds when hosts
before it, or other parts of this one, are changed already.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import list_few
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import PlanError
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import as_integer, as_list

PREFIX = "overlay_"
OWN = "overlay_own_variables"
# How like a name is to another, the prefix aside, that is taken for it misspelt.
_LIKE = 0.8
# Of the whole fleet: what plays and tasks read of one host for all.
FLEET = (
    "overlay_batch",
    "overlay_max_fail_percentage",
    "overlay_max_recreate",
    "overlay_max_remove",
    "overlay_max_restart",
    "overlay_report_dir",
    "overlay_report_slices",
    OWN,
)
# Set by our own playbooks, roles and plugins for each other, and left on hosts by a play before; not for users.
INTERNAL = frozenset(
    f"{PREFIX}{name}"
    for name in re.findall(
        r"\w+",
        """
    capture capture_containers capture_from capture_target capture_to captured caught check containers converge converged
    defer_docker discover discover_answered discover_asked discover_bip discover_chosen discover_docker discover_end
    discover_pinged discover_plan discover_planned discover_problem discover_recorded discover_summary discover_unknown
    docker_back docker_containers docker_errors docker_log docker_now docker_ports docker_reason docker_said docker_started
    docker_undo docker_unit docker_waiting drift drift_folder drift_problem drift_unknown drift_verdict explain_asked
    explain_docker explain_end explain_heard explain_listening explain_pair explain_running explain_tables explained heard
    host hosts hosts_asked hosts_found hosts_inventory hosts_left hosts_missing hosts_named lease_records listen listening
    matrix netns_name netns_pid_file plan plan_write prepare_known preview probe probed quiet reach refuse report running
    section static survey tables teardown_docker torn_down verdict verified verify_containers verify_own verify_unknown
    verify_waiting
    """,
    )
)
_LEAST = {
    "overlay_max_recreate": 0,
    "overlay_max_remove": 0,
    "overlay_max_restart": 0,
    "overlay_verify_count": 1,
    "overlay_verify_seconds": 1,
}
_WORDS = {
    "int": "not a whole number",
    "bool": "neither true nor false",
    "list": "not a list",
    "dict": "not a mapping",
    "str": "not a text",
    "path": "not a path",
}


@dataclass(frozen=True)
class Option:
    """A variable, as the argument spec of a role has it."""

    role: str
    spec: Mapping[str, Any]

    @property
    def remedy(self) -> str:
        return f"See ansible-doc -t role agentless.overlay.{self.role}"


def list_options(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, Option]:
    """All options of all roles and of their ways in; what several roles have is that of the first by name.

    @param specs: of each role what its meta/argument_specs.yml holds
    """
    found: dict[str, Option] = {}
    for role in sorted(specs):
        for entry in specs[role].values():
            for name, spec in entry.get("options", {}).items():
                found.setdefault(name, Option(role, {key: value for key, value in spec.items() if key != "description"}))
    return found


def check_value(name: str, option: Option, value: Any, accepts: Callable[[str, Mapping[str, Any], Any], bool]) -> str:
    """What is wrong with a value; empty where nothing is.

    @param accepts: whether Ansible takes a value for that of an option
    """
    spec = option.spec
    if value is None:
        # Without a value it would be that of nobody: neither the default nor one that is checked.
        return "it is empty" if spec.get("default") is not None else ""
    if name in _CHECKS:
        return _CHECKS[name](value)
    kind = spec.get("type", "str")
    if kind in ("str", "path") and isinstance(value, (list, dict)) or not accepts(name, spec, value):
        choices = spec.get("choices")
        if choices:
            return f"not one of {', '.join(map(str, choices))}"
        elements = spec.get("elements", "")
        each = {"int": " of numbers", "dict": " of mappings"}.get(elements, "")
        return _WORDS.get(kind, "not what is needed") + each
    number = as_integer(value)
    if number is None and name in _LEAST or number is not None and number < _LEAST.get(name, number):
        return f"not a whole number from {_LEAST[name]}"
    return ""


def _check_batch(value: Any) -> str:
    """Of how many hosts a batch is, as the play keyword serial has it."""
    batches = [] if isinstance(value, bool) else as_list(value)
    form = r"[1-9][0-9]{0,6}|([1-9][0-9]?|100)%"
    good = bool(batches) and all(isinstance(one, (int, str)) and re.fullmatch(form, str(one)) for one in batches)
    return "" if good else "neither a number of hosts from 1 nor a percentage such as 25%, nor a list of these"


def _check_percentage(value: Any) -> str:
    text = str(value)
    good = not isinstance(value, bool) and re.fullmatch(r"([0-9]{1,2}(\.[0-9]{1,9})?|100(\.0{1,9})?)%?", text)
    return "" if good else "not a percentage from 0 to 100"


_CHECKS: dict[str, Callable[[Any], str]] = {
    "overlay_batch": _check_batch,
    "overlay_max_fail_percentage": _check_percentage,
}


def list_own_names(value: Any) -> list[str]:
    """The names in overlay_own_variables, a list, or a text with commas as from -e; of what is neither is told elsewhere."""
    names = value.split(",") if isinstance(value, str) else value
    return [str(name).strip() for name in names] if isinstance(names, list) else []


def find_misspelt(
    hosts: Mapping[str, Iterable[str]], options: Iterable[str], own: Iterable[str], show: Callable[[str, str], str]
) -> tuple[list[PlanError], list[str]]:
    """Variables that no role has: errors for those that are like one, and the names of the others.

    @param hosts: by host the names of its variables
    @param own: names that the user has for himself
    @param show: the value of a host's variable, for messages
    """
    known = {*options, *INTERNAL, *own}
    short = {name[len(PREFIX) :]: name for name in options if name.startswith(PREFIX)}
    meant: dict[str, str] = {}
    errors, others = [], set()
    for host, names in hosts.items():
        for name in names:
            if not name.startswith(PREFIX) or name in known:
                continue
            if name not in meant:
                like = difflib.get_close_matches(name[len(PREFIX) :], short, n=1, cutoff=_LIKE)
                meant[name] = short[like[0]] if like else ""
            if meant[name]:
                problem = f"there is no such variable; did you mean {meant[name]}"
                remedy = f"Correct the name; list it in {OWN} if it is one of your own"
                errors.append(PlanError(host, name, show(host, name), problem, remedy))
            else:
                others.add(name)
    return errors, sorted(others)


def find_differing(variable: str, values: Mapping[str, Any], show: Callable[[Any], str] = str) -> tuple[Any, list[PlanError]]:
    """The value of a variable of the whole fleet, and the hosts that have it otherwise: what most have is right.

    @param values: by host
    """
    kinds: list[tuple[Any, list[str]]] = []
    for name, value in values.items():
        for other, names in kinds:
            if value is other or value == other:
                names.append(name)
                break
        else:
            kinds.append((value, [name]))
    if not kinds:
        return None, []
    expected, right = max(kinds, key=lambda kind: len(kind[1]))
    remedy = "Set it once for all, in group_vars of the group overlay"
    return expected, [
        PlanError(name, variable, "not set" if value is None else show(value), f"differs from what {right[0]} has", remedy)
        for value, names in kinds
        if names is not right
        for name in names
    ]


def join_shared(errors: Iterable[PlanError]) -> list[PlanError]:
    """Those that differ in nothing but the host as one, with the first names and the number of the others."""
    shared: dict[tuple[str, str, str, str], list[str]] = {}
    for error in errors:
        shared.setdefault((error.variable, error.value, error.problem, error.remedy), []).append(error.host)
    return sorted(PlanError(list_few(sorted(set(hosts))), *what) for what, hosts in shared.items())
