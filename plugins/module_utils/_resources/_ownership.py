# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has our name and is not ours. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Collection, Iterator, Mapping, Set

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import E, Key, Spec


@dataclass
class DeviceSpec(Spec[E]):
    """And the names of devices that may be taken over from somebody else."""

    adopted: Set[str] = field(default_factory=set)


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
