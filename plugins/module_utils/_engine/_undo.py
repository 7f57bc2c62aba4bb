# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Undoing what was done of a transaction: the engine once more, with what was read at the start as the wish. PRIVATE.

So there is no second code path that only runs when things go wrong. Each resource for itself: what cannot be read or undone is
named, and everything else is undone. Then all of it is read again, and only if nothing differs the host is as it was.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import join_few
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Effects,
    Failure,
    Key,
    Op,
    Resource,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._transaction import (
    State,
    Transaction,
    carry_out,
    find_effects,
    plan_operations,
)

# What the kernel takes along with what is undone, a second look finds: a port whose device was not there yet.
_PASSES = 3
# The seconds within which the kernel sees that a device has lost its carrier (net/core/link_watch.c).
_CARRIER = 1.1


@dataclass
class _Undo:
    """What was begun, and what cannot be looked at any more, by resource, and why."""

    host: Host
    transaction: Transaction
    # What operations on devices took along, on the way there and on the way back.
    effects: Effects
    unread: Dict[str, str] = field(default_factory=dict)

    def look(self) -> Tuple[State, State]:
        """What is there now, and what shall be there again, of all that was touched."""
        self.host.indexes.clear()
        now: State = {}
        before: State = {}
        for resource in self.transaction.resources:
            name, snapshot = resource.name, self.transaction.actual[resource.name]
            keys = {op.entry.key for op in self.transaction.begun if op.resource == name}
            now[name], before[name] = {}, {}
            if name in self.unread or not keys and not (snapshot and resource.shaken(self.effects)):
                continue
            try:
                found = self._read(resource, snapshot, keys)
            except Exception as error:  # whatever it is, all else has to be undone
                self.unread[name] = str(error) or repr(error)
                continue
            now[name] = found
            # Only what this transaction touched goes; what came from elsewhere meanwhile stays. In the order in which it was.
            before[name] = {**snapshot, **{key: one for key, one in found.items() if key not in keys and key not in snapshot}}
            # The way back may take along more than the way there did.
            self.effects = self.effects.merged(resource.effects(resource.diff(now[name], before[name])))
        return now, before

    def _read(self, resource: Resource[Any], snapshot: Dict[Key, Any], keys: Set[Key]) -> Dict[Key, Any]:
        self.host.session.account = resource.name
        spec = self.transaction.specs[resource.name]
        return resource.read(self.host, spec, resource.reach_back(spec, self.transaction.devices, snapshot, keys))


def roll_back(host: Host, transaction: Transaction) -> str:
    """Undo the operations that were begun; what there is to say about it."""
    host.rolling_back = True
    begun, back = transaction.begun, [replace(op, before=op.after, after=op.before) for op in transaction.begun]
    there, back_again = (find_effects(transaction.resources, ops) for ops in (begun, back))
    undo = _Undo(host, transaction, there.merged(back_again))
    failures: List[Failure] = []
    tried: List[List[str]] = []
    wait = _CARRIER if there.blinked or back_again.blinked or back_again.left else 0.0
    while True:
        now, before = undo.look()
        ops, _effects = plan_operations(transaction.resources, now, before)
        if not ops and wait:
            # Once more, when the kernel has forgotten what it forgets without a carrier.
            time.sleep(wait)
            wait = 0.0
            continue
        asked = [str(op) for op in ops]
        if not ops or asked in tried or len(tried) == _PASSES:
            break
        tried.append(asked)
        failures = carry_out(host, transaction, ops, go_on=True)
    # What was not taken away after all, or came back by itself, is none of it.
    gone = (op for op in transaction.begun if op.entry.key not in now[op.resource])
    forgone = [words for op in gone for words in transaction.by_name[op.resource].forgo(op)]
    return describe_undo(ops, failures, undo.unread, forgone)


def describe_undo(ops: Sequence[Op[Any]], failures: Sequence[Failure], unread: Dict[str, str], forgone: Sequence[str]) -> str:
    """What there is to say of an undo, from what still differs and why, and what nobody could look at. Pure."""
    reasons = {str(failure.op): failure.reason for failure in failures}
    lines = ["%s could not be looked at (%s)" % item for item in unread.items()]
    lines += ["still to do is %s%s" % (op, "; " + reasons[str(op)] if str(op) in reasons else "") for op in ops]
    lines += forgone
    if not lines:
        return "What was done before was undone; the host is as it was."
    return "What was done before was undone, but for this: %s." % ". ".join(join_few(lines))
