# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attachment namespace: network namespaces made by hand, on each node for itself. Pure. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Attachment, LeaseForm


@dataclass(frozen=True)
class Namespace(Attachment):
    written = "namespace"

    @classmethod
    def parse(cls, value: Any) -> Namespace | None:
        return cls() if value == "namespace" else None

    def to_plain(self) -> str:
        return "namespace"

    def find_lease_form(self, shared: bool) -> LeaseForm:
        return LeaseForm.WHOLE
