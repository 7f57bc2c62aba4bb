# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules that choose a routing table by a packet's source. What a resource needs, and nothing else of the collection changed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Entry,
    Failure,
    Key,
    Op,
    Options,
    OverlayError,
    Resource,
    Sections,
    Spec,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import attempt_command, quote_words
from ansible_collections.agentless.overlay.plugins.module_utils._marks import ROUTE_PROTOCOL


@dataclass(frozen=True)
class Rule(Entry):
    """Packets from a network are looked up in a table."""

    priority: int
    source: str
    table: int
    protocol: int = ROUTE_PROTOCOL

    @property
    def key(self) -> Key:
        return (self.priority, self.protocol)

    @property
    def words(self) -> List[str]:
        what = ["from", self.source, "lookup", str(self.table), "protocol", str(self.protocol)]
        return ["pref", str(self.priority), *what]

    def __str__(self) -> str:
        return " ".join(self.words)


_OPTIONS: Options = {
    "priority": {"type": "int", "required": True},
    "source": {"type": "str", "required": True},
    "table": {"type": "int", "required": True},
}


class Rules(Resource[Rule]):
    name = section = "rule"
    options = _OPTIONS

    def parse(self, sections: Sections) -> Spec[Rule]:
        spec: Spec[Rule] = Spec(purge_owned=self.section in sections)
        for item in sections.get(self.section, ()):
            spec.add(Rule(item["priority"], item["source"], item["table"]), "present", self.name)
        return spec

    def read(self, host: Host, spec: Spec[Rule], devices: Set[str]) -> Dict[Key, Rule]:
        found: Dict[Key, Rule] = {}
        for row in json.loads(host.command(["ip", "-j", "-N", "-d", "rule", "show"]) or "[]"):
            source = row["src"] + ("/%d" % row["srclen"] if "srclen" in row else "")
            table, protocol = str(row.get("table", "0")), str(row.get("protocol", "0"))
            if table.isdigit():
                entry = Rule(row["priority"], source, int(table), int(protocol) if protocol.isdigit() else 0)
                found[entry.key] = entry
        return found

    def obstacles(self, host: Host, spec: Spec[Rule], found: Mapping[Key, Rule], wanted: Mapping[Key, Rule]) -> Iterable[str]:
        others = {entry.priority: entry for entry in found.values() if not self.owned(entry)}
        for entry in spec.present.values():
            if entry.priority in others:
                yield "rule: %s has the priority of %s. Choose another one" % (others[entry.priority], entry)

    def owned(self, entry: Rule) -> bool:
        return entry.protocol == ROUTE_PROTOCOL

    def extra(self, entry: Rule, spec: Spec[Rule]) -> bool:
        return spec.purge_owned and self.owned(entry)

    def apply(self, host: Host, ops: Sequence[Op[Rule]]) -> List[Failure]:
        for op in ops:
            steps: List[Any] = [("delete", op.before), ("add", op.after)]
            try:
                for verb, entry in steps:
                    if entry is not None:
                        host.command(["ip", "rule", verb, *entry.words])
            except OverlayError as error:
                return [Failure(op, str(error))]
        return []

    def shell(self, entries: Iterable[Rule]) -> List[str]:
        show = "ip rule show %s | grep -q . || %s"
        return [show % (quote_words(entry.words), attempt_command(["ip", "rule", "add", *entry.words])) for entry in entries]
