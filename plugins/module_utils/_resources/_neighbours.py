# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Neighbours: the inner IP address of a peer's VTEP to its MAC. PRIVATE to the collection.

Easily mixed up with the FDB: a neighbour maps an inner IP address to an inner
MAC, an FDB entry maps that inner MAC to the outer address it is reached by.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _netlink, _raw
from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import (
    OnDevice,
    list_items,
    parse_address,
    parse_mac,
    require_option,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import Message
from ansible_collections.agentless.overlay.plugins.module_utils._engine._options import STATE, make_bulk_spec
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Effects,
    Entry,
    Key,
    Op,
    Options,
    Spec,
    collect_devices,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import batch_commands

NUD_REACHABLE, NUD_STALE, NUD_NOARP, NUD_PERMANENT = 0x02, 0x04, 0x40, 0x80
NTF_PROXY, NTF_EXT_LEARNED, NTF_ROUTER = 0x08, 0x10, 0x80
NTF_EXT_MANAGED = 1
# struct ndmsg: of whom, which device, state, flags, type.
_HEADER = struct.Struct("=BxxxiHBB")
_NDA_LLADDR, _NDA_CACHEINFO, _NDA_PROBES = 2, 3, 4
_ATTRIBUTES = ("NDA_DST", "NDA_LLADDR", "NDA_PROTOCOL", "NDA_FLAGS_EXT")
_FLAGS = {NTF_PROXY: "proxy", NTF_ROUTER: "router", NTF_EXT_LEARNED: "extern_learn"}


@dataclass(frozen=True)
class Neighbour(Entry):
    """A neighbour of a device that somebody entered: ours are permanent."""

    device: str
    dst: str
    lladdr: str
    # One that this host answers for, which is in a table of its own.
    proxy: bool = False
    # All of it as it was found, where it is not just what ours are: others'.
    raw: bytes = b""
    # Of one of those the state, which the kernel may change at any time.
    state: int = field(default=NUD_PERMANENT, compare=False)

    @property
    def key(self) -> Key:
        return (self.device, self.dst, "proxy") if self.proxy else (self.device, self.dst)

    def same(self, wanted: Neighbour) -> bool:
        if not self.raw:
            # As thousands are.
            return self == wanted
        return bool(self.state & NUD_PERMANENT) and replace(self, raw=b"") == wanted

    def __str__(self) -> str:
        if not self.raw:
            return "%s dev %s lladdr %s permanent" % (self.dst, self.device, self.lladdr)
        text = "%s dev %s" % (self.dst, self.device) + (" lladdr %s" % self.lladdr if self.lladdr else "")
        _family, _index, _state, flags, _type = _HEADER.unpack_from(self.raw)
        text += "".join(" " + word for flag, word in _FLAGS.items() if flags & flag)
        if self.state & (NUD_PERMANENT | NUD_NOARP) and not self.proxy:
            return text + (" permanent" if self.state & NUD_PERMANENT else " noarp")
        return text if flags & (NTF_PROXY | NTF_EXT_LEARNED) else text + " managed"


_NEIGHBOUR: Options = {"device": {"type": "str"}, "dst": {"type": "str"}, "lladdr": {"type": "str"}, **STATE}
_OPTIONS, _RULES = make_bulk_spec(_NEIGHBOUR, "dst")


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
        for item, state in list_items(sections, self.section, spec):
            dst, lladdr = parse_address(self.name, item, "dst"), parse_mac(self.name, item, "lladdr")
            require_option(self.name, item, "lladdr", lladdr, state)
            entry = Neighbour(item["device"], dst or "", lladdr or "")
            spec.add(entry, state, self.name)
        return spec

    def reach(self, spec: Spec[Neighbour], devices: Set[str]) -> Set[str]:
        # What is asked for besides its own is what others have on devices that are shaken.
        return set()

    def reach_back(
        self, spec: Spec[Neighbour], devices: Set[str], snapshot: Mapping[Key, Neighbour], keys: Set[Key]
    ) -> Set[str]:
        return collect_devices(snapshot) | {key[0] for key in keys}

    def read(self, host: Host, spec: Spec[Neighbour], devices: Set[str]) -> Dict[Key, Neighbour]:
        found: Dict[Key, Neighbour] = {}
        for device in sorted(devices | super().reach(spec, set())):
            index = host.index(device)
            if index is None:
                continue
            for flags in (0, NTF_PROXY) if device in devices else (0,):
                fields = {"family": socket.AF_UNSPEC, "flags": flags}
                message = Message(_netlink.RTM_GETNEIGH, 0, _netlink.ndmsg, fields, [("NDA_IFINDEX", index)])
                for row in host.session.rows(message, _ATTRIBUTES):
                    if row["ifindex"] == index and _is_entered(row):
                        entry = _decode_neighbour(device, row)
                        found[entry.key] = entry
        return found

    def extra(self, entry: Neighbour, spec: Spec[Neighbour]) -> bool:
        # Of others' kinds none is: some daemon keeps them, or a hand that knew what it did.
        return super().extra(entry, spec) and bool(entry.state & NUD_PERMANENT) and not entry.proxy

    def surviving(self, found: Mapping[Key, Neighbour], effects: Effects) -> Dict[Key, Neighbour]:
        left = super().surviving(found, effects)
        return {key: entry for key, entry in left.items() if entry.proxy or not _is_lost(entry, effects)}

    def shell(self, entries: Iterable[Neighbour]) -> List[str]:
        one = "neigh replace %s lladdr %s dev %s nud permanent"
        return batch_commands("ip", (one % (entry.dst, entry.lladdr, entry.device) for entry in entries))

    @staticmethod
    def message(host: Host, op: Op[Neighbour]) -> Message:
        entry, index = op.entry, host.index(op.entry.device) or 0
        kind, flags = _netlink.RTM_NEWNEIGH, _netlink.NLM_F_CREATE | _netlink.NLM_F_REPLACE
        if op.after is None:
            kind, flags = _netlink.RTM_DELNEIGH, 0
        if entry.raw:
            raw = _raw.move_to_device(entry.raw, index)
            return Message(kind, flags, None, raw=raw[:8] + struct.pack("=H", entry.state) + raw[10:])
        fields = {
            "family": socket.AF_INET6 if ":" in entry.dst else socket.AF_INET,
            "ifindex": index,
            "state": NUD_PERMANENT,
        }
        attrs = [("NDA_DST", entry.dst)] + ([("NDA_LLADDR", entry.lladdr)] if op.after is not None else [])
        return Message(kind, flags, _netlink.ndmsg, fields, attrs)


def _is_lost(entry: Neighbour, effects: Effects) -> bool:
    """Whether the kernel forgets it: with a device's MAC all, with its carrier all but the permanent ones."""
    return entry.device in effects.new_mac or entry.device in effects.blinked and not entry.state & NUD_PERMANENT


def _is_entered(row: Mapping[str, Any]) -> bool:
    """Whether somebody entered it: the kernel did not learn it by itself, nor make it for multicast or a broadcast."""
    if row["state"] & NUD_PERMANENT or row["flags"] & (NTF_PROXY | NTF_EXT_LEARNED) or _is_managed(row):
        return True
    if not row["state"] & NUD_NOARP:
        return False
    lladdr, dst = row.get("NDA_LLADDR", ""), row.get("NDA_DST", "")
    return bool("NDA_PROTOCOL" in row or lladdr and not int(lladdr[:2], 16) & 1 and not ipaddress.ip_address(dst).is_multicast)


def _is_managed(row: Mapping[str, Any]) -> bool:
    return bool(row.get("NDA_FLAGS_EXT", 0) & NTF_EXT_MANAGED)


def _decode_neighbour(device: str, row: Mapping[str, Any]) -> Neighbour:
    dst, lladdr, state, flags = row.get("NDA_DST", ""), row.get("NDA_LLADDR", ""), row["state"], row["flags"]
    if state == NUD_PERMANENT and not flags and "NDA_PROTOCOL" not in row and "NDA_FLAGS_EXT" not in row:
        return Neighbour(device, dst, lladdr)
    head, attrs = _raw.split_message(row["raw"], _HEADER.size)
    volatile = [_NDA_CACHEINFO, _NDA_PROBES]
    stays = state & (NUD_PERMANENT | NUD_NOARP)
    if not stays and _is_managed(row):
        # It is for the kernel to find out.
        lladdr, state = "", 0
        volatile.append(_NDA_LLADDR)
    elif not stays and lladdr:
        state = NUD_REACHABLE if state == NUD_REACHABLE else NUD_STALE
    # NTF_USE is a request, and NTF_OFFLOADED the driver's word.
    flags &= NTF_PROXY | NTF_EXT_LEARNED | NTF_ROUTER
    family, index = _HEADER.unpack_from(head)[:2]
    raw = _raw.join_message(_HEADER.pack(family, index, 0, flags, 0), _raw.drop_attributes(attrs, volatile))
    return Neighbour(device, dst, lladdr, bool(flags & NTF_PROXY), raw, state)
