# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Neighbours: the inner IP address of a peer's VTEP to its MAC. PRIVATE to the collection.

Easily mixed up with the FDB: a neighbour maps an inner IP address to an inner
MAC, an FDB entry maps that inner MAC to the outer address it is reached by.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set

from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import (
    OnDevice,
    address_of,
    listed,
    mac_of,
    need,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
    Message,
    ndmsg,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._options import STATE, bulk
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Effects, Entry, Key, Op, Options, Spec
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import batch

NUD_PERMANENT = 0x80


@dataclass(frozen=True)
class Neighbour(Entry):
    """A permanent neighbour of a device."""

    device: str
    dst: str
    lladdr: str

    @property
    def key(self) -> Key:
        return (self.device, self.dst)

    def __str__(self) -> str:
        return "%s dev %s lladdr %s permanent" % (self.dst, self.device, self.lladdr)


_NEIGHBOUR: Options = {"device": {"type": "str"}, "dst": {"type": "str"}, "lladdr": {"type": "str"}, **STATE}
_OPTIONS, _RULES = bulk(_NEIGHBOUR, "dst")


class Neighbours(OnDevice[Neighbour]):
    name = section = "neigh_entry"
    atomic = True
    remedies = {"ENOBUFS": "the kernel's table is full: raise net.ipv4.neigh.default.gc_thresh3"}
    options = _OPTIONS
    alone = True
    # With its device.
    nothing = None
    rules = _RULES

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Neighbour]:
        spec: Spec[Neighbour] = Spec()
        for item, state in listed(sections, self.section, spec):
            dst, lladdr = address_of(self.name, item, "dst"), mac_of(self.name, item, "lladdr")
            need(self.name, item, "lladdr", lladdr, state)
            entry = Neighbour(item["device"], dst or "", lladdr or "")
            spec.add(entry, state, self.name)
        return spec

    def read(self, host: Host, spec: Spec[Neighbour], devices: Set[str]) -> Dict[Key, Neighbour]:
        found: Dict[Key, Neighbour] = {}
        for device in sorted(devices):
            index = host.index(device)
            if index is None:
                continue
            request = Message(RTM_GETNEIGH, 0, ndmsg, {"family": socket.AF_UNSPEC}, [("NDA_IFINDEX", index)])
            for row in host.session.rows(request, ("NDA_DST", "NDA_LLADDR")):
                # What the kernel learnt by itself, or made for multicast, is not ours.
                if row["ifindex"] != index or not row["state"] & NUD_PERMANENT:
                    continue
                entry = Neighbour(device, row.get("NDA_DST", ""), row.get("NDA_LLADDR", ""))
                found[entry.key] = entry
        return found

    def surviving(self, actual: Mapping[Key, Neighbour], effects: Effects) -> Dict[Key, Neighbour]:
        return {key: entry for key, entry in super().surviving(actual, effects).items() if entry.device not in effects.new_mac}

    def shell(self, entries: Iterable[Neighbour]) -> List[str]:
        one = "neigh replace %s lladdr %s dev %s nud permanent"
        return batch("ip", (one % (entry.dst, entry.lladdr, entry.device) for entry in entries))

    @staticmethod
    def message(host: Host, op: Op[Neighbour]) -> Message:
        entry = op.entry
        fields = {
            "family": socket.AF_INET6 if ":" in entry.dst else socket.AF_INET,
            "ifindex": host.index(entry.device) or 0,
            "state": NUD_PERMANENT,
        }
        if op.after is None:
            return Message(RTM_DELNEIGH, 0, ndmsg, fields, [("NDA_DST", entry.dst)])
        attrs = [("NDA_DST", entry.dst), ("NDA_LLADDR", entry.lladdr)]
        return Message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, ndmsg, fields, attrs)
