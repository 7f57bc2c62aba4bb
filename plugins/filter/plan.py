# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cut one host's part out of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.agentless.overlay.plugins.module_utils._resources import BY_SECTION
from ansible_collections.agentless.overlay.plugins.plugin_utils._captured import pair, table
from ansible_collections.agentless.overlay.plugins.plugin_utils._explain import asked, explained, passed
from ansible_collections.agentless.overlay.plugins.plugin_utils._explain import pair as explain_pair
from ansible_collections.agentless.overlay.plugins.plugin_utils._sections import (
    docker_networks,
    host_sections,
    probe_targets,
    static_networks,
    tunnel_ports,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._verify import plain, targets_of


def capture_pair(plan: Mapping[str, Any], src: str, dst: str, network: str = "") -> dict[str, Any]:
    try:
        return pair(plan, src, dst, network)
    except ValueError as error:
        raise AnsibleFilterError(f"{error}. No host was touched.") from error


def capture_table(captured: Mapping[str, Any], sent: Mapping[str, Any], received: Mapping[str, Any]) -> str:
    try:
        return table(captured, sent, received)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


def matrix_targets(plan: Mapping[str, Any], node: str, containers: Mapping[str, Any], only: Any = None) -> list[dict[str, Any]]:
    return plain(target for target in targets_of(plan, node, containers) if only is None or target["peer"] in only)


def probed_containers(hostvars: Mapping[str, Any], hosts: list[str]) -> dict[str, Any]:
    found = {}
    for host in hosts:
        asked = hostvars[host].get("overlay_verify_own") or {}
        told = asked if "containers" in asked else (hostvars[host].get("overlay_converged") or {}).get("probe") or {}
        if "containers" in told:
            found[host] = told["containers"]
    return found


def section_names(_plan: Mapping[str, Any]) -> list[str]:
    """The sections of a host's part, in the order in which they are carried out."""
    return list(BY_SECTION)


class FilterModule:
    """Filters of agentless.overlay."""

    def filters(self) -> dict[str, Any]:
        return {
            "capture_pair": capture_pair,
            "capture_table": capture_table,
            "explain": explained,
            "explain_passed": passed,
            "explain_hosts": asked,
            "explain_pair": explain_pair,
            "docker_networks": docker_networks,
            "host_sections": host_sections,
            "matrix_targets": matrix_targets,
            "probe_targets": probe_targets,
            "probed_containers": probed_containers,
            "section_names": section_names,
            "static_networks": static_networks,
            "tunnel_ports": tunnel_ports,
        }
