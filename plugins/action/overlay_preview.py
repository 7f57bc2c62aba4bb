# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sums up what a run is about to do, and stops one that would do more than was meant; on the controller."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import restore_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see import preview


class ActionModule(ActionBase):
    """Runs once, for all hosts of the play."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        limits = ("max_recreate", "max_restart", "max_remove")
        spec = {"plan": {"type": "dict", "required": True}, **{limit: {"type": "int"} for limit in limits}}
        _validation, arguments = self.validate_argument_spec(spec)
        variables = task_vars or {}
        hostvars = variables["hostvars"]
        answers = {name: hostvars[name]["overlay_converged"] for name in variables["ansible_play_hosts"]}
        restarts = {name: str(hostvars[name].get("overlay_docker_restart", "when_idle")) for name in answers}
        found = preview.preview_run(restore_plan(arguments["plan"]), answers, restarts)
        problems = preview.list_exceeded(found, *(arguments[limit] for limit in limits))
        proof = preview.prove_reach(found, answers)
        result.update(changed=False, preview=found, proven=bool(proof), lines=[*preview.describe_preview(found), *proof])
        if problems:
            result.update(failed=True, msg="\n".join([*problems, *result["lines"]]))
        result["_ansible_verbose_override"] = True
        return result
