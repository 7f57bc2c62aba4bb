# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ends a host's part in a run with the exit code that tells a finding from a failure."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils._results import goes_in_step

_OUT_OF_STEP = (
    "What hosts say is put together here, and by the strategies free and host_pinned none waits for the others. "
    "Set strategy: linear in this play, or run the playbook of this collection. Nothing was done or written"
)


class ActionModule(ActionBase):
    """ansible-playbook's exit code is 2 where a host failed and 4 where one was unreachable."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        text = {"type": "str", "default": ""}
        spec = {"found": text, "unknown": text, "in_step": {"type": "bool", "default": False}}
        _validation, arguments = self.validate_argument_spec(spec)
        if arguments["in_step"] and not goes_in_step(self):
            result.update(unreachable=True, msg=_OUT_OF_STEP)
        elif arguments["unknown"]:
            result.update(unreachable=True, msg=arguments["unknown"])
        elif arguments["found"]:
            result.update(failed=True, msg=arguments["found"])
        return result
