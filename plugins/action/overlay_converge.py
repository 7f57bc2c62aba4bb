# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cuts a host's part out of the plan, and sends that part, and nothing else of it, to the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.plugin_utils._results import planned
from ansible_collections.agentless.overlay.plugins.plugin_utils._sections import (
    docker_networks,
    host_sections,
    probe_targets,
    static_networks,
)

_MODULE = "agentless.overlay.overlay_host"


class ActionModule(ActionBase):
    """Takes the plan from the registered variable: as an option it would be copied for every host."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        spec = {
            "check": {"type": "bool", "default": False},
            "quiet": {"type": "bool", "default": False},
            "probe": {"type": "bool", "default": False},
            "allow_renumber": {"type": "bool", "default": False},
            "allow_drops": {"type": "bool", "default": True},
            "defer": {"type": "bool", "default": False},
            "nexthops": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
        }
        _validation, arguments = self.validate_argument_spec(spec)
        variables = task_vars or {}
        plan = planned(variables)
        node = str(variables["inventory_hostname"])
        containers = self._containers(variables) if static_networks(plan) else {}
        options: dict[str, Any] = dict(
            host_sections(plan, node, arguments["allow_renumber"], containers, arguments["nexthops"]),
            allow_drops=arguments["allow_drops"],
        )
        if arguments["defer"]:
            options["docker_bip"] = [dict(item, defer=True) for item in options["docker_bip"]]
        if arguments["probe"]:
            options["probe"] = {"targets": probe_targets(plan, node, {}), "networks": docker_networks(plan)}
        # A keyword check_mode of the task would be templated for each host, and knows of the command line only.
        self._task.check_mode = self._task.check_mode or arguments["check"]
        result.update(self._execute_module(module_name=_MODULE, module_args=options, task_vars=variables))
        if arguments["quiet"]:
            result["changed"] = False
            result.pop("diff", None)
        return result

    @staticmethod
    def _containers(variables: Mapping[str, Any]) -> dict[str, Any]:
        """By host, the containers on networks with static entries; of the hosts of this run that told theirs."""
        told = set(variables["groups"].get("overlay_running", []))
        hosts = [host for host in variables["ansible_play_hosts"] if host in told]
        return {host: variables["hostvars"][host]["overlay_running"]["running"] for host in hosts}
