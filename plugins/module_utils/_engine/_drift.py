# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs on a host, as data that a report can be made of. Pure. PRIVATE to the collection."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.agentless.overlay.plugins.module_utils._engine._transaction import Transaction

# What is no resource of the engine, because only a restart mends it.
DAEMON = "docker_daemon"


def differences(transaction: Transaction, facts: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Each entry that is missing, extra or wrong, with the lines that differ as planned and as found.

    @param facts: what the resources found out beside their entries
    """
    found = []
    for op, before, after in transaction.differences:
        kind = "missing" if op.before is None else "extra" if op.after is None else "wrong"
        found.append(_item(op.resource, op.entry.label, kind, after, before))
    docker = facts.get("docker_bip") or {}
    if docker.get("restart_required"):
        planned = ["runs on %s as it is to be" % docker["path"]]
        found.append(_item(DAEMON, "dockerd", "wrong", planned, docker["restart_reasons"]))
    return found


def _item(resource: str, name: str, kind: str, planned: Sequence[str], found: Sequence[str]) -> Dict[str, Any]:
    return {"resource": resource, "name": name, "kind": kind, "planned": list(planned), "found": list(found)}


def certificate(sections: Mapping[str, Any], drift: Sequence[Mapping[str, Any]]) -> Dict[str, str]:
    """Hashes of the host's part of the plan, and of the host: that part with what differs in its place.

    They are equal if and only if nothing differs; two hosts with the same part and the same hash are in the same state, as far
    as it is ours.
    """
    planned = hashlib.sha256(json.dumps(sections, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    if not drift:
        return {"planned": planned, "live": planned}
    lines = [planned]
    for item in drift:
        lines.append("\n".join([item["resource"], item["name"], item["kind"], *item["planned"], "as found:", *item["found"]]))
    return {"planned": planned, "live": hashlib.sha256("\n\n".join(lines).encode(errors="surrogateescape")).hexdigest()}
