# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One transaction: read, settle, diff, order, carry out. PRIVATE to the collection.

The same engine serves overlay_host with all resources and each module with its
own, and both what is wanted and, in an undo, what was.

    additions and changes, in the order of the tuple   sysctl, firewall, devices, addresses, neighbours, FDB, routes, files
    removals, in the reverse order                     routes, FDB, neighbours, addresses, devices, firewall

Make before break, so that a packet which meets a new route finds all that it needs behind it. The one exception are early
removals: of what the kernel does not let exist beside what takes its place.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any, Collection, Dict, List, Optional, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Effects,
    Entry,
    Failure,
    Key,
    Op,
    OverlayError,
    Resource,
    Sections,
    Spec,
)

Resources = Tuple[Resource[Any], ...]
State = Dict[str, Dict[Key, Any]]
Specs = Dict[str, Spec[Any]]


@dataclass
class Transaction:
    """What is, what shall be, and the operations in between, in order."""

    resources: Resources
    specs: Specs
    devices: Set[str]
    actual: State
    wanted: State
    ops: List[Op[Any]]
    effects: Effects
    # The same as the diffs gave them, where no operation on a device adds to them; else nothing.
    plain: Optional[List[Op[Any]]] = None
    # What stands in its way, and which resource says so.
    obstacles: Dict[str, str] = field(default_factory=dict)
    # Those that were begun, all of a batch: what an undo has to look at.
    begun: List[Op[Any]] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.ops)

    @cached_property
    def by_name(self) -> Dict[str, Resource[Any]]:
        return {resource.name: resource for resource in self.resources}

    @cached_property
    def differences(self) -> List[Tuple[Op[Any], List[str], List[str]]]:
        """What differs, each with its lines as found and as wanted.

        Not the operations: an entry that a re-created device loses and gets back is no difference.
        """
        ops = self.plain
        if ops is None:
            ops = [op for one in self.resources for op in one.diff(self.actual[one.name], self.wanted[one.name])]
        return [(op, *self.by_name[op.resource].show(op)) for op in ops]

    @property
    def taken(self) -> List[Op[Any]]:
        """What goes for good with a device, and so needs no operation of its own."""
        removed = self.effects.removed
        if not removed:
            return []
        asked = {(op.resource, op.entry.key) for op in self.ops}
        ops = []
        for resource in self.resources:
            name = resource.name
            found, wanted = self.actual[name], self.wanted[name]
            left = resource.surviving(found, self.effects)
            for key, entry in found.items():
                gone = key not in wanted or getattr(wanted[key], "device", None) in removed
                if gone and key not in left and (name, key) not in asked:
                    ops.append(Op(name, entry, None))
        return ops


def parse_specs(resources: Resources, sections: Sections) -> Specs:
    """What the options ask of each resource. Pure."""
    specs = {resource.name: resource.parse(sections) for resource in resources}
    for resource in resources:
        resource.derive(specs[resource.name], specs)
    return specs


def parse_host_specs(host: Host, resources: Resources, sections: Sections) -> Specs:
    """The same, of options that this host's kernel can have."""
    specs = parse_specs(resources, sections)
    for resource in resources:
        adapted = resource.adapt(host, specs[resource.name], sections)
        if adapted is not None:
            sections, specs = adapted, parse_specs(resources, adapted)
    return specs


def order_operations(resources: Resources, ops: Sequence[Op[Any]]) -> List[List[Op[Any]]]:
    """Group operations into batches: early removals, additions and changes, removals. Pure."""
    batches: Dict[Tuple[int, int], List[Op[Any]]] = {}
    place = {resource.name: number for number, resource in enumerate(resources)}
    for op in ops:
        number = place[op.resource]
        turn = (0, -number) if op.early else (1, number) if op.after is not None else (2, -number)
        batches.setdefault(turn, []).append(op)
    return [batch for _turn, batch in sorted(batches.items(), key=lambda item: item[0])]


def find_effects(resources: Resources, ops: Sequence[Op[Any]]) -> Effects:
    """What operations on devices do to what lives on them. Pure."""
    of: Dict[str, List[Op[Any]]] = {}
    for op in ops:
        of.setdefault(op.resource, []).append(op)
    effects = Effects()
    for resource in resources:
        effects = effects.merged(resource.effects(of[resource.name])) if resource.name in of else effects
    return effects


def plan_operations(resources: Resources, actual: State, wanted: State) -> Tuple[List[Op[Any]], Effects]:
    """The operations that lead from one state to the other, consequences of device operations included. Pure."""
    made = {one.name: one.diff(actual.get(one.name, {}), wanted.get(one.name, {})) for one in resources}
    ops = [op for of in made.values() for op in of]
    effects = find_effects(resources, ops)
    if not effects:
        return ops, effects
    ops = []
    for resource in resources:
        found = actual.get(resource.name, {})
        before = resource.surviving(found, effects)
        # What is on a device that goes need not be put anywhere.
        after = {
            key: entry
            for key, entry in wanted.get(resource.name, {}).items()
            if getattr(entry, "device", None) not in effects.removed
        }
        ops += resource.way(found, before, after) + resource.diff(before, after)
    return ops, effects


def prepare(
    host: Host, resources: Resources, specs: Specs, known: Optional[Collection[str]] = None, tell: bool = False
) -> Transaction:
    """Read the host and work out what is to be done; changes nothing.

    Raises OverlayError with all that stands in the way.

    @param known: the overlay networks whose things on the host may change; without it those of all
    @param tell: whether what stands in the way is only noted, for a report
    """
    devices = set().union(*(resource.devices(specs[resource.name]) for resource in resources))
    actual: State = {resource.name: {} for resource in resources}
    wanted: State = {resource.name: {} for resource in resources}
    effects = Effects()
    read: Set[str] = set()

    for resource in resources:
        name, spec = resource.name, specs[resource.name]
        host.session.account = name
        shaken: Optional[Set[str]] = None
        while shaken != (now := {device for device in resource.shaken(effects) if host.index(device) is not None}):
            shaken = now
            # What nobody asked about is read where it has to be put back, now or in an undo.
            if not resource.asked(spec) and not shaken:
                continue
            read.add(name)
            actual[name] = resource.read(host, spec, resource.reach(spec, devices) | shaken)
            wanted[name] = resource.foresee(host, spec, actual[name], resource.settle(actual[name], spec))
            if not resource.shakes:
                continue
            # A bridge that goes is read once more, with all that hangs on it.
            effects = effects.merged(resource.effects(resource.diff(actual[name], wanted[name])))
            # And what only the way back takes along: a device that would have to be made again, a bridge that loses a port.
            back = resource.effects(resource.diff(wanted[name], actual[name]))
            effects.interrupted |= back.lost | back.blinked | back.interrupted
    ops, effects = plan_operations(resources, actual, wanted)
    ordered = [op for batch in order_operations(resources, ops) for op in batch]
    transaction = Transaction(resources, specs, devices, actual, wanted, ordered, effects, None if effects else ops)
    transaction.obstacles = _list_obstacles(host, transaction, read)
    problems = [*(_list_unknown_networks(ordered, known) if known is not None else ()), *transaction.obstacles]
    if problems and not tell:
        last = "" if problems[-1].endswith("Nothing was changed") else "\nNothing was changed"
        raise OverlayError("\n".join(dict.fromkeys(problems)) + last)
    return transaction


def _list_obstacles(host: Host, transaction: Transaction, read: Set[str]) -> Dict[str, str]:
    """All that stands in the way of a transaction, each with the resource that says so."""
    problems: Dict[str, str] = {}
    for resource in transaction.resources:
        name = resource.name
        if name in read:
            host.session.account = name
            found, wanted = transaction.actual[name], transaction.wanted[name]
            said = list(resource.obstacles(host, transaction.specs[name], found, wanted))
            said += resource.hindrances(host, transaction.effects, found) if transaction.effects else ()
            problems.update(dict.fromkeys(said, name))
    return problems


def _list_unknown_networks(ops: Sequence[Op[Any]], known: Collection[str]) -> List[str]:
    """What would go or change of networks that this inventory does not know. Pure."""
    of: Dict[str, List[str]] = {}
    for op in ops:
        network = op.before.overlay if op.before is not None else ""
        if network and network not in known:
            of.setdefault(network, []).append("%s %s" % (op.resource, op.before.label if op.before is not None else ""))
    return [
        "Network %s is on this host (%s), and this inventory does not know it. If it is to go, list it in overlay_remove; if "
        "another inventory has it, keep the two to hosts of their own" % (network, ", ".join(sorted(set(things), key=len)[:5]))
        for network, things in sorted(of.items())
    ]


def carry_out(host: Host, transaction: Transaction, ops: Sequence[Op[Any]], go_on: bool = False) -> List[Failure]:
    """Carry operations out; those that failed.

    @param go_on: not to stop at what fails, as in an undo, and not to note what was begun
    """
    failures: List[Failure] = []
    for batch in order_operations(transaction.resources, ops):
        resource = transaction.by_name[batch[0].resource]
        host.session.account = resource.name
        if not go_on:
            transaction.begun += batch
        while batch:
            failed = _apply_batch(host, resource, batch)
            failures += failed
            if not failed or not go_on or not resource.stops:
                break
            # One operation after the other: those behind the failed one have not been tried.
            batch = batch[batch.index(failed[-1].op) + 1 :] if failed[-1].op in batch else []
        if failures and not go_on:
            break
    return failures


def _apply_batch(host: Host, resource: Resource[Any], batch: Sequence[Op[Any]]) -> List[Failure]:
    try:
        return resource.apply(host, batch)
    except Exception as error:  # whatever it is, what was done has to be undone
        return [Failure(batch[0], str(error) or repr(error))]


def list_impacts(resources: Resources, ops: Sequence[Op[Any]], texts: Sequence[str] = ()) -> List[Dict[str, str]]:
    """The operations that drop packets, and what goes with a device: which packets, and for how long. Pure.

    What is not listed drops nothing: additions; attributes that the kernel changes on a living device; neighbours, FDB entries
    and routes, of which the kernel replaces one by another in one step; our nft table, which is replaced as a whole.

    @param texts: the operations in words, where they are at hand
    """
    found = []
    by_name = {resource.name: resource for resource in resources}
    # Not of all that comes: thousands come where nothing goes.
    going = {op.resource for op in ops if op.before is not None}
    coming = {(op.resource, op.after.label) for op in ops if op.after is not None and op.resource in going}
    for number, op in enumerate(ops):
        resource = by_name[op.resource]
        # A device may take the place of another one.
        drops, until = resource.impact(op, coming) if op.before is not None or resource.shakes else ("", "")
        if drops:
            found.append({"operation": texts[number] if texts else str(op), "drops": drops, "until": until})
    return found


def make_result(transaction: Transaction, host: Host) -> Dict[str, Any]:
    """What a module returns: changed, the operations in order, a diff per resource, and what it cost."""
    diffs = []
    for name, differences in groupby(transaction.differences, key=lambda difference: difference[0].resource):
        shown = list(differences)
        diffs.append(
            {
                "before_header": name,
                "after_header": name,
                "before": "".join(line + "\n" for _op, before, _after in shown for line in before),
                "after": "".join(line + "\n" for _op, _before, after in shown for line in after),
            }
        )
    taken = transaction.taken
    ops = [*taken, *transaction.ops]
    texts = _describe_operations(transaction, ops)
    return {
        "changed": transaction.changed,
        "operations": texts[len(taken) :],
        "impact": list_impacts(transaction.resources, ops, texts),
        "diff": diffs,
        "counters": count_costs(host),
    }


def _describe_operations(transaction: Transaction, ops: Sequence[Op[Any]]) -> List[str]:
    """Operations in words. What a diff says in one line is an entry in words already: of thousands that is felt."""
    plain = {one.name for one in transaction.resources if type(one).show is Resource.show}
    lines: Dict[int, str] = {}
    for op, before, after in transaction.differences:
        entry = op.entry
        if op.resource in plain and type(entry).lines is Entry.lines:
            lines[id(op)] = "%s: %s %s" % (op.resource, op.action, (before if op.after is None else after)[0])
    return [lines.get(id(op)) or str(op) for op in ops]


def count_costs(host: Host) -> Dict[str, Dict[str, int]]:
    """What each resource has cost so far."""
    counters = {name: asdict(counter) for name, counter in sorted(host.session.counters.items())}
    return {name: counter for name, counter in counters.items() if any(counter.values())}
