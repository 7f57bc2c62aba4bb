# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the planner once per play, on the controller."""

from __future__ import annotations

import os
from collections.abc import Callable, KeysView, Mapping
from typing import Any

import yaml
from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.inventory.manager import IGNORED
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan import discovered, leases, plan_file, records
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


class ActionModule(ActionBase):
    """Reads the variables of all hosts of the group, whatever the run is limited to."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        if NETADDR_IMPORT_ERROR is not None:
            raise AnsibleActionFail(
                "The planner needs netaddr on the controller (pip: netaddr; Debian, Fedora: python3-netaddr)"
            ) from NETADDR_IMPORT_ERROR
        spec = {
            "group": {"type": "str", "default": "overlay"},
            "roles": {"type": "list", "elements": "str", "default": []},
            "write": {"type": "bool", "default": False},
        }
        _validation, arguments = self.validate_argument_spec(spec)
        variables = task_vars or {}
        names = list(variables["groups"].get(arguments["group"], []))
        hostvars = {name: _Values(variables["hostvars"], name) for name in names}
        try:
            place = self._place(names, hostvars, variables)
            file = self._plan_path(names, hostvars, arguments["write"])
            warnings = self._taken_for_inventories({"overlay_leases": place.path, "overlay_plan_file": file}, variables)
            if warnings:
                result["warnings"] = warnings
            return self._plan(result, arguments, variables, hostvars, place, file)
        except (leases.LeaseFileError, plan_file.PlanFileError) as error:
            # The message is all that there is to say.
            raise AnsibleActionFail(f"{error}. No host was touched.") from None

    def _plan(
        self,
        result: dict[str, Any],
        arguments: Mapping[str, Any],
        variables: Mapping[str, Any],
        hostvars: Mapping[str, _Values],
        place: records.Place,
        file: str,
    ) -> dict[str, Any]:
        names = list(hostvars)
        errors: list[PlanError] = self._find_wrong_options(arguments["roles"], hostvars)
        found_file = discovered.find_discovered_file(place.path)
        result["discovered_file"] = found_file
        known = discovered.read_discovered(found_file)
        nodes = [self._node(name, hostvars[name], known.get(name, {})) for name in names]
        fleet = {
            variable: self._same_everywhere(variable, names, hostvars, default, errors)
            for variable, default in (("overlay_networks", None), ("overlay_reserved_cidrs", []))
        }
        made_from: dict[str, Any] = {"fleet": fleet, "nodes": nodes}
        if file and not arguments["write"]:
            return self._from_file(result, file, errors, made_from)
        shown = os.path.relpath(place.path) if place.path else "overlay_leases"

        def plan(found: records.Found) -> Planned:
            reserved = fleet["overlay_reserved_cidrs"]
            made = make_plan(BACKENDS, fleet["overlay_networks"], nodes, found.records, reserved, shown, variables["groups"])
            made.errors = sorted(set(made.errors + errors))
            return made

        made, diffs = self._on_record(place, plan)
        if made.errors:
            return self._refuse(result, made.errors)
        moved = bool(place.former) and any(diff["before_header"] == place.former for diff in diffs)
        if told := records.describe_move(place, moved, self._task.check_mode):
            result.setdefault("warnings", []).extend(told)
        if arguments["write"]:
            diffs += self._keep_plan(
                file, plan_file.render_plan(made.plan.to_plain(), plan_file.make_fingerprints(**made_from))
            )
        result.update(changed=bool(diffs), new_leases=leases.list_lease_lines(made.new), diff=diffs)
        return self._return_plan(result, made.plan)

    def _on_record(
        self, place: records.Place, plan: Callable[[records.Found], Planned]
    ) -> tuple[Planned, list[dict[str, str]]]:
        """The plan, with the leases that it gives on record where this is no check, and what that changes."""

        def look() -> tuple[records.Found, Planned, list[dict[str, str]]]:
            found = records.read_records(place)
            made = plan(found)
            changes = records.list_record_changes(place, found, made.new)
            return found, made, [_make_diff(path, *map(records.as_text, lines)) for path, *lines in changes]

        found, made, diffs = look()
        if self._task.check_mode or made.errors or not diffs:
            return made, diffs
        if not place.path:
            raise leases.LeaseFileError(
                "there is no place to record new leases: the inventory is not a file. Set overlay_leases to a path"
            )
        with records.lock_records(place):
            # Somebody else may have recorded leases before the locks were ours.
            found, made, diffs = look()
            if diffs and not made.errors:
                records.write_records(place, {**found.records, **made.leases})
        return made, diffs

    def _keep_plan(self, file: str, after: str) -> list[dict[str, str]]:
        """Keep the plan in its file; gives what that changes."""
        before = plan_file.read_plan_text(file)
        if before == after:
            return []
        if not self._task.check_mode:
            plan_file.write_plan(file, after)
        return [_make_diff(file, before, after)]

    def _from_file(
        self, result: dict[str, Any], file: str, errors: list[PlanError], made_from: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The plan that was made before."""
        plan, stale = plan_file.use_plan_file(file, os.path.relpath(file), BACKENDS, **made_from)
        if errors or stale:
            return self._refuse(result, sorted({*errors, *stale}))
        result.update(changed=False, new_leases=[])
        return self._return_plan(result, plan)

    @staticmethod
    def _return_plan(result: dict[str, Any], plan: Plan) -> dict[str, Any]:
        # A plan of thousands of hosts is not for the terminal; the diff is.
        result.update(plan=plan.to_plain(), static=plan.list_asking(), _ansible_verbose_override=True)
        return result

    @staticmethod
    def _refuse(result: dict[str, Any], errors: list[PlanError]) -> dict[str, Any]:
        lines = "\n".join(f"  {number}. {error}" for number, error in enumerate(errors, 1))
        result.update(failed=True, msg=f"The inventory has {count_noun(len(errors), 'error')}; no host was touched.\n{lines}")
        return result

    @staticmethod
    def _find_wrong_options(roles: list[str], hostvars: Mapping[str, Any]) -> list[PlanError]:
        """What the argument specs of roles refuse, of all hosts at once; a value that many hosts have is looked at once."""
        options: dict[str, Any] = {}
        for role in roles:
            with open(os.path.join(_ROLES, role, "meta", "argument_specs.yml"), encoding="utf-8") as handle:
                options.update(yaml.safe_load(handle)["argument_specs"]["main"]["options"])
        errors = []
        known: dict[tuple[str, str], list[str]] = {}
        for name, values in hostvars.items():
            for variable in options.keys() & values.keys():
                value = values[variable]
                told = known.get((variable, repr(value)))
                if told is None:
                    checked = {key: entry for key, entry in options[variable].items() if key != "description"}
                    validator = ArgumentSpecValidator({variable: checked})
                    told = known[variable, repr(value)] = validator.validate({variable: value}).error_messages
                remedy = "See ansible-doc -t role agentless.overlay." + next(iter(roles))
                errors += [PlanError(name, variable, str(value), message, remedy) for message in told]
        return errors

    @staticmethod
    def _node(name: str, variables: Any, known: Mapping[str, Any]) -> Node:
        """A host by its variables, and by what discover.yml found where it has none."""

        def read(variable: str, default: Any = None) -> Any:
            return variables.get(variable, known.get(variable, default))

        return Node(
            # Without Ansible's tags: the name will be a key of the record.
            name=str(name),
            # A host name in ansible_host is handed on, to be refused by name.
            underlay_ip=read("overlay_underlay_ip", variables.get("ansible_host")),
            subnet=variables.get("overlay_subnet"),
            underlay_mtu=read("overlay_underlay_mtu", DEFAULT_UNDERLAY_MTU),
            underlay_subnet=variables.get("overlay_underlay_subnet"),
            underlay_dev=read("overlay_underlay_dev"),
            groups=tuple(str(group) for group in variables.get("group_names", [])),
            labels=variables.get("overlay_labels"),
            public_ip=read("overlay_public_ip"),
        )

    @staticmethod
    def _same_everywhere(variable: str, names: list[str], hostvars: Any, default: Any, errors: list[PlanError]) -> Any:
        """A variable of the whole fleet; a host that has it otherwise would silently differ."""
        values = [(name, hostvars[name].get(variable, default)) for name in names]
        if not values:
            return default
        first, expected = values[0]
        for name, value in values[1:]:
            if value is not expected and value != expected:
                errors.append(
                    PlanError(
                        name,
                        variable,
                        str(value),
                        f"differs from what {first} has",
                        "Set it once for all, in group_vars of the group overlay",
                    )
                )
        return expected

    def _place(self, names: list[str], hostvars: Mapping[str, _Values], variables: Mapping[str, Any]) -> records.Place:
        """Where leases are recorded; refused where Ansible would not read all of the inventory for it, or does not."""
        given = self._path("overlay_leases", names, hostvars)
        folders = sorted({_find_inventory(hostvars[name]) for name in names} - {""})
        if len(folders) > 1 and not given:
            raise leases.LeaseFileError(
                f"The hosts come from several inventories ({', '.join(folders)}). Set overlay_leases to the one file "
                f"where leases of {EVERYWHERE} are recorded"
            )
        places = list(map(records.choose_default_place, folders))
        if given:
            # Before a hurt inventory: what is told of that may have the user remove the folder.
            records.refuse_unused(given, places)
        for place in places:
            self._heal(place, given)
        if given:
            self._refuse_hiding("overlay_leases", given)
            return records.Place(given)
        place = records.keep_shared(places[0]) if places else records.Place("")
        # No former file beside it: what is shared stays where it is.
        if place.former and records.FOLDER in variables["groups"]:
            raise leases.LeaseFileError(
                f"The inventory has a group {records.FOLDER}, and leases would be recorded among its variables. "
                "Set overlay_leases to another file"
            )
        return place

    def _heal(self, place: records.Place, given: str) -> None:
        """Refuse an inventory that Ansible does not read all of, after what earlier versions did to it was undone."""
        hidden, others = records.find_hurt(place, C.YAML_FILENAME_EXTENSIONS)
        if hidden is None:
            return
        if others or given:
            what = f", which holds {', '.join(others)}" if others else ""
            raise leases.LeaseFileError(f"{hidden}{what}. Move the variables into that folder, or remove one of the two")
        again = f"Run again: the variables in {' and '.join(hidden.files)} were not read in this run"
        if self._task.check_mode:
            raise leases.LeaseFileError(
                f"{hidden}, in which earlier versions recorded leases. A run that is no check moves them to {place.path} and "
                f"removes the folder. {again}"
            )
        records.mend_hurt(place)
        raise leases.LeaseFileError(
            f"{hidden}, in which earlier versions recorded leases. They are in {place.path} now, the folder is gone. {again}"
        )

    @classmethod
    def _plan_path(cls, names: list[str], hostvars: Mapping[str, _Values], write: bool) -> str:
        file = cls._path("overlay_plan_file", names, hostvars)
        if write and not file:
            raise AnsibleActionFail("overlay_plan_file is not set: it says where the plan is to be written")
        if file:
            cls._refuse_hiding("overlay_plan_file", file)
        return file

    @staticmethod
    def _refuse_hiding(variable: str, path: str) -> None:
        hidden = records.find_hidden(path, C.YAML_FILENAME_EXTENSIONS)
        if hidden is not None:
            raise leases.LeaseFileError(
                f"{variable} = {path}: {hidden}. Choose another place, such as "
                f"group_vars/{records.FOLDER}/{os.path.basename(path)}"
            )

    @staticmethod
    def _taken_for_inventories(paths: Mapping[str, str], variables: Mapping[str, Any]) -> list[str]:
        """Warnings of files that Ansible reads as inventories where the inventory is a folder."""
        sources = [str(source) for source in variables.get("ansible_inventory_sources") or []]
        return [
            f"{variable} = {path}: Ansible takes each file in the folder {source} for an inventory, and this one too. "
            f"Choose another place, such as group_vars/{records.FOLDER}/{os.path.basename(path)}"
            for variable, path in paths.items()
            if path and (source := records.find_source(path, sources, IGNORED))
        ]

    @staticmethod
    def _path(variable: str, names: list[str], hostvars: Any) -> str:
        """The path that a variable gives, which begins at the inventory; empty where no host has it."""
        for name in names:
            given = hostvars[name].get(variable)
            if given:
                base = _find_inventory(hostvars[name]) or os.getcwd()
                return os.path.abspath(os.path.join(base, os.path.expanduser(str(given))))
        return ""


class _Values:
    """A host's variables, put together once: Ansible does it each time that it is asked for one.

    What holds no template is not sent through its engine, which takes longer than all else that is done for a host.
    """

    def __init__(self, hostvars: Any, name: str) -> None:
        self._hostvars, self._name = hostvars, name
        self._raw: Mapping[str, Any] = hostvars.raw_get(name)

    def keys(self) -> KeysView[str]:
        """The names of all."""
        return self._raw.keys()

    def __getitem__(self, variable: str) -> Any:
        value = self._raw[variable]
        return value if _is_scalar(value) else self._hostvars[self._name][variable]

    def get(self, variable: str, default: Any = None) -> Any:
        """One, or what is given for one that there is not."""
        return self[variable] if variable in self._raw else default


def _find_inventory(values: _Values) -> str:
    """The folder of a host's inventory; empty where the inventory is no file, of which Ansible 2.19 says None in words."""
    folder = str(values.get("inventory_dir") or "")
    return folder if os.path.isdir(folder) else ""


def _is_scalar(value: Any) -> bool:
    if isinstance(value, str):
        return "{" not in value
    if isinstance(value, (list, tuple)):
        return all(map(_is_scalar, value))
    if isinstance(value, dict):
        return all(map(_is_scalar, value)) and all(map(_is_scalar, value.values()))
    return value is None or isinstance(value, (bool, int, float))


def _make_diff(path: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}
