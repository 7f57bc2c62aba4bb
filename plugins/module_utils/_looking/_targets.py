# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that say what to ping. PRIVATE to the collection."""

from __future__ import annotations

from typing import Any, Dict

TARGET: Dict[str, Dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "network": {"type": "str", "default": "bridge"},
    "mtu": {"type": "int", "default": 1450},
}
