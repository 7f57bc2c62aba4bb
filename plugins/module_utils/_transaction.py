# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One transaction: read, diff, order, apply, or undo. PRIVATE to the collection.

The same engine serves overlay_host with all resources and each module with its
own. Undoing is the engine once more, with what it read at the start as the
wish: so there is no second code path that only runs when things go wrong.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._addresses import Addresses
from ansible_collections.agentless.overlay.plugins.module_utils._boot import Boot
from ansible_collections.agentless.overlay.plugins.module_utils._bridges import Bridges
from ansible_collections.agentless.overlay.plugins.module_utils._daemon_json import DaemonJson
from ansible_collections.agentless.overlay.plugins.module_utils._docker_networks import DockerNetworks
from ansible_collections.agentless.overlay.plugins.module_utils._fdb import Fdb
from ansible_collections.agentless.overlay.plugins.module_utils._files import Files
from ansible_collections.agentless.overlay.plugins.module_utils._firewall import Firewall
from ansible_collections.agentless.overlay.plugins.module_utils._impact import impacts
from ansible_collections.agentless.overlay.plugins.module_utils._links import Links
from ansible_collections.agentless.overlay.plugins.module_utils._managers import Managers
from ansible_collections.agentless.overlay.plugins.module_utils._neighbours import Neighbours
from ansible_collections.agentless.overlay.plugins.module_utils._netlink import NetlinkError
from ansible_collections.agentless.overlay.plugins.module_utils._nexthops import Nexthops
from ansible_collections.agentless.overlay.plugins.module_utils._resource import (
    Effects,
    Failure,
    Host,
    Key,
    Op,
    OverlayError,
    Resource,
    Spec,
    devices_of,
)
from ansible_collections.agentless.overlay.plugins.module_utils._routes import Routes
from ansible_collections.agentless.overlay.plugins.module_utils._sandboxes import Sandboxes
from ansible_collections.agentless.overlay.plugins.module_utils._sysctls import Sysctls
from ansible_collections.agentless.overlay.plugins.module_utils._units import Units

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
_SHOWN = 20  # failures in a message
_LINKS = next(resource for resource in ORDER if isinstance(resource, Links))

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
        resources = {resource.name: resource for resource in ORDER}
        ops = self.plain
        if ops is None:
            ops = [op for name, one in resources.items() for op in one.diff(self.actual[name], self.wanted[name])]
        return [(op, *resources[op.resource].show(op)) for op in ops]


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


def plan(actual: State, wanted: State) -> Tuple[List[Op[Any]], Effects]:
    """The operations that lead from one state to the other, consequences of device operations included. Pure."""
    links = _LINKS.diff(actual.get(_LINKS.name, {}), wanted.get(_LINKS.name, {}))
    effects = Links.effects(links)
    ops: List[Op[Any]] = []
    for resource in ORDER:
        if resource is _LINKS:
            ops += links
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
    actual: State = {}
    wanted: State = {}

    def read(resource: Resource[Any], reach: Set[str]) -> None:
        host.session.account = resource.name
        spec = specs[resource.name]
        actual[resource.name] = resource.read(host, spec, reach)
        wanted[resource.name] = resource.wanted(actual[resource.name], spec)

    read(_LINKS, named)
    effects = Links.effects(_LINKS.diff(actual[_LINKS.name], wanted[_LINKS.name]))
    shaken = effects.lost | effects.removed | effects.new_mac
    for resource in ORDER:
        if resource is _LINKS:
            continue
        spec = specs[resource.name]
        # What nobody asked about is read where it has to be put back.
        if resource.asked(spec) or shaken:
            read(resource, resource.reach(spec, devices) | shaken)
        else:
            actual[resource.name], wanted[resource.name] = {}, {}
    ops, effects = plan(actual, wanted)
    ordered = [op for batch in order(ops) for op in batch]
    return Transaction(specs, devices, actual, wanted, ordered, None if effects else ops)


def apply(host: Host, transaction: Transaction) -> None:
    """Carry it out, or leave the host as it was and raise OverlayError."""
    _refuse_missing_devices(host, transaction)
    failures = _carry_out(host, transaction.ops)
    if not failures:
        return
    lines = ["%s; %s" % (failure.op, failure.reason) + _remedy(failure) for failure in failures[:_SHOWN]]
    if len(failures) > _SHOWN:
        lines.append("and %d more" % (len(failures) - _SHOWN))
    try:
        undone = _roll_back(host, transaction)
    except (OverlayError, NetlinkError, OSError) as error:
        undone = "UNDOING FAILED, the host is in between: %s" % error
    raise OverlayError("%d of %d operations failed. %s\n%s" % (len(failures), len(transaction.ops), undone, "\n".join(lines)))


def _refuse_missing_devices(host: Host, transaction: Transaction) -> None:
    """Not in check mode: there, an earlier task may only have predicted the device."""
    makers = (_LINKS.name, Bridges.name)
    made = {op.entry.name for op in transaction.ops if op.resource in makers and op.after is not None}
    needed = {getattr(op.after, "device", None): op.resource for op in transaction.ops if op.after is not None}
    missing = {
        device: resource for device, resource in needed.items() if device and device not in made and host.index(device) is None
    }
    if missing:
        words = ("%s: there is no device %s" % (resource, device) for device, resource in sorted(missing.items()))
        raise OverlayError("%s. List it under vxlan_link, or make it first. Nothing was changed" % "; ".join(words))


def _carry_out(host: Host, ops: Sequence[Op[Any]]) -> List[Failure]:
    resources = {resource.name: resource for resource in ORDER}
    for batch in order(ops):
        host.session.account = batch[0].resource
        try:
            failures = resources[batch[0].resource].apply(host, batch)
        except Exception as error:  # whatever it is, what was done has to be undone
            failures = [Failure(batch[0], str(error) or repr(error))]
        if failures:
            return failures
    return []


def _roll_back(host: Host, transaction: Transaction) -> str:
    host.rolling_back = True
    host.indexes.clear()
    touched = {(op.resource, op.entry.key) for op in transaction.ops}
    now: State = {}
    before: State = {}
    for resource in ORDER:
        host.session.account = resource.name
        snapshot = transaction.actual[resource.name]
        keys = {key for name, key in touched if name == resource.name}
        found: Dict[Key, Any] = {}
        if snapshot or keys:
            spec = transaction.specs[resource.name]
            if resource is _LINKS:
                reach = {key[0] for key in keys | set(snapshot)}
            else:
                reach = resource.reach(spec, transaction.devices) | devices_of(snapshot)
            found = resource.read(host, spec, reach)
        now[resource.name] = found
        # Only what this transaction touched goes; what came from elsewhere meanwhile stays.
        before[resource.name] = {key: entry for key, entry in found.items() if key not in keys}
        before[resource.name].update(snapshot)
    ops, _effects = plan(now, before)
    failures = _carry_out(host, ops)
    if failures:
        raise OverlayError("; ".join("%s: %s" % (failure.op, failure.reason) for failure in failures))
    return "What was done before was undone; the host is as it was."


_REMEDIES = (
    ("EPERM", "run the play with become: true"),
    ("EEXIST", "another device of this host has the same VNI and port, or the name is taken: ip -d link show type vxlan"),
    ("EAFNOSUPPORT", "the address must be of the same family as the device's own outer address"),
    ("ENODEV", "the device is gone since it was read: run again"),
    ("ENETDOWN", "the device is down: set up: true on it"),
    ("ENETUNREACH", "the gateway is not reachable through the device: set onlink: true"),
    ("EOPNOTSUPP", "this kernel does not support the value on this kind of device"),
    ("ENOBUFS", "the kernel's table is full: raise net.ipv4.neigh.default.gc_thresh3"),
)


def _remedy(failure: Failure) -> str:
    for name, text in _REMEDIES:
        if failure.reason.startswith(name + ":"):
            return ". What to do: %s" % text
    return ""


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
