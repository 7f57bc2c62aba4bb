# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses of our devices. PRIVATE to the collection.

They have no section of their own: they are the C(addresses) of a vxlan_link or a bridge.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Sequence, Set

from ansible_collections.agentless.overlay.plugins.module_utils._entries import OnDevice
from ansible_collections.agentless.overlay.plugins.module_utils._netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    Message,
    attributes,
    ifaddrmsg,
)
from ansible_collections.agentless.overlay.plugins.module_utils._resource import (
    Entry,
    Host,
    Key,
    Op,
    OverlayError,
    Spec,
)

IFA_F_NODAD = 0x02


@dataclass(frozen=True)
class Address(Entry):
    """An address with its prefix length on a device."""

    device: str
    address: str

    @property
    def key(self) -> Key:
        return (self.device, self.address)

    def __str__(self) -> str:
        return "%s dev %s" % (self.address, self.device)


class Addresses(OnDevice[Address]):
    name = "address"
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
                    entry = Address(device, str(address))
                    found[entry.key] = entry
        return found

    @staticmethod
    def message(host: Host, op: Op[Address]) -> Message:
        address, length = op.entry.address.split("/")
        fields = {
            "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
            "prefixlen": int(length),
            "index": host.index(op.entry.device) or 0,
            # The plan has proved that nobody else has it; without this it could not be used for a second.
            "flags": IFA_F_NODAD if ":" in address else 0,
        }
        attrs = [("IFA_LOCAL", address), ("IFA_ADDRESS", address)]
        if op.after is None:
            return Message(RTM_DELADDR, 0, ifaddrmsg, fields, attrs)
        return Message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, ifaddrmsg, fields, attrs)
