# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units of systemd for port mappings by a proxy. PRIVATE to the collection."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Set

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Entry,
    Failure,
    Key,
    Op,
    Options,
    OverlayError,
    Resource,
    Spec,
)
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _files
from ansible_collections.agentless.overlay.plugins.module_utils._resources._files import File

_FOLDER = "/etc/systemd/system/"
_PREFIX = "agentless-overlay-proxy-"
_SYSTEMD = "/run/systemd/system"


@dataclass(frozen=True)
class Unit(Entry):
    """A unit of ours: its file, and whether it is enabled and, if so, active. One that is not enabled another one starts."""

    name: str
    content: str
    enabled: bool
    active: bool

    @property
    def key(self) -> Key:
        return (self.name,)

    def lines(self) -> List[str]:
        state = "%s enabled %s active %s" % (self.name, str(self.enabled).lower(), str(self.active).lower())
        return [state] + self.content.splitlines()

    def __str__(self) -> str:
        return self.name


_OPTIONS: Options = {
    "name": {"type": "str", "required": True},
    "content": {"type": "str", "required": True},
    "enabled": {"type": "bool", "default": True},
}


class Units(Resource[Unit]):
    name = section = "units"
    options = _OPTIONS

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Unit]:
        spec: Spec[Unit] = Spec(purge_owned=self.section in sections)
        for item in sections.get(self.section, ()):
            if not item["name"].startswith(_PREFIX):
                raise OverlayError("units: %s: the name has to begin with %s" % (item["name"], _PREFIX))
            spec.add(Unit(item["name"], item["content"], item["enabled"], item["enabled"]), "present", self.name)
        return spec

    def read(self, host: Host, spec: Spec[Unit], devices: Set[str]) -> Dict[Key, Unit]:
        if not spec.purge_owned:
            return {}
        found: Dict[Key, Unit] = {}
        for path in sorted(glob.glob(_FOLDER + _PREFIX + "*")):
            file = _files.read_file(path)
            if file is None:
                continue
            name = os.path.basename(path)
            state = host.run(["systemctl", "show", "--property=UnitFileState,ActiveState", name], None)[1]
            values = dict(line.partition("=")[::2] for line in state.splitlines())
            enabled = values.get("UnitFileState") == "enabled"
            wanted = spec.present.get((name,))
            # Whether one that is not enabled runs, its socket decides.
            active = values.get("ActiveState") == "active" and (wanted is None or wanted.enabled)
            found[(name,)] = Unit(name, file.content, enabled, active)
        return found

    def obstacles(self, host: Host, spec: Spec[Unit], found: Mapping[Key, Unit], wanted: Mapping[Key, Unit]) -> Iterator[str]:
        if spec.present and not os.path.isdir(_SYSTEMD):
            yield "units: a port mapping by a proxy needs systemd, which does not run here. Choose by: dnat"

    def extra(self, entry: Unit, spec: Spec[Unit]) -> bool:
        return spec.purge_owned

    def apply(self, host: Host, ops: Sequence[Op[Unit]]) -> List[Failure]:
        for op in ops:
            path, entry = _FOLDER + op.entry.name, op.entry
            try:
                if op.after is None:
                    host.command(["systemctl", "disable", "--now", entry.name])
                    _files.remove_file(path)
                    host.command(["systemctl", "daemon-reload"])
                    continue
                _files.write_file(File(path, entry.content))
                host.command(["systemctl", "daemon-reload"])
                if entry.enabled:
                    host.command(["systemctl", "enable", entry.name])
                    host.command(["systemctl", "restart", entry.name])
                else:
                    # It runs on with what it was started with, otherwise.
                    host.command(["systemctl", "stop", entry.name])
            except (OSError, OverlayError) as error:
                return [Failure(op, str(error))]
        return []
