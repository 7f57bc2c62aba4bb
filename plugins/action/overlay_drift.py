# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the drift report of a run, or of several that each looked at a slice of the fleet, on the controller."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import restore_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.store import ReportError, report_folder, write_report
from ansible_collections.agentless.overlay.plugins.plugin_utils._results import collect_answers
from ansible_collections.agentless.overlay.plugins.plugin_utils._see import drift


class ActionModule(ActionBase):
    """Runs once, for all hosts of the play."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        spec = {
            "directory": {"type": "str", "required": True},
            "plan": {"type": "dict"},
            "slices": {"type": "list", "elements": "str"},
        }
        _validation, arguments = self.validate_argument_spec(spec, mutually_exclusive=[["plan", "slices"]])
        try:
            # Before a host is asked, too: the first call has neither plan nor slices.
            report_folder(arguments["directory"])
            if arguments["plan"] is None and arguments["slices"] is None:
                return result
            if arguments["slices"] is not None:
                report = drift.merge_reports([(path, self._read(path)) for path in arguments["slices"]])
            else:
                now = datetime.now(timezone.utc).isoformat(timespec="seconds")
                answers, problems = collect_answers(task_vars or {}, "overlay_converged")
                report = drift.make_drift_report(restore_plan(arguments["plan"]), answers, problems, now)
            files = {f"drift.{end}": text for end, text in drift.write_drift_files(report).items()}
            files["drift.json"] = json.dumps(report, indent=2) + "\n"
            place = write_report(arguments["directory"], files)
        except ReportError as error:
            result.update(failed=True, msg=f"{error}. No report was written")
            return result
        result.update(
            changed=False,
            sentence=f"{drift.summarize_drift(report)}. {place}",
            verdicts=drift.list_drift_verdicts(report),
            summary=report["summary"],
            report=report,
            _ansible_verbose_override=True,
        )
        return result

    @staticmethod
    def _read(path: str) -> Any:
        path = os.path.expanduser(path)
        if os.path.isdir(path):
            path = os.path.join(path, "drift.json")
        try:
            with open(path, encoding="utf-8") as handle:
                return json.load(handle)
        except OSError as error:
            raise ReportError(f"The slice {path} cannot be read: {error}") from error
        except ValueError as error:
            raise ReportError(f"The slice {path} is not whole: {error}. Run that slice again") from error
