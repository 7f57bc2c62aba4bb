# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two ends of a way, as somebody names them, on the network that both are on. Pure. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import version_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network, Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.places import Places

# A container that nobody runs, at an address that somebody asks for.
NOBODY = "?"
# By host and Docker network, the running containers.
Running = Mapping[str, Mapping[str, Any]]


class ExplainError(ValueError):
    """What is asked for cannot be found; the text says what, and what there is."""


@dataclass(frozen=True)
class End:
    """One end: a host, or a container on it, with its address on the network."""

    host: str
    address: str
    container: str = ""

    @property
    def title(self) -> str:
        return f"{self.container} on {self.host}" if self.container else self.host


def find_hosts(plan: Plan, src: str, dst: str, here: Collection[str] | None = None) -> list[str]:
    """The hosts to ask for the two ends: theirs, or all where a container is named without its host.

    @param here: those of this run
    """
    if not src or not dst:
        raise ExplainError("give both ends: -e src=A -e dst=B, each a host, a container, HOST/CONTAINER or an address")
    nodes = plan.list_nodes()
    named = [_find_host(plan, nodes, _normalize(end)) for end in (src, dst)]
    here = nodes if here is None else here
    for host in named:
        if host and host not in here:
            raise ExplainError(f"{host} is not in this run: let --limit leave neither end out")
    return [host for host in (nodes if "" in named else sorted(set(named))) if host in here]


def _find_host(plan: Plan, nodes: Sequence[str], end: str) -> str:
    name, slash, _container = end.partition("/")
    if name in nodes:
        return name
    if slash:
        raise ExplainError(f"{end}: there is no host {name} on any network")
    if not _is_address(end):
        return ""
    host = Places(plan).find(end)[0] or next(
        (
            node
            for network in plan.networks.values()
            for node, member in network.members.items()
            if end
            in (member.underlay_ip, member.public_ip, *member.addresses.values(), *(lease.gateway for lease in member.leases))
        ),
        "",
    )
    if not host:
        raise ExplainError(f"{end}: no lease of any host has this address")
    return host


def find_ends(plan: Plan, src: str, dst: str, name: str, running: Running) -> tuple[Network, End, End]:
    """The network, and both ends on it.

    @param name: the network, or nothing
    """
    check_network(plan, name)
    reasons: list[str] = []
    src, dst = _normalize(src), _normalize(dst)
    # A host may be named by its underlay address, which is none of the overlay.
    given = [version_of(end) for end in (src, dst) if _is_address(end) and end not in plan.list_nodes()]
    if len(set(given)) > 1:
        raise ExplainError(f"{src} and {dst} are of two IP families: nothing leads from the one to the other")
    for network in [plan.networks[name]] if name else plan.networks.values():
        if not network.joins:
            continue
        # That of the end that is given by its address; else IPv4 where there is any.
        version = (given or sorted(version_of(cidr) for cidr in network.cidrs))[0]
        ends: list[End] = []
        for end in (src, dst):
            try:
                ends.append(_find_end(plan, network, end, running, version))
            except ExplainError as error:
                reasons.append(str(error))
        if len(ends) < 2:
            continue
        here, there = ends
        if here.host == there.host:
            raise ExplainError(f"{src} and {dst} are both on {here.host}: nothing leaves the host")
        if there.host in network.find_peers(here.host):
            return network, here, there
        reasons.append(f"{here.host} and {there.host} are no peers on {network.name}")
    raise ExplainError("; ".join(dict.fromkeys(reasons)) or "there is no network between them")


def check_network(plan: Plan, name: str) -> None:
    """Refuse a name that no network has."""
    if name and name not in plan.networks:
        raise ExplainError(f"there is no network {name}; there are: {', '.join(plan.networks)}")


def _normalize(end: str) -> str:
    """An address as the plan and the kernel write it; all else as it is."""
    return str(ipaddress.ip_address(end)) if _is_address(end) else end


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _find_end(plan: Plan, network: Network, end: str, running: Running, version: int) -> End:
    """The end on a network; raises ExplainError where there is none."""
    host, slash, _container = end.partition("/")
    if host in plan.list_nodes() and not slash:
        return _make_host_end(network, host, version)
    found = _find_container(network, end, running, version)
    if found is not None:
        return found
    if not _is_address(end):
        raise ExplainError(f"no container {end} runs on {network.name}")
    place, name = Places(plan).find(end)
    if name != network.name:
        raise ExplainError(f"{end} is not of {network.name}")
    if end in [word for lease in network.members[place].leases for word in (lease.gateway, lease.vtep_ip)]:
        return End(place, end)
    if not network.bridge:
        text = f"{end} is no host's own address on {network.name}, and whose runtime has it only that runtime knows"
        raise ExplainError(text)
    # Nobody has it: the way there is explained as far as it goes.
    return End(place, end, NOBODY)


def _make_host_end(network: Network, host: str, version: int) -> End:
    if host not in network.members:
        raise ExplainError(f"{host} is not on {network.name}")
    lease = network.members[host].find_lease(version)
    if lease is None:
        raise ExplainError(f"{network.name} has no IPv{version}")
    return End(host, lease.gateway)


def _find_container(network: Network, end: str, running: Running, version: int) -> End | None:
    host, slash, container = end.partition("/")
    for node, found in sorted(running.items()):
        if node not in network.members or not network.docker_name:
            continue
        for one in found.get(network.docker_name, []):
            addresses = [address for address in one["addresses"] if version_of(address) == version]
            by_name = one["name"] == (container or end) and (not slash or node == host)
            if addresses and (by_name or end in addresses):
                return End(node, end if end in addresses else addresses[0], one["name"])
    return None


def list_lookups(network: Network, here: End, there: End) -> list[dict[str, Any]]:
    """What to ask the kernel of one end's host: the routes of what it sends and of what it gets."""
    routes: list[dict[str, Any]] = []
    if here.container and here.container != NOBODY:
        routes.append({"name": "container", "to": there.address, "container": True})
    out: dict[str, Any] = {"name": "out", "to": there.address}
    if here.container:
        out.update({"from": here.address, "device": network.bridge})
    routes.append(out)
    come: dict[str, Any] = {"name": "in", "to": here.address}
    if network.tunnel is not None:
        come.update({"from": there.address, "device": network.tunnel.device})
    routes.append(come)
    near, far = network.members[here.host], network.members[there.host]
    routes.append({"name": "underlay", "to": near.find_peer_address(far, version_of(there.address))})
    return routes
