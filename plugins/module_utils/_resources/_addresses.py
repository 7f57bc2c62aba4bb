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
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import OnDevice
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    Message,
    attributes,
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
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import batch

IFA_F_SECONDARY, IFA_F_NODAD = 0x01, 0x02
# Home address, temporary ones from it, no route for its network, multicast: what who adds an address can ask for.
_ASKED_FLAGS = 0x10 | 0x100 | 0x200 | 0x400
_FOR_EVER = 0xFFFFFFFF
_PROMOTE = "/proc/sys/net/ipv4/conf/%s/promote_secondaries"


@dataclass(frozen=True)
class Address(Entry):
    """An address with its prefix length on a device."""

    device: str
    address: str
    # As found, of IPv4: behind another one of its network, with which the kernel would remove it.
    secondary: bool = field(default=False, compare=False)
    scope: int = field(default=0, compare=False)
    # And what else the kernel tells of it, which it gets again.
    rest: Tuple[Tuple[str, Any], ...] = field(default=(), compare=False)

    @property
    def key(self) -> Key:
        return (self.device, self.address)

    def __str__(self) -> str:
        return "%s dev %s" % (self.address, self.device)


def _rest(attrs: Mapping[str, Any]) -> Tuple[Tuple[str, Any], ...]:
    """Of an address as found: its label, its broadcast address, for how long it is valid, and what else was asked for."""
    rest = [(name, attrs[name]) for name in ("IFA_LABEL", "IFA_BROADCAST") if attrs.get(name)]
    flags = attrs.get("IFA_FLAGS", 0) & _ASKED_FLAGS
    if flags:
        # In the place of those in the header.
        rest.append(("IFA_FLAGS", flags | IFA_F_NODAD))
    # pyroute2 has had two names for the first of them.
    cache = attrs.get("IFA_CACHEINFO") or {}
    times = {name: cache[name] for name in ("ifa_prefered", "ifa_preferred", "ifa_valid") if name in cache}
    if times and times["ifa_valid"] != _FOR_EVER:
        rest.append(("IFA_CACHEINFO", {**times, "cstamp": 0, "tstamp": 0}))
    return tuple(rest)


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


class Addresses(OnDevice[Address]):
    name = "address"
    atomic = True
    section = "vxlan_link"

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Address]:
        spec: Spec[Address] = Spec()
        for part in [*sections.get(self.section, ()), *sections.get("bridge", ())]:
            for link in [part] if part.get("entries") is None else part["entries"]:
                if link.get("addresses") is None or (link.get("state") or "present") == "absent":
                    continue
                spec.purge_devices.add(link["name"])
                for address in link["addresses"]:
                    try:
                        ipaddress.ip_interface(address)
                    except ValueError as error:
                        raise OverlayError("vxlan_link: %s: addresses: %s" % (link["name"], error)) from None
                    spec.add(Address(link["name"], str(ipaddress.ip_interface(address))), "present", self.name)
        return spec

    def read(self, host: Host, spec: Spec[Address], devices: Set[str]) -> Dict[Key, Address]:
        found: Dict[Key, Address] = {}
        for device in sorted(devices):
            index = host.index(device)
            if index is None:
                continue
            for msg in host.session.dump(Message(RTM_GETADDR, 0, ifaddrmsg, {"index": index})):
                attrs = attributes(msg)
                address = ipaddress.ip_interface("%s/%d" % (attrs.get("IFA_LOCAL") or attrs["IFA_ADDRESS"], msg["prefixlen"]))
                # The kernel gives every device a link-local address by itself.
                if msg["index"] == index and not (address.version == 6 and address.is_link_local):
                    behind = address.version == 4 and bool(msg["flags"] & IFA_F_SECONDARY)
                    entry = Address(device, str(address), behind, msg["scope"], _rest(attrs))
                    found[entry.key] = entry
        return found

    def diff(self, actual: Mapping[Key, Address], wanted: Mapping[Key, Address]) -> List[Op[Address]]:
        ops = super().diff(actual, wanted)
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
            Op(self.name, actual[key], entry)
            for key, entry in wanted.items()
            if entry.secondary and key in actual and not actual[key].secondary
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
            if op.before is not None:
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
        return batch("ip", ("address replace %s%s" % one for one in nodad))

    @staticmethod
    def message(host: Host, op: Op[Address]) -> Message:
        address, length = op.entry.address.split("/")
        fields = {
            "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
            "prefixlen": int(length),
            "index": host.index(op.entry.device) or 0,
            # The plan has proved that nobody else has it; without this it could not be used for a second.
            "flags": IFA_F_NODAD if ":" in address else 0,
            "scope": op.entry.scope,
        }
        attrs: List[Tuple[str, Any]] = [("IFA_LOCAL", address), ("IFA_ADDRESS", address)]
        if op.after is None:
            return Message(RTM_DELADDR, 0, ifaddrmsg, fields, attrs)
        attrs += op.entry.rest
        return Message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, ifaddrmsg, fields, attrs)
