# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the resources that live on a device share: addresses, neighbours, FDB, routes. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import Message, NetlinkError
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    E,
    Effects,
    Failure,
    Key,
    Op,
    OverlayError,
    Resource,
    Spec,
)

# The least and the largest value of options.
Bounds = Mapping[str, Tuple[int, int]]

_MAC = re.compile(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")
_MAX_NAME = 15  # IFNAMSIZ, less the byte that ends it
# What dev_valid_name of the kernel refuses, and what would have it count up a number.
_NO_NAME = re.compile(r"[\s/:%\0]|\A\.\.?\Z")
# The part of an IPv4 network's address that has to be 0, by the length of its prefix.
_MASKS = {str(length): (1 << 32 - length) - 1 for length in range(33)}


def list_items(
    sections: Mapping[str, Sequence[Mapping[str, Any]]], section: str, spec: Spec[Any], instead: str = "", begin: Any = None
) -> Iterator[Tuple[Mapping[str, Any], str]]:
    """Every entry of a section with its state, whether given by plain options or by C(entries).

    An entry's device is its own or the section's. The devices of a section that
    purges go into C(spec.purge_devices).

    @param instead: an option that makes the device unnecessary
    @param begin: called with each option set before its entries come
    """
    for part in sections.get(section, ()):
        if begin is not None:
            begin(part)
        entries = [part] if part.get("entries") is None else part["entries"]
        default, purge = part.get("device"), part.get("purge")
        if purge and default:
            spec.purge_devices.add(default)
        for entry in entries:
            device = entry.get("device") or default
            if not device and not (instead and entry.get(instead)):
                raise OverlayError("%s: an entry names no device: %r; set device in it or beside entries" % (section, entry))
            if purge and device:
                spec.purge_devices.add(device)
            # Of thousands none is copied that names its device.
            item = entry if entry.get("device") else {**entry, "device": device}
            yield item, entry.get("state") or part.get("state") or "present"


def join_few(sentences: Sequence[str], most: int = 20) -> List[str]:
    """As many as somebody reads, and how many more there are."""
    return [*sentences[:most], *(["and %d more" % (len(sentences) - most)] if len(sentences) > most else [])]


class OnDevice(Resource[E]):
    """A resource whose entries each name their device, and are written with one message each."""

    stops = False

    def reach(self, spec: Spec[E], devices: Set[str]) -> Set[str]:
        # A key begins with its device.
        return super().reach(spec, devices) | {key[0] for key in spec.absent}

    def shaken(self, effects: Effects) -> Set[str]:
        return effects.shaken

    def extra(self, entry: E, spec: Spec[E]) -> bool:
        return getattr(entry, "device", None) in spec.purge_devices

    def surviving(self, found: Mapping[Key, E], effects: Effects) -> Dict[Key, E]:
        gone = effects.lost | effects.removed
        return {key: entry for key, entry in found.items() if getattr(entry, "device", None) not in gone}

    def apply(self, host: Host, ops: Sequence[Op[E]]) -> List[Failure]:
        failed = host.session.write([self.message(host, op) for op in ops])
        return [
            Failure(ops[index], str(error)) for index, error in sorted(failed.items()) if not self.excuses(ops[index], error)
        ]

    def excuses(self, op: Op[E], error: NetlinkError) -> bool:
        """Whether what the operation is for is reached although the kernel refuses it."""
        return False

    @staticmethod
    def message(host: Host, op: Op[E]) -> Message:
        """The message that carries an operation out."""
        raise NotImplementedError


def parse_address(section: str, item: Mapping[str, Any], option: str) -> Optional[str]:
    """An IP address in the form the kernel's answers have, or None where the option is not given."""
    value = item.get(option)
    if value is None or _is_canonical_ipv4(value):
        return value
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise OverlayError("%s: %s: %r is not an IP address" % (section, option, value)) from None


def _is_canonical_ipv4(value: Any) -> bool:
    """Whether it is an IPv4 address as the kernel's answers have it: most of thousands are, and this is ten times as fast."""
    try:
        return socket.inet_ntoa(socket.inet_aton(value)) == value
    except (OSError, TypeError, ValueError):
        return False


def parse_mac(section: str, item: Mapping[str, Any], option: str) -> Optional[str]:
    """A MAC in the form the kernel's answers have, or None where the option is not given."""
    value = item.get(option)
    if value is None:
        return None
    if not _MAC.fullmatch(value):
        raise OverlayError("%s: %s: %r is not a MAC in the form 02:00:00:00:00:01" % (section, option, value))
    return str(value).lower()


def parse_network(section: str, item: Mapping[str, Any], option: str) -> str:
    """A network in the form the kernel's answers have."""
    address, _slash, length = str(item[option]).partition("/")
    if (
        length in _MASKS
        and _is_canonical_ipv4(address)
        and not int.from_bytes(socket.inet_aton(address), "big") & _MASKS[length]
    ):
        return str(item[option])
    try:
        return str(ipaddress.ip_network(item[option]))
    except ValueError as error:
        raise OverlayError("%s: %s: %r is not a network: %s" % (section, option, item[option], error)) from None


def parse_device_name(section: str, item: Mapping[str, Any]) -> str:
    """The name of a device, of a kind that the kernel takes."""
    name = str(item["name"])
    if not 0 < len(name.encode()) <= _MAX_NAME or _NO_NAME.search(name):
        raise OverlayError(
            "%s: %r is not a device name of at most %d characters, none of them a space or one of / : %%, and neither . nor .."
            % (section, name, _MAX_NAME)
        )
    return name


def require_range(section: str, item: Mapping[str, Any], key: str, bounds: Bounds) -> None:
    """Refuse a number that the kernel has no room for; C(key) is the option that names the entry."""
    if bounds.keys().isdisjoint(item):
        # As with thousands.
        return
    for option, (low, high) in bounds.items():
        value = item.get(option)
        if value is not None and not low <= value <= high:
            text = "%s: %s: %s %d is not from %d to %d"
            raise OverlayError(text % (section, _name_entry(item, key), option, value, low, high))


def require_one_family(section: str, item: Mapping[str, Any], key: str, *options: str) -> None:
    """Refuse an address of another IP family than that of the entry's own, the option C(key)."""
    version6 = ":" in item[key]
    for option in options:
        value = item.get(option)
        if value and (":" in value) != version6:
            text = "%s: %s: %s %s is not of the same IP family as %s"
            raise OverlayError(text % (section, _name_entry(item, key), option, value, key))


def _name_entry(item: Mapping[str, Any], key: str) -> str:
    """An entry, for a sentence."""
    return "%s on %s" % (item[key], item["device"]) if item.get("device") else str(item[key])


def require_option(section: str, item: Mapping[str, Any], option: str, value: Any, state: str) -> None:
    """Refuse an entry that shall be present and lacks an option."""
    if state == "present" and value is None:
        raise OverlayError("%s: %s is required where state is present: %r" % (section, option, dict(item)))
