# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cut one host's part out of the plan."""

from __future__ import annotations

from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._sections import docker_networks, host_sections, probe_targets


class FilterModule:
    """Filters of agentless.overlay."""

    def filters(self) -> dict[str, Any]:
        return {"docker_networks": docker_networks, "host_sections": host_sections, "probe_targets": probe_targets}
