# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where records lie, so that Ansible reads everything else as if they were not there. PRIVATE to the collection.

Of a group NAME Ansible reads the first of these in group_vars, and none of the others: NAME, a folder or a file, NAME.yml,
NAME.yaml, NAME.json; of a host likewise in host_vars. So a folder with the name of a group, made for a record, takes a file
of variables from Ansible, and says nothing. A folder with the name of no group is read by nobody and hides nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan import leases
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.store import name_reason

FOLDER = "agentless_overlay"
_FORMER = "overlay"
_LEASES = "leases.yml"
_READ_FOR_NAMES = ("group_vars", "host_vars")


@dataclass(frozen=True)
class Place:
    """The file of the leases, and one whose records count too and are moved into it: the default of earlier versions."""

    path: str
    former: str = ""

    @property
    def moves(self) -> bool:
        """Whether there is something to be moved."""
        return bool(self.former) and os.path.exists(self.former)


@dataclass(frozen=True)
class Found:
    """What is on record."""

    known: leases.Records
    # None where there is no such file.
    former: leases.Records | None
    records: leases.Records


@dataclass(frozen=True)
class Hidden:
    """Files of variables that Ansible does not read, and the entry beside them that it reads in their place."""

    entry: str
    files: list[str]

    def __str__(self) -> str:
        return f"Ansible does not read {' and '.join(self.files)} where there is {self.entry}"


def choose_default_place(inventory: str) -> Place:
    """Where leases are recorded unless overlay_leases says it."""
    folder = os.path.join(inventory, "group_vars")
    return Place(os.path.join(folder, FOLDER, _LEASES), os.path.join(folder, _FORMER, _LEASES))


def keep_shared(place: Place) -> Place:
    """Where the former folder is a link, the record that it leads to.

    Other inventories may have that too: to move it into one of them would have the others give leases anew.
    """
    folder = os.path.dirname(place.former)
    if not os.path.islink(folder):
        return place
    if place.moves:
        if os.path.lexists(place.path):
            raise leases.LeaseFileError(
                f"{place.former} and {place.path} both record leases. Neither is moved, as {folder} is a link and others may "
                "have what it leads to. Move the lines of one file into the other, and remove the one"
            )
        return Place(place.former)
    # Where it leads into another inventory, that one has moved its record.
    there = os.path.join(os.path.dirname(os.path.realpath(folder)), FOLDER, _LEASES)
    return Place(there) if os.path.exists(there) and not os.path.lexists(place.path) else place


def refuse_unused(given: str, places: Iterable[Place]) -> None:
    """Refuse to begin a file of records where there are some in a default place: every lease would move."""
    if os.path.exists(given):
        return
    held = [path for place in places for path in (place.path, place.former) if leases.has_records(path)]
    if held:
        raise leases.LeaseFileError(
            f"overlay_leases = {given}: there is no such file, while leases are recorded in {' and '.join(held)}. Move the "
            "file of the records to the place that overlay_leases names, or take overlay_leases out"
        )


def find_hidden(path: str, extensions: Iterable[str]) -> Hidden | None:
    """What Ansible would not read, or does not, where this file is; by what there is on disk, whatever groups a run knows.

    @param extensions: those that Ansible takes for files of variables, in its order
    """
    endings = [ending if "." in ending else f".{ending}" for ending in extensions]
    parts = path.split(os.sep)
    for number, part in enumerate(parts[:-1], 1):
        if part not in _READ_FOR_NAMES:
            continue
        entry = os.sep.join(parts[: number + 1])
        names = [entry, *(entry[: -len(ending)] for ending in endings if entry.endswith(ending))]
        rows = [[name, *(name + ending for ending in endings)] for name in names]
        files = [file for row in rows for file in row[row.index(entry) + 1 :] if os.path.lexists(file)]
        if files:
            return Hidden(entry, files)
    return None


def find_hurt(place: Place, extensions: Iterable[str]) -> tuple[Hidden | None, list[str]]:
    """What Ansible does not read because of the former folder of records, and what the folder holds that is not ours."""
    folder = os.path.dirname(place.former)
    hidden = find_hidden(place.former, extensions) if os.path.isdir(folder) else None
    if hidden is None:
        return None, []
    # What a link leads to may be what other inventories have, too.
    linked = os.path.islink(folder)
    others = [name for name in sorted(os.listdir(folder)) if linked or not _is_ours(name, place)]
    return hidden, others


def _is_ours(name: str, place: Place) -> bool:
    """Whether a name in the former folder is of a record, its lock, or what a killed run left of one."""
    return name.startswith(f".{_LEASES}.") or name == _LEASES and place.moves


def find_source(path: str, sources: Iterable[str], ignored: re.Pattern[bytes]) -> str:
    """The folder given as an inventory in which Ansible would take this file for an inventory too; empty where none.

    @param ignored: what Ansible passes over in such a folder, by name
    """
    for source in sources:
        if os.path.isdir(source):
            parts = os.path.relpath(path, source).split(os.sep)
            if parts[0] != os.pardir and not any(ignored.search(part.encode()) for part in parts):
                return source
    return ""


def read_records(place: Place) -> Found:
    """Those of both files. The former first: a run that moves them meanwhile writes before it removes."""
    former = leases.read_leases(place.former) if place.moves else None
    known = leases.read_leases(place.path) if place.path else {}
    return Found(known, former, _merge(place, former or {}, known))


def _merge(place: Place, former: leases.Records, known: leases.Records) -> leases.Records:
    merged = {network: dict(nodes) for network, nodes in known.items()}
    for network, nodes in former.items():
        for node, subnet in nodes.items():
            there = merged.setdefault(network, {}).setdefault(node, subnet)
            if leases.join_subnets(there) != leases.join_subnets(subnet):
                raise leases.LeaseFileError(
                    f"{node} has {leases.join_subnets(subnet)} in network {network} by {place.former}, and "
                    f"{leases.join_subnets(there)} by {place.path}. Delete the line that does not say what the host has"
                )
    return merged


def list_record_changes(place: Place, found: Found, new: leases.Records) -> list[tuple[str, Sequence[str], Sequence[str]]]:
    """What recording changes: a file, its lines that go, and those that come."""
    if found.former is not None and not leases.list_lease_lines(new) and find_obstacle(place):
        # Both files count: what only tidies up is no reason to stop a run.
        return []
    changes: list[tuple[str, Sequence[str], Sequence[str]]] = []
    moved = leases.list_lease_lines(found.former or {})
    if found.former is not None:
        changes.append((place.former, moved, ()))
    come = {*leases.list_lease_lines(new), *moved} - set(leases.list_lease_lines(found.known) if moved else ())
    if come:
        changes.append((place.path, (), sorted(come)))
    return changes


def find_obstacle(place: Place) -> str:
    """The folder that keeps the former file from being moved, as nothing can be written there; empty where none does."""
    for file in (place.former, place.path):
        # Beside a link, what it leads to: both are written.
        for folder in map(os.path.dirname, (file, os.path.realpath(file))):
            while not os.path.exists(folder):
                folder = os.path.dirname(folder)
            # Says so to root too where the file system is read-only.
            if not os.access(folder, os.W_OK | os.X_OK):
                return folder
    return ""


@contextmanager
def lock_records(place: Place) -> Iterator[None]:
    """Keep other runs from allocating meanwhile, those of earlier versions too."""
    with ExitStack() as locks:
        locks.enter_context(leases.lock_leases(place.path))
        # Asked now: to lock a file that another run has moved would make its folder anew.
        if place.moves:
            locks.enter_context(leases.lock_leases(place.former))
        yield


def write_records(place: Place, records: leases.Records) -> None:
    """Record them, and remove the former file. Under the locks of both."""
    if place.moves and os.path.exists(place.path) and leases.has_comments(leases.read_record_text(place.former)):
        raise leases.LeaseFileError(
            f"{place.former} has comments, and its leases are to be moved to {place.path}, which is there. Move the lines "
            "yourself, and remove the former file"
        )
    try:
        if place.moves and os.path.islink(place.former) and not os.path.lexists(place.path):
            # Inventories that share a record keep doing so.
            shared = os.path.relpath(os.path.realpath(place.former), os.path.realpath(os.path.dirname(place.path)))
            os.symlink(shared, place.path)
        leases.write_leases(place.path, records, place.former if place.moves else "")
        if place.moves:
            _remove_former(place)
    except OSError as error:
        raise leases.LeaseFileError(
            f"{place.former}: leases cannot be moved to {place.path}: {name_reason(error)}. "
            "Move the file, or set overlay_leases to it"
        ) from None


def mend_hurt(place: Place) -> None:
    """Move the records out of a folder that holds nothing else, and remove it."""
    with lock_records(place):
        if place.moves:
            write_records(place, read_records(place).records)
            return
        try:
            _remove_former(place)
        except FileNotFoundError:
            # Another run was faster.
            return
        except OSError as error:
            raise leases.LeaseFileError(
                f"{os.path.dirname(place.former)} cannot be removed: {name_reason(error)}. Remove it"
            ) from None


def _remove_former(place: Place) -> None:
    """The former file, its lock, and its folder, where nothing else is in it."""
    folder = os.path.dirname(place.former)
    for name in os.listdir(folder):
        if _is_ours(name, place):
            os.unlink(os.path.join(folder, name))
    with suppress(OSError):
        os.rmdir(folder)


def describe_move(place: Place, moved: bool, check: bool) -> list[str]:
    """For the user: what becomes of the former file."""
    if not moved:
        obstacle = find_obstacle(place) if place.moves else ""
        told = (
            f"The leases in {place.former} are used and stay there, as {obstacle} cannot be written. Move them to {place.path}"
        )
        return [told] if obstacle else []
    how = "The next run that is no check moves the leases" if check else "The leases were moved"
    return [f"{how} from {place.former} to {place.path}: keep that file with the inventory in place of the former one."]


def as_text(lines: Sequence[Any]) -> str:
    return "".join(f"{line}\n" for line in lines)
