# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes a matrix of what the hosts of a play pinged, and says where the rest was lost; on the controller."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import restore_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.store import ReportError, write_report
from ansible_collections.agentless.overlay.plugins.plugin_utils._results import collect_answers
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.diagnosis import list_findings
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.matrix import (
    choose_pairs,
    find_broken_pairs,
    list_partners,
    make_rows,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.verify import (
    describe_finding,
    list_verify_verdicts,
    make_verify_report,
    summarize_verify,
    write_verify_files,
)


class ActionModule(ActionBase):
    """Runs once, for all hosts of the play."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        spec = {"plan": {"type": "dict", "required": True}, "directory": {"type": "str"}}
        _validation, arguments = self.validate_argument_spec(spec)
        variables = task_vars or {}
        plan = restore_plan(arguments["plan"])
        answers, problems = collect_answers(variables, "overlay_probed")
        own, _problems = collect_answers(variables, "overlay_verify_own")
        containers = {name: answer.get("containers", {}) for name, answer in own.items()}
        rows = [row for name, answer in answers.items() for row in make_rows(plan, name, containers, answer)]
        # Two that do not listen at the same time hear nothing of each other.
        listening = set(answers).intersection(variables["ansible_play_batch"])
        pairs = choose_pairs(find_broken_pairs(rows), listening)
        result.update(changed=False, _ansible_verbose_override=True)
        if arguments["directory"] is None:
            result["partners"] = list_partners(pairs)
            return result
        heard, _deaf = collect_answers(variables, "overlay_heard")
        findings = list_findings(plan, rows, pairs, heard)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        report = make_verify_report(plan, rows, problems, findings, now)
        files = {f"verify.{end}": text for end, text in write_verify_files(report).items()}
        files["verify.json"] = json.dumps(report, indent=1) + "\n"
        try:
            place = write_report(arguments["directory"], files)
        except ReportError as error:
            result.update(failed=True, msg=str(error))
            return result
        lines = [f"{summarize_verify(report)}. {place}"]
        lines += [f"{item['fault']}: {describe_finding(item)}" for item in findings]
        result.update(lines=lines, verdicts=list_verify_verdicts(report), report=report)
        return result
