# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has our name and is not ours. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Collection, Dict, Iterator, Mapping, Set

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import E, Key, Spec
from ansible_collections.agentless.overlay.plugins.module_utils._marks import ADOPTED


@dataclass
class DeviceSpec(Spec[E]):
    """And the names of devices that may be taken over from somebody else."""

    adopted: Set[str] = field(default_factory=set)


def remembering(found: Mapping[Key, Any], spec: Spec[Any]) -> Spec[Any]:
    """The wish, in which the alias of what is somebody else's, or was, says so. Pure."""
    taken: Dict[Key, Any] = {
        key: replace(entry, alias="%s%s" % (entry.alias, ADOPTED))
        for key, entry in spec.present.items()
        if key in found and entry.owned and (not found[key].owned or found[key].alias.endswith(ADOPTED))
    }
    return replace(spec, present={**spec.present, **taken}) if taken else spec


def given_up(found: Mapping[Key, Any], wanted: Dict[Key, Any], spec: Spec[Any]) -> Dict[Key, Any]:
    """What shall be there, with what was taken over and is no longer wished: without our mark it is its owner's again. Pure."""
    left = {
        key: replace(entry, alias="")
        for key, entry in found.items()
        if key not in wanted and key not in spec.absent and (entry.alias or "").endswith(ADOPTED)
    }
    return {**wanted, **left}


def wrong_kinds(host: Host, section: str, names: Collection[str], found: Mapping[Key, Any], kind: str) -> Iterator[str]:
    """Names that another kind of device has."""
    for name in sorted(names):
        if (name,) not in found and host.index(name) is not None:
            yield "%s: %s exists and is not a %s. Remove it or choose another name" % (section, name, kind)


def strangers(section: str, spec: Spec[Any], found: Mapping[Key, Any], adopted: Collection[str]) -> Iterator[str]:
    """Devices that do not carry our mark, where one is wished that does."""
    for key, entry in sorted(spec.present.items()):
        there = found.get(key)
        if there is not None and entry.owned and not there.owned and entry.name not in adopted:
            yield (
                "%s: %s exists and does not carry our mark: it is somebody else's. Remove or rename it, or set adopt: true "
                "(variable overlay_adopt) to take it over" % (section, entry.name)
            )
