# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An item of overlay_networks as a network, or all that is wrong with it. Pure. PRIVATE to the collection."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._model import (
    BACKENDS,
    DEFAULT_UNDERLAY_MTU,
    Backend,
    IPNetwork,
    Network,
    Node,
    Underlay,
    bridge_of,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._values import (
    as_address,
    as_integer,
    as_list,
    as_network,
    is_device,
    is_unicast,
    select,
)

# Outer Ethernet 14, UDP 8, vxlan 8 bytes, and IPv4 20 or IPv6 40.
VXLAN_OVERHEAD = {4: 50, 6: 70}
DEFAULT_PORT = 4789  # RFC 7348
MIN_MTU, MAX_MTU = 576, 65535

_COMMON = ("name", "backend", "cidr", "subnet_len", "subnet_len6", "mtu", "attach", "members")
# What Docker calls its own networks.
_DOCKERS_OWN = ("bridge", "default", "host", "none", "ingress", "docker_gwbridge")
# Options of a vxlan device that an item may set under link: the least and the most, or the choices.
_DF = ("unset", "set", "inherit")
_LINK_OPTIONS: dict[str, Any] = {
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


class Reader:
    """Reads one item. What is wrong with one option does not keep the others from being checked."""

    def __init__(
        self,
        where: str,
        item: Mapping[str, Any],
        nodes: Sequence[Node],
        underlay: Mapping[str, Underlay],
        groups: Mapping[str, Sequence[str]],
        error: Callable[[str, str, Any, str, str], None],
    ) -> None:
        self.where, self.item, self.nodes, self.underlay, self.groups = where, item, nodes, underlay, groups
        self._error = error

    def wrong(self, key: str, problem: str, remedy: str, host: str = "", value: Any = None) -> None:
        shown = value if value is not None else self.item.get(key)
        self._error(host, f"{self.where}.{key}", shown, problem, remedy)

    def read(self, name: str) -> Network | None:
        """The network, or None where it is too wrong to be planned."""
        backend = self.choice("backend", tuple(BACKENDS))
        kind = BACKENDS[backend]
        known = (*_COMMON, *kind.options)
        for key in sorted(set(self.item) - set(known)):
            elsewhere = sorted(other for other, kinds in BACKENDS.items() if key in kinds.options)
            problem = f"backend {backend} has no such option" if elsewhere else "there is no such option"
            hint = f"; backend {', '.join(elsewhere)} has it" if elsewhere else ""
            self.wrong(key, problem, f"Known are: {', '.join(known)}{hint}")
        attach, docker_network = self.attach(backend, kind)
        members = self.members(backend)
        values: dict[str, Any] = {
            "members": tuple(sorted(members)),
            "docker_network": docker_network,
            "peers": self.peers(kind),
        }
        version = 4
        if kind.tunnel:
            version = self.underlay_version(backend, members)
            values.update(self.tunnel(backend, version, members), underlay=version)
        if backend == "host-gw":
            self.same_segment(members)
        values["direct_routing"] = self.direct_routing(kind, members)
        values["neigh_suppress"] = self.flag("neigh_suppress")
        values["static"] = self.flag("static")
        values["mtu"] = self.mtu(VXLAN_OVERHEAD[version] if kind.tunnel else 0, members)
        cidrs, lens = self.cidrs(kind, attach)
        if backend == "none" and cidrs:
            values.update(self.by_hand(cidrs))
        if not cidrs:
            return None
        return Network(name=name, backend=backend, cidrs=cidrs, subnet_lens=lens, attach=attach, **values)

    # Single values

    def number(self, key: str, low: int, high: int, default: int, item: Mapping[str, Any] | None = None) -> int:
        given = (self.item if item is None else item).get(key, default)
        value = as_integer(given)
        if value is None or not low <= value <= high:
            self.wrong(key, f"not a whole number from {low} to {high}", f"Choose one from {low} to {high}", value=given)
            return default
        return value

    def choice(self, key: str, choices: Sequence[str]) -> str:
        value = self.item.get(key, choices[0])
        if value not in choices:
            self.wrong(key, "there is no such choice", f"Choose from: {', '.join(choices)}")
            return choices[0]
        return str(value)

    def flag(self, key: str) -> bool:
        value = self.item.get(key, False)
        if not isinstance(value, bool):
            self.wrong(key, "neither true nor false", "Write true or false")
            return False
        return value

    def device(self, key: str, default: str) -> str:
        value = self.item.get(key, default)
        if value and not is_device(value):
            self.wrong(key, "not a device name of at most 15 characters", "Choose a shorter name, or leave it out")
            return default
        return str(value)

    # Who takes part

    def members(self, backend: str) -> frozenset[str]:
        members, problem = select(self.item.get("members", "all"), self.nodes, self.groups)
        remedy = "Write a group of the inventory, or for example \"[?contains(groups, 'web')]\""
        if problem:
            self.wrong("members", problem, remedy)
        elif not members and self.nodes:
            self.wrong("members", "no node is a member", remedy)
        if backend == "p2p" and not problem and len(members) != 2:
            others = sorted(members)[2:]
            names = f"{', '.join(sorted(members))}" or "none"
            for host in others or [""]:
                problem = f"a point-to-point network joins two nodes, and has {len(members)}: {names}"
                self.wrong("members", problem, "Name two members, or choose backend l2 or vxlan", host, "all")
        return members

    def peers(self, kind: Backend) -> tuple[tuple[frozenset[str], frozenset[str]], ...] | None:
        if "peers" not in self.item or "peers" not in kind.options:
            return None
        value = self.item["peers"]
        # One selection is a hub: its nodes are the peers of all.
        pairs = value if isinstance(value, list) and all(isinstance(pair, list) for pair in value) else [[value, "all"]]
        found = []
        for pair in pairs:
            sides = (
                [select(side, self.nodes, self.groups) for side in pair] if len(pair) == 2 else [(frozenset(), "not a pair")]
            )
            problems = [problem for _names, problem in sides if problem]
            if problems:
                remedy = "Write the group of the hubs, or a list of pairs of groups: [[hubs, spokes], [hubs, hubs]]"
                self.wrong("peers", problems[0], remedy)
                continue
            found.append((sides[0][0], sides[1][0]))
        return tuple(found)

    # The underlay

    def underlay_version(self, backend: str, members: frozenset[str]) -> int:
        """The IP version that carries the tunnel: one that every member has an address of."""
        has = {name: set(self.underlay[name].addresses) for name in members if name in self.underlay}
        given = self.item.get("underlay")
        if given is not None:
            version = {"ipv4": 4, "ipv6": 6}.get(given) if isinstance(given, str) else None
            if version is None:
                self.wrong("underlay", "there is no such choice", "Choose from: ipv4, ipv6")
                return 4
            for name in sorted(name for name, versions in has.items() if version not in versions):
                self.wrong("underlay", "the host has no such underlay address", "Add one to its overlay_underlay_ip", name)
            return version
        for version in (4, 6):
            if all(version in versions for versions in has.values()):
                return version
        for name in sorted(name for name, versions in has.items() if 4 not in versions):
            problem = "an IPv6 address alone, while other members have IPv4 alone: a tunnel needs one family on both ends"
            remedy = "Give it both, as a list, or choose the members so that they share a family"
            self._error(name, "overlay_underlay_ip", self.underlay[name].addresses[6], problem, remedy)
        return 4

    def same_segment(self, members: frozenset[str]) -> None:
        """Every node has to reach every other with no router in between."""
        for version in (4, 6):
            given = [as_network(value)[0] for value in as_list(self.item.get("cidr"))]
            if not any(cidr is not None and cidr.version == version for cidr in given):
                continue
            first, where = "", None
            for name in sorted(members & set(self.underlay)):
                underlay = self.underlay[name]
                subnet = underlay.subnets.get(version)
                if version not in underlay.addresses:
                    problem = f"has no IPv{version} underlay address, which is the gateway to its containers"
                    self.wrong("backend", problem, "Add one to its overlay_underlay_ip", name)
                elif subnet is None:
                    remedy = f"Write overlay_underlay_ip: {underlay.addresses[version]}/24 or set overlay_underlay_subnet"
                    self.wrong("backend", "the underlay subnet of the host is not known", remedy, name)
                elif where is None:
                    first, where = name, subnet
                elif subnet != where:
                    problem = f"the host is on underlay subnet {subnet}, and {first} on {where}: with a router between them"
                    self.wrong("backend", problem, "Choose backend vxlan, with direct_routing: true if you like", name)

    def direct_routing(self, kind: Backend, members: frozenset[str]) -> bool:
        direct = self.flag("direct_routing") and "direct_routing" in kind.options
        if direct:
            for name in sorted(members & set(self.underlay)):
                if not self.underlay[name].subnets:
                    address = next(iter(self.underlay[name].addresses.values()))
                    remedy = f"Write overlay_underlay_ip: {address}/24 or set overlay_underlay_subnet"
                    self.wrong("direct_routing", "the underlay subnet of the host is not known", remedy, name)
        return direct

    # The tunnel

    def tunnel(self, backend: str, version: int, members: frozenset[str]) -> dict[str, Any]:
        vni = self.number("vni", 1, 2**24 - 1, 0)
        port = self.number("port", 1, 65535, DEFAULT_PORT)
        device = self.device("device", f"vxlan.{vni}")
        dev = self.device("dev", "")
        values: dict[str, Any] = {"vni": vni, "port": port, "device": device, "dev": dev, "link": self.link(version)}
        if backend == "multicast":
            group = as_address(self.item.get("group"))
            if group is None or not group.is_multicast():
                self.wrong("group", "not the address of a multicast group", "Choose one, such as 239.1.1.1 or ff05::100")
            elif group.version != version:
                problem = f"an IPv{group.version} group, while the underlay is IPv{version}: one tunnel, one family"
                self.wrong("group", problem, "Choose a group of the underlay's family, or set underlay")
            else:
                values["group"] = str(group)
            for name in sorted(members & set(self.underlay)):
                if not (dev or self.underlay[name].dev):
                    remedy = "Set dev in the network, or overlay_underlay_dev on the host, to its underlay device"
                    self.wrong("dev", "a multicast group needs the device to join it on", remedy, name)
        parallel = []
        for number, item in enumerate(as_list(self.item.get("parallel"))):
            if not isinstance(item, Mapping) or set(item) - {"vni", "port", "device"} or not item:
                self.wrong("parallel", "not a mapping of vni, port or device", "Write parallel: [{vni: 89}]")
                continue
            other: dict[str, Any] = {
                "vni": self.number("vni", 1, 2**24 - 1, vni, item),
                "port": self.number("port", 1, 65535, port, item),
            }
            other["device"] = item.get("device", f"vxlan.{other['vni']}")
            if not is_device(other["device"]) or other["device"] == device:
                remedy = "Name the device, differently from the network's: {port: 8472, device: vxlan.new}"
                self.wrong(f"parallel[{number}].device", "it needs a device name of its own", remedy, value=other["device"])
            elif (other["vni"], other["port"]) == (vni, port):
                self.wrong(f"parallel[{number}]", "the network's own VNI and port", "Choose another VNI or port", value=item)
            else:
                parallel.append(other)
        values["parallel"] = tuple(parallel)
        return values

    def link(self, version: int) -> dict[str, Any]:
        given = self.item.get("link", {})
        if not isinstance(given, Mapping):
            self.wrong("link", "not a mapping", "Write for example link: {ttl: 64}")
            return {}
        found: dict[str, Any] = {}
        for key, value in given.items():
            rule: Any = _LINK_OPTIONS.get(key)
            if rule is None:
                self.wrong(f"link.{key}", "there is no such option", f"Known are: {', '.join(_LINK_OPTIONS)}", value=value)
            elif rule is bool:
                if not isinstance(value, bool):
                    self.wrong(f"link.{key}", "neither true nor false", "Write true or false", value=value)
                found[key] = value
            elif key == "df":
                if value not in _DF:
                    self.wrong(f"link.{key}", "there is no such choice", f"Choose from: {', '.join(_DF)}", value=value)
                found[key] = value
            else:
                low, high = rule
                number = as_integer(value)
                if number is None or not low <= number <= high:
                    problem = f"not a whole number from {low} to {high}"
                    self.wrong(f"link.{key}", problem, f"Choose one from {low} to {high}", value=value)
                found[key] = number
        if ("srcport_min" in found) != ("srcport_max" in found):
            self.wrong("link", "srcport_min and srcport_max go together", "Give both", value=dict(given))
        elif (found.get("srcport_min") or 0) > (found.get("srcport_max") or 0):
            problem = f"larger than srcport_max, {found['srcport_max']}"
            self.wrong("link.srcport_min", problem, "Give the lowest port first", value=found["srcport_min"])
        if found.get("flowlabel") and version == 4:
            remedy = "Leave it out, or set underlay: ipv6"
            self.wrong("link.flowlabel", "packets over IPv4 have no flow label", remedy, value=found["flowlabel"])
        return found

    # What it is attached to

    def attach(self, backend: str, kind: Backend) -> tuple[str, str]:
        """Where the leases go, and the Docker network that gets them, if one does."""
        value = self.item.get("attach", kind.attach[0])
        choices = ["{docker_network: NAME}" if one == "docker_network" else one for one in kind.attach]
        remedy = f"Write attach: {', or attach: '.join(choices)}"
        if value in kind.attach and value != "docker_network":
            return str(value), ""
        fallback = kind.attach[0]
        if backend == "l2" and "attach" not in self.item:
            self.wrong("attach", "a network at layer 2 needs a Docker network of its own", remedy)
            return fallback, f"overlay{self.item.get('vni')}"
        if not isinstance(value, dict) or set(value) != {"docker_network"} or "docker_network" not in kind.attach:
            self.wrong("attach", "there is no such choice", remedy)
            return fallback, ""
        name = value["docker_network"]
        if not isinstance(name, str) or not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}", name):
            self.wrong("attach", "not a name that Docker takes for a network", remedy)
            return fallback, ""
        if name in _DOCKERS_OWN:
            self.wrong("attach", "Docker has a network of its own by that name", "Choose another name")
            return fallback, ""
        return "docker_network", name

    # Addresses and sizes

    def mtu(self, overhead: int, members: frozenset[str]) -> int:
        """The overlay's MTU: as given, or what the smallest underlay of a member leaves. All members get the same."""
        sizes = [(self.underlay[name].mtu, name) for name in members if name in self.underlay]
        smallest, host = min(sizes) if sizes else (DEFAULT_UNDERLAY_MTU, "")
        most = smallest - overhead
        value = as_integer(self.item.get("mtu", most))
        if value is None or not MIN_MTU <= value <= MAX_MTU:
            self.wrong("mtu", f"not an MTU from {MIN_MTU} to {MAX_MTU}", f"Leave it out for {most}")
            return most
        if value > most:
            carries = f"the underlay of {host} carries {smallest}"
            problem = f"too large: {carries}, and vxlan needs {overhead} of it" if overhead else f"too large: {carries}"
            self.wrong("mtu", problem, f"Choose {most} or less (mtu is the overlay's, not the underlay's)")
        return value

    def cidrs(self, kind: Backend, attach: str) -> tuple[tuple[IPNetwork, ...], tuple[int, ...]]:
        """The networks, IPv4 first, and the lengths of their leases."""
        given = as_list(self.item.get("cidr"))
        found: dict[int, IPNetwork] = {}
        example = "Write a network such as 10.88.0.0/16, or a pair: [10.88.0.0/16, 'fd00:88::/48']"
        if not given:
            self.wrong("cidr", "not a network in the form 10.88.0.0/16", example)
        for value in given:
            cidr, problem = as_network(value)
            if problem:
                self.wrong("cidr", problem, f"Write {cidr}" if cidr is not None else example, value=value)
            if cidr is None:
                continue
            if cidr.version in found:
                self.wrong("cidr", f"two IPv{cidr.version} networks; a pair is one of each family", example)
            elif not is_unicast(cidr):
                self.wrong(
                    "cidr", "not a network of unicast addresses", "Choose a private one, such as 10.88.0.0/16", value=value
                )
            else:
                found[cidr.version] = cidr
        lens: dict[int, int] = {}
        for version, cidr in list(found.items()):
            bits = 32 if version == 4 else 128
            key = "subnet_len" if version == 4 else "subnet_len6"
            whole = attach == "namespace" or kind.flat and attach == "host"
            smallest = bits - 2 if whole else bits - 4
            if cidr.prefixlen > smallest:
                problem = "too small for an address each" if whole else "too small to be divided among hosts"
                hint = "for 3 hosts or more" if not whole else "for 2 hosts or more"
                self.wrong("cidr", problem, f"Choose a /{smallest} or larger, {hint}", value=str(cidr))
                del found[version]
                continue
            if whole:
                if key in self.item:
                    self.wrong(key, "leases of this network are single addresses", "Leave it out")
                lens[version] = bits
                continue
            # As flannel: two bits for four leases at the least, two bits for two containers; /24 and /64 where there is room.
            usual = 24 if version == 4 else 64
            default = usual if cidr.prefixlen <= usual - 2 else cidr.prefixlen + 2
            lens[version] = self.number(key, cidr.prefixlen + 2, bits - 2, default)
        versions = sorted(found)
        if attach == "docker0" and versions == [6]:
            self.wrong(
                "cidr", "IPv6 alone, while docker0 has to have IPv4", "Give a pair, or attach a Docker network of its own"
            )
        return tuple(found[version] for version in versions), tuple(lens[version] for version in versions)

    # Containers by hand

    def by_hand(self, cidrs: Sequence[IPNetwork]) -> dict[str, Any]:
        """What the backend none makes on each member: a bridge with an address, and namespaces on it."""
        cidr = cidrs[0]
        gateway = as_address(self.item.get("gateway", str(cidr[1])))
        if gateway is None or gateway not in cidr:
            self.wrong("gateway", f"not an address of {cidr}", f"Choose one, such as {cidr[1]}")
        containers: list[dict[str, Any]] = []
        taken = {str(gateway): "the gateway"}
        ports: dict[int, str] = {}
        for number, item in enumerate(as_list(self.item.get("containers"))):
            where = f"containers[{number}]"
            known = {"name", "address", "publish"}
            if not isinstance(item, Mapping) or set(item) - known or not isinstance(item.get("name"), str):
                self.wrong(
                    where, "not a mapping of name, address and publish", "Write {name: c1, address: 172.16.1.1}", value=item
                )
                continue
            name, address = item["name"], as_address(item.get("address"))
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}", name) or name in {one["name"] for one in containers}:
                self.wrong(f"{where}.name", "not a new name for a network namespace", "Choose another", value=name)
            if address is None or address not in cidr:
                self.wrong(f"{where}.address", f"not an address of {cidr}", "Choose one", value=item.get("address"))
                continue
            if str(address) in taken:
                self.wrong(f"{where}.address", f"{taken[str(address)]} has it", "Choose another", value=str(address))
            taken[str(address)] = name
            publish = []
            for mapping in as_list(item.get("publish")):
                port = as_integer(mapping.get("port")) if isinstance(mapping, Mapping) else None
                to = as_integer(mapping.get("to")) if isinstance(mapping, Mapping) else None
                by = mapping.get("by", "dnat") if isinstance(mapping, Mapping) else None
                if by not in ("dnat", "proxy") or not port or not to or max(port, to) > 65535:
                    remedy = "Write {port: 9090, to: 8080, by: proxy} or by: dnat"
                    self.wrong(f"{where}.publish", "not a mapping of port, to and by", remedy, value=mapping)
                    continue
                if port in ports:
                    self.wrong(f"{where}.publish", f"{ports[port]} has port {port}", "Choose another port", value=port)
                ports[port] = name
                publish.append({"port": port, "to": to, "by": by})
            containers.append({"name": name, "address": str(address), "publish": publish})
        bridge = self.device("bridge", bridge_of(str(self.item.get("name"))))
        return {"bridge_name": bridge, "gateway": str(gateway), "containers": tuple(containers)}
