# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a network is, of whatever kind, and a plan of them. Pure. PRIVATE to the collection.

A kind of network is a subclass of C(Network) in a file of its own in _backends/, and so is what containers are attached to, of
C(Attachment). Whoever plans, verifies, explains or reports asks these, and knows none of them by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import (
    Hop,
    IPAddress,
    IPNetwork,
    Lease,
    Member,
    Plain,
    Tunnel,
    Underlay,
    Way,
    compute_mac,
)

if TYPE_CHECKING:
    from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.fields import Fields
    from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import Part


class LeaseForm(Enum):
    """What a node gets of a network."""

    # A range for its containers.
    RANGE = "range"
    # One address, its own.
    ADDRESS = "address"
    # The network, as every other node: it is each node's for itself.
    WHOLE = "whole"


@dataclass(frozen=True)
class Attachment(ABC):
    """What the containers of a network are attached to, on each node."""

    # How an item of overlay_networks asks for it, and what is wrong where it has to and does not, in messages.
    written: ClassVar[str]
    missing: ClassVar[str] = ""
    # Whether it cannot do without IPv4.
    has_ipv4: ClassVar[bool] = False
    # Whether it has the lease only when Docker has been restarted.
    waits_for_docker: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def parse(cls, value: Any) -> Attachment | None:
        """What an item says under attach, or None where that is another attachment's."""

    @abstractmethod
    def to_plain(self) -> Any:
        """What parse takes."""

    @classmethod
    def make_default(cls) -> Attachment | None:
        """Where an item says nothing; None where it has to."""
        return cls()

    @classmethod
    def make_placeholder(cls) -> Attachment:
        """One in the place of what is too wrong to be planned."""
        return cls()

    def find_problem(self) -> tuple[str, str] | None:
        """What is wrong with it, and what to do, where that is more than to write another one."""
        return None

    @property
    def docker_name(self) -> str:
        """What Docker calls the network that has the leases; empty where none has."""
        return ""

    def name_bridge(self, network: Network) -> str:
        """The device that containers are attached to; empty where none are."""
        return ""

    def find_lease_form(self, shared: bool) -> LeaseForm:
        return LeaseForm.RANGE

    def tells_runtimes(self, shared: bool) -> bool:
        """Whether subnet.env tells other runtimes of the network; a host has one such file."""
        return False

    def forwards(self, shared: bool) -> bool:
        """Whether the node forwards packets between the network and others."""
        return True

    def list_words(self) -> Iterable[str]:
        """Words that tell things of the network on a host from those of others."""
        return ()

    def find_gateway(self, subnet: IPNetwork) -> str:
        """The address of a lease that the node itself has."""
        return str(IPAddress(subnet.first + 1, subnet.version))

    def fill_routed(self, part: Part, network: Network, own: Member) -> None:
        """Add what a node needs where each has a subnet of its own."""
        raise NotImplementedError(f"{self.written}: not with a subnet for each node")

    def fill_shared(self, part: Part, network: Network, own: Member, device: dict[str, Any]) -> None:
        """Add what a node needs where all share one subnet, and what that makes of the options of its tunnel's device."""
        raise NotImplementedError(f"{self.written}: not with one subnet for all")


@dataclass(frozen=True)
class Common:
    """What an item of overlay_networks says that items of all kinds may say."""

    name: str
    cidrs: tuple[IPNetwork, ...]
    mtu: int
    attach: Attachment
    members: frozenset[str]
    # The IP version that carries the tunnel.
    version: int

    def values(self) -> dict[str, Any]:
        """The fields that every network has."""
        return {"name": self.name, "cidrs": tuple(map(str, self.cidrs)), "mtu": self.mtu, "attach": self.attach}


@dataclass(frozen=True, kw_only=True)
class Network(ABC):
    """One network of the plan: what it is, and who is on it."""

    # What overlay_networks calls its kind, and the options that an item has beside those of all.
    backend: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()
    # The first one is the default.
    attachments: ClassVar[tuple[type[Attachment], ...]]
    # Bytes that its tunnel adds to a packet, by the IP version that carries it; nothing where it has no tunnel.
    overheads: ClassVar[Mapping[int, int]] = {}
    # Whether all nodes share one subnet, as on one switch, in place of a subnet each with routes between.
    shared: ClassVar[bool] = False
    # Whether nodes reach each other on it; else each has it for itself.
    joins: ClassVar[bool] = True

    name: str
    # One a family, IPv4 first.
    cidrs: tuple[str, ...]
    mtu: int
    attach: Attachment
    # Its own first, then those that are kept ready beside it for a move without loss; none where plain routes do.
    tunnels: tuple[Tunnel, ...] = ()
    members: Mapping[str, Member] = field(default_factory=dict)

    @classmethod
    @abstractmethod
    def read(cls, item: Fields, common: Common) -> Network:
        """A network, still without members, of an item's own options; what is wrong with them the item is told."""

    @property
    def tunnel(self) -> Tunnel | None:
        return self.tunnels[0] if self.tunnels else None

    @property
    def bridge(self) -> str:
        """The device that containers are attached to; empty where none are."""
        return self.attach.name_bridge(self)

    @property
    def underlay_dev(self) -> str:
        """The device of each host that its tunnels go by; empty where the kernel chooses."""
        return ""

    @property
    def docker_name(self) -> str:
        return self.attach.docker_name

    @property
    def lease_form(self) -> LeaseForm:
        return self.attach.find_lease_form(self.shared)

    @property
    def tells_runtimes(self) -> bool:
        return self.attach.tells_runtimes(self.shared)

    @property
    def forwards(self) -> bool:
        return self.attach.forwards(self.shared)

    @property
    def asks_containers(self) -> bool:
        """Whether each node has to know which containers run on the others."""
        return False

    def make_member(self, node: str, underlay: Underlay, version: int, subnets: Sequence[IPNetwork]) -> Member:
        """A node with its leases."""
        return Member(
            name=node,
            leases=tuple(Lease(str(subnet), str(subnet.network), self.attach.find_gateway(subnet)) for subnet in subnets),
            underlay_ip=underlay.addresses.get(version, ""),
            # What needs no tunnel passes no NAT.
            public_ip=underlay.public.get(version, "") if self.tunnels else "",
            macs=tuple(compute_mac(self.name, tunnel.vni, node) for tunnel in self.tunnels if tunnel.ethernet),
        )

    def find_peers(self, node: str) -> dict[str, Member]:
        """Those that a node exchanges packets with, by name."""
        if not self.joins:
            return {}
        names = self.members[node].peers
        if names is None:
            return {name: member for name, member in self.members.items() if name != node}
        return {name: self.members[name] for name in names if name in self.members}

    @abstractmethod
    def fill(self, part: Part, own: Member) -> None:
        """Add what must be true on a node."""

    def fill_moment(self, part: Part, own: Member, containers: Mapping[str, Any]) -> None:
        """Add what is true of the containers that run now, and of no later boot.

        @param containers: by node and Docker network, the containers that run there
        """
        raise NotImplementedError(f"{self.backend}: it asks for no containers")

    def find_way(self, here: Member, there: Member, version: int) -> Way:
        """How packets get from one member to another's lease."""
        return Way(tunnel=self.tunnel)

    def list_hops(self, way: Way, leaves_container: bool, enters_container: bool) -> list[Hop]:
        """What packets pass on that way, in order."""
        return []

    def list_senders(self, own: Member, peers: Mapping[str, Member]) -> dict[str, Any]:
        """Who may send us packets of the network's tunnels, for the firewall."""
        if not self.tunnels:
            return {}
        tunnels = [tunnel.to_options("protocol", "port", "vni") for tunnel in self.tunnels]
        return {"tunnels": tunnels, "vteps": sorted(map(own.find_peer_address, peers.values()))}

    def list_clashes(self, other: Network) -> Iterable[tuple[str, Any, str, str]]:
        """What of its options cannot be beside another network on one host: option, value, problem, remedy."""
        return ()

    def find_entry(self, here: Member, there: Member) -> tuple[str, str]:
        """The MAC and the destination of the FDB entry by which the tunnel of one member finds another."""
        return there.macs[0] if there.macs else "", here.find_peer_address(there)

    def compare_path(self, here: Member, there: Member, version: int, device: str, gateway: str) -> tuple[str, str]:
        """By what packets go from one member to another, and by what they should, in words.

        @param device: by which they go, and the C(gateway) there, as the kernel says
        """
        return "", ""

    def find_probe_address(self, there: Member, lease: Lease, waiting: bool) -> str:
        """What of a member's lease answers a ping; empty where nothing does.

        @param waiting: whether its Docker has not the lease yet
        """
        return lease.gateway

    def list_words(self) -> Iterable[str]:
        """Words that things of the network on a host have in their names or values."""
        yield from (self.name, *self.cidrs, *self.attach.list_words(), self.bridge)
        for tunnel in self.tunnels:
            yield tunnel.device
            yield from (f"vteps_{tunnel.short_name}", f"vteps_{tunnel.short_name}_v6")
            if tunnel.vni:
                yield hex(tunnel.vni)

    def to_plain(self) -> Plain:
        """Only what its kind has, and what is not as by default."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in _EVERY}
        return {
            "backend": self.backend,
            "name": self.name,
            "cidrs": list(self.cidrs),
            "mtu": self.mtu,
            "attach": self.attach.to_plain(),
            **({"tunnels": _to_builtin(self.tunnels)} if self.tunnels else {}),
            **{name: _to_builtin(value) for name, value in own.items() if value},
            "members": {name: member.to_plain() for name, member in self.members.items()},
        }

    @classmethod
    def from_plain(cls, plain: Plain) -> Network:
        attach = next((found for one in cls.attachments if (found := one.parse(plain["attach"])) is not None), None)
        if attach is None:
            raise ValueError(f"{plain['name']} is attached to {plain['attach']}")
        members = {name: Member.from_plain(name, one) for name, one in plain["members"].items()}
        tunnels = tuple(Tunnel(**one) for one in plain.get("tunnels", ()))
        shared = {"name": plain["name"], "cidrs": tuple(plain["cidrs"]), "mtu": plain["mtu"], "tunnels": tunnels}
        return cls(**shared, attach=attach, members=members, **cls.restore(plain))

    @classmethod
    def restore(cls, plain: Plain) -> dict[str, Any]:
        """The fields that its kind has beside those of all."""
        own = [one.name for one in fields(cls) if one.name not in _EVERY]
        return {name: plain[name] for name in own if name in plain}


_EVERY = frozenset(one.name for one in fields(Network))


def _to_builtin(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_builtin(one) for one in value]
    if hasattr(value, "__dataclass_fields__"):
        return {one.name: _to_builtin(getattr(value, one.name)) for one in fields(value)}
    return dict(value) if isinstance(value, Mapping) else value


@dataclass(frozen=True)
class Plan:
    """The networks of the whole fleet, by name."""

    networks: Mapping[str, Network] = field(default_factory=dict)

    def list_nodes(self) -> list[str]:
        return sorted({node for network in self.networks.values() for node in network.members})

    def list_networks_of(self, node: str) -> list[Network]:
        return [network for network in self.networks.values() if node in network.members]

    def list_docker_networks(self, name: str = "") -> list[str]:
        """The Docker networks that hold leases, as Docker calls them; or only that of one network."""
        return sorted({one.docker_name for one in self.networks.values() if name in ("", one.name)} - {""})

    def list_asking(self) -> list[str]:
        """The Docker networks whose containers each node has to know."""
        return sorted({one.docker_name for one in self.networks.values() if one.asks_containers})

    def list_tunnel_ports(self) -> list[int]:
        """The UDP ports of all tunnels."""
        tunnels = (tunnel for network in self.networks.values() for tunnel in network.tunnels)
        return sorted({tunnel.port for tunnel in tunnels if tunnel.protocol == "udp"})

    def list_tunnel_devices(self) -> list[str]:
        """The devices of the networks' own tunnels."""
        return [network.tunnel.device for network in self.networks.values() if network.tunnel is not None]

    def to_plain(self) -> Plain:
        return {"networks": {name: network.to_plain() for name, network in self.networks.items()}}

    @classmethod
    def from_plain(cls, plain: Plain, backends: Mapping[str, type[Network]]) -> Plan:
        """Raises KeyError, TypeError or ValueError where it is no plan, or one of another version."""
        return cls({name: backends[one["backend"]].from_plain(one) for name, one in plain["networks"].items()})
