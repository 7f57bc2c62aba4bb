# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with the inventory, gathered. PRIVATE to the collection."""

from __future__ import annotations

from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import EVERYWHERE, PlanError


class Errors:
    """All that is found, each once."""

    def __init__(self) -> None:
        self._found: set[PlanError] = set()

    def add(self, host: str, variable: str, value: Any, problem: str, remedy: str) -> None:
        shown = "not set" if value is None else repr(value) if isinstance(value, str) else str(value)
        self._found.add(PlanError(host or EVERYWHERE, variable, shown, problem, remedy))

    def list_all(self) -> list[PlanError]:
        """In an order that does not depend on how they were found."""
        return sorted(self._found)
