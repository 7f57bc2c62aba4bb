# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses of our devices. PRIVATE to the collection.

They have no section of their own: they are the C(addresses) of a vxlan_link or a bridge.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _attributes, _raw
from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import OnDevice
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    Message,
    ifaddrmsg,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Effects,
    Entry,
    Failure,
    Key,
    Op,
    OverlayError,
    Spec,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import batch_commands
from ansible_collections.agentless.overlay.plugins.module_utils._marks import ADOPTED
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _kept, _settings

IFA_F_SECONDARY, IFA_F_NODAD = 0x01, 0x02
_HEADER = struct.Struct("=BBBBI")  # family, prefixlen, flags, scope, index (struct ifaddrmsg)
_ADDRESS, _LOCAL, _CACHEINFO, _FLAGS, _PROTOCOL = 1, 2, 6, 8, 11  # IFA_...
_TIMES, _FOR_EVER = struct.Struct("=II"), (0xFFFFFFFF, 0xFFFFFFFF)  # preferred and valid (struct ifa_cacheinfo)
_AUTOJOIN = 0x400  # IFA_F_MCAUTOJOIN
_BY_LINK_LOCAL, _NONE = 3, "1"  # IFAPROT_KERNEL_LL, IN6_ADDR_GEN_MODE_NONE
_IFLA_ADDRESS = 1
_PROMOTE = "/proc/sys/net/ipv4/conf/%s/promote_secondaries"


@dataclass(frozen=True)
class Address(Entry):
    """An address with its prefix length on a device."""

    device: str
    address: str
    # The far end of a point-to-point connection, whose network it is then.
    peer: str = ""
    # Whether the kernel is to take it away, or to use it no more for what is new, after a while.
    expires: bool = False
    # As found, of IPv4: behind another one of its network, with which the kernel would remove it.
    secondary: bool = field(default=False, compare=False)
    # And all that the kernel tells of it, which it gets again.
    raw: bytes = field(default=b"", compare=False, repr=False)
    # On a device that was taken over from somebody else.
    kept: bool = field(default=False, compare=False)

    @property
    def key(self) -> Key:
        return (self.device, self.address, self.peer)

    @property
    def is_link_local(self) -> bool:
        return self.address[:3].lower() == "fe8" or ":" in self.address and ipaddress.ip_interface(self.address).is_link_local

    def __str__(self) -> str:
        peer = " peer %s" % self.peer if self.peer else ""
        return "%s%s dev %s%s" % (self.address, peer, self.device, " for a while" if self.expires else "")


def _decode_address(device: str, raw: bytes) -> Address:
    family, length, flags, _scope, _index = _HEADER.unpack_from(raw)
    told = _attributes.map_attributes(raw, _HEADER.size)
    local = told.get(_LOCAL) or told[_ADDRESS]
    peer = socket.inet_ntop(family, told[_ADDRESS]) if told.get(_ADDRESS, local) != local else ""
    behind = family == socket.AF_INET and bool(flags & IFA_F_SECONDARY)
    times = _TIMES.unpack_from(told[_CACHEINFO]) if _CACHEINFO in told else _FOR_EVER
    return Address(device, "%s/%d" % (socket.inet_ntop(family, local), length), peer, times != _FOR_EVER, behind, raw)


def _is_temporary(raw: bytes) -> bool:
    """Whether the kernel made it from another address, for a while."""
    return raw[0] == socket.AF_INET6 and bool(raw[2] & IFA_F_SECONDARY)


def _is_kernels(host: Host, entry: Address) -> bool:
    """Whether it is a link-local address that the kernel gives every device by itself."""
    if not entry.is_link_local or _settings.read_setting("ipv6/conf", entry.device, "addr_gen_mode") == _NONE:
        # Made by it, and now it would not.
        return False
    protocol = _attributes.map_attributes(entry.raw, _HEADER.size).get(_PROTOCOL)
    if protocol is not None:
        return protocol[0] == _BY_LINK_LOCAL
    # A kernel before 5.18 does not say who made it. This one it makes from the MAC.
    raw = _kept.read_raw(host, host.index(entry.device) or 0)
    mac = _attributes.map_attributes(raw, _attributes.IFINFO.size).get(_IFLA_ADDRESS, b"") if raw is not None else b""
    if len(mac) != 6:
        return False
    made = b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return entry.address == "%s/64" % socket.inet_ntop(socket.AF_INET6, made)


@contextlib.contextmanager
def keep_secondaries(devices: Iterable[str]) -> Iterator[None]:
    """Let an address that is behind a removed one take its place meanwhile, whatever the host's setting is.

    So the device is never without an address of the network, nor without IPv4 and all that it knows there.
    """
    former: Dict[str, str] = {}
    try:
        for path in (_PROMOTE % device for device in sorted(devices)):
            with open(path, "r+", encoding="ascii") as handle:
                former[path] = handle.read().strip()
                handle.seek(0)
                handle.write("1")
        yield
    finally:
        for path, value in former.items():
            with open(path, "w", encoding="ascii") as handle:
                handle.write(value)


def _dump_addresses(host: Host, index: int) -> List[bytes]:
    """What the kernel tells of each address of a device."""
    raws = host.session.dump_raw(Message(RTM_GETADDR, 0, None, raw=_HEADER.pack(0, 0, 0, 0, index)))
    # One that does not know of the filter tells of all.
    return [raw for raw in raws if _HEADER.unpack_from(raw)[4] == index]


def leave_groups(host: Host, index: int) -> None:
    """Before a device goes: remove its addresses that are groups it has joined.

    The kernel would remember that it has, and refuse to join again on the device that takes its place.
    """
    for raw in _dump_addresses(host, index):
        flags = struct.unpack("=I", _attributes.map_attributes(raw, _HEADER.size).get(_FLAGS, bytes(4)))[0]
        if flags & _AUTOJOIN:
            host.session.write_one(Message(RTM_DELADDR, 0, None, raw=raw))


def list_local_addresses(host: Host, device: str) -> List[str]:
    """The addresses of a device, of both families."""
    index = host.index(device)
    if index is None:
        return []
    return [_decode_address(device, raw).address.partition("/")[0] for raw in _dump_addresses(host, index)]


def _list_devices(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Tuple[str, Mapping[str, Any], Any]]:
    """What is asked of devices, of whatever kind: section, option set, device. What has a name is one, or has no addresses."""
    for section, parts in sections.items():
        for part in parts:
            entries = [part] if part.get("entries") is None else part["entries"]
            # Of thousands of neighbours and routes the first one tells.
            yield from ((section, part, one) for one in (entries if entries and "name" in entries[0] else ()))


class Addresses(OnDevice[Address]):
    name = "address"
    shakes = True
    atomic = True
    section = "vxlan_link"

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Address]:
        spec: Spec[Address] = Spec()
        once: Set[Tuple[str, str]] = set()
        for section, part, link in _list_devices(sections):
            if link.get("addresses") is None or (link.get("state") or "present") == "absent":
                continue
            if not (link.get("adopt") or part.get("adopt")):
                # On a device that is taken over, what others have stays.
                spec.purge_devices.add(link["name"])
            for address in link["addresses"]:
                try:
                    ipaddress.ip_interface(address)
                except ValueError as error:
                    raise OverlayError("%s: %s: addresses: %s" % (section, link["name"], error)) from None
                entry = Address(link["name"], str(ipaddress.ip_interface(address)))
                plain = entry.address.partition("/")[0]
                if ":" in plain and (entry.device, plain) in once:
                    raise OverlayError(
                        "%s: %s: addresses: %s is listed with two lengths, and an IPv6 address is on a device once"
                        % (section, entry.device, plain)
                    )
                once.add((entry.device, plain))
                spec.add(entry, "present", self.name)
        return spec

    def read(self, host: Host, spec: Spec[Address], devices: Set[str]) -> Dict[Key, Address]:
        found: Dict[Key, Address] = {}
        for device in sorted(devices):
            index = host.index(device)
            if index is None:
                continue
            # What was somebody else's keeps what others have on it.
            keeps = device in spec.purge_devices and host.alias(index).endswith(ADOPTED)
            for raw in _dump_addresses(host, index):
                if _is_temporary(raw):
                    continue
                entry = replace(_decode_address(device, raw), kept=keeps)
                if entry.key in spec.present or not _is_kernels(host, entry):
                    found[entry.key] = entry
        return found

    def extra(self, entry: Address, spec: Spec[Address]) -> bool:
        return super().extra(entry, spec) and not entry.is_link_local and not entry.kept

    def diff(self, found: Mapping[Key, Address], wanted: Mapping[Key, Address]) -> List[Op[Address]]:
        ops = super().diff(found, wanted)
        # An IPv6 address is on a device once, whatever its length: the old one has to go before the new one comes.
        added = {(op.entry.device, op.entry.address.partition("/")[0]) for op in ops if op.before is None}
        ops = [
            replace(op, early=True)
            if op.after is None and ":" in op.entry.address and (op.entry.device, op.entry.address.partition("/")[0]) in added
            else op
            for op in ops
        ]
        # Only in an undo: what came to stand before an address that is put back steps behind it again.
        ops += [
            Op(self.name, found[key], entry)
            for key, entry in wanted.items()
            if entry.secondary and key in found and not found[key].secondary
        ]
        # Who comes first stands first.
        return sorted(ops, key=lambda op: op.after is not None and op.after.secondary)

    def effects(self, ops: Sequence[Op[Address]]) -> Effects:
        # With its last address a device loses what it knows of that protocol: when one is removed, or an undo takes back one
        # that is added.
        return Effects(interrupted={op.entry.device for op in ops})

    def apply(self, host: Host, ops: Sequence[Op[Address]]) -> List[Failure]:
        messages: List[Tuple[Op[Address], Message]] = []
        for op in ops:
            # Its times the kernel changes in place.
            moves = op.before is not None and (op.after is None or op.before.secondary != op.after.secondary)
            if moves and op.before is not None:
                messages.append((op, self.message(host, Op(self.name, op.before, None))))
            if op.after is not None:
                messages.append((op, self.message(host, Op(self.name, None, op.after))))
        removing = {op.entry.device for op in ops if op.before is not None and ":" not in op.entry.address}
        shared = {entry.device for entry in self.read(host, Spec(), removing).values() if entry.secondary}
        # Who steps behind another does so when that is there, in the same batch.
        shared |= {op.entry.device for op in ops if op.before is not None and op.after is not None}
        with keep_secondaries(shared):
            failed = host.session.write([message for _op, message in messages])
        return [Failure(messages[index][0], str(error)) for index, error in sorted(failed.items())]

    def shell(self, entries: Iterable[Address]) -> List[str]:
        # As in the messages, that nobody else has it is proved.
        nodad = ((entry, " nodad" if ":" in entry.address else "") for entry in entries)
        return batch_commands("ip", ("address replace %s%s" % one for one in nodad))

    @staticmethod
    def message(host: Host, op: Op[Address]) -> Message:
        entry, index = op.entry, host.index(op.entry.device) or 0
        kind, how = (RTM_DELADDR, 0) if op.after is None else (RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE)
        if entry.raw:
            return Message(kind, how, None, raw=_raw.move_to_device(entry.raw, index))
        address, length = entry.address.split("/")
        fields = {
            "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
            "prefixlen": int(length),
            "index": index,
            # The plan has proved that nobody else has it; without this it could not be used for a second.
            "flags": IFA_F_NODAD if ":" in address else 0,
        }
        return Message(kind, how, ifaddrmsg, fields, [("IFA_LOCAL", address), ("IFA_ADDRESS", address)])
