# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cut one host's part out of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.agentless.overlay.plugins.plugin_utils._captured import pair, table
from ansible_collections.agentless.overlay.plugins.plugin_utils._sections import (
    docker_networks,
    host_sections,
    probe_targets,
    static_networks,
)


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


class FilterModule:
    """Filters of agentless.overlay."""

    def filters(self) -> dict[str, Any]:
        return {
            "capture_pair": capture_pair,
            "capture_table": capture_table,
            "docker_networks": docker_networks,
            "host_sections": host_sections,
            "probe_targets": probe_targets,
            "static_networks": static_networks,
        }
