# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hangs on a bridge and goes with it: its ports and what was set on them, and its own options. PRIVATE to the collection.

Read of a bridge that is to go, and put back where an undo makes it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    Message,
    attributes,
    ifinfmsg,
    ndmsg,
)

_AF_BRIDGE = 7
_NTF_SELF, _NTF_MASTER, _NTF_EXT_LEARNED, _NTF_STICKY = 0x02, 0x04, 0x10, 0x40
_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80
# What can be set on a port; its state and its numbers the kernel finds itself.
_PORT = (
    *("PRIORITY", "COST", "MODE", "GUARD", "PROTECT", "FAST_LEAVE", "LEARNING", "UNICAST_FLOOD", "PROXYARP"),
    *("PROXYARP_WIFI", "MULTICAST_ROUTER", "MCAST_FLOOD", "MCAST_TO_UCAST", "VLAN_TUNNEL", "BCAST_FLOOD"),
    *("GROUP_FWD_MASK", "NEIGH_SUPPRESS", "ISOLATED", "LOCKED", "MAB", "MCAST_MAX_GROUPS", "NEIGH_VLAN_SUPPRESS"),
)
_BRIDGE = (
    *("FORWARD_DELAY", "HELLO_TIME", "MAX_AGE", "AGEING_TIME", "STP_STATE", "PRIORITY", "VLAN_FILTERING"),
    *("GROUP_FWD_MASK", "MCAST_ROUTER", "MCAST_SNOOPING", "MCAST_QUERY_USE_IFADDR", "MCAST_QUERIER"),
    *("NF_CALL_IPTABLES", "NF_CALL_IP6TABLES", "NF_CALL_ARPTABLES", "VLAN_DEFAULT_PVID", "VLAN_STATS_ENABLED"),
    *("MCAST_STATS_ENABLED", "MCAST_IGMP_VERSION", "MCAST_MLD_VERSION"),
)

Values = Tuple[Tuple[str, int], ...]


@dataclass(frozen=True)
class Port:
    """A port of a bridge, or the bridge itself as the owner of MACs."""

    name: str
    flags: Values = ()
    # Those that nobody learnt: MAC, state, flags and VLAN as the kernel tells them.
    macs: Tuple[Tuple[str, int, int, int], ...] = ()


def _values(found: Dict[str, Any], prefix: str, names: Sequence[str]) -> Values:
    return tuple((prefix + name, found[prefix + name]) for name in names if isinstance(found.get(prefix + name), int))


def _nested(link: Dict[str, Any], name: str) -> Dict[str, Any]:
    info = attributes(link["IFLA_LINKINFO"]) if "IFLA_LINKINFO" in link else {}
    return attributes(info[name]) if name in info and hasattr(info[name], "get") else {}


def flags_of(link: Dict[str, Any]) -> Values:
    """What is set on a port, from the attributes of its device."""
    return _values(_nested(link, "IFLA_INFO_SLAVE_DATA"), "IFLA_BRPORT_", _PORT)


def options_of(link: Dict[str, Any]) -> Values:
    """What is set on a bridge, from the attributes of its device."""
    return _values(_nested(link, "IFLA_INFO_DATA"), "IFLA_BR_", _BRIDGE)


def read_ports(host: Host, bridge: str, index: int) -> Tuple[Port, ...]:
    """The ports of a bridge, and the bridge itself, by name."""
    found, own = {index: Port(bridge)}, set()
    for msg in host.session.dump(Message(RTM_GETLINK, 0, ifinfmsg, {}, [("IFLA_MASTER", index)])):
        attrs = attributes(msg)
        if attrs.get("IFLA_MASTER") == index:
            found[msg["index"]] = Port(attrs["IFLA_IFNAME"], flags_of(attrs))
            own.add(attrs.get("IFLA_ADDRESS"))
    macs: Dict[int, List[Tuple[str, int, int, int]]] = {}
    for msg in host.session.dump(Message(RTM_GETNEIGH, 0, ndmsg, {"family": _AF_BRIDGE}, [("NDA_MASTER", index)])):
        attrs = attributes(msg)
        given = msg["state"] & (_NUD_NOARP | _NUD_PERMANENT) or msg["flags"] & (_NTF_STICKY | _NTF_EXT_LEARNED)
        # The kernel has an entry for the MAC of each port, and for the bridge's own.
        if attrs.get("NDA_MASTER") != index or not given or attrs["NDA_LLADDR"] in own or msg["ifindex"] not in found:
            continue
        kept = msg["flags"] & (_NTF_STICKY | _NTF_EXT_LEARNED)
        macs.setdefault(msg["ifindex"], []).append((attrs["NDA_LLADDR"], msg["state"], kept, attrs.get("NDA_VLAN") or 0))
    ports = (Port(port.name, port.flags, tuple(sorted(macs.get(number, ())))) for number, port in found.items())
    return tuple(sorted(ports, key=lambda port: port.name))


def put_options(host: Host, index: int, options: Values) -> None:
    """Give a bridge the options that it had."""
    link = _link(host, index)
    differing = [(name, value) for name, value in options if dict(options_of(link)).get(name) != value]
    if differing:
        info = [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", {"attrs": differing})]
        host.session.write_one(Message(RTM_NEWLINK, 0, ifinfmsg, {"index": index}, [("IFLA_LINKINFO", {"attrs": info})]))


def put_flags(host: Host, index: int, flags: Values) -> None:
    """Give a port the flags that it had; only those that differ, as others the kernel may not know or may pin."""
    link = _link(host, index)
    differing = [(name, value) for name, value in flags if dict(flags_of(link)).get(name) != value]
    if differing:
        info = [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", {"attrs": differing})]
        host.session.write_one(Message(RTM_NEWLINK, 0, ifinfmsg, {"index": index}, [("IFLA_LINKINFO", {"attrs": info})]))


def put_ports(host: Host, bridge: str, ports: Sequence[Port]) -> None:
    """Make the devices that are there ports of a bridge again."""
    master = host.index(bridge)
    for port in ports:
        index = host.index(port.name)
        if index is None:
            # One that went too, and is made later.
            continue
        if port.name != bridge:
            host.session.write_one(Message(RTM_NEWLINK, 0, ifinfmsg, {"index": index}, [("IFLA_MASTER", master)]))
            put_flags(host, index, port.flags)
        for mac, state, flags, vlan in port.macs:
            target = _NTF_SELF if port.name == bridge else _NTF_MASTER
            fields = {"family": _AF_BRIDGE, "ifindex": index, "state": state, "flags": flags | target}
            attrs: List[Tuple[str, Any]] = [("NDA_LLADDR", mac)] + ([("NDA_VLAN", vlan)] if vlan else [])
            host.session.write_one(Message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, ndmsg, fields, attrs))


def _link(host: Host, index: int) -> Dict[str, Any]:
    found = host.session.get(Message(RTM_GETLINK, 0, ifinfmsg, {"index": index}))
    return attributes(found) if found is not None else {}
