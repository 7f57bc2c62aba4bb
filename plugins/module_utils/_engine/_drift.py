# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs on a host, as data that a report can be made of. PRIVATE to the collection."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import make_drift_item
from ansible_collections.agentless.overlay.plugins.module_utils._engine._transaction import Transaction


def list_differences(transaction: Transaction, host: Host) -> List[Dict[str, Any]]:
    """Each entry that is missing, extra or wrong, with the lines that differ as planned and as found."""
    found = []
    for op, before, after in transaction.differences:
        kind = "missing" if op.before is None else "extra" if op.after is None else "wrong"
        found.append(make_drift_item(op.resource, op.entry.label, kind, after, before))
    # With what stands in the way of mending it.
    found += [make_drift_item(name, "in the way", "wrong", [], [text]) for text, name in transaction.obstacles.items()]
    return found + [one for resource in transaction.resources for one in resource.more_drift(host)]


def make_certificate(sections: Mapping[str, Any], drift: Sequence[Mapping[str, Any]]) -> Dict[str, str]:
    """Hashes of the host's part of the plan, and of the host: that part with what differs in its place.

    They are equal if and only if nothing differs; two hosts with the same part and the same hash are in the same state, as far
    as it is ours.
    """
    planned = hashlib.sha256(json.dumps(sections, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    if not drift:
        return {"planned": planned, "live": planned}
    lines = [planned]
    for one in drift:
        lines.append("\n".join([one["resource"], one["name"], one["kind"], *one["planned"], "as found:", *one["found"]]))
    return {"planned": planned, "live": hashlib.sha256("\n\n".join(lines).encode(errors="surrogateescape")).hexdigest()}
