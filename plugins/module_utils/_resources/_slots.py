# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several routes to one destination: which the kernel has first, and how it keeps them so. Pure. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, Iterable, List, Mapping, Sequence

from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Key, Op
from ansible_collections.agentless.overlay.plugins.module_utils._resources._route import Route


def join_slots(ops: Sequence[Op[Route]]) -> List[Op[Route]]:
    """What goes and what comes in one slot: of IPv4 one replacement, of IPv6 the one before the other. Pure.

    IPv6 routes not beside each other: the kernel would replace the one that it finds first, or make one route of both.
    """
    added = {op.entry.slot: op for op in reversed(ops) if op.before is None and ":" not in op.entry.dst}
    taken = {op.entry.slot for op in ops if op.after is not None and ":" in op.entry.dst}
    joined: List[Op[Route]] = []
    instead: Dict[Key, Op[Route]] = {}
    for op in ops:
        slot = op.entry.slot
        if op.after is None and slot in added:
            one = added.pop(slot)
            instead[one.entry.key] = replace(one, before=op.before)
        else:
            joined.append(replace(op, early=True) if op.after is None and slot in taken else op)
    return [instead.get(op.entry.key, op) if op.before is None else op for op in joined]


def order_additions(ops: Sequence[Op[Route]], wanted: Mapping[Key, Route]) -> List[Op[Route]]:
    """Additions so that of a slot with several routes the first is the first again: of IPv4 the kernel uses that one. Pure."""
    crowded: Dict[Key, List[Route]] = {one.slot: [] for one in wanted.values() if not one.ours or one.twin}
    added = {op.entry.key: op for op in ops if op.before is None and op.entry.slot in crowded}
    if not added:
        return list(ops)
    for entry in wanted.values():
        if entry.slot in crowded:
            crowded[entry.slot].append(entry)
    order: List[Op[Route]] = []
    for entries in crowded.values():
        # Before the first that is there, each goes before those that were sent before it; all others behind.
        there = next((number for number, entry in enumerate(entries) if entry.key not in added), 0)
        turns = [(entry, 1) for entry in reversed(entries[:there])] + [(entry, -1) for entry in entries[there:]]
        order += [replace(added[entry.key], after=replace(entry, place=place)) for entry, place in turns if entry.key in added]
    return [op for op in ops if op.entry.key not in added or op.before is not None] + order


def group_by_slot(entries: Iterable[Route]) -> Dict[Key, List[Route]]:
    """Slots with several routes, as the kernel has them in order."""
    slots: Dict[Key, List[Route]] = {}
    for entry in entries:
        slots.setdefault(entry.slot, []).append(entry)
    return {slot: those for slot, those in slots.items() if len(those) > 1}
