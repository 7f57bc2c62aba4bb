# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A vxlan device: its options, and what they are in the kernel's messages. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host, read_vxlan_data
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import read_attributes
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Key, OverlayError
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import attempt_command, list_make_commands
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _kept, _masters, _ports, _ra, _settings
from ansible_collections.agentless.overlay.plugins.module_utils._resources._ownership import Device, DeviceSpec

IFF_UP = 1
DEFAULT_PORT = 8472  # vxlan_port
DEFAULT_AGEING = 300  # FDB_AGE_DEFAULT

# Option, attribute for IPv4, attribute for IPv6, whether a living device takes a new value, and what a new one has without it
# (drivers/net/vxlan/vxlan_core.c, vxlan_nl2conf). What is None cannot be taken away from a living device.
_VXLAN: Tuple[Tuple[str, str, str, bool, Any], ...] = (
    ("vni", "IFLA_VXLAN_ID", "IFLA_VXLAN_ID", False, None),
    ("port", "IFLA_VXLAN_PORT", "IFLA_VXLAN_PORT", False, DEFAULT_PORT),
    ("local", "IFLA_VXLAN_LOCAL", "IFLA_VXLAN_LOCAL6", True, None),
    ("remote", "IFLA_VXLAN_GROUP", "IFLA_VXLAN_GROUP6", True, None),
    ("dev", "IFLA_VXLAN_LINK", "IFLA_VXLAN_LINK", True, None),
    ("learning", "IFLA_VXLAN_LEARNING", "IFLA_VXLAN_LEARNING", True, True),
    ("ttl", "IFLA_VXLAN_TTL", "IFLA_VXLAN_TTL", True, 0),
    ("ttl_inherit", "IFLA_VXLAN_TTL_INHERIT", "IFLA_VXLAN_TTL_INHERIT", False, False),
    ("tos", "IFLA_VXLAN_TOS", "IFLA_VXLAN_TOS", True, 0),
    ("df", "IFLA_VXLAN_DF", "IFLA_VXLAN_DF", True, "unset"),
    ("flowlabel", "IFLA_VXLAN_LABEL", "IFLA_VXLAN_LABEL", True, 0),
    ("ageing", "IFLA_VXLAN_AGEING", "IFLA_VXLAN_AGEING", True, DEFAULT_AGEING),
    ("maxaddress", "IFLA_VXLAN_LIMIT", "IFLA_VXLAN_LIMIT", False, 0),
    ("srcport", "IFLA_VXLAN_PORT_RANGE", "IFLA_VXLAN_PORT_RANGE", False, (0, 0)),
    ("udpcsum", "IFLA_VXLAN_UDP_CSUM", "IFLA_VXLAN_UDP_CSUM", False, True),
    ("udp6zerocsumtx", "IFLA_VXLAN_UDP_ZERO_CSUM6_TX", "IFLA_VXLAN_UDP_ZERO_CSUM6_TX", False, False),
    ("udp6zerocsumrx", "IFLA_VXLAN_UDP_ZERO_CSUM6_RX", "IFLA_VXLAN_UDP_ZERO_CSUM6_RX", False, False),
    ("gbp", "IFLA_VXLAN_GBP", "IFLA_VXLAN_GBP", False, False),
    ("proxy", "IFLA_VXLAN_PROXY", "IFLA_VXLAN_PROXY", False, False),
    ("rsc", "IFLA_VXLAN_RSC", "IFLA_VXLAN_RSC", False, False),
    ("l2miss", "IFLA_VXLAN_L2MISS", "IFLA_VXLAN_L2MISS", False, False),
    ("l3miss", "IFLA_VXLAN_L3MISS", "IFLA_VXLAN_L3MISS", False, False),
    ("localbypass", "IFLA_VXLAN_LOCALBYPASS", "IFLA_VXLAN_LOCALBYPASS", True, True),
)
# Given by their presence alone.
_FLAGS = ("ttl_inherit", "gbp")
_BOOLEANS = (
    *("learning", "udpcsum", "udp6zerocsumtx", "udp6zerocsumrx", "proxy", "rsc", "l2miss", "l3miss", "localbypass"),
    *_FLAGS,
)
_DF = ("unset", "set", "inherit")
# What a device of ours has where nobody asks for anything else.
_DEFAULTS: Dict[str, Any] = {
    **{option: default for option, _v4, _v6, _in_place, default in _VXLAN if option != "vni"},
    "master": None,
    "neigh_suppress": False,
}
# What others set on it, and no option is about.
_HIDDEN = ("kept", "port_kept")


def _is_different(option: str, found: Any, wanted: Any) -> bool:
    if option in _ra.OPTIONS:
        return _ra.is_ra_different(found, wanted)
    if option == "localbypass" and found is None:
        # A kernel without the option goes past the network too.
        return wanted is False
    return bool(wanted != found)


@dataclass(frozen=True)
class Link(Device):
    """A vxlan device; what is None is not asked for, or not told by the kernel."""

    name: str
    vni: Optional[int] = None
    port: Optional[int] = None
    local: Optional[str] = None
    remote: Optional[str] = None
    dev: Optional[str] = None
    learning: Optional[bool] = None
    ttl: Optional[int] = None
    ttl_inherit: Optional[bool] = None
    tos: Optional[int] = None
    df: Optional[str] = None
    flowlabel: Optional[int] = None
    ageing: Optional[int] = None
    maxaddress: Optional[int] = None
    srcport: Optional[Tuple[int, int]] = None
    udpcsum: Optional[bool] = None
    udp6zerocsumtx: Optional[bool] = None
    udp6zerocsumrx: Optional[bool] = None
    gbp: Optional[bool] = None
    proxy: Optional[bool] = None
    rsc: Optional[bool] = None
    l2miss: Optional[bool] = None
    l3miss: Optional[bool] = None
    localbypass: Optional[bool] = None
    mac: Optional[str] = None
    mtu: Optional[int] = None
    alias: Optional[str] = None
    # Whether it takes router advertisements, and addresses from them; None, as found, for a device without IPv6.
    accept_ra: Optional[int] = None
    autoconf: Optional[int] = None
    # The bridge that it is a port of, and whether that port answers for neighbours that the bridge knows.
    master: Optional[str] = None
    neigh_suppress: Optional[bool] = None
    up: Optional[bool] = True
    # As found: the interface index, which a re-created device gets again.
    index: int = field(default=0, compare=False)
    mtu6: Optional[int] = field(default=None, compare=False)
    # That bridge, as it was when it was read, where its ports may decide its MAC.
    bridge: Optional[_masters.Master] = field(default=None, compare=False)
    # And of one that is to go, what others set on it, and on it as a port of a bridge.
    kept: Optional[_kept.Kept] = None
    port_kept: Optional[_ports.Port] = None

    @property
    def key(self) -> Key:
        return (self.name,)

    @property
    def needs(self) -> Tuple[Optional[str], ...]:
        return (self.dev, self.master)

    @property
    def tunnel(self) -> Tuple[Optional[int], int, bool]:
        """What no two devices of a host can share."""
        return self.vni, self.port or DEFAULT_PORT, ":" in (self.local or self.remote or "")

    def same(self, wanted: Link) -> bool:
        return not self.lacks(wanted)

    def lacks(self, wish: Link) -> Dict[str, Any]:
        """What a wish asks for and this one has not. A device of ours has the kernel's defaults where it does not ask."""
        found = {}
        for option in list_option_names():
            there, asked = getattr(self, option), getattr(wish, option)
            if asked is None and not (wish.owned and option in _DEFAULTS and there is not None):
                # Of an option that the kernel does not tell nobody knows whether it has its default.
                continue
            if asked is None and option == "master" and self.neigh_suppress is None:
                # Not a bridge: who put it into a VRF was somebody else.
                continue
            asked = _DEFAULTS[option] if asked is None else asked
            if _is_different(option, there, asked):
                found[option] = asked
        return found

    def delta(self, other: Link) -> List[str]:
        """The options in which another one, as it is or shall be, differs."""
        return [
            option for option in list_option_names() if _is_different(option, getattr(self, option), getattr(other, option))
        ]

    def lines(self) -> List[str]:
        return [line for option in list_option_names() for line in self.line(option)]

    def line(self, option: str) -> List[str]:
        value = getattr(self, option)
        if value is None or option == "name":
            return []
        if option == "srcport":
            value = "%d-%d" % value
        return ["%s %s %s" % (self.name, option, str(value).lower() if isinstance(value, bool) else value)]

    def __str__(self) -> str:
        told = ("vni", "local", "port", "mac", "mtu")
        return " ".join(
            [self.name] + ["%s %s" % (name, getattr(self, name)) for name in told if getattr(self, name) is not None]
        )


@dataclass
class LinkSpec(DeviceSpec[Link]):
    """And the MACs that bridges are given."""

    bridge_macs: Dict[str, str] = field(default_factory=dict)


@lru_cache(maxsize=None)
def list_option_names() -> Tuple[str, ...]:
    """The names of all options of a device."""
    return tuple(one.name for one in fields(Link) if one.compare and one.name not in _HIDDEN)


def must_recreate(before: Link, after: Link) -> bool:
    """Whether the kernel refuses to change the one into the other in place."""
    for option, _v4, _v6, in_place, _default in _VXLAN:
        old, new = getattr(before, option), getattr(after, option)
        if old == new:
            continue
        if not in_place:
            return True
        # An outer address can be given and changed, not taken away, and not to the other family.
        if option in ("local", "remote") and (new is None or old is not None and (":" in old) != (":" in new)):
            return True
        if option == "dev" and new is None:
            return True
    return False


def decode_link(host: Host, msg: Any) -> Optional[Link]:
    """The device that a message tells of, or None where it is of another kind."""
    attrs = read_attributes(msg)
    data = read_vxlan_data(msg)
    if not data:
        return None
    values: Dict[str, Any] = {}
    for option, v4, v6, _in_place, _default in _VXLAN:
        value = data.get(v4, data.get(v6))
        if option in _FLAGS:
            value = bytes(data.get(v4) or b"") == b"\1" if option == "ttl_inherit" else v4 in data
        elif option in _BOOLEANS and value is not None:
            value = bool(value)
        elif option == "df" and value is not None:
            value = _DF[value]
        elif option == "dev":
            value = host.name(value) if value else None
        elif option == "flowlabel" and value is not None:
            value = socket.ntohl(value)
        elif option == "srcport" and value is not None:
            value = (value["low"], value["high"])
        values[option] = value
    name = attrs["IFLA_IFNAME"]
    master = attrs.get("IFLA_MASTER")
    port = read_attributes(read_attributes(attrs["IFLA_LINKINFO"]).get("IFLA_INFO_SLAVE_DATA") or {"attrs": []})
    suppresses = port.get("IFLA_BRPORT_NEIGH_SUPPRESS")
    return Link(
        name=name,
        mac=attrs["IFLA_ADDRESS"],
        mtu=attrs["IFLA_MTU"],
        alias=attrs.get("IFLA_IFALIAS"),
        master=host.name(master) if master else None,
        neigh_suppress=None if suppresses is None else bool(suppresses),
        up=bool(msg["flags"] & IFF_UP),
        index=msg["index"],
        mtu6=_settings.read_mtu6(name),
        **_ra.read_ra_settings(name),
        **values,
    )


def encode_data(host: Host, link: Link, options: Optional[Sequence[str]] = None) -> List[Any]:
    """The vxlan attributes of a device: all that are given, or those of some options."""
    attrs: List[Any] = []
    for option, v4, v6, _in_place, _default in _VXLAN:
        value = getattr(link, option)
        if value is None or options is not None and option not in options:
            continue
        if option == "dev":
            value = host.index(value)
            if value is None:
                raise OverlayError("vxlan_link: %s: there is no device %s for dev" % (link.name, link.dev))
        elif option == "df":
            value = _DF.index(value)
        elif option == "flowlabel":
            value = socket.htonl(value)
        elif option == "srcport":
            value = {"low": value[0], "high": value[1]}
        elif option in _FLAGS:
            if not value:
                continue
            value = b"" if option == "ttl_inherit" else True
        elif isinstance(value, bool):
            value = int(value)
        attrs.append((v6 if isinstance(value, str) and ":" in value else v4, value))
    return attrs


def _list_remote_words(value: str) -> List[str]:
    return ["group" if ipaddress.ip_address(value).is_multicast else "remote", value]


# iproute2's words for an option, where they are not its name and its value, or its name with no before it.
_WORDS: Dict[str, Callable[[Any], List[str]]] = {
    "vni": lambda value: ["id", str(value)],
    "port": lambda value: ["dstport", str(value)],
    "remote": _list_remote_words,
    "ttl": lambda value: ["ttl", str(value) if value else "auto"],
    "ttl_inherit": lambda value: ["ttl", "inherit"] if value else [],
    # It reads every number here as hexadecimal.
    "tos": lambda value: ["tos", "0x%02x" % value],
    "maxaddress": lambda value: ["maxaddress", str(value) if value else "unlimited"],
    "srcport": lambda value: ["srcport", str(value[0]), str(value[1])],
    "gbp": lambda value: ["gbp"] if value else [],
    # With it a device begins, and an iproute2 before 6.5 has no word for either.
    "localbypass": lambda value: [] if value else ["nolocalbypass"],
}


def _list_option_words(link: Link, option: str) -> List[str]:
    value = getattr(link, option)
    if value is None:
        return []
    if option in _WORDS:
        return _WORDS[option](value)
    if option in _BOOLEANS:
        return [option if value else "no" + option]
    return [option, str(value)]


def list_link_commands(link: Link) -> List[str]:
    """The lines of the boot script that make a device where there is none, and set what a living one takes. Pure."""
    # What an older iproute2 does not know, or not beside another, comes when the device is there.
    later = [
        option for option in ("localbypass", "ttl" if link.ttl_inherit else "") if option and _list_option_words(link, option)
    ]
    given = [_list_option_words(link, option) for option, _v4, _v6, _in_place, _default in _VXLAN if option not in later]
    # The MAC with the device, so that nobody finds it without one and gives it another.
    mac = ["address", link.mac] if link.mac is not None else []
    added = ["ip", "link", "add", link.name, *mac, "type", "vxlan"]
    change = ["ip", "link", "set", "dev", link.name]
    lines = list_make_commands(link.name, link.alias, [*added, *(word for words in given for word in words)])
    lines += [attempt_command([*change, "type", "vxlan", *_list_option_words(link, option)]) for option in later]
    settings = ((option, getattr(link, option)) for option in ("mtu", "master"))
    changed = [word for option, value in settings if value is not None for word in (option, str(value))]
    # The MTU decides whether there is IPv6, and that whether it takes router advertisements.
    lines += [attempt_command([*change, *changed])] if changed else []
    lines += [*_ra.list_ra_commands(link.name, link), attempt_command([*change, "down" if link.up is False else "up"])]
    if link.neigh_suppress is not None:
        state = "on" if link.neigh_suppress else "off"
        lines.append(attempt_command(["bridge", "link", "set", "dev", link.name, "neigh_suppress", state]))
    return lines
