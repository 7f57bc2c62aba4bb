# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the report of a fleet as one page, with its drawing beside it; on the controller."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import restore_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.store import ReportError, write_report
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.page import make_page, render_page


class ActionModule(ActionBase):
    """Runs once, for all hosts of the play."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        required = {"type": "dict", "required": True}
        spec = {"directory": {"type": "str", "required": True}, "plan": required, "drift": required, "matrix": required}
        _validation, arguments = self.validate_argument_spec(spec)
        files = render_page(make_page(restore_plan(arguments["plan"]), arguments["drift"], arguments["matrix"]))
        try:
            place = write_report(arguments["directory"], files)
        except ReportError as error:
            result.update(failed=True, msg=str(error))
            return result
        result.update(changed=False, place=place)
        result["_ansible_verbose_override"] = True
        return result
