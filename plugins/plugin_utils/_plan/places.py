# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which file is the record's in an inventory, whatever it consists of. PRIVATE to the collection.

Ansible reads variables beside each thing that C(-i) names: in a folder, or in the folder of a file, a script or the
configuration of a plugin. That is where the record is too. A list of hosts has no such folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan import records
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.leases import LeaseFileError, has_records
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import EVERYWHERE


@dataclass(frozen=True)
class Inventory:
    """What Ansible knows of an inventory.

    @param folders: those of the hosts' inventories
    @param sources: what C(-i) or ansible.cfg names
    @param extensions: of files of variables
    @param ignored: what Ansible passes over in a folder of inventories, by name
    """

    folders: Sequence[str]
    sources: Sequence[str]
    groups: Collection[str]
    extensions: Sequence[str]
    ignored: re.Pattern[bytes]

    def list_default_places(self) -> dict[str, records.Place]:
        """By folder, where leases may have been recorded: also beside sources that no host is of, as their order changes."""
        there = filter(os.path.exists, self.sources)
        beside = [source if os.path.isdir(source) else os.path.dirname(source) for source in there]
        return {folder: records.choose_default_place(folder) for folder in dict.fromkeys([*self.folders, *beside])}

    def refuse_hiding(self, variable: str, path: str) -> None:
        """Refuse a place that would keep Ansible from reading variables."""
        hidden = records.find_hidden(path, self.extensions)
        if hidden is not None:
            raise LeaseFileError(f"{variable} = {path}: {hidden}. {_suggest(path)}")

    def refuse_inventories(self, paths: Mapping[str, str]) -> list[str]:
        """Warnings of files that Ansible takes for inventories; one that is not there yet is not begun."""
        warnings = []
        for variable, path in paths.items():
            source = records.find_source(path, self.sources, self.ignored) if path else ""
            if not source:
                continue
            problem = (
                f"{variable} = {path}: Ansible takes each file in the folder {source} for an inventory, and this one too. "
                f"{_suggest(path)}"
            )
            if not os.path.exists(path):
                raise LeaseFileError(problem)
            warnings.append(problem)
        return warnings


def choose_place(given: str, inventory: Inventory, check: bool) -> records.Place:
    """Where leases are recorded; refused where Ansible would not read all of the inventory for it, or does not.

    @param given: what overlay_leases says
    @param check: whether nothing may be changed
    """
    places = inventory.list_default_places()
    folder = "" if given else _choose_folder(inventory)
    if given:
        # Before a hurt inventory: what is told of that may have the user remove the folder.
        records.refuse_unused(given, places.values())
    for one in inventory.folders:
        _heal(places[one], inventory, given, check)
    if given:
        inventory.refuse_hiding("overlay_leases", given)
        return records.Place(given)
    if not folder:
        return records.Place("")
    place = records.keep_shared(records.choose_default_place(folder))
    _refuse_others(place, places)
    # No former file beside it: what is shared stays where it is.
    if place.former and records.FOLDER in inventory.groups:
        raise LeaseFileError(
            f"The inventory has a group {records.FOLDER}, and leases would be recorded among its variables. "
            "Set overlay_leases to another file"
        )
    return place


def _choose_folder(inventory: Inventory) -> str:
    """The one folder of all hosts' inventories: that of each, or what C(-i) names where they are below that."""
    folders = inventory.folders
    if len(folders) < 2:
        return folders[0] if folders else ""
    for source in inventory.sources:
        if os.path.isdir(source) and all(os.path.commonpath([source, folder]) == source for folder in folders):
            return source
    raise LeaseFileError(
        f"The hosts come from several inventories ({', '.join(folders)}). Set overlay_leases to the one file "
        f"where leases of {EVERYWHERE} are recorded"
    )


def _refuse_others(place: records.Place, places: Mapping[str, records.Place]) -> None:
    """Refuse to begin a record while there is one beside another part of the inventory: every lease would move."""
    if has_records(place.path) or place.former and has_records(place.former):
        return
    paths = dict.fromkeys(path for other in places.values() for path in (other.path, other.former))
    held = [path for path in paths if has_records(path)]
    if held:
        raise LeaseFileError(
            f"Leases are recorded in {' and '.join(held)}, and this run would record them in {place.path}: the order or the "
            "kind of the inventories has changed. Set overlay_leases to the one file that is right"
        )


def _heal(place: records.Place, inventory: Inventory, given: str, check: bool) -> None:
    """Refuse an inventory that Ansible does not read all of, after what earlier versions did to it was undone."""
    hidden, others = records.find_hurt(place, inventory.extensions)
    if hidden is None:
        return
    if others or given:
        what = f", which holds {', '.join(others)}" if others else ""
        raise LeaseFileError(f"{hidden}{what}. Move the variables into that folder, or remove one of the two")
    again = f"Run again: the variables in {' and '.join(hidden.files)} were not read in this run"
    if check:
        raise LeaseFileError(
            f"{hidden}, in which earlier versions recorded leases. A run that is no check moves them to {place.path} and "
            f"removes the folder. {again}"
        )
    records.mend_hurt(place)
    raise LeaseFileError(
        f"{hidden}, in which earlier versions recorded leases. They are in {place.path} now, the folder is gone. {again}"
    )


def _suggest(path: str) -> str:
    return f"Choose another place, such as group_vars/{records.FOLDER}/{os.path.basename(path)}"
