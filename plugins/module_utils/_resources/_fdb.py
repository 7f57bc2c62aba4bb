# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""FDB entries of a vxlan device: an inner MAC to the outer address it is reached by. PRIVATE to the collection.

Easily mixed up with neighbours: see C(_neighbours).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple, cast

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _netlink, _raw
from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import (
    Bounds,
    OnDevice,
    list_items,
    parse_address,
    parse_mac,
    require_option,
    require_range,
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
    make_entry,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import batch_commands

AF_BRIDGE = 7
NTF_SELF, NTF_EXT_LEARNED, NTF_ROUTER = 0x02, 0x10, 0x80
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80
_ZERO = "00:00:00:00:00:00"
# struct ndmsg: of whom, which device, state, flags, type.
_HEADER = struct.Struct("=BxxxiHBB")
_NDA_CACHEINFO, _NDA_MASTER = 3, 9
_ATTRIBUTES = ("NDA_LLADDR", "NDA_DST", "NDA_PORT", "NDA_VNI", "NDA_IFINDEX", "NDA_SRC_VNI", "NDA_NH_ID")
# The UDP port and the VNI of a device, which its entries have where they say nothing else.
Home = Tuple[Optional[int], Optional[int]]


@dataclass(frozen=True)
class FdbEntry(Entry):
    """An entry in a vxlan device's own forwarding table that stays until somebody takes it out."""

    device: str
    mac: str
    dst: Optional[str]
    # None where they are the device's own, as the kernel tells it.
    port: Optional[int] = None
    vni: Optional[int] = None
    # The device that packets leave by, the VNI that they come from, and the nexthop object in place of a destination: others'.
    via: Optional[str] = None
    src_vni: Optional[int] = None
    nhid: Optional[int] = None
    # All of it as it was found, where it is not just what ours are.
    raw: bytes = b""
    # As found: what the device has.
    home: Home = field(default=(None, None), compare=False)

    @property
    def replicates(self) -> bool:
        """Whether the kernel keeps several destinations for this MAC: the all-zero one and groups."""
        return self.mac == _ZERO or bool(int(self.mac[:2], 16) & 1)

    @property
    def key(self) -> Key:
        # Two unicast entries of one MAC cannot exist: the kernel replaces the first.
        if self.replicates:
            return (self.device, self.mac, self.dst, self.port, self.vni, self.via, self.src_vni)
        return (self.device, self.mac) if self.src_vni is None else (self.device, self.mac, self.src_vni)

    def same(self, wanted: FdbEntry) -> bool:
        # Whether it is called static or permanent makes no difference to a packet.
        return (replace(self, raw=b"") if self.raw else self) == wanted

    def floods_to(self, remote: Optional[str]) -> bool:
        """Whether it is the entry that the kernel keeps for a device's own remote or group."""
        return remote is not None and (self.mac, self.dst, self.port, self.vni) == (_ZERO, remote, None, None)

    def at(self, home: Home) -> FdbEntry:
        """The same on a device that has a port and a VNI, in the way the kernel tells it."""
        port, vni = (None if own == there else own for own, there in zip((self.port, self.vni), home))
        return self if (port, vni) == (self.port, self.vni) else replace(self, port=port, vni=vni)

    def __str__(self) -> str:
        text = "%s dev %s" % (self.mac, self.device)
        if not self.raw and self.port is None and self.vni is None:
            return text + " dst %s self permanent" % self.dst
        named = ("dst", self.dst), ("nhid", self.nhid), ("port", self.port), ("vni", self.vni)
        for name, value in (*named, ("src_vni", self.src_vni), ("via", self.via)):
            if value is not None:
                text += " %s %s" % (name, value)
        if not self.raw:
            return text + " self permanent"
        _family, _index, state, flags, _type = _HEADER.unpack_from(self.raw)
        text += " self" + (" router" if flags & NTF_ROUTER else "") + (" extern_learn" if flags & NTF_EXT_LEARNED else "")
        return text + (" permanent" if state & NUD_PERMANENT else " static" if state & NUD_NOARP else "")


_REPLICATING = len(FdbEntry("", _ZERO, None).key)


@dataclass
class FdbSpec(Spec[FdbEntry]):
    """And the devices of which not all unicast MACs are known, so that an unlisted one stays."""

    unknown: Set[str] = field(default_factory=set)
    # What the devices shall have that are listed too, and of which outer address the kernel will keep an entry.
    homes: Dict[str, Home] = field(default_factory=dict)
    remotes: Dict[str, Optional[str]] = field(default_factory=dict)


_FDB: Options = {
    "device": {"type": "str"},
    "mac": {"type": "str"},
    "dst": {"type": "str"},
    "port": {"type": "int"},
    "vni": {"type": "int"},
    **STATE,
}
_BOUNDS: Bounds = {"port": (1, 65535), "vni": (0, (1 << 24) - 1)}
_OPTIONS, _RULES = make_bulk_spec(_FDB, "mac", more={"keep_unicast": {"type": "bool"}})


class Fdb(OnDevice[FdbEntry]):
    name = section = "fdb_entry"
    atomic = True
    remedies = {"EAFNOSUPPORT": "the address must be of the same family as the device's own outer address"}
    options = _OPTIONS
    alone = True
    # With its device.
    nothing = None
    rules = _RULES

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[FdbEntry]:
        spec = FdbSpec()
        spec.unknown = {part["device"] for part in sections.get(self.section, ()) if part.get("keep_unicast")}
        for item, state in list_items(sections, self.section, spec):
            mac, dst = parse_mac(self.name, item, "mac"), parse_address(self.name, item, "dst")
            require_option(self.name, item, "dst", dst, state)
            require_range(self.name, item, "mac", _BOUNDS)
            named = {"port": item.get("port"), "vni": item.get("vni"), "src_vni": None}
            entry = make_entry(FdbEntry, device=item["device"], mac=mac or "", dst=dst, **named)
            spec.add(entry, state, self.name)
        return spec

    def derive(self, spec: Spec[FdbEntry], specs: Mapping[str, Spec[Any]]) -> None:
        links = specs["vxlan_link"].present.values()
        cast(FdbSpec, spec).homes = {link.name: (link.port, link.vni) for link in links}
        cast(FdbSpec, spec).remotes = {link.name: link.remote for link in links}

    def read(self, host: Host, spec: Spec[FdbEntry], devices: Set[str]) -> Dict[Key, FdbEntry]:
        found: Dict[Key, FdbEntry] = {}
        for device in sorted(devices):
            vxlan, index = host.vxlan(device), host.index(device)
            if index is None:
                continue
            home, remote = (vxlan.get("IFLA_VXLAN_PORT"), vxlan.get("IFLA_VXLAN_ID")), vxlan.get("remote")
            request = Message(_netlink.RTM_GETNEIGH, 0, _netlink.ndmsg, {"family": AF_BRIDGE, "ifindex": index})
            for row in host.session.rows(request, _ATTRIBUTES):
                # Those of a bridge are the bridge's.
                if not row["flags"] & NTF_SELF or not _is_lasting(row) or "NDA_LLADDR" not in row:
                    continue
                entry = _decode_fdb_entry(host, device, home, row)
                key = entry.key
                if remote is None or not entry.floods_to(remote) or key in spec.present:
                    found[key] = entry
        return found

    def settle(self, found: Mapping[Key, FdbEntry], spec: Spec[FdbEntry]) -> Dict[Key, FdbEntry]:
        return super().settle(found, _drop_defaults(found, cast(FdbSpec, spec)))

    def shaken(self, effects: Effects) -> Set[str]:
        return effects.shaken - effects.bridges

    def extra(self, entry: FdbEntry, spec: Spec[FdbEntry]) -> bool:
        more = cast(FdbSpec, spec)
        if not super().extra(entry, spec) or entry.floods_to(more.remotes.get(entry.device)):
            return False
        return entry.replicates or entry.device not in more.unknown

    def shell(self, entries: Iterable[FdbEntry]) -> List[str]:
        return batch_commands(
            "bridge", ("fdb %s %s" % ("append" if entry.replicates else "replace", entry) for entry in entries)
        )

    def diff(self, found: Mapping[Key, FdbEntry], wanted: Mapping[Key, FdbEntry]) -> List[Op[FdbEntry]]:
        ops: List[Op[FdbEntry]] = []
        for op in super().diff(found, wanted):
            # The kernel does not replace a destination by a nexthop object, nor that by a destination.
            if op.before is not None and op.after is not None and (op.before.nhid is None) != (op.after.nhid is None):
                ops.append(Op(op.resource, op.before, None, early=True))
                op = replace(op, before=None)
            ops.append(op)
        return ops

    @staticmethod
    def message(host: Host, op: Op[FdbEntry]) -> Message:
        entry = op.entry
        # Replacing a unicast destination is atomic; of a replicating MAC it is not supported.
        how = _netlink.NLM_F_APPEND if entry.replicates else _netlink.NLM_F_REPLACE
        kind, flags = (_netlink.RTM_DELNEIGH, 0) if op.after is None else (_netlink.RTM_NEWNEIGH, _netlink.NLM_F_CREATE | how)
        if entry.raw:
            return Message(kind, flags, None, raw=_raw.move_to_device(entry.raw, host.index(entry.device) or 0))
        fields = {
            "family": AF_BRIDGE,
            "ifindex": host.index(entry.device) or 0,
            "state": NUD_PERMANENT,
            "flags": NTF_SELF,
        }
        attrs: List[Any] = [("NDA_LLADDR", entry.mac)]
        # A removal that names a destination which is not there succeeds and removes
        # nothing; of a unicast MAC there is only one, so the MAC is enough.
        if entry.dst is not None and (op.after is not None or entry.replicates):
            attrs.append(("NDA_DST", entry.dst))
            if entry.port is not None:
                attrs.append(("NDA_PORT", entry.port))
            if entry.vni is not None:
                attrs.append(("NDA_VNI", entry.vni))
        return Message(kind, flags, _netlink.ndmsg, fields, attrs)


def _is_lasting(row: Mapping[str, Any]) -> bool:
    """Whether it is no entry that the device learnt, which come and go by themselves."""
    return bool(row["state"] & (NUD_PERMANENT | NUD_NOARP) or row["flags"] & NTF_EXT_LEARNED)


def _decode_fdb_entry(host: Host, device: str, home: Home, row: Mapping[str, Any]) -> FdbEntry:
    via, src_vni, nhid = row.get("NDA_IFINDEX"), row.get("NDA_SRC_VNI"), row.get("NDA_NH_ID")
    raw = b""
    if via or src_vni is not None or nhid or row["state"] != NUD_PERMANENT or row["flags"] != NTF_SELF:
        head, attrs = _raw.split_message(row["raw"], _HEADER.size)
        raw = _raw.join_message(head, _raw.drop_attributes(attrs, (_NDA_CACHEINFO, _NDA_MASTER)))
    return make_entry(
        FdbEntry,
        device=device,
        mac=row["NDA_LLADDR"],
        dst=row.get("NDA_DST"),
        port=row.get("NDA_PORT"),
        vni=row.get("NDA_VNI"),
        via=host.name(via) if via else None,
        src_vni=src_vni,
        nhid=nhid,
        raw=raw,
        home=home,
    )


def _drop_defaults(found: Mapping[Key, FdbEntry], spec: FdbSpec) -> Spec[FdbEntry]:
    """The wish with a device's own port and VNI left out, as the kernel leaves them out. Pure."""
    named = any(one.port is not None or one.vni is not None for one in spec.present.values())
    if not named and not spec.absent:
        return spec
    homes: Dict[str, Home] = {one.device: one.home for one in found.values()}
    homes.update({name: (home[0] or homes.get(name, home)[0], home[1]) for name, home in spec.homes.items()})
    unknown: Home = (None, None)
    folded = [one.at(homes.get(one.device, unknown)) for one in spec.present.values()]
    absent = {FdbEntry(*key).at(homes.get(key[0], unknown)).key if len(key) == _REPLICATING else key for key in spec.absent}
    return replace(spec, present={one.key: one for one in folded}, absent=absent)
