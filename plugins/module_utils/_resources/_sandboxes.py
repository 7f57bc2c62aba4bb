# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers' networks by hand: a namespace (sandbox), a veth pair (endpoint), a bridge (network). PRIVATE to the collection.

For learning, and as a lab; iproute2 enters the namespaces.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import RTM_GETLINK, Message, ifinfmsg
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Coming,
    Entry,
    Failure,
    Key,
    Op,
    Options,
    OverlayError,
    Resource,
    Spec,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import attempt_command, quote_words
from ansible_collections.agentless.overlay.plugins.module_utils._marks import MARK

# The device inside, as in a container.
INSIDE = "eth0"


@dataclass(frozen=True)
class Sandbox(Entry):
    """A namespace whose eth0 is the far end of a veth pair on a bridge; what is empty is not there."""

    name: str
    network: str
    endpoint: str
    bridge: str = ""
    address: str = ""
    gateway: str = ""
    mtu: int = 0
    up: bool = True

    @property
    def overlay(self) -> str:
        return self.network

    @property
    def key(self) -> Key:
        return (self.name,)

    def lines(self) -> List[str]:
        inside = "%s %s %s mtu %d" % (self.name, INSIDE, self.address or "without an address", self.mtu)
        return [
            "%s endpoint %s on %s up %s" % (self.name, self.endpoint, self.bridge or "nothing", str(self.up).lower()),
            inside,
            "%s default via %s" % (self.name, self.gateway or "nothing"),
        ]

    def __str__(self) -> str:
        return "%s %s on %s" % (self.name, self.address, self.bridge)


def name_endpoint(network: str, name: str) -> str:
    """The name of the veth device outside: from who it is for, as it has to be short."""
    return "ao" + hashlib.sha256(("%s\0%s" % (network, name)).encode()).hexdigest()[:10]


def list_sandbox_commands(entry: Sandbox) -> List[List[str]]:
    """The commands that make a sandbox from nothing."""
    inside, peer = ["ip", "-n", entry.name], entry.endpoint + "p"
    return [
        # First and with its mark, so that what is half done is known as ours.
        ["ip", "link", "add", entry.endpoint, "mtu", str(entry.mtu)]
        + ["type", "veth", "peer", "name", peer, "mtu", str(entry.mtu)],
        ["ip", "link", "set", "dev", entry.endpoint, "alias", "%s%s/%s" % (MARK, entry.network, entry.name)],
        ["ip", "netns", "add", entry.name],
        ["ip", "link", "set", "dev", peer, "netns", entry.name, "name", INSIDE],
        ["ip", "link", "set", "dev", entry.endpoint, "master", entry.bridge, "up"],
        inside + ["link", "set", "lo", "up"],
        inside + _add_address(entry.address),
        inside + ["link", "set", "dev", INSIDE, "up"],
        inside + ["route", "add", "default", "via", entry.gateway],
    ]


def _choose_family(address: str) -> str:
    return "-6" if ":" in address else "-4"


def _add_address(address: str) -> List[str]:
    # IPv6 would first ask for a second whether somebody has it, and be silent meanwhile.
    return ["address", "add", address, "dev", INSIDE] + (["nodad"] if ":" in address else [])


def _list_namespaces(host: Host) -> Set[str]:
    """The names of all network namespaces that have one."""
    return {item["name"] for item in json.loads(host.command(["ip", "-j", "netns", "list"]) or "[]")}


_OPTIONS: Options = {
    "name": {"type": "str", "required": True},
    "network": {"type": "str", "required": True},
    "bridge": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "gateway": {"type": "str", "required": True},
    "mtu": {"type": "int", "default": 1500},
}


class Sandboxes(Resource[Sandbox]):
    name = section = "sandbox"
    options = _OPTIONS

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Sandbox]:
        spec: Spec[Sandbox] = Spec(purge_owned=self.section in sections)
        for item in sections.get(self.section, ()):
            endpoint = name_endpoint(item["network"], item["name"])
            shared = [item[key] for key in ("bridge", "address", "gateway", "mtu")]
            spec.add(Sandbox(item["name"], item["network"], endpoint, *shared), "present", self.name)
        return spec

    def read(self, host: Host, spec: Spec[Sandbox], devices: Set[str]) -> Dict[Key, Sandbox]:
        if not spec.purge_owned:
            return {}
        # Ours is a namespace to which a veth device with our mark leads, or with a name that nobody else gives.
        expected = {entry.endpoint: entry for entry in spec.present.values()}
        kind = [("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth")]})]
        rows = host.session.rows(Message(RTM_GETLINK, 0, ifinfmsg, {}, kind), ("IFLA_IFNAME", "IFLA_IFALIAS"))
        if not expected and not any(row.get("IFLA_IFALIAS", "").startswith(MARK) for row in rows):
            # As nearly everywhere: no program has to be asked.
            return {}
        links = json.loads(host.command(["ip", "-j", "-d", "link", "show", "type", "veth"]) or "[]")
        ours = {}
        for link in links:
            alias = link.get("ifalias", "")
            if link["ifname"] in expected:
                entry = expected[link["ifname"]]
                ours[entry.name] = (entry.network, link)
            elif alias.startswith(MARK) and "/" in alias:
                network, _slash, name = alias[len(MARK) :].partition("/")
                ours[name] = (network, link)
        names = _list_namespaces(host)
        found: Dict[Key, Sandbox] = {}
        for name, (network, link) in sorted(ours.items()):
            if name in names:
                found[(name,)] = self._inside(host, name, network, link)
            else:
                found[(name,)] = Sandbox(name, network, link["ifname"])
        return found

    def obstacles(
        self, host: Host, spec: Spec[Sandbox], found: Mapping[Key, Sandbox], wanted: Mapping[Key, Sandbox]
    ) -> Iterator[str]:
        new = {name for (name,) in set(spec.present) - set(found)}
        for name in sorted(new & _list_namespaces(host)) if new else ():
            yield "sandbox: there is a namespace %s already. Remove it or choose another name" % name

    @staticmethod
    def _inside(host: Host, name: str, network: str, link: Mapping[str, Any]) -> Sandbox:
        inside = ["ip", "-j", "-n", name]
        shown = host.run(inside + ["address", "show", "dev", INSIDE], None)[1]
        device: Dict[str, Any] = next((item for item in json.loads(shown or "[]") if item), {})
        # Without those that the kernel gives by itself, or a router on the bridge.
        given = [item for item in device.get("addr_info", []) if item.get("scope") == "global" and not item.get("dynamic")]
        addresses = ["%s/%d" % (item["local"], item["prefixlen"]) for item in given]
        routes = [
            route
            for family in sorted({_choose_family(address) for address in addresses} or {"-4"})
            for route in json.loads(host.run(inside + [family, "route", "show", "default"], None)[1] or "[]")
            if route.get("protocol") != "ra"
        ]
        return Sandbox(
            name,
            network,
            link["ifname"],
            link.get("master", ""),
            " ".join(addresses),
            " ".join(route.get("gateway", "") for route in routes),
            device.get("mtu", 0),
            "UP" in link["flags"] and "UP" in device.get("flags", []),
        )

    def impact(self, op: Op[Sandbox], coming: Coming) -> Tuple[str, str]:
        return ("packets of %s" % op.entry.name, "it is made again") if op.after is None else ("", "")

    def extra(self, entry: Sandbox, spec: Spec[Sandbox]) -> bool:
        return spec.purge_owned

    def apply(self, host: Host, ops: Sequence[Op[Sandbox]]) -> List[Failure]:
        for op in ops:
            try:
                if op.after is None:
                    self._remove(host, op.entry)
                elif op.before is None or not op.before.mtu:
                    # One with no device inside is somebody's who was interrupted.
                    if op.before is not None:
                        self._remove(host, op.before)
                    for command in list_sandbox_commands(op.after):
                        host.command(command)
                else:
                    self._mend(host, op.before, op.after)
            except OverlayError as error:
                return [Failure(op, str(error))]
        return []

    def shell(self, entries: Iterable[Sandbox]) -> List[str]:
        lines: List[str] = []
        for entry in entries:
            # A namespace by hand goes with a reboot as a whole, and comes back as a whole.
            there = "ip link show dev %s >/dev/null 2>&1" % quote_words([entry.endpoint])
            lines += [
                "if ! %s; then" % there,
                *("  " + attempt_command(command) for command in list_sandbox_commands(entry)),
                "fi",
            ]
        return lines

    @staticmethod
    def _remove(host: Host, entry: Sandbox) -> None:
        host.command(["ip", "link", "delete", "dev", entry.endpoint])
        if entry.name in _list_namespaces(host):
            host.command(["ip", "netns", "delete", entry.name])

    @staticmethod
    def _mend(host: Host, before: Sandbox, after: Sandbox) -> None:
        """In place: what runs in the namespace goes on."""
        inside = ["ip", "-n", after.name]
        if before.network != after.network:
            host.command(["ip", "link", "set", "dev", before.endpoint, "name", after.endpoint])
        host.command(["ip", "link", "set", "dev", after.endpoint, "mtu", str(after.mtu), "master", after.bridge, "up"])
        host.command(inside + ["link", "set", "dev", INSIDE, "mtu", str(after.mtu), "up"])
        if before.address != after.address:
            host.command(inside + ["address", "flush", "dev", INSIDE, "scope", "global"])
            host.command(inside + _add_address(after.address))
        host.command(inside + ["route", "replace", "default", "via", after.gateway])
