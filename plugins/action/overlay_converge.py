# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cuts a host's part out of the plan, and sends that part, and nothing else of it, to the host; or what takes all off it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.agentless.overlay.plugins.module_utils._resources import BY_SECTION
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import list_probe_targets, make_part
from ansible_collections.agentless.overlay.plugins.plugin_utils._results import find_plan

_MODULE = "agentless.overlay.overlay_host"


def _make_empty_options() -> dict[str, Any]:
    """The options of overlay_host that take all that is ours off a host."""
    return {section: list(one.nothing) for section, one in BY_SECTION.items() if one.nothing is not None}


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
            "section": {"type": "str"},
            "teardown": {"type": "bool", "default": False},
            "nexthops": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
            "adopt": {"type": "bool", "default": False},
            "remove": {"type": "list", "elements": "str", "default": []},
            "refuse": {"type": "bool", "default": True},
        }
        _validation, arguments = self.validate_argument_spec(spec)
        variables = task_vars or {}
        options = _make_empty_options() if arguments["teardown"] else self._planned(arguments, variables)
        if arguments["defer"]:
            options["docker_bip"] = [dict(item, defer=True) for item in options["docker_bip"]]
        if arguments["check"] and arguments["refuse"] and not self._task.check_mode:
            # The only call where nothing is to be done; a report leaves nothing on a host.
            options["looks"] = True
        # A keyword check_mode of the task would be templated for each host, and knows of the command line only.
        self._task.check_mode = self._task.check_mode or arguments["check"]
        section = arguments["section"]
        if section:
            result.update(self._step(section, options, variables))
        else:
            result.update(self._execute_module(module_name=_MODULE, module_args=options, task_vars=variables))
        if arguments["quiet"]:
            result["changed"] = False
            result.pop("diff", None)
        return result

    def _planned(self, arguments: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """The options of overlay_host that the plan has for this host."""
        plan = find_plan(variables)
        node = str(variables["inventory_hostname"])
        containers = self._containers(variables) if plan.list_asking() else {}
        options: dict[str, Any] = dict(
            make_part(plan, node, arguments["allow_renumber"], containers, arguments["nexthops"], arguments["adopt"]),
            allow_drops=arguments["allow_drops"],
        )
        if not arguments["refuse"]:
            options["tell"] = True
        else:
            options["networks"] = {"known": sorted(plan.networks), "remove": arguments["remove"]}
        if arguments["probe"]:
            options["probe"] = {"targets": list_probe_targets(plan, node, {}), "networks": plan.list_docker_networks()}
        return options

    def _step(self, section: str, options: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """One section by itself, by its own module where it has one."""
        parts = options[section]
        if section == "boot":
            # This call sees none of the other sections.
            rest = {name: value for name, value in options.items() if name in BY_SECTION and name != section}
            parts = [{"sections": part.get("sections") or rest} for part in parts]
        if BY_SECTION[section].alone:
            calls = [(f"agentless.overlay.{section}", dict(part)) for part in parts]
        else:
            shared = {name: options[name] for name in ("networks",) if name in options}
            calls = [(_MODULE, {section: parts, **shared})]
        # What Docker says, later tasks ask for.
        told = {key: value for key, value in (variables.get("overlay_converged") or {}).items() if key == "docker_bip"}
        result: dict[str, Any] = {"changed": False, "operations": [], "diff": [], **told}
        for module, arguments in calls:
            said = self._execute_module(module_name=module, module_args=arguments, task_vars=variables)
            if said.get("failed"):
                return {**result, **said}
            changed = result["changed"] or said["changed"]
            for key in ("operations", "diff"):
                said[key] = [*result[key], *said[key]]
            result.update(said, changed=changed)
        return result

    @staticmethod
    def _containers(variables: Mapping[str, Any]) -> dict[str, Any]:
        """By host, the containers on networks with static entries; of the hosts of this run that told theirs by now."""
        told = set(variables["groups"].get("overlay_running", []))
        answers = {
            host: variables["hostvars"][host]["overlay_running"] for host in variables["ansible_play_hosts"] if host in told
        }
        return {host: answer["running"] for host, answer in answers.items() if "running" in answer}
