# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each host of a play said in a registered variable, or why it said nothing. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import restore_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan


def find_plan(variables: Mapping[str, Any]) -> Plan:
    """The plan that the play has registered."""
    registered = variables.get("overlay_plan") or {}
    if "plan" not in registered:
        why = str(registered.get("msg") or "register the result of agentless.overlay.overlay_plan as overlay_plan first")
        raise AnsibleActionFail(f"There is no plan: {why}")
    return restore_plan(registered["plan"])


def collect_answers(variables: Mapping[str, Any], register: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Results by host, and by host without one the reason."""
    results: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name in variables["ansible_play_hosts_all"]:
        said = variables["hostvars"][name].get(register)
        if said is None:
            problems[name] = "it was not asked"
        elif said.get("failed") or said.get("unreachable"):
            problems[name] = str(said.get("msg") or "no reason was given").strip()
        else:
            results[name] = said
    return results, problems
