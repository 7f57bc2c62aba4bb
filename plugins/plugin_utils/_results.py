# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts of a play have said something by now, what, or why nothing. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import restore_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan


def find_plan(variables: Mapping[str, Any]) -> Plan:
    """The plan that the play has registered."""
    registered = variables.get("overlay_plan") or {}
    if "plan" not in registered:
        why = str(registered.get("msg") or "register the result of agentless.overlay.overlay_plan as overlay_plan first")
        raise AnsibleActionFail(f"There is no plan: {why}")
    return restore_plan(registered["plan"])


def goes_in_step(action: ActionBase) -> bool:
    """Whether no host of the play begins with a task before all have done those before it: not so by free and host_pinned."""
    strategy = action._templar.template(action._task.get_play().strategy)
    return not str(strategy).endswith(("free", "host_pinned"))


def list_in_step(action: ActionBase, variables: Mapping[str, Any]) -> list[str]:
    """The hosts that have done all that comes before an action: those of the batch, or its own alone."""
    return list(variables["ansible_play_batch"]) if goes_in_step(action) else [str(variables["inventory_hostname"])]


def collect_answers(variables: Mapping[str, Any], register: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Results by host, and by host without one the reason; nothing of hosts of later batches."""
    waiting = set(variables["ansible_play_hosts"]) - set(variables["ansible_play_batch"])
    results: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name in variables["ansible_play_hosts_all"]:
        said = variables["hostvars"][name].get(register)
        if said is None and name in waiting:
            continue
        if said is None:
            problems[name] = "it was not asked"
        elif said.get("failed") or said.get("unreachable"):
            problems[name] = str(said.get("msg") or "no reason was given").strip()
        else:
            results[name] = said
    return results, problems
