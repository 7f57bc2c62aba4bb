# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ends a host's part in a run with the exit code that tells a finding from a failure."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """ansible-playbook's exit code is 2 where a host failed and 4 where one was unreachable."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        spec = {"found": {"type": "str", "default": ""}, "unknown": {"type": "str", "default": ""}}
        _validation, arguments = self.validate_argument_spec(spec)
        if arguments["unknown"]:
            result.update(unreachable=True, msg=arguments["unknown"])
        elif arguments["found"]:
            result.update(failed=True, msg=arguments["found"])
        return result
