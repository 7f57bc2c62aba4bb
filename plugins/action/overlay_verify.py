# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes a matrix of what the hosts of a play pinged, and says where the rest was lost; on the controller."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils import _verify
from ansible_collections.agentless.overlay.plugins.plugin_utils._results import said_by_hosts
from ansible_collections.agentless.overlay.plugins.plugin_utils._store import ReportError, write_report


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
        plan = arguments["plan"]
        asked, problems = said_by_hosts(variables, "overlay_probed")
        own, _problems = said_by_hosts(variables, "overlay_verify_own")
        containers = {name: said.get("containers", {}) for name, said in own.items()}
        rows = [row for name, said in asked.items() for row in _verify.rows_of(plan, name, containers, said)]
        closer = _verify.closer(_verify.broken(rows), set(asked))
        result.update(changed=False, _ansible_verbose_override=True)
        if arguments["directory"] is None:
            partners: dict[str, list[str]] = {}
            for one, other, _network in closer:
                partners.setdefault(one, []).append(other)
                partners.setdefault(other, []).append(one)
            result["closer"] = {name: sorted(set(names)) for name, names in partners.items()}
            return result
        heard, _deaf = said_by_hosts(variables, "overlay_heard")
        found = _verify.findings(plan, rows, closer, heard)
        report = _verify.document(plan, rows, problems, found, datetime.now(timezone.utc).isoformat(timespec="seconds"))
        files = {
            "verify.md": _verify.markdown(report),
            "verify.json": json.dumps(report, indent=1) + "\n",
            "verify.xml": _verify.junit(report),
        }
        try:
            place = write_report(arguments["directory"], files)
        except ReportError as error:
            result.update(failed=True, msg=str(error))
            return result
        texts = [f"{item['kind']}: {item['text']}. What to do: {item['remedy']}" for item in found]
        result.update(said=[f"{_verify.sentence(report)}. {place}", *texts], verdicts=_verify.verdicts(report), report=report)
        return result
