# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the planner once per play, on the controller."""

from __future__ import annotations

import os
from collections.abc import KeysView, Mapping
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils import _leases, _plan_file
from ansible_collections.agentless.overlay.plugins.plugin_utils._model import (
    DEFAULT_UNDERLAY_MTU,
    EVERYWHERE,
    NETADDR_IMPORT_ERROR,
    Node,
    Plan,
    PlanError,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._planner import make_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._preview import count_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._sections import static_networks
from ansible_collections.agentless.overlay.plugins.plugin_utils._values import as_list

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
        errors: list[PlanError] = self._wrong_options(arguments["roles"], hostvars)
        nodes = [self._node(name, hostvars[name]) for name in names]
        fleet = {
            variable: self._same_everywhere(variable, names, hostvars, default, errors)
            for variable, default in (("overlay_networks", None), ("overlay_reserved_cidrs", []))
        }
        path = self._leases_path(names, hostvars)
        file = self._path("overlay_plan_file", names, hostvars)
        if arguments["write"] and not file:
            raise AnsibleActionFail("overlay_plan_file is not set: it says where the plan is to be written")
        made_from: dict[str, Any] = {"fleet": fleet, "nodes": nodes}
        if file and not arguments["write"]:
            return self._from_file(result, file, errors, made_from)

        def plan() -> Plan:
            found = make_plan(
                fleet["overlay_networks"],
                nodes,
                _leases.read(path) if path else {},
                fleet["overlay_reserved_cidrs"],
                os.path.relpath(path) if path else "overlay_leases",
                variables["groups"],
            )
            found.errors = sorted(set(found.errors + errors))
            return found

        try:
            made = plan()
            if not made.errors and any(made.new.values()) and not self._task.check_mode:
                if not path:
                    raise _leases.LeaseFileError(
                        "there is no place to record new leases: the inventory is not a file. Set overlay_leases to a path"
                    )
                with _leases.locked(path):
                    # Somebody else may have recorded leases before the lock was ours.
                    made = plan()
                    if not made.errors:
                        _leases.write(path, {**_leases.read(path), **made.leases})
        except _leases.LeaseFileError as error:
            raise AnsibleActionFail(f"{error}. No host was touched.") from error
        if made.errors:
            return self._refused(result, made.errors)
        new = sorted(
            f"{network} {node} {' '.join(as_list(subnet))}"
            for network, nodes in made.new.items()
            for node, subnet in nodes.items()
        )
        plan_dict = made.as_dict()
        diffs = []
        if new:
            diffs.append(_diff(path, "", "".join(f"{line}\n" for line in new)))
        if arguments["write"]:
            after = _plan_file.render(plan_dict, _plan_file.prints(**made_from))
            try:
                before = _plan_file.text_of(file)
                if before != after:
                    diffs.append(_diff(file, before, after))
                    if not self._task.check_mode:
                        _plan_file.write(file, after)
            except _plan_file.PlanFileError as error:
                raise AnsibleActionFail(f"{error}. Set overlay_plan_file") from error
        result.update(changed=bool(diffs), new_leases=new, diff=diffs)
        return self._returned(result, plan_dict)

    def _from_file(
        self, result: dict[str, Any], file: str, errors: list[PlanError], made_from: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The plan that was made before."""
        try:
            plan, stale = _plan_file.use(file, os.path.relpath(file), **made_from)
        except _plan_file.PlanFileError as error:
            raise AnsibleActionFail(f"{error}. No host was touched.") from error
        if errors or stale:
            return self._refused(result, sorted({*errors, *stale}))
        result.update(changed=False, new_leases=[])
        return self._returned(result, plan)

    @staticmethod
    def _returned(result: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
        # A plan of thousands of hosts is not for the terminal; the diff is.
        result.update(plan=plan, static=static_networks(plan), _ansible_verbose_override=True)
        return result

    @staticmethod
    def _refused(result: dict[str, Any], errors: list[PlanError]) -> dict[str, Any]:
        lines = "\n".join(f"  {number}. {error}" for number, error in enumerate(errors, 1))
        result.update(failed=True, msg=f"The inventory has {count_of(len(errors), 'error')}; no host was touched.\n{lines}")
        return result

    @staticmethod
    def _wrong_options(roles: list[str], hostvars: Mapping[str, Any]) -> list[PlanError]:
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
    def _node(name: str, variables: Any) -> Node:
        # A host name in ansible_host is handed on, to be refused by name.
        address = variables.get("overlay_underlay_ip", variables.get("ansible_host"))
        return Node(
            # Without Ansible's tags: the name will be a key of the record.
            name=str(name),
            underlay_ip=address,
            subnet=variables.get("overlay_subnet"),
            underlay_mtu=variables.get("overlay_underlay_mtu", DEFAULT_UNDERLAY_MTU),
            underlay_subnet=variables.get("overlay_underlay_subnet"),
            underlay_dev=variables.get("overlay_underlay_dev"),
            groups=tuple(str(group) for group in variables.get("group_names", [])),
            labels=variables.get("overlay_labels"),
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

    @classmethod
    def _leases_path(cls, names: list[str], hostvars: Any) -> str:
        given = cls._path("overlay_leases", names, hostvars)
        if given:
            return given
        folders = {hostvars[name].get("inventory_dir") for name in names} - {None}
        if len(folders) > 1:
            raise AnsibleActionFail(
                f"The hosts come from several inventories ({', '.join(sorted(folders))}). Set overlay_leases to the one file "
                f"where leases of {EVERYWHERE} are recorded. No host was touched."
            )
        return os.path.join(folders.pop(), "group_vars", "overlay", "leases.yml") if folders else ""

    @staticmethod
    def _path(variable: str, names: list[str], hostvars: Any) -> str:
        """The path that a variable gives, which begins at the inventory; empty where no host has it."""
        for name in names:
            given = hostvars[name].get(variable)
            if given:
                base = hostvars[name].get("inventory_dir") or os.getcwd()
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
        return value if _is_plain(value) else self._hostvars[self._name][variable]

    def get(self, variable: str, default: Any = None) -> Any:
        """One, or what is given for one that there is not."""
        return self[variable] if variable in self._raw else default


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return "{" not in value
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    return value is None or isinstance(value, (bool, int, float))


def _diff(path: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}
