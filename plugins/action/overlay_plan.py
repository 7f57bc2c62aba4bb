# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the planner once per play, on the controller."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils import _leases
from ansible_collections.agentless.overlay.plugins.plugin_utils._model import (
    DEFAULT_UNDERLAY_MTU,
    EVERYWHERE,
    NETADDR_IMPORT_ERROR,
    Node,
    Plan,
    PlanError,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._planner import make_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._values import as_list


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
        _validation, arguments = self.validate_argument_spec({"group": {"type": "str", "default": "overlay"}})
        variables = task_vars or {}
        names = list(variables["groups"].get(arguments["group"], []))
        hostvars = variables["hostvars"]
        errors: list[PlanError] = []
        nodes = [self._node(name, hostvars[name]) for name in names]
        fleet = {
            variable: self._same_everywhere(variable, names, hostvars, default, errors)
            for variable, default in (("overlay_networks", None), ("overlay_reserved_cidrs", []))
        }
        path = self._leases_path(names, hostvars)

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
            lines = "\n".join(f"  {number}. {error}" for number, error in enumerate(made.errors, 1))
            count = f"{len(made.errors)} error{'s' if len(made.errors) > 1 else ''}"
            result.update(
                failed=True,
                msg=f"The inventory has {count}; no host was touched.\n{lines}",
            )
            return result
        new = sorted(
            f"{network} {node} {' '.join(as_list(subnet))}"
            for network, nodes in made.new.items()
            for node, subnet in nodes.items()
        )
        result.update(changed=bool(new), plan=made.as_dict(), new_leases=new)
        if new:
            result["diff"] = {
                "before_header": path,
                "after_header": path,
                "before": "",
                "after": "".join(f"{line}\n" for line in new),
            }
        # A plan of thousands of hosts is not for the terminal; the diff above is.
        result["_ansible_verbose_override"] = True
        return result

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
            if value != expected:
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

    @staticmethod
    def _leases_path(names: list[str], hostvars: Any) -> str:
        for name in names:
            given = hostvars[name].get("overlay_leases")
            if given:
                base = hostvars[name].get("inventory_dir") or os.getcwd()
                return os.path.abspath(os.path.join(base, os.path.expanduser(str(given))))
        folders = {hostvars[name].get("inventory_dir") for name in names} - {None}
        if len(folders) > 1:
            raise AnsibleActionFail(
                f"The hosts come from several inventories ({', '.join(sorted(folders))}). Set overlay_leases to the one file "
                f"where leases of {EVERYWHERE} are recorded. No host was touched."
            )
        return os.path.join(folders.pop(), "group_vars", "overlay", "leases.yml") if folders else ""
