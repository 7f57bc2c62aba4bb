# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A vxlan device, which the networks of several kinds have. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import show_key
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.fields import Fields
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import IPNetwork, Member, Tunnel, Underlay
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import Options, Part
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import as_integer, is_empty

OPTIONS = ("vni", "port", "device", "dev", "underlay", "link")
# Outer Ethernet 14, UDP 8, vxlan 8 bytes, and IPv4 20 or IPv6 40.
OVERHEADS = {4: 50, 6: 70}
DEFAULT_PORT = 4789  # RFC 7348
MAX_VNI = 2**24 - 1

_DF = ("unset", "set", "inherit")
# Options of the device that an item may set under link: the least and the most, or the choices.
LINK_OPTIONS: dict[str, Any] = {
    "ttl": (0, 255),
    "ttl_inherit": bool,
    "tos": (0, 255),
    "df": _DF,
    "flowlabel": (0, 2**20 - 1),
    "learning": bool,
    "ageing": (0, 2**32 - 1),
    "maxaddress": (0, 2**32 - 1),
    "srcport_min": (1, 65535),
    "srcport_max": (1, 65535),
    "udpcsum": bool,
    "udp6zerocsumtx": bool,
    "udp6zerocsumrx": bool,
    "gbp": bool,
    "proxy": bool,
    "rsc": bool,
    "l2miss": bool,
    "l3miss": bool,
    "localbypass": bool,
}


@dataclass(frozen=True, kw_only=True)
class VxlanNetwork(Network):
    """A network with a vxlan device on each node."""

    overheads: ClassVar[Mapping[int, int]] = OVERHEADS
    # Whether the device has to know the underlay device that it sends by.
    needs_dev: ClassVar[bool] = False

    # Of the network itself, or empty where each node has its own or none is needed.
    dev: str = ""
    # What the item says of the device's own options.
    link: Mapping[str, bool | int | str] = field(default_factory=dict)

    @property
    def underlay_dev(self) -> str:
        return self.dev

    def make_member(self, node: str, underlay: Underlay, version: int, subnets: Sequence[IPNetwork]) -> Member:
        member = super().make_member(node, underlay, version, subnets)
        return replace(member, dev=underlay.dev or self.dev) if self.dev or self.needs_dev else member

    def add_vxlan(self, part: Part, own: Member, number: int, **options: Any) -> None:
        """The device of a tunnel; what link says goes before what follows from the kind of network."""
        tunnel = self.tunnels[number]
        device: Options = {
            "name": tunnel.device,
            "vni": tunnel.vni,
            "port": tunnel.port,
            "local": own.underlay_ip,
            "mac": own.macs[number],
            "mtu": self.mtu,
            **options,
            **self.link,
        }
        if own.dev:
            device["dev"] = own.dev
        part.add_device("vxlan_link", self.name, device)

    def list_clashes(self, other: Network) -> Iterator[tuple[str, Any, str, str]]:
        if not isinstance(other, VxlanNetwork):
            return
        # The kernel has one socket for all devices of a host on one port, and each of these makes it another one.
        sockets = {(tunnel.port, tunnel.version) for tunnel in self.tunnels}
        sockets &= {(tunnel.port, tunnel.version) for tunnel in other.tunnels}
        for port, _version in sorted(sockets):
            for option in ("gbp", "udp6zerocsumrx"):
                mine = self.link.get(option, False)
                if mine != other.link.get(option, False):
                    problem = f"network {other.name} has port {port} too, and another {option}"
                    yield f"link.{option}", mine, problem, "Give it the same, or another port"


def read_tunnel(item: Fields, version: int) -> Tunnel:
    """The tunnel of an item."""
    vni = item.read_number("vni", 1, MAX_VNI, 0)
    port = item.read_number("port", 1, 65535, DEFAULT_PORT)
    return Tunnel(item.read_device("device", f"vxlan.{vni}"), "udp", port, vni, OVERHEADS[version], version=version)


def read_link(item: Fields, version: int) -> dict[str, Any]:
    """The device's own options."""
    given = item.item.get("link", {})
    if not isinstance(given, Mapping):
        item.wrong("link", "not a mapping", "Write for example link: {ttl: 64}")
        return {}
    found: dict[str, Any] = {}
    for key, value in given.items():
        rule: Any = LINK_OPTIONS.get(key)
        if rule is None:
            known = f"Known are: {', '.join(LINK_OPTIONS)}"
            item.wrong(f"link.{show_key(key)}", "there is no such option", known, value=value)
            continue
        if is_empty(value):
            continue
        found[key], problem, remedy = _check_option(key, value, rule)
        if problem:
            item.wrong(f"link.{key}", problem, remedy, value=value)
    if ("srcport_min" in found) != ("srcport_max" in found):
        item.wrong("link", "srcport_min and srcport_max go together", "Give both", value=dict(given))
    elif found.get("srcport_max") and (found.get("srcport_min") or 0) > found["srcport_max"]:
        problem = f"larger than srcport_max, {found['srcport_max']}"
        item.wrong("link.srcport_min", problem, "Give the lowest port first", value=found["srcport_min"])
    if found.get("flowlabel") and version == 4:
        remedy = "Leave it out, or set underlay: ipv6"
        item.wrong("link.flowlabel", "packets over IPv4 have no flow label", remedy, value=found["flowlabel"])
    return found


def _check_option(key: str, value: Any, rule: Any) -> tuple[Any, str, str]:
    """The value, and what is wrong with it and what to do, where something is."""
    if rule is bool:
        return (value, "", "") if isinstance(value, bool) else (value, "neither true nor false", "Write true or false")
    if key == "df":
        return (value, "", "") if value in _DF else (value, "there is no such choice", f"Choose from: {', '.join(_DF)}")
    low, high = rule
    number = as_integer(value)
    if number is None or not low <= number <= high:
        return number, f"not a whole number from {low} to {high}", f"Choose one from {low} to {high}"
    return number, "", ""
