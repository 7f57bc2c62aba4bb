# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the resources that live on a device share: addresses, neighbours, FDB, routes. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._netlink import Message
from ansible_collections.agentless.overlay.plugins.module_utils._resource import (
    E,
    Effects,
    Failure,
    Host,
    Key,
    Op,
    OverlayError,
    Resource,
    Spec,
)


def listed(
    sections: Mapping[str, Sequence[Mapping[str, Any]]], section: str, spec: Spec[Any], instead: str = ""
) -> Iterator[Tuple[Mapping[str, Any], str]]:
    """Every entry of a section with its state, whether given by plain options or by C(entries).

    An entry's device is its own or the section's. The devices of a section that
    purges go into C(spec.purge_devices).

    @param instead: an option that makes the device unnecessary
    """
    for part in sections.get(section, ()):
        plain = part.get("entries") is None
        entries = [part] if plain else part["entries"]
        if part.get("purge") and part.get("device"):
            spec.purge_devices.add(part["device"])
        for entry in entries:
            item = dict(entry, device=entry.get("device") or part.get("device"))
            if not item["device"] and not (instead and item.get(instead)):
                raise OverlayError("%s: an entry names no device: %r; set device in it or beside entries" % (section, entry))
            if part.get("purge") and item["device"]:
                spec.purge_devices.add(item["device"])
            yield item, entry.get("state") or part.get("state") or "present"


class OnDevice(Resource[E]):
    """A resource whose entries each name their device, and are written with one message each."""

    def reach(self, spec: Spec[E], devices: Set[str]) -> Set[str]:
        # A key begins with its device.
        return super().reach(spec, devices) | {key[0] for key in spec.absent}

    def extra(self, entry: E, spec: Spec[E]) -> bool:
        return getattr(entry, "device", None) in spec.purge_devices

    def surviving(self, actual: Mapping[Key, E], effects: Effects) -> Dict[Key, E]:
        gone = effects.lost | effects.removed
        return {key: entry for key, entry in actual.items() if getattr(entry, "device", None) not in gone}

    def apply(self, host: Host, ops: Sequence[Op[E]]) -> List[Failure]:
        failed = host.session.write([self.message(host, op) for op in ops])
        return [Failure(ops[index], str(error)) for index, error in sorted(failed.items())]

    @staticmethod
    def message(host: Host, op: Op[E]) -> Message:
        """The message that carries an operation out."""
        raise NotImplementedError


def address_of(section: str, item: Mapping[str, Any], option: str) -> Optional[str]:
    """An IP address in the form the kernel's answers have, or None where the option is not given."""
    if item.get(option) is None:
        return None
    try:
        return str(ipaddress.ip_address(item[option]))
    except ValueError:
        raise OverlayError("%s: %s: %r is not an IP address" % (section, option, item[option])) from None


def mac_of(section: str, item: Mapping[str, Any], option: str) -> Optional[str]:
    """A MAC in the form the kernel's answers have, or None where the option is not given."""
    value = item.get(option)
    if value is None:
        return None
    if not re.fullmatch(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", value):
        raise OverlayError("%s: %s: %r is not a MAC in the form 02:00:00:00:00:01" % (section, option, value))
    return str(value).lower()


def network_of(section: str, item: Mapping[str, Any], option: str) -> str:
    """A network in the form the kernel's answers have."""
    try:
        return str(ipaddress.ip_network(item[option]))
    except ValueError as error:
        raise OverlayError("%s: %s: %r is not a network: %s" % (section, option, item[option], error)) from None


def need(section: str, item: Mapping[str, Any], option: str, value: Any, state: str) -> None:
    """Refuse an entry that shall be present and lacks an option."""
    if state == "present" and value is None:
        raise OverlayError("%s: %s is required where state is present: %r" % (section, option, dict(item)))
