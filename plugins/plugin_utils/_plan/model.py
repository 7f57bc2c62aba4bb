# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The values that a plan is made of, and those that it is made from. Pure. PRIVATE to the collection."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

# Imported here for all, where its absence is handled once.
__all__ = ["AddrFormatError", "IPAddress", "IPNetwork"]

NETADDR_IMPORT_ERROR: ImportError | None = None
try:
    from netaddr import AddrFormatError, IPAddress, IPNetwork
except ImportError as error:
    NETADDR_IMPORT_ERROR = error
    AddrFormatError = IPAddress = IPNetwork = None  # type: ignore[assignment,misc]

DEFAULT_UNDERLAY_MTU = 1500
EVERYWHERE = "group overlay"
# What is for all: the key of head-end replication in an FDB.
ZERO_MAC = "00:00:00:00:00:00"
# What YAML and JSON can hold: a plan at the register, in its file, in a report.
Plain = dict[str, Any]


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
    public_ip: Any = None


@dataclass(frozen=True)
class Underlay:
    """A node on the network that joins the nodes; addresses and subnets by IP version."""

    addresses: Mapping[int, str]
    subnets: Mapping[int, str]
    mtu: int
    dev: str = ""
    # What nodes of other subnets reach it at, where a NAT is in between; only those that are not its own.
    public: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lease:
    """What a node has of a network in one family."""

    subnet: str
    # That of the node's VTEP, by which the peers' routes lead to it.
    vtep_ip: str
    # That of the node's bridge, or the node's own where there is none.
    gateway: str

    @property
    def version(self) -> int:
        return version_of(self.subnet)


@dataclass(frozen=True)
class Tunnel:
    """What packets of a network are wrapped in, and the device of each node that does it."""

    device: str
    # What the underlay sees: a protocol over IP, by its name in /etc/protocols, and its port where it has ports.
    protocol: str = "udp"
    port: int = 0
    # What tells networks on one port apart; 0 where nothing does.
    vni: int = 0
    # Bytes that it adds to each packet.
    overhead: int = 0
    # Whether it carries Ethernet frames, so that its device has a MAC, neighbours and an FDB; else packets alone.
    ethernet: bool = True
    # The IP version that carries it.
    version: int = 4

    @property
    def short_name(self) -> str:
        """As sets of those who may send have it in their names."""
        return str(self.vni or (f"{self.protocol}_{self.port}" if self.port else self.protocol))

    def to_options(self, *names: str) -> Plain:
        """Some of its values as options of overlay_host; what it has none of is left out."""
        return {name: value for name in names if (value := getattr(self, name))}

    @property
    def flow(self) -> str:
        """What a firewall has to let pass, in words."""
        return f"{self.protocol.upper()} port {self.port}" if self.port else f"IP protocol {self.protocol}"

    @property
    def packets(self) -> str:
        return (
            f"{self.protocol.upper()} packets to port {self.port}" if self.port else f"packets of IP protocol {self.protocol}"
        )


@dataclass(frozen=True)
class Member:
    """A node on a network."""

    name: str
    leases: tuple[Lease, ...]
    # Its underlay address of the family that carries tunnels; empty where it has none.
    underlay_ip: str = ""
    # What stands for that address beyond a NAT; empty where there is none.
    public_ip: str = ""
    # Of its device in each tunnel.
    macs: tuple[str, ...] = ()
    # The underlay device, where the network has to know it.
    dev: str = ""
    # By IP version, where plain routes may lead to it, its underlay addresses; there and where a member has another address
    # beyond a NAT, the subnets that they are in.
    addresses: Mapping[int, str] = field(default_factory=dict)
    segments: Mapping[int, str] = field(default_factory=dict)
    # The names of those that it exchanges packets with; None for all.
    peers: tuple[str, ...] | None = None

    def find_lease(self, version: int) -> Lease | None:
        return next((lease for lease in self.leases if lease.version == version), None)

    def list_gateways(self, cidrs: Sequence[str]) -> list[str]:
        """Its addresses on a network that all share, with that network's lengths."""
        return [f"{lease.gateway}/{cidr.partition('/')[2]}" for lease, cidr in zip(self.leases, cidrs)]

    def find_underlay_address(self, version: int = 4) -> str:
        """Its own address on the underlay; of plain routes that of a family, or any."""
        return self.underlay_ip or self.addresses.get(version) or next(iter(self.addresses.values()), "")

    def find_peer_address(self, peer: Member, version: int = 4) -> str:
        """Where it sends what is for a peer, and what the peer's packets come from.

        That is the one that the peer announces, unless both say that they are on one subnet: there no NAT is in between, and
        few NATs lead back to where a packet came from.
        """
        own = peer.find_underlay_address(version)
        if peer.public_ip and not self.shares_segment(peer, version_of(peer.public_ip)):
            return peer.public_ip
        return own

    def shares_segment(self, peer: Member, version: int) -> bool:
        """Whether both say that they are on one subnet."""
        return version in self.segments and self.segments[version] == peer.segments.get(version)

    def to_plain(self) -> Plain:
        """Only what it has: of thousands of nodes most have little."""
        plain: Plain = {"leases": [vars(lease).copy() for lease in self.leases]}
        plain.update({key: value for key in _OWN if (value := getattr(self, key))})
        if self.macs:
            plain["macs"] = list(self.macs)
        for key, by_version in (("addresses", self.addresses), ("segments", self.segments)):
            if by_version:
                plain[key] = {str(version): value for version, value in by_version.items()}
        if self.peers is not None:
            plain["peers"] = list(self.peers)
        return plain

    @classmethod
    def from_plain(cls, name: str, plain: Plain) -> Member:
        peers = plain.get("peers")
        return cls(
            name=name,
            leases=tuple([Lease(one["subnet"], one["vtep_ip"], one["gateway"]) for one in plain["leases"]]),
            underlay_ip=plain.get("underlay_ip", ""),
            public_ip=plain.get("public_ip", ""),
            macs=tuple(plain.get("macs", ())),
            dev=plain.get("dev", ""),
            addresses={int(version): value for version, value in plain.get("addresses", {}).items()},
            segments={int(version): value for version, value in plain.get("segments", {}).items()},
            peers=None if peers is None else tuple(peers),
        )


_OWN = ("underlay_ip", "public_ip", "dev")


@dataclass(frozen=True)
class Way:
    """How packets get from one member to another: in a tunnel, or straight to a gateway."""

    tunnel: Tunnel | None = None
    # The peer's underlay address, where routes name it; of a tunnel without Ethernet too. Else they name the peer's VTEP.
    gateway: str = ""


class Hop(Enum):
    """What a packet passes between two ends, each of which explain looks at. A network lists those of its ways in order."""

    LEAVE_CONTAINER = "leave_container"
    BRIDGE = "bridge"
    VTEP = "vtep"
    FORWARDING = "forwarding"
    ROUTE = "route"
    # What the firewall does with a packet of a container's that is routed, and with one that only crosses a bridge.
    FIREWALL_FORWARD = "firewall_forward"
    FIREWALL_BRIDGE = "firewall_bridge"
    FIREWALL_OUT = "firewall_out"
    NEIGHBOUR = "neighbour"
    FDB = "fdb"
    UNDERLAY = "underlay"
    # And with what the packet is wrapped in.
    TUNNEL_OUT = "tunnel_out"
    TUNNEL_IN = "tunnel_in"
    FAR_VTEP = "far_vtep"
    FAR_MAC = "far_mac"
    FAR_END = "far_end"
    FAR_BRIDGE = "far_bridge"
    FAR_FORWARDING = "far_forwarding"
    FAR_ROUTE = "far_route"
    FAR_FIREWALL = "far_firewall"
    ENTER_CONTAINER = "enter_container"


def version_of(address: str) -> int:
    """The IP version of an address or network."""
    return 6 if ":" in address else 4


def name_bridge(network: str) -> str:
    """A device name of at most 15 characters for a network without a VNI."""
    return f"br.{network}" if len(network) <= 12 else f"br.{hashlib.sha256(network.encode()).hexdigest()[:12]}"


def compute_mac(network: str, vni: int, node: str) -> str:
    """A VTEP's: a locally administered unicast MAC that follows from who the node is, so that nobody has to be asked for it."""
    digest = bytearray(hashlib.sha256(f"{network}\0{vni}\0{node}".encode()).digest()[:6])
    digest[0] = digest[0] & 0xFC | 0x02
    return ":".join(f"{octet:02x}" for octet in digest)
