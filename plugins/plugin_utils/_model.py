# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the planner takes, makes and complains of. Pure. PRIVATE to the collection."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Imported here for all, where its absence is handled once.
__all__ = [
    "AddrFormatError",
    "Backend",
    "IPAddress",
    "IPNetwork",
    "Network",
    "Node",
    "Plan",
    "PlanError",
    "Underlay",
    "vtep_mac",
]

NETADDR_IMPORT_ERROR: ImportError | None = None
try:
    from netaddr import AddrFormatError, IPAddress, IPNetwork
except ImportError as error:
    NETADDR_IMPORT_ERROR = error
    AddrFormatError = IPAddress = IPNetwork = None  # type: ignore[assignment,misc]

DEFAULT_UNDERLAY_MTU = 1500
EVERYWHERE = "group overlay"


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
    underlay_subnet: Any = None
    underlay_dev: Any = None
    groups: tuple[str, ...] = ()
    labels: Any = None


@dataclass(frozen=True)
class Underlay:
    """A node on the network that joins the nodes; addresses and subnets by IP version."""

    addresses: dict[int, str]
    subnets: dict[int, str]
    mtu: int
    dev: str = ""


@dataclass(frozen=True)
class Backend:
    """A kind of network: its options beside those of all, and what follows from it."""

    options: tuple[str, ...]
    # Whether it has a vxlan device.
    tunnel: bool
    # Whether all nodes share one subnet, as on one switch, in place of a subnet each with routes between.
    flat: bool
    attach: tuple[str, ...]


_TUNNEL = ("vni", "port", "device", "dev", "underlay", "link")
BACKENDS = {
    "vxlan": Backend((*_TUNNEL, "direct_routing", "peers", "parallel"), True, False, ("docker0", "docker_network", "host")),
    "host-gw": Backend(("peers",), False, False, ("docker0", "docker_network")),
    "p2p": Backend(_TUNNEL, True, True, ("host", "docker_network")),
    "multicast": Backend((*_TUNNEL, "group"), True, True, ("host", "docker_network")),
    "l2": Backend((*_TUNNEL, "neigh_suppress", "static"), True, True, ("docker_network",)),
    "none": Backend(("bridge", "gateway", "containers"), False, True, ("namespace",)),
}


@dataclass(frozen=True)
class Network:
    """A validated item of overlay_networks."""

    name: str
    backend: str
    # One a family, IPv4 first; and beside each the length of its leases.
    cidrs: tuple[IPNetwork, ...]
    subnet_lens: tuple[int, ...]
    mtu: int
    # docker0, docker_network, host or namespace
    attach: str
    # The Docker network of its own that gets the lease; empty where there is none.
    docker_network: str = ""
    vni: int = 0
    port: int = 0
    device: str = ""
    dev: str = ""
    # The IP version that carries the tunnel.
    underlay: int = 4
    members: tuple[str, ...] = ()
    # Who is a peer of whom: pairs of sets of nodes, or None for all of all.
    peers: tuple[tuple[frozenset[str], frozenset[str]], ...] | None = None
    direct_routing: bool = False
    link: Mapping[str, Any] = field(default_factory=dict)
    # Other VNIs and ports that are kept ready beside this one, for a move without loss.
    parallel: tuple[Mapping[str, Any], ...] = ()
    group: str = ""
    neigh_suppress: bool = False
    static: bool = False
    # What the backend none makes by hand.
    bridge_name: str = ""
    gateway: str = ""
    containers: tuple[Mapping[str, Any], ...] = ()

    @property
    def kind(self) -> Backend:
        return BACKENDS[self.backend]

    @property
    def bridge(self) -> str:
        """The device that containers are attached to; empty where none are."""
        if self.bridge_name:
            return self.bridge_name
        if self.attach == "docker_network":
            return f"br.{self.vni}" if self.vni else bridge_of(self.name)
        return "docker0" if self.attach == "docker0" else ""

    @property
    def leases_addresses(self) -> bool:
        """Whether a lease is one address, the host's own, in place of a range for its containers."""
        return self.kind.flat and self.attach == "host"

    @property
    def told(self) -> bool:
        """Whether it is the network that subnet.env tells of."""
        return self.attach == "docker0" or self.attach == "host" and not self.kind.flat


@dataclass
class Plan:
    """The plan of the whole fleet, or what is wrong with the inventory.

    C(leases) holds, by network and node, what has to be on record; C(new) those
    of them that are not yet.
    """

    networks: dict[str, Network] = field(default_factory=dict)
    underlay: dict[str, Underlay] = field(default_factory=dict)
    subnets: dict[str, dict[str, tuple[IPNetwork, ...]]] = field(default_factory=dict)
    leases: dict[str, dict[str, Any]] = field(default_factory=dict)
    new: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: list[PlanError] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain data, one record a node and network: what every host's part is cut from."""
        return {"networks": {name: self._network(network) for name, network in self.networks.items()}}

    def _network(self, network: Network) -> dict[str, Any]:
        shared = ("name", "backend", "vni", "port", "device", "mtu", "attach", "docker_network", "bridge")
        more = ("direct_routing", "group", "neigh_suppress", "static", "gateway")
        return {
            **{key: getattr(network, key) for key in (*shared, *more)},
            "cidrs": [str(cidr) for cidr in network.cidrs],
            "link": dict(network.link),
            "parallel": [dict(item) for item in network.parallel],
            "containers": [dict(item) for item in network.containers],
            "nodes": {node: self._node(network, node, subnets) for node, subnets in sorted(self.subnets[network.name].items())},
        }

    def _node(self, network: Network, node: str, subnets: tuple[IPNetwork, ...]) -> dict[str, Any]:
        underlay = self.underlay[node]
        record: dict[str, Any] = {
            "underlay_ip": underlay.addresses.get(network.underlay, ""),
            "vtep_mac": vtep_mac(network.name, network.vni, node),
            "leases": [
                {
                    "subnet": str(subnet),
                    "vtep_ip": str(subnet.network),
                    # Without a bridge of ours a host is on the network with the address of its VTEP.
                    "gateway": str(subnet.network if network.attach == "host" else IPAddress(subnet.first + 1, subnet.version)),
                }
                for subnet in subnets
            ],
        }
        if network.parallel:
            record["parallel_macs"] = [vtep_mac(network.name, item["vni"], node) for item in network.parallel]
        if network.dev or network.backend == "multicast":
            record["dev"] = underlay.dev or network.dev
        if network.direct_routing or network.backend == "host-gw":
            record["via"] = {str(version): address for version, address in underlay.addresses.items()}
            record["segments"] = {str(version): subnet for version, subnet in underlay.subnets.items()}
        if network.peers is not None:
            names: set[str] = set()
            for some, others in network.peers:
                names |= (others if node in some else frozenset()) | (some if node in others else frozenset())
            record["peers"] = sorted(names - {node})
        return record


def bridge_of(network: str) -> str:
    """A device name of at most 15 characters for a network without a VNI."""
    return f"br.{network}" if len(network) <= 12 else f"br.{hashlib.sha256(network.encode()).hexdigest()[:12]}"


def vtep_mac(network: str, vni: int, node: str) -> str:
    """A locally administered unicast MAC that follows from who the node is, so that nobody has to be asked for it."""
    digest = bytearray(hashlib.sha256(f"{network}\0{vni}\0{node}".encode()).digest()[:6])
    digest[0] = digest[0] & 0xFC | 0x02
    return ":".join(f"{octet:02x}" for octet in digest)
