# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cut one host's part out of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.agentless.overlay.plugins.module_utils._resources import BY_SECTION
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import restore_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import list_probe_targets, make_part
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.captured import choose_capture, show_capture
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.explain import (
    choose_ends,
    choose_hosts,
    explain_answers,
    find_reason,
    list_passed,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.matrix import list_targets, make_probe_options

Data = Mapping[str, Any]


def capture_pair(plan: Data, src: str, dst: str, network: str = "") -> dict[str, Any]:
    try:
        return {**choose_capture(restore_plan(dict(plan)), src, dst, network), "error": ""}
    except ValueError as error:
        return {"error": str(error)}


def capture_table(captured: Data, sent: Data, received: Data) -> str:
    try:
        return show_capture(captured, sent, received)
    except ValueError as error:
        # The message is all that there is to say.
        raise AnsibleFilterError(str(error)) from None


def docker_networks(plan: Data, name: str = "") -> list[str]:
    return restore_plan(dict(plan)).list_docker_networks(name)


def explain(plan: Data, chosen: Data, answers: list[Data], protocol: str = "icmp", port: int = 0) -> dict[str, Any]:
    return explain_answers(restore_plan(dict(plan)), chosen, answers, protocol, port)


def explain_hosts(plan: Data, src: str, dst: str, options: Any = None, here: Any = None) -> dict[str, Any]:
    return choose_hosts(restore_plan(dict(plan)), src, dst, options, here)


def explain_pair(plan: Data, src: str, dst: str, network: str, answers: Data) -> dict[str, Any]:
    running = {host: answer["running"] for host, answer in answers.items() if "running" in answer}
    silent = {host: find_reason(answer) for host, answer in answers.items() if "running" not in answer}
    return choose_ends(restore_plan(dict(plan)), src, dst, network, running, silent)


def host_sections(
    plan: Data,
    node: str,
    allow_renumber: bool = False,
    containers: Data | None = None,
    nexthops: str = "auto",
    adopt: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    return make_part(restore_plan(dict(plan)), node, allow_renumber, containers, nexthops, adopt)


def matrix_targets(plan: Data, node: str, containers: Data, only: Any = None) -> list[dict[str, Any]]:
    targets = list_targets(restore_plan(dict(plan)), node, containers)
    return make_probe_options(target for target in targets if only is None or target["peer"] in only)


def probe_targets(plan: Data, node: str, containers: Data, waiting: Any = ()) -> list[dict[str, Any]]:
    return list_probe_targets(restore_plan(dict(plan)), node, containers, waiting)


def probed_containers(hostvars: Data, hosts: list[str]) -> dict[str, Any]:
    found = {}
    for host in hosts:
        own = hostvars[host].get("overlay_verify_own") or {}
        answer = own if "containers" in own else (hostvars[host].get("overlay_converged") or {}).get("probe") or {}
        if "containers" in answer:
            found[host] = answer["containers"]
    return found


def section_names(_plan: Data) -> list[str]:
    """The sections of a host's part, in the order in which they are carried out."""
    return list(BY_SECTION)


def static_networks(plan: Data) -> list[str]:
    return restore_plan(dict(plan)).list_asking()


def tunnel_devices(plan: Data) -> list[str]:
    return restore_plan(dict(plan)).list_tunnel_devices()


def tunnel_ports(plan: Data) -> list[int]:
    return restore_plan(dict(plan)).list_tunnel_ports()


class FilterModule:
    """Filters of agentless.overlay."""

    def filters(self) -> dict[str, Any]:
        return {
            "capture_pair": capture_pair,
            "capture_table": capture_table,
            "docker_networks": docker_networks,
            "explain": explain,
            "explain_hosts": explain_hosts,
            "explain_pair": explain_pair,
            "explain_passed": list_passed,
            "host_sections": host_sections,
            "matrix_targets": matrix_targets,
            "probe_targets": probe_targets,
            "probed_containers": probed_containers,
            "section_names": section_names,
            "static_networks": static_networks,
            "tunnel_devices": tunnel_devices,
            "tunnel_ports": tunnel_ports,
        }
