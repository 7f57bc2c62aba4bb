# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sums up what a run is about to do, and stops one that would do more than was meant; on the controller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import restore_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._results import list_in_step
from ansible_collections.agentless.overlay.plugins.plugin_utils._see import preview


class ActionModule(ActionBase):
    """For all hosts of the batch where they go in step, and no bypass of the host loop, which other strategies refuse."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        whole = {"type": "int"}
        spec = {"plan": {"type": "dict", "required": True}, "max_recreate": whole, "max_restart": whole, "max_remove": whole}
        _validation, arguments = self.validate_argument_spec(spec)
        variables = task_vars or {}
        self._plan = restore_plan(arguments["plan"])
        recreate, restart, remove = arguments["max_recreate"], arguments["max_restart"], arguments["max_remove"]
        together = list_in_step(self, variables)
        answers, found = self._preview(together, variables)
        earlier = [] if recreate is None and restart is None else self._list_earlier(set(together), variables)
        problems = preview.list_exceeded(found, recreate, restart, remove, earlier)
        proof = preview.prove_reach(found, answers)
        result.update(changed=False, preview=found, proven=bool(proof), lines=[*preview.describe_preview(found), *proof])
        if problems:
            result.update(failed=True, msg="\n".join([*problems, *result["lines"]]))
        result["_ansible_verbose_override"] = True
        return result

    def _preview(self, names: Iterable[str], variables: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What hosts answered, of those that were looked at, and what is to be done on them."""
        hostvars = variables["hostvars"]
        looked = {name: hostvars[name].get("overlay_converged") or {} for name in names}
        answers = {name: answer for name, answer in looked.items() if "operations" in answer}
        restarts = {name: str(hostvars[name].get("overlay_docker_restart", "when_idle")) for name in answers}
        return answers, preview.preview_run(self._plan, answers, restarts)

    def _list_earlier(self, together: set[str], variables: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What was found of earlier batches, and of hosts that do not wait for each other and were looked at before."""
        registered = {
            name: variables["hostvars"][name].get("overlay_preview") or {}
            for name in variables["ansible_play_hosts_all"]
            if name not in together
        }
        found = [said["preview"] for said in registered.values() if "preview" in said]
        beside = {name for name in variables["ansible_play_batch"] if "preview" not in registered.get(name, {"preview"})}
        return [*found, self._preview(beside, variables)[1]]
