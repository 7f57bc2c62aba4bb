# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kernel settings. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Set

from ansible_collections.agentless.overlay.plugins.module_utils._resource import (
    Entry,
    Failure,
    Host,
    Key,
    Op,
    OverlayError,
    Resource,
    Spec,
)


@dataclass(frozen=True)
class Sysctl(Entry):
    """A setting below /proc/sys, its name with dots."""

    name: str
    value: str

    @property
    def key(self) -> Key:
        return (self.name,)

    @property
    def path(self) -> str:
        return "/proc/sys/" + self.name.replace(".", "/")

    def __str__(self) -> str:
        return "%s = %s" % (self.name, self.value)


class Sysctls(Resource[Sysctl]):
    name = section = "sysctl"

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Sysctl]:
        spec: Spec[Sysctl] = Spec()
        for item in sections.get(self.section, ()):
            spec.add(Sysctl(item["name"], str(item["value"])), "present", self.name)
        return spec

    def read(self, host: Host, spec: Spec[Sysctl], devices: Set[str]) -> Dict[Key, Sysctl]:
        found: Dict[Key, Sysctl] = {}
        for key, entry in spec.present.items():
            try:
                with open(entry.path, encoding="ascii") as handle:
                    found[key] = Sysctl(entry.name, handle.read().strip())
            except OSError as error:
                raise OverlayError("sysctl: %s cannot be read: %s" % (entry.name, error)) from error
        return found

    def extra(self, entry: Sysctl, spec: Spec[Sysctl]) -> bool:
        return False

    def apply(self, host: Host, ops: Sequence[Op[Sysctl]]) -> List[Failure]:
        failures = []
        for op in ops:
            try:
                with open(op.entry.path, "w", encoding="ascii") as handle:
                    handle.write(op.entry.value)
            except OSError as error:
                failures.append(Failure(op, str(error)))
        return failures
