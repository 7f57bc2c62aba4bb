# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One transaction: read, diff, order, carry out. PRIVATE to the collection.

The same engine serves overlay_host with all resources and each module with its
own, and both what is wanted and, in an undo, what was.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Effects,
    Failure,
    Host,
    Key,
    Op,
    Resource,
    Spec,
    devices_of,
)
from ansible_collections.agentless.overlay.plugins.module_utils._resources._addresses import Addresses
from ansible_collections.agentless.overlay.plugins.module_utils._resources._boot import Boot
from ansible_collections.agentless.overlay.plugins.module_utils._resources._bridges import Bridges
from ansible_collections.agentless.overlay.plugins.module_utils._resources._daemon_json import DaemonJson
from ansible_collections.agentless.overlay.plugins.module_utils._resources._docker_networks import DockerNetworks
from ansible_collections.agentless.overlay.plugins.module_utils._resources._fdb import Fdb
from ansible_collections.agentless.overlay.plugins.module_utils._resources._files import Files
from ansible_collections.agentless.overlay.plugins.module_utils._resources._firewall import Firewall
from ansible_collections.agentless.overlay.plugins.module_utils._resources._impact import impacts
from ansible_collections.agentless.overlay.plugins.module_utils._resources._links import Links
from ansible_collections.agentless.overlay.plugins.module_utils._resources._managers import Managers
from ansible_collections.agentless.overlay.plugins.module_utils._resources._neighbours import Neighbours
from ansible_collections.agentless.overlay.plugins.module_utils._resources._nexthops import Nexthops
from ansible_collections.agentless.overlay.plugins.module_utils._resources._routes import Routes
from ansible_collections.agentless.overlay.plugins.module_utils._resources._sandboxes import Sandboxes
from ansible_collections.agentless.overlay.plugins.module_utils._resources._sysctls import Sysctls
from ansible_collections.agentless.overlay.plugins.module_utils._resources._units import Units

# Make before break: additions in this order, so that a packet which meets a new
# route finds all that it needs behind it; removals in the reverse order.
ORDER: Tuple[Resource[Any], ...] = (
    Sysctls(),
    Managers(),
    Firewall(),
    Bridges(),
    Links(),
    Addresses(),
    Neighbours(),
    Fdb(),
    Nexthops(),
    Routes(),
    Sandboxes(),
    Files(),
    Units(),
    Boot(),
    DaemonJson(),
    DockerNetworks(),
)
_RESOURCES = {resource.name: resource for resource in ORDER}
_LINKS = next(resource for resource in ORDER if isinstance(resource, Links))
_BRIDGES = next(resource for resource in ORDER if isinstance(resource, Bridges))

State = Dict[str, Dict[Key, Any]]


@dataclass
class Transaction:
    """What is, what shall be, and the operations in between, in order."""

    specs: Dict[str, Spec[Any]]
    devices: Set[str]
    actual: State
    wanted: State
    ops: List[Op[Any]]
    # The same as the diffs gave them, where no operation on a device adds to them; else nothing.
    plain: Optional[List[Op[Any]]] = None

    @property
    def changed(self) -> bool:
        return bool(self.ops)

    @cached_property
    def differences(self) -> List[Tuple[Op[Any], List[str], List[str]]]:
        """What differs, each with its lines as found and as wanted.

        Not the operations: an entry that a re-created device loses and gets back is no difference.
        """
        ops = self.plain
        if ops is None:
            ops = [op for name, one in _RESOURCES.items() for op in one.diff(self.actual[name], self.wanted[name])]
        return [(op, *_RESOURCES[op.resource].show(op)) for op in ops]


def parse(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Dict[str, Spec[Any]]:
    """What the options ask of each resource. Pure."""
    specs = {resource.name: resource.parse(sections) for resource in ORDER}
    specs[Nexthops.name].present = Nexthops.of(specs[Routes.name].present.values())
    return specs


def order(ops: Sequence[Op[Any]]) -> List[List[Op[Any]]]:
    """Group operations into batches: early removals, additions and changes, removals. Pure."""
    batches: Dict[Tuple[int, int], List[Op[Any]]] = {}
    place = {resource.name: number for number, resource in enumerate(ORDER)}
    for op in ops:
        number = place[op.resource]
        turn = (0, number) if op.early else (1, number) if op.after is not None else (2, -number)
        batches.setdefault(turn, []).append(op)
    return [batch for _turn, batch in sorted(batches.items(), key=lambda item: item[0])]


def effects_of(links: Sequence[Op[Any]], bridges: Sequence[Op[Any]]) -> Effects:
    """What operations on devices do to what lives on them. Pure."""
    return Links.effects(links).merged(Bridges.effects(bridges))


def plan(actual: State, wanted: State) -> Tuple[List[Op[Any]], Effects]:
    """The operations that lead from one state to the other, consequences of device operations included. Pure."""
    made = {one.name: one.diff(actual.get(one.name, {}), wanted.get(one.name, {})) for one in (_LINKS, _BRIDGES)}
    effects = effects_of(made[_LINKS.name], made[_BRIDGES.name])
    ops: List[Op[Any]] = []
    for resource in ORDER:
        if resource.name in made:
            ops += made[resource.name]
            continue
        before, after = actual.get(resource.name, {}), wanted.get(resource.name, {})
        if effects:
            before = resource.surviving(before, effects)
            # What is on a device that goes need not be put anywhere.
            after = {key: entry for key, entry in after.items() if getattr(entry, "device", None) not in effects.removed}
        ops += resource.diff(before, after)
    return ops, effects


def prepare(host: Host, specs: Dict[str, Spec[Any]]) -> Transaction:
    """Read the host and work out what is to be done; changes nothing."""
    links = specs[_LINKS.name]
    named = {key[0] for key in set(links.present) | links.absent}
    devices = named.union(*(devices_of(spec.present) | spec.purge_devices for spec in specs.values()))
    actual: State = {resource.name: {} for resource in ORDER}
    wanted: State = {resource.name: {} for resource in ORDER}

    def read(resource: Resource[Any], reach: Set[str]) -> None:
        name, spec = resource.name, specs[resource.name]
        host.session.account = name
        actual[name] = resource.read(host, spec, reach)
        wanted[name] = resource.wanted(actual[name], spec)

    def compare(resource: Resource[Any]) -> List[Op[Any]]:
        return resource.diff(actual[resource.name], wanted[resource.name])

    read(_LINKS, named)
    read(_BRIDGES, set())
    effects = effects_of(compare(_LINKS), compare(_BRIDGES))
    gone = effects.removed & effects.bridges
    if gone:
        # With all that hangs on them.
        read(_BRIDGES, gone)
    for resource in ORDER:
        if resource in (_LINKS, _BRIDGES):
            continue
        spec, shaken = specs[resource.name], resource.shaken(effects)
        # What nobody asked about is read where it has to be put back, now or in an undo.
        if resource.asked(spec) or shaken:
            read(resource, resource.reach(spec, devices) | shaken)
            if resource.name == Addresses.name:
                # With its last address a device loses what it knows of that protocol: when one is removed, or an undo takes
                # back one that is added.
                touched = {op.entry.device for op in compare(resource)}
                effects.interrupted |= {device for device in touched if host.index(device) is not None}
    ops, effects = plan(actual, wanted)
    ordered = [op for batch in order(ops) for op in batch]
    return Transaction(specs, devices, actual, wanted, ordered, None if effects else ops)


def carry_out(host: Host, ops: Sequence[Op[Any]], go_on: bool = False) -> Tuple[List[Failure], List[Op[Any]]]:
    """Carry operations out; those that failed, and all of the batches that were begun.

    @param go_on: not to stop at what fails, as in an undo
    """
    failures: List[Failure] = []
    begun: List[Op[Any]] = []
    for batch in order(ops):
        host.session.account = batch[0].resource
        begun += batch
        while batch:
            failed = _apply_batch(host, batch)
            failures += failed
            if not failed or not go_on or not _RESOURCES[batch[0].resource].stops:
                break
            # One operation after the other: those behind the failed one have not been tried.
            batch = batch[batch.index(failed[-1].op) + 1 :] if failed[-1].op in batch else []
        if failures and not go_on:
            break
    return failures, begun


def _apply_batch(host: Host, batch: Sequence[Op[Any]]) -> List[Failure]:
    try:
        return _RESOURCES[batch[0].resource].apply(host, batch)
    except Exception as error:  # whatever it is, what was done has to be undone
        return [Failure(batch[0], str(error) or repr(error))]


def result(transaction: Transaction, host: Host) -> Dict[str, Any]:
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
    return {
        "changed": transaction.changed,
        "operations": [str(op) for op in transaction.ops],
        "impact": impacts(transaction.ops),
        "diff": diffs,
        "counters": costs(host),
    }


def costs(host: Host) -> Dict[str, Dict[str, int]]:
    """What each resource has cost so far."""
    counters = {name: asdict(counter) for name, counter in sorted(host.session.counters.items())}
    return {name: counter for name, counter in counters.items() if any(counter.values())}
