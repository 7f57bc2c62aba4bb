# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""FDB entries of a vxlan device: an inner MAC to the outer address it is reached by. PRIVATE to the collection.

Easily mixed up with neighbours: see C(_neighbours).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, cast

from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import (
    OnDevice,
    address_of,
    listed,
    mac_of,
    need,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    NLM_F_APPEND,
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

AF_BRIDGE = 7
NTF_SELF = 0x02
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80


@dataclass(frozen=True)
class FdbEntry(Entry):
    """A permanent entry in a vxlan device's own forwarding table."""

    device: str
    mac: str
    dst: Optional[str]
    port: Optional[int] = None
    vni: Optional[int] = None

    @property
    def replicates(self) -> bool:
        """Whether the kernel keeps several destinations for this MAC: the all-zero one and groups."""
        return self.mac == "00:00:00:00:00:00" or bool(int(self.mac[:2], 16) & 1)

    @property
    def key(self) -> Key:
        # Two unicast entries of one MAC cannot exist: the kernel replaces the first.
        if self.replicates:
            return (self.device, self.mac, self.dst, self.port, self.vni)
        return (self.device, self.mac)

    def __str__(self) -> str:
        text = "%s dev %s dst %s" % (self.mac, self.device, self.dst)
        if self.port is not None:
            text += " port %d" % self.port
        if self.vni is not None:
            text += " vni %d" % self.vni
        return text + " self permanent"


@dataclass
class FdbSpec(Spec[FdbEntry]):
    """And the devices of which not all unicast MACs are known, so that an unlisted one stays."""

    unknown: Set[str] = field(default_factory=set)


_FDB: Options = {
    "device": {"type": "str"},
    "mac": {"type": "str"},
    "dst": {"type": "str"},
    "port": {"type": "int"},
    "vni": {"type": "int"},
    **STATE,
}
_OPTIONS, _RULES = bulk(_FDB, "mac", more={"keep_unicast": {"type": "bool"}})


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
        for item, state in listed(sections, self.section, spec):
            mac, dst = mac_of(self.name, item, "mac"), address_of(self.name, item, "dst")
            need(self.name, item, "dst", dst, state)
            entry = FdbEntry(item["device"], mac or "", dst, item.get("port"), item.get("vni"))
            spec.add(entry, state, self.name)
        return spec

    def read(self, host: Host, spec: Spec[FdbEntry], devices: Set[str]) -> Dict[Key, FdbEntry]:
        found: Dict[Key, FdbEntry] = {}
        for device in sorted(devices):
            index = host.index(device)
            if index is None:
                continue
            request = Message(RTM_GETNEIGH, 0, ndmsg, {"family": AF_BRIDGE, "ifindex": index})
            for row in host.session.rows(request, ("NDA_LLADDR", "NDA_DST", "NDA_PORT", "NDA_VNI")):
                # Learnt entries come and go by themselves; those of a bridge are the bridge's.
                if not row["flags"] & NTF_SELF or not row["state"] & (NUD_PERMANENT | NUD_NOARP):
                    continue
                if "NDA_LLADDR" not in row:
                    continue
                entry = FdbEntry(device, row["NDA_LLADDR"], row.get("NDA_DST"), row.get("NDA_PORT"), row.get("NDA_VNI"))
                if entry.replicates and entry.dst is not None and entry.dst == host.remotes.get(device):
                    # The device's own remote or group, of which the kernel keeps the entry.
                    continue
                found[entry.key] = entry
        return found

    def shaken(self, effects: Effects) -> Set[str]:
        return effects.shaken - effects.bridges

    def extra(self, entry: FdbEntry, spec: Spec[FdbEntry]) -> bool:
        return super().extra(entry, spec) and (entry.replicates or entry.device not in cast(FdbSpec, spec).unknown)

    def shell(self, entries: Iterable[FdbEntry]) -> List[str]:
        return batch("bridge", ("fdb %s %s" % ("append" if entry.replicates else "replace", entry) for entry in entries))

    @staticmethod
    def message(host: Host, op: Op[FdbEntry]) -> Message:
        entry = op.entry
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
        if op.after is None:
            return Message(RTM_DELNEIGH, 0, ndmsg, fields, attrs)
        # Replacing a unicast destination is atomic; of a replicating MAC it is not supported.
        how = NLM_F_APPEND if entry.replicates else NLM_F_REPLACE
        return Message(RTM_NEWNEIGH, NLM_F_CREATE | how, ndmsg, fields, attrs)
