# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The planner: the inventory's values in, the plan or all errors out. PRIVATE to the collection.

Pure: no Ansible, no file, no host. The same values give the same plan,
whichever hosts a run is limited to.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NETADDR_IMPORT_ERROR: ImportError | None = None
try:
    from netaddr import AddrFormatError, IPAddress, IPNetwork
except ImportError as error:
    NETADDR_IMPORT_ERROR = error

VXLAN_OVERHEAD = 50  # outer Ethernet 14, IPv4 20, UDP 8, vxlan 8 bytes
DEFAULT_UNDERLAY_MTU = 1500
DEFAULT_PORT = 4789  # RFC 7348
MIN_MTU, MAX_MTU = 576, 65535
EVERYWHERE = "group overlay"

_NETWORK_KEYS = ("name", "backend", "cidr", "subnet_len", "vni", "port", "device", "mtu", "attach")
_BACKENDS = ("vxlan",)
# What Docker calls its own networks.
_DOCKERS_OWN = ("bridge", "default", "host", "none", "ingress", "docker_gwbridge")


@dataclass(frozen=True, order=True)
class PlanError:
    """One thing wrong with the inventory: where, with which value, and what to do about it."""

    host: str
    variable: str
    value: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.host}: {self.variable} = {self.value}: {self.problem}. {self.remedy}."


@dataclass(frozen=True)
class Node:
    """What the planner needs of one host of the group; values as the inventory has them."""

    name: str
    underlay_ip: Any = None
    subnet: Any = None
    underlay_mtu: Any = DEFAULT_UNDERLAY_MTU


@dataclass(frozen=True)
class Network:
    """A validated item of overlay_networks."""

    name: str
    backend: str
    cidr: IPNetwork
    subnet_len: int
    vni: int
    port: int
    device: str
    mtu: int
    # The Docker network of its own that gets the lease; empty where docker0 does.
    docker_network: str

    @property
    def bridge(self) -> str:
        """The device that containers are attached to."""
        return f"br.{self.vni}" if self.docker_network else "docker0"


@dataclass
class Plan:
    """The plan of the whole fleet, or what is wrong with the inventory.

    C(leases) holds, by network and node, what has to be on record; C(new) those
    of them that are not yet.
    """

    networks: dict[str, Network] = field(default_factory=dict)
    underlay: dict[str, str] = field(default_factory=dict)
    subnets: dict[str, dict[str, IPNetwork]] = field(default_factory=dict)
    leases: dict[str, dict[str, str]] = field(default_factory=dict)
    new: dict[str, dict[str, str]] = field(default_factory=dict)
    errors: list[PlanError] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain data, one record a node and network: what every host's part is cut from."""
        networks = {
            name: {
                "name": name,
                "backend": network.backend,
                "cidr": str(network.cidr),
                "vni": network.vni,
                "port": network.port,
                "device": network.device,
                "mtu": network.mtu,
                "docker_network": network.docker_network,
                "bridge": network.bridge,
                "nodes": {
                    node: {
                        "underlay_ip": self.underlay[node],
                        "subnet": str(subnet),
                        "vtep_ip": str(subnet.network),
                        "vtep_mac": vtep_mac(name, network.vni, node),
                        "gateway": str(IPAddress(subnet.first + 1)),
                    }
                    for node, subnet in sorted(self.subnets[name].items())
                },
            }
            for name, network in self.networks.items()
        }
        return {"networks": networks}


def vtep_mac(network: str, vni: int, node: str) -> str:
    """A locally administered unicast MAC that follows from who the node is, so that nobody has to be asked for it."""
    digest = bytearray(hashlib.sha256(f"{network}\0{vni}\0{node}".encode()).digest()[:6])
    digest[0] = digest[0] & 0xFC | 0x02
    return ":".join(f"{octet:02x}" for octet in digest)


def make_plan(
    networks: Any,
    nodes: Iterable[Node],
    recorded: Mapping[str, Mapping[str, Any]] | None = None,
    reserved: Any = (),
    leases_file: str = "the leases file",
) -> Plan:
    """Work out the plan, or every error there is.

    @param networks: overlay_networks as in the inventory
    @param recorded: leases on record: network to node to subnet
    @param reserved: overlay_reserved_cidrs as in the inventory
    @param leases_file: where the record is, for messages
    """
    return _Planner(list(nodes), recorded or {}, leases_file).run(networks, reserved)


def _as_network(value: Any) -> tuple[IPNetwork | None, str]:
    """The network that is meant, where one can be told, and what is wrong with the value, if anything."""
    form = "not a network in the form 10.88.0.0/16"
    if not isinstance(value, str) or "/" not in value:
        return None, form
    try:
        network = IPNetwork(value)
    except (AddrFormatError, ValueError):
        return None, form
    if network.version != 4:
        return None, "an IPv6 network; the vxlan backend is IPv4 only"
    if network.ip != network.network:
        return network.cidr, f"has host bits; the network is {network.cidr}"
    return network, ""


def _integer(value: Any) -> int | None:
    """Numbers come as text from -e and from ini inventories."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[0-9]+", value):
        return int(value)
    return None


class _Planner:
    def __init__(self, nodes: Sequence[Node], recorded: Mapping[str, Mapping[str, Any]], leases_file: str) -> None:
        self.nodes = sorted(nodes, key=lambda node: node.name)
        self.recorded = recorded
        self.leases_file = leases_file
        self.plan = Plan()
        # The names of all networks, also of those that are too wrong to be planned.
        self.names: set[str] = set()

    def error(self, host: str, variable: str, value: Any, problem: str, remedy: str) -> None:
        shown = "not set" if value is None else repr(value) if isinstance(value, str) else str(value)
        self.plan.errors.append(PlanError(host, variable, shown, problem, remedy))

    def run(self, networks: Any, reserved: Any) -> Plan:
        if not self.nodes:
            self.error(EVERYWHERE, "hosts", None, "the group has no host", "Put the Docker hosts into the group overlay")
        self.underlay()
        self.networks(networks)
        self.overlaps(reserved)
        for network in self.plan.networks.values():
            self.subnets(network)
        self.macs()
        # A network or a node that is wrong in two ways may repeat itself.
        self.plan.errors = sorted(set(self.plan.errors))
        return self.plan

    # The nodes

    def underlay(self) -> None:
        owner: dict[str, str] = {}
        for node in self.nodes:
            remedy = "Set overlay_underlay_ip to the host's own IPv4 address on the network that joins the hosts"
            variable = "overlay_underlay_ip"
            if not isinstance(node.underlay_ip, str) or not node.underlay_ip:
                self.error(node.name, variable, node.underlay_ip, "no underlay address is known", remedy)
                continue
            try:
                address = IPAddress(node.underlay_ip)
            except (AddrFormatError, ValueError):
                self.error(node.name, variable, node.underlay_ip, "not an IP address (names are not resolved)", remedy)
                continue
            if address.version != 4:
                self.error(node.name, variable, node.underlay_ip, "an IPv6 address; the vxlan backend is IPv4 only", remedy)
            elif address.is_multicast() or address.is_loopback() or address.value in (0, 2**32 - 1) or address.is_reserved():
                self.error(node.name, variable, node.underlay_ip, "not an address of a single other host", remedy)
            elif str(address) in owner:
                self.error(
                    node.name,
                    variable,
                    node.underlay_ip,
                    f"{owner[str(address)]} has the same underlay address",
                    "Give each host its own",
                )
            else:
                owner[str(address)] = node.name
                self.plan.underlay[node.name] = str(address)

    # The networks

    def networks(self, items: Any) -> None:
        if not isinstance(items, list) or not items:
            self.error(
                EVERYWHERE,
                "overlay_networks",
                items,
                "a list with at least one network is needed",
                "Write for example: overlay_networks: [{name: main, cidr: 10.88.0.0/16, vni: 88}]",
            )
            return
        for number, item in enumerate(items):
            where = f"overlay_networks[{number}]"
            if not isinstance(item, dict):
                self.error(EVERYWHERE, where, item, "not a mapping", "Give name, cidr and vni")
                continue
            for key in sorted(set(item) - set(_NETWORK_KEYS)):
                known = ", ".join(_NETWORK_KEYS)
                self.error(EVERYWHERE, f"{where}.{key}", item[key], "there is no such option", f"Known are: {known}")
            network = self.network(where, item)
            if network is None:
                continue
            for other in self.plan.networks.values():
                if other.docker_network == network.docker_network:
                    shown = network.docker_network or "docker0"
                    problem = f"network {other.name} has {shown} already, which has room for one"
                    remedy = "Attach one of them to a Docker network of its own: attach: {docker_network: NAME}"
                    self.error(EVERYWHERE, f"{where}.attach", shown, problem, remedy)
            self.plan.networks[network.name] = network

    def network(self, where: str, item: Mapping[str, Any]) -> Network | None:
        """An item as a network. What is wrong with one option does not keep the others from being checked."""

        def wrong(key: str, problem: str, remedy: str, value: Any = None) -> None:
            self.error(EVERYWHERE, f"{where}.{key}", item.get(key) if value is None else value, problem, remedy)

        def number(key: str, low: int, high: int, default: int) -> int:
            value = _integer(item.get(key, default))
            if value is None or not low <= value <= high:
                wrong(key, f"not a whole number from {low} to {high}", f"Choose one from {low} to {high}")
                return default
            return value

        def choice(key: str, choices: Sequence[str]) -> str:
            value = item.get(key, choices[0])
            if value not in choices:
                wrong(key, "there is no such choice", f"Choose from: {', '.join(choices)}")
            return str(value)

        name = item.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", name):
            wrong("name", "not a name of at most 32 letters, digits, _ and -", "Name the network, for example main")
            name = where
        elif name in self.names:
            wrong("name", "another network has this name", "Give each network its own name")
            name = where
        self.names.add(name)
        others = list(self.plan.networks.values())
        vni = number("vni", 1, 2**24 - 1, 0)
        for other in others:
            if vni and vni == other.vni:
                wrong("vni", f"network {other.name} has the same VNI", "Give each network its own VNI")
        port = number("port", 1, 65535, DEFAULT_PORT)
        device = item.get("device", f"vxlan.{vni}")
        if not isinstance(device, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", device):
            wrong("device", "not a device name of at most 15 characters", "Choose a shorter name, or leave it out")
        for other in others:
            if device == other.device and "device" in item:
                wrong("device", f"network {other.name} has the same device", "Give each network its own device")
        backend, docker_network = choice("backend", _BACKENDS), self.attach(wrong, item)
        mtu = self.mtu(wrong, item)
        cidr, problem = _as_network(item.get("cidr"))
        if problem:
            wrong("cidr", problem, f"Write {cidr}" if cidr is not None else "Write a network such as 10.88.0.0/16")
        if cidr is None:
            return None
        if cidr.prefixlen > 28:
            wrong("cidr", "too small to be divided among hosts", "Choose a /28 or larger, for 3 hosts or more")
            return None
        if cidr.ip.is_multicast() or cidr.ip.is_loopback() or cidr.ip.is_reserved() or cidr.ip.value == 0:
            wrong("cidr", "not a network of unicast addresses", "Choose a private one, such as 10.88.0.0/16")
            return None
        # As flannel: two bits for four leases at the least, two bits for two containers.
        default = 24 if cidr.prefixlen <= 22 else cidr.prefixlen + 2
        subnet_len = number("subnet_len", cidr.prefixlen + 2, 30, default)
        return Network(name, backend, cidr, subnet_len, vni, port, str(device), mtu, docker_network)

    @staticmethod
    def attach(wrong: Any, item: Mapping[str, Any]) -> str:
        """The Docker network that gets the leases; empty for docker0."""
        value = item.get("attach", "docker0")
        if value == "docker0":
            return ""
        remedy = "Write attach: docker0, or attach: {docker_network: NAME}"
        if not isinstance(value, dict) or set(value) != {"docker_network"}:
            wrong("attach", "there is no such choice", remedy)
            return ""
        name = value["docker_network"]
        if not isinstance(name, str) or not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}", name):
            wrong("attach", "not a name that Docker takes for a network", remedy)
            return ""
        if name in _DOCKERS_OWN:
            wrong("attach", "Docker has a network of its own by that name", "Choose another name")
            return ""
        return name

    def mtu(self, wrong: Any, item: Mapping[str, Any]) -> int:
        """The overlay's MTU: as given, or what the smallest underlay leaves. All nodes get the same."""
        smallest, host = DEFAULT_UNDERLAY_MTU, ""
        sizes = []
        for node in self.nodes:
            value = _integer(node.underlay_mtu)
            if value is None or not MIN_MTU + VXLAN_OVERHEAD <= value <= MAX_MTU:
                problem = f"not an MTU from {MIN_MTU + VXLAN_OVERHEAD} to {MAX_MTU}"
                self.error(
                    node.name,
                    "overlay_underlay_mtu",
                    node.underlay_mtu,
                    problem,
                    "Set it to the MTU of the host's underlay device",
                )
            else:
                sizes.append((value, node.name))
        if sizes:
            smallest, host = min(sizes)
        most = smallest - VXLAN_OVERHEAD
        value = _integer(item.get("mtu", most))
        if value is None or not MIN_MTU <= value <= MAX_MTU:
            wrong("mtu", f"not an MTU from {MIN_MTU} to {MAX_MTU}", f"Leave it out for {most}")
            return most
        if value > most:
            problem = f"too large: the underlay of {host} carries {smallest}, and vxlan needs {VXLAN_OVERHEAD} of it"
            wrong("mtu", problem, f"Choose {most} or less (mtu is the overlay's, not the underlay's)")
        return value

    def overlaps(self, reserved: Any) -> None:
        networks = list(self.plan.networks.values())
        for number, network in enumerate(networks):
            for other in networks[:number]:
                if network.cidr in other.cidr or other.cidr in network.cidr:
                    self.error(
                        EVERYWHERE,
                        f"overlay_networks: {network.name}.cidr",
                        str(network.cidr),
                        f"overlaps network {other.name}, {other.cidr}",
                        "Choose a range that no other network has",
                    )
        for node, address in sorted(self.plan.underlay.items()):
            for network in networks:
                if IPAddress(address) in network.cidr:
                    self.error(
                        node,
                        "overlay_underlay_ip",
                        address,
                        f"lies inside network {network.name}, {network.cidr}, so that the tunnel would lead into itself",
                        "Choose another cidr for the network",
                    )
        if not isinstance(reserved, (list, tuple)):
            self.error(EVERYWHERE, "overlay_reserved_cidrs", reserved, "not a list", "Write a list of networks")
            return
        for number, value in enumerate(reserved):
            where = f"overlay_reserved_cidrs[{number}]"
            try:
                cidr = IPNetwork(str(value))
            except (AddrFormatError, ValueError):
                self.error(EVERYWHERE, where, value, "not a network", "Write it as 192.168.0.0/16")
                continue
            for network in networks:
                if network.cidr in cidr or cidr in network.cidr:
                    self.error(
                        EVERYWHERE,
                        f"overlay_networks: {network.name}.cidr",
                        str(network.cidr),
                        f"overlaps the reserved {cidr.cidr} ({where})",
                        "Choose another range",
                    )

    # The leases

    def subnets(self, network: Network) -> None:
        given: dict[str, IPNetwork] = {}
        ranges: list[tuple[int, int, str]] = []
        for node in self.nodes:
            pin = self.pin(node, network)
            if pin is not None:
                self.claim(given, ranges, node.name, pin, network, "overlay_subnet", "Pin another subnet")
        records = self.recorded.get(network.name) or {}
        names = {node.name for node in self.nodes}
        # A host that is out of the inventory today may be back tomorrow: its lease stays its own.
        kept: list[IPNetwork] = []
        for name, value in sorted(records.items()):
            if name in given:
                # Pinned since: what it had is kept from others, for the day the pin goes.
                former, _problem = _as_network(value)
                kept += [former] if former is not None and former in network.cidr else []
                continue
            variable = f"{self.leases_file}: {network.name}.{name}"
            subnet = self.subnet_of(name, variable, value, network, "Correct the line; deleting it gives the host a new lease")
            if subnet is not None:
                self.claim(given, ranges, name, subnet, network, variable, "Delete one of the two lines, or change the pin")
            elif name in names:
                names.discard(name)
        new = self.allocate(network, [name for name in sorted(names) if name not in given], given, kept)
        members = {node.name for node in self.nodes}
        self.plan.subnets[network.name] = {
            name: subnet for name, subnet in {**given, **new}.items() if name in members and name in self.plan.underlay
        }
        self.plan.new[network.name] = {name: str(subnet) for name, subnet in new.items()}
        self.plan.leases[network.name] = {
            **{name: str(value) for name, value in records.items()},
            **self.plan.new[network.name],
        }

    def pin(self, node: Node, network: Network) -> IPNetwork | None:
        value = node.subnet
        variable = "overlay_subnet"
        if isinstance(value, dict):
            for name in sorted(set(value) - self.names):
                self.error(
                    node.name, f"{variable}.{name}", value[name], "there is no such network", "Use a name from overlay_networks"
                )
            value, variable = value.get(network.name), f"{variable}.{network.name}"
        elif value is not None and len(self.names) > 1:
            example = f"Write overlay_subnet: {{{network.name}: {value}}}"
            self.error(node.name, variable, value, "there are several networks, and it does not say which", example)
            return None
        if value is None:
            return None
        return self.subnet_of(node.name, variable, value, network, "Pin a subnet inside the network, or remove the pin")

    def subnet_of(self, host: str, variable: str, value: Any, network: Network, remedy: str) -> IPNetwork | None:
        subnet, problem = _as_network(value)
        if subnet is None or problem:
            self.error(host, variable, value, problem, remedy)
        elif subnet not in network.cidr:
            self.error(host, variable, value, f"not inside network {network.name}, {network.cidr}", remedy)
        elif not network.cidr.prefixlen < subnet.prefixlen <= 30:
            self.error(host, variable, value, f"not from /{network.cidr.prefixlen + 1} to /30", remedy)
        else:
            return subnet
        return None

    def claim(
        self,
        given: dict[str, IPNetwork],
        ranges: list[tuple[int, int, str]],
        name: str,
        subnet: IPNetwork,
        network: Network,
        variable: str,
        remedy: str,
    ) -> None:
        """Give a subnet to a node, or report whose it overlaps. C(ranges) are those given, sorted, none overlapping."""
        position = bisect(ranges, (subnet.first, subnet.last, ""))
        for first, last, other in ranges[max(0, position - 1) : position + 1]:
            if first <= subnet.last and subnet.first <= last:
                problem = f"overlaps {other}'s {given[other]} in network {network.name}"
                self.error(name, variable, str(subnet), problem, remedy)
                return
        insort(ranges, (subnet.first, subnet.last, name))
        given[name] = subnet

    def allocate(
        self, network: Network, names: Sequence[str], given: Mapping[str, IPNetwork], kept: Sequence[IPNetwork]
    ) -> dict[str, IPNetwork]:
        """Free slots for new nodes. Where a node's search begins follows from its name alone,

        so that two checkouts of one inventory agree before either has recorded anything.
        """
        slots = 2 ** (network.subnet_len - network.cidr.prefixlen)
        size = 2 ** (32 - network.subnet_len)
        base = network.cidr.first
        taken: set[int] = {0}  # like flannel: the first is the network's own address, which confuses people
        for subnet in (*given.values(), *kept):
            taken.update(range((subnet.first - base) // size, (subnet.last - base) // size + 1))
        found: dict[str, IPNetwork] = {}
        for name in names:
            if len(taken) >= slots:
                gone = sorted(set(given) - {node.name for node in self.nodes})
                remedy = "Choose a larger cidr or a longer subnet_len"
                if gone:
                    remedy += f", or delete the leases of hosts that will not return from {self.leases_file}: {', '.join(gone)}"
                self.error(
                    name,
                    f"overlay_networks: {network.name}.cidr",
                    str(network.cidr),
                    f"full: all {slots - 1} leases of /{network.subnet_len} are taken",
                    remedy,
                )
                continue
            digest = hashlib.sha256(f"{network.name}\0{name}".encode()).digest()
            slot = int.from_bytes(digest[:8], "big") % slots
            while slot in taken:
                slot = (slot + 1) % slots
            taken.add(slot)
            found[name] = IPNetwork((base + slot * size, network.subnet_len))
        return found

    def macs(self) -> None:
        owner: dict[str, tuple[str, str]] = {}
        for name, network in self.plan.networks.items():
            for node in sorted(self.plan.subnets.get(name, {})):
                mac = vtep_mac(name, network.vni, node)
                if mac in owner:
                    other, where = owner[mac]
                    problem = f"its VTEP MAC in network {name} is that of {other} in {where}"
                    self.error(node, "inventory_hostname", node, problem, "Rename one of the hosts or change the VNI")
                owner[mac] = (node, name)
