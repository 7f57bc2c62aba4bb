# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the argument specs of resources share. Pure. PRIVATE to the collection."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Options

STATE: Options = {"state": {"type": "str", "choices": ["present", "absent"]}}


def make_bulk_spec(
    options: Options, key: str, rules: Optional[Dict[str, Any]] = None, more: Optional[Options] = None
) -> Tuple[Options, Dict[str, Any]]:
    """The spec of a module that takes one entry by plain options, or many by C(entries); C(key) names an entry.

    C(rules) hold within an entry; C(more) are options beside C(entries).
    """
    rules = rules or {}
    entry = {name: dict(spec, required=True) if name == key else spec for name, spec in options.items()}
    return (
        {
            **options,
            "entries": {"type": "list", "elements": "dict", "options": entry, **rules},
            "purge": {"type": "bool"},
            **(more or {}),
        },
        {
            **rules,
            "mutually_exclusive": [[key, "entries"], *rules.get("mutually_exclusive", [])],
            "required_one_of": [[key, "entries"]],
            "required_by": {"purge": ["entries"]},
        },
    )
