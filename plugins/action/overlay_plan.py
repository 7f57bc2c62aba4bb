# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the planner, on the controller."""

from __future__ import annotations

import functools
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible import constants as C
from ansible.inventory.manager import IGNORED
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils import _inventory, _play
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._inventory import HostValues
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan import (
    discovered,
    leases,
    options,
    places,
    plan_file,
    records,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import describe_value, group_errors
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import (
    DEFAULT_UNDERLAY_MTU,
    EVERYWHERE,
    NETADDR_IMPORT_ERROR,
    Node,
    PlanError,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import Planned, make_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import count_noun

_ROLES = os.path.join(os.path.dirname(__file__), "..", "..", "roles")
# What the plan itself needs of the whole fleet, and what it is where nobody has it.
_FLEET: dict[str, Any] = {"overlay_networks": None, "overlay_reserved_cidrs": []}


class ActionModule(ActionBase):
    """Reads the variables of all hosts of the group, whatever the run is limited to.

    It does not bypass the host loop, which some strategies refuse: who uses it says run_once.
    """

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = {**super().run(tmp, task_vars), "warnings": []}
        spec = {
            "group": {"type": "str", "default": "overlay"},
            "roles": {"type": "list", "elements": "str", "choices": _list_roles()},
            "plan": {"type": "bool", "default": True},
            "write": {"type": "bool", "default": False},
        }
        _validation, arguments = self.validate_argument_spec(spec)
        if arguments["plan"] and NETADDR_IMPORT_ERROR is not None:
            problem = "The planner needs netaddr on the controller (pip: netaddr; Debian, Fedora: python3-netaddr)"
            return {**result, "failed": True, "msg": problem}
        variables = task_vars or {}
        errors: list[PlanError] = []
        names = list(variables["groups"].get(arguments["group"], []))
        hostvars = {name: HostValues(variables["hostvars"], name, errors) for name in names}
        try:
            self._plan(result, arguments, variables, hostvars, errors)
        except (leases.LeaseFileError, plan_file.PlanFileError) as error:
            # As a result: of an exception Ansible 2.19 tells what it was raised from too, and so all twice.
            result.update(failed=True, msg=f"{error}. No host was touched.")
            if errors:
                _refuse(result, errors, f"{error}.")
        return self._hide(result, hostvars)

    def _plan(
        self,
        result: dict[str, Any],
        arguments: Mapping[str, Any],
        variables: Mapping[str, Any],
        hostvars: Mapping[str, HostValues],
        errors: list[PlanError],
    ) -> None:
        specs = {role: _read_specs(role) for role in _list_roles()}
        asked = arguments["roles"] or list(specs)
        result["warnings"] += self._check_options(specs, asked, hostvars, errors)
        errors += _play.check_play(specs, asked, variables, hostvars, self._templar.template, _accepts)
        if not arguments["plan"]:
            result["changed"] = False
            if errors:
                _refuse(result, errors)
            return
        given = _find_path("overlay_leases", hostvars, errors)
        file = _find_path("overlay_plan_file", hostvars, errors)
        errors += _find_unseen(variables, hostvars, arguments["write"] and not file)
        fleet = {variable: _find_value(variable, hostvars, default, errors) for variable, default in _FLEET.items()}
        inventory = _look_at_inventory(variables, hostvars)
        place = places.choose_place(given, inventory, self._task.check_mode)
        nodes = self._read_nodes(result, place, hostvars)
        if file:
            inventory.refuse_hiding("overlay_plan_file", file)
        result["warnings"] += inventory.refuse_inventories({"overlay_leases": place.path, "overlay_plan_file": file})
        made_from: dict[str, Any] = {"fleet": fleet, "nodes": nodes}
        if file and not arguments["write"]:
            self._use_file(result, file, place, errors, made_from)
            return

        def plan(found: records.Found) -> Planned:
            shown = os.path.relpath(place.path) if place.path else "overlay_leases"
            reserved = fleet["overlay_reserved_cidrs"]
            made = make_plan(BACKENDS, fleet["overlay_networks"], nodes, found.records, reserved, shown, variables["groups"])
            made.errors = _leave_out_consequences(made.errors, errors) + errors
            return made

        found, made, diffs = self._record(place, plan)
        if made.errors:
            _refuse(result, made.errors)
            return
        moved = bool(place.former) and any(diff["before_header"] == place.former for diff in diffs)
        result["warnings"] += records.describe_move(place, moved, self._task.check_mode)
        if arguments["write"]:
            marks = plan_file.make_fingerprints(**made_from, records={**found.records, **made.leases})
            diffs += self._keep_plan(file, plan_file.render_plan(made.plan.to_plain(), marks))
        result.update(changed=bool(diffs), new_leases=leases.list_lease_lines(made.new), diff=diffs)
        _return_plan(result, made.plan)

    def _record(
        self, place: records.Place, plan: Callable[[records.Found], Planned]
    ) -> tuple[records.Found, Planned, list[dict[str, str]]]:
        """The plan, with the leases that it gives on record where this is no check, and what that changes."""

        def look() -> tuple[records.Found, Planned, list[dict[str, str]]]:
            found = records.read_records(place)
            made = plan(found)
            changes = records.list_record_changes(place, found, made.new)
            return found, made, [_make_diff(path, *map(records.as_text, lines)) for path, *lines in changes]

        found, made, diffs = look()
        if self._task.check_mode or made.errors or not diffs:
            return found, made, diffs
        if not place.path:
            raise leases.LeaseFileError(
                "there is no place to record new leases: the inventory is not a file. Set overlay_leases to a path"
            )
        with records.lock_records(place):
            # Somebody else may have recorded leases before the locks were ours.
            found, made, diffs = look()
            if diffs and not made.errors:
                records.write_records(place, {**found.records, **made.leases})
        return found, made, diffs

    def _keep_plan(self, file: str, after: str) -> list[dict[str, str]]:
        """Keep the plan in its file; gives what that changes."""
        before = plan_file.read_plan_text(file)
        if before == after:
            return []
        if not self._task.check_mode:
            plan_file.write_plan(file, after)
        return [_make_diff(file, before, after)]

    @staticmethod
    def _use_file(
        result: dict[str, Any],
        file: str,
        place: records.Place,
        errors: list[PlanError],
        made_from: Mapping[str, Any],
    ) -> None:
        """The plan that was made before."""
        kept = place.moves or bool(place.path) and os.path.exists(place.path)
        recorded = records.read_records(place).records if kept else None
        plan, stale = plan_file.use_plan_file(file, os.path.relpath(file), BACKENDS, **made_from, records=recorded)
        if errors or stale:
            _refuse(result, [*errors, *stale])
            return
        result.update(changed=False, new_leases=[])
        _return_plan(result, plan)

    @staticmethod
    def _check_options(
        specs: Mapping[str, Mapping[str, Any]],
        roles: list[str],
        hostvars: Mapping[str, HostValues],
        errors: list[PlanError],
    ) -> list[str]:
        """What is wrong with the variables of roles, of all hosts at once, is added to the errors; gives warnings."""
        every = options.list_options(specs)
        known = options.list_options({role: specs[role] for role in roles})
        found: dict[tuple[str, str], str] = {}
        for name, values in hostvars.items():
            for variable in known.keys() & values.list_names():
                if known[variable].role != "plan" and values.lacks_facts(variable):
                    # Of no use for the plan, and known when the role runs.
                    continue
                before = len(errors)
                value = values[variable]
                if len(errors) > before:
                    # What it would be is not known, and why is told.
                    continue
                key = (variable, repr(value))
                if key not in found:
                    found[key] = options.check_value(variable, known[variable], value, _accepts)
                if found[key]:
                    errors.append(PlanError(name, variable, _show(value), found[key], known[variable].remedy))
        for variable in options.FLEET:
            readable = {name: values for name, values in hostvars.items() if not values.lacks_facts(variable)}
            _find_value(variable, readable, every[variable].spec.get("default"), errors)
        own: Any = next((values[options.OWN] for values in hostvars.values() if options.OWN in values.list_names()), [])
        misspelt, others = options.find_misspelt(
            {name: values.list_names() for name, values in hostvars.items()},
            every,
            options.list_own_names(own),
            lambda name, variable: hostvars[name].show(variable),
        )
        errors.extend(misspelt)
        if not others:
            return []
        return [f"No role of agentless.overlay has these variables; list your own in {options.OWN}: {', '.join(others)}"]

    def _read_nodes(self, result: dict[str, Any], place: records.Place, hostvars: Mapping[str, HostValues]) -> list[Node]:
        result["discovered_file"] = discovered.find_discovered_file(place.path)
        known = discovered.read_discovered(result["discovered_file"])
        return [self._node(name, values, known.get(name, {})) for name, values in hostvars.items()]

    @staticmethod
    def _node(name: str, variables: Any, known: Mapping[str, Any]) -> Node:
        """A host by its variables, and by what discover.yml found where it has none."""

        def read(variable: str, default: Any = None) -> Any:
            return variables.get(variable, known.get(variable, default))

        return Node(
            # Without Ansible's tags: the name will be a key of the record.
            name=str(name),
            # A host name in ansible_host is handed on, to be refused by name.
            underlay_ip=read("overlay_underlay_ip", variables.get("ansible_host", _find_address_in(str(name)))),
            subnet=variables.get("overlay_subnet"),
            underlay_mtu=read("overlay_underlay_mtu", DEFAULT_UNDERLAY_MTU),
            underlay_subnet=variables.get("overlay_underlay_subnet"),
            underlay_dev=read("overlay_underlay_dev"),
            groups=tuple(str(group) for group in variables.get("group_names", [])),
            labels=variables.get("overlay_labels"),
            public_ip=read("overlay_public_ip"),
        )

    @staticmethod
    def _hide(result: dict[str, Any], hostvars: Mapping[str, HostValues]) -> dict[str, Any]:
        """The result without what is vaulted, in what is shown of it."""
        if not result["warnings"]:
            del result["warnings"]
        if not result.get("diff") and not result.get("failed"):
            return result
        secrets: set[str] = set()
        for values in hostvars.values():
            secrets |= values.list_secrets(
                name for name in values.list_names() if name.startswith(options.PREFIX) or name == "ansible_host"
            )
        if "msg" in result:
            result["msg"] = _inventory.hide_secrets(result["msg"], secrets)
        for diff in result.get("diff", []):
            diff.update({side: _inventory.hide_secrets(diff[side], secrets) for side in ("before", "after")})
        return result


def _refuse(result: dict[str, Any], errors: list[PlanError], *others: str) -> None:
    shared = [*others, *options.join_shared(group_errors(errors))]
    lines = "\n".join(f"  {number}. {error}" for number, error in enumerate(shared, 1))
    result.update(failed=True, msg=f"The inventory has {count_noun(len(shared), 'error')}; no host was touched.\n{lines}")


def _return_plan(result: dict[str, Any], plan: Plan) -> None:
    # A plan of thousands of hosts is not for the terminal; the diff is.
    result.update(plan=plan.to_plain(), static=plan.list_asking(), _ansible_verbose_override=True)


def _leave_out_consequences(errors: list[PlanError], unread: list[PlanError]) -> list[PlanError]:
    """The planner's errors without those of values that could not be read: these are told as such.

    Of a variable with a template that cannot be worked out, all others are as they were written, right as they may be.
    """
    unknown = [error for error in unread if error.value == _inventory.VAULTED or _inventory.is_template(error.value)]
    texts = {error.value for error in unknown}
    variables = {error.variable for error in unknown}
    return [
        error
        for error in errors
        if not any(text in error.value for text in texts)
        and not (_inventory.is_template(error.value) and re.split(r"[.[]", error.variable)[0] in variables)
    ]


def _list_roles() -> list[str]:
    return sorted(role for role in os.listdir(_ROLES) if os.path.exists(_find_specs(role)))


def _find_specs(role: str) -> str:
    return os.path.join(_ROLES, role, "meta", "argument_specs.yml")


@functools.cache
def _read_specs(role: str) -> dict[str, Any]:
    with open(_find_specs(role), encoding="utf-8") as handle:
        specs: dict[str, Any] = yaml_load(handle)["argument_specs"]
    return specs


def _accepts(name: str, spec: Mapping[str, Any], value: Any) -> bool:
    checked = {key: entry for key, entry in spec.items() if key in ("type", "elements", "choices")}
    return not ArgumentSpecValidator({name: checked}).validate({name: value}).error_messages


def _find_value(variable: str, hostvars: Mapping[str, HostValues], default: Any, errors: list[PlanError]) -> Any:
    """A variable of the whole fleet; a host that has it otherwise would silently differ."""
    values = {name: one.get(variable, default) for name, one in hostvars.items()}
    value, differing = options.find_differing(variable, values, _show)
    errors.extend(differing)
    return value if hostvars else default


def _find_unseen(variables: Mapping[str, Any], hostvars: Mapping[str, HostValues], needs_file: bool) -> list[PlanError]:
    """Variables of the plan that the play alone has, and the place of the plan where nobody has one and it is needed."""
    problem = "a variable of the play, which other plays would plan without"
    remedy = "Set it in the inventory, for example in group_vars of the group overlay"
    found = [
        PlanError(EVERYWHERE, variable, "set by the play", problem, remedy)
        for variable in options.list_options({"plan": _read_specs("plan")})
        if _play.is_of_play(variable, variables, hostvars)
    ]
    if needs_file and all(error.variable != "overlay_plan_file" for error in found):
        remedy = f"Set it, for example to group_vars/{records.FOLDER}/plan.json"
        found.append(PlanError(EVERYWHERE, "overlay_plan_file", "not set", "there is no place for the plan", remedy))
    return found


def _find_address_in(name: str) -> str | None:
    """A host's name where it is an address, to which Ansible connects too where there is no ansible_host."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return None


def _find_path(variable: str, hostvars: Mapping[str, HostValues], errors: list[PlanError]) -> str:
    """The path that a variable gives, which begins at the inventory; empty where no host has it."""
    found = {}
    for name, values in hostvars.items():
        given = values.get(variable)
        base = _find_folder(values) or os.getcwd()
        # What could not be worked out is told as such.
        given = "" if "{{" in str(given) else given
        found[name] = os.path.abspath(os.path.join(base, os.path.expanduser(str(given)))) if given else None
    path, differing = options.find_differing(variable, found)
    errors.extend(differing)
    return path or ""


def _find_folder(values: HostValues) -> str:
    """The folder of a host's inventory; empty where the inventory is no file, of which Ansible 2.19 says None in words."""
    folder = str(values.get("inventory_dir") or "")
    return folder if os.path.isdir(folder) else ""


def _look_at_inventory(variables: Mapping[str, Any], hostvars: Mapping[str, HostValues]) -> places.Inventory:
    return places.Inventory(
        folders=sorted({_find_folder(values) for values in hostvars.values()} - {""}),
        sources=[str(source) for source in variables.get("ansible_inventory_sources") or []],
        groups=variables["groups"],
        extensions=C.YAML_FILENAME_EXTENSIONS,
        ignored=IGNORED,
    )


def _show(value: Any) -> str:
    return "null" if value is None else describe_value(value)


def _make_diff(path: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}
