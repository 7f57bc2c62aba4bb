# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pings, from a host, all that the plan says it reaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import list_probe_targets
from ansible_collections.agentless.overlay.plugins.plugin_utils._results import find_plan, list_in_step

_MODULE = "agentless.overlay.overlay_probe"


class ActionModule(ActionBase):
    """Takes the plan from the registered variable: as an option it would be copied for every host."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        spec = {
            "containers": {"type": "dict", "default": {}},
            "waiting": {"type": "list", "elements": "str", "default": []},
        }
        _validation, arguments = self.validate_argument_spec(spec)
        variables = task_vars or {}
        node = str(variables["inventory_hostname"])
        containers = arguments["containers"]
        own = containers.get(node) or {}
        targets = list_probe_targets(find_plan(variables), node, containers, arguments["waiting"])
        options = {"targets": targets, "networks": sorted(own), "brief": True}
        said = self._execute_module(module_name=_MODULE, module_args=options, task_vars=variables)
        if said.get("failed") or said.get("unreachable"):
            result.update(said)
            return result
        result.update(changed=False, answered=said["answered"])
        every = said["answered"] + len(said["probes"])
        silent = self._find_due(variables, {probe["target"].partition("/")[0] for probe in said["probes"]})
        missing = [probe for probe in said["probes"] if probe["target"].partition("/")[0] in silent]
        if missing:
            lines = [
                f"  {probe['source']} -> {probe['target']} ({probe['address']}), {probe['size']} bytes: {probe['said']}"
                for probe in missing
            ]
            result.update(
                failed=True, probes=missing, msg="\n".join([f"No answer to {len(missing)} of {every} pings:", *lines])
            )
        else:
            names = ", ".join(container["name"] for container in own.values())
            sources = f" and from {names}" if names else "; no container to ping from"
            result["msg"] = f"{said['answered']} pings answered, from the host{sources}."
            # Who reads the run's output sees the proof and its extent, as that of assert is seen.
            result["_ansible_verbose_always"] = True
        return result

    def _find_due(self, variables: Mapping[str, Any], names: set[str]) -> set[str]:
        """Of hosts those that have to answer by now; one outside this run, or of a later batch, may not be converged yet."""
        verified = (name for name in names.intersection(variables["ansible_play_hosts"]) if self._is_verified(variables, name))
        return names.intersection(list_in_step(self, variables)).union(verified)

    @staticmethod
    def _is_verified(variables: Mapping[str, Any], name: str) -> bool:
        return "answered" in (variables["hostvars"][name].get("overlay_verified") or {})
