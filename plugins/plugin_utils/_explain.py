# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way of a packet between two hosts or containers, step by step, from the live tables of both hosts. Pure. PRIVATE."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._filtering import FORWARDED, RECEIVED, SENT, Packet, stopped
from ansible_collections.agentless.overlay.plugins.plugin_utils._sections import ZERO_MAC, direct_way, docker_name, peers_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._verify import Places


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


@dataclass(frozen=True)
class Step:
    """One thing that a packet needs, whether it is so, and if not, why and what mends it."""

    host: str
    what: str
    found: str
    broken: str = ""
    remedy: str = ""


@dataclass
class _Trip:
    """One direction: collects steps until one is broken."""

    steps: list[Step] = field(default_factory=list)

    @property
    def broken(self) -> Step | None:
        return self.steps[-1] if self.steps and self.steps[-1].broken else None

    def add(self, host: str, what: str, found: str, broken: str = "", remedy: str = "") -> bool:
        """Whether the packet comes further."""
        if self.broken:
            return False
        self.steps.append(Step(host, what, found, broken, remedy))
        return not broken


def hosts_to_ask(plan: Mapping[str, Any], src: str, dst: str) -> list[str]:
    """The hosts that may have the two ends: theirs, or all where a container is named without its host."""
    nodes = sorted({node for network in plan["networks"].values() for node in network["nodes"]})
    hosts = [_host_of(plan, nodes, end) for end in (src, dst)]
    return nodes if "" in hosts else sorted(set(hosts))


def _host_of(plan: Mapping[str, Any], nodes: Sequence[str], end: str) -> str:
    name, slash, _container = end.partition("/")
    if name in nodes:
        return name
    if slash:
        raise ExplainError(f"{end}: there is no host {name} on any network")
    if not _is_address(end):
        return ""
    host = Places(plan).of(end)[0] or next(
        (
            node
            for network in plan["networks"].values()
            for node, record in network["nodes"].items()
            if end in (record["underlay_ip"], *(lease["gateway"] for lease in record["leases"]))
        ),
        "",
    )
    if not host:
        raise ExplainError(f"{end}: no lease of any host has this address")
    return host


def resolve(
    plan: Mapping[str, Any], src: str, dst: str, name: str, running: Mapping[str, Mapping[str, Any]]
) -> tuple[str, End, End]:
    """The network, and both ends on it.

    @param name: the network, or nothing
    @param running: by host and Docker network, the running containers
    """
    if name and name not in plan["networks"]:
        raise ExplainError(f"there is no network {name}; there are: {', '.join(plan['networks'])}")
    nodes = sorted({node for network in plan["networks"].values() for node in network["nodes"]})
    reasons = []
    for network in [plan["networks"][name]] if name else plan["networks"].values():
        if network["attach"] == "namespace":
            continue
        versions = {6 if ":" in cidr else 4 for cidr in network["cidrs"]}
        # That of the end that is given by its address; else IPv4 where there is any.
        given = [6 if ":" in end else 4 for end in (src, dst) if _is_address(end)]
        version = (given or sorted(versions))[0]
        ends = [_end(plan, network, nodes, end, running, version) for end in (src, dst)]
        told = [end for end in ends if isinstance(end, str)]
        if told:
            reasons += told
        elif ends[0].host == ends[1].host:  # type: ignore[union-attr]
            raise ExplainError(f"{src} and {dst} are both on {ends[0].host}: nothing leaves the host")  # type: ignore[union-attr]
        elif ends[1].host not in peers_of(network, ends[0].host):  # type: ignore[union-attr]
            reasons.append(f"{ends[0].host} and {ends[1].host} are no peers on {network['name']}")  # type: ignore[union-attr]
        else:
            return network["name"], ends[0], ends[1]  # type: ignore[return-value]
    raise ExplainError("; ".join(dict.fromkeys(reasons)) or "there is no network between them")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _end(
    plan: Mapping[str, Any],
    network: Mapping[str, Any],
    nodes: Sequence[str],
    end: str,
    running: Mapping[str, Mapping[str, Any]],
    version: int,
) -> End | str:
    """The end on a network, or why there is none."""
    docker = docker_name(network)
    host, slash, container = end.partition("/")
    containers = [
        (node, one)
        for node, found in sorted(running.items())
        if node in network["nodes"]
        for one in found.get(docker, [])
        if docker
    ]
    if host in nodes and not slash:
        if host not in network["nodes"]:
            return f"{host} is not on {network['name']}"
        gateways = [
            lease["gateway"] for lease in network["nodes"][host]["leases"] if (":" in lease["gateway"]) is (version == 6)
        ]
        return End(host, gateways[0]) if gateways else f"{network['name']} has no IPv{version}"
    for node, one in containers:
        addresses = [address for address in one["addresses"] if (":" in address) is (version == 6)]
        by_name = one["name"] == (container or end) and (not slash or node == host)
        if addresses and (by_name or end in addresses):
            return End(node, end if end in addresses else addresses[0], one["name"])
    if not _is_address(end):
        return f"no container {end} runs on {network['name']}"
    place, of = Places(plan).of(end)
    if of != network["name"]:
        return f"{end} is not of {network['name']}"
    record = network["nodes"][place]
    if end in [word for lease in record["leases"] for word in (lease["gateway"], lease["vtep_ip"])]:
        return End(place, end)
    if not network["bridge"]:
        return f"{end} is no host's own address on {network['name']}, and whose runtime has it only that runtime knows"
    # Nobody has it: the way there is explained as far as it goes.
    return End(place, end, "?")


def lookups(plan: Mapping[str, Any], name: str, here: End, there: End) -> list[dict[str, Any]]:
    """What to ask the kernel of one end's host: the routes of what it sends and of what it gets."""
    network = plan["networks"][name]
    routes: list[dict[str, Any]] = []
    if here.container and here.container != "?":
        routes.append({"name": "container", "to": there.address, "container": True})
    out: dict[str, Any] = {"name": "out", "to": there.address}
    if here.container:
        out.update({"from": here.address, "device": network["bridge"]})
    routes.append(out)
    come: dict[str, Any] = {"name": "in", "to": here.address}
    if network["device"]:
        come.update({"from": there.address, "device": network["device"]})
    routes.append(come)
    far = network["nodes"][there.host]
    underlay = far["underlay_ip"] or far.get("via", {}).get("6" if ":" in there.address else "4", "")
    routes.append({"name": "underlay", "to": underlay})
    return routes


def explain(
    plan: Mapping[str, Any],
    name: str,
    ends: tuple[End, End],
    tables: tuple[Mapping[str, Any], Mapping[str, Any]],
    protocol: str = "icmp",
    port: int = 0,
) -> list[tuple[str, list[Step]]]:
    """Both directions, each with its steps up to the first that is broken."""
    here, there = ends
    if ":" in here.address and protocol == "icmp":
        protocol = "icmpv6"
    network = plan["networks"][name]
    way = _Trip()
    _go(way, network, here, there, *tables, {"protocol": protocol, "port": port, "state": "new"})
    back = _Trip()
    if not way.broken:
        # What answers goes to a port that nobody knows beforehand.
        _go(back, network, there, here, tables[1], tables[0], {"protocol": protocol, "port": 0, "state": "established"})
    return [("there", way.steps), ("back", back.steps)]


def _link(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    return next((link for link in tables["links"] if link.get("ifname") == name), {})


def _up(link: Mapping[str, Any]) -> bool:
    return "UP" in link.get("flags", [])


def _addresses(links: Sequence[Mapping[str, Any]], device: str = "") -> set[str]:
    return {
        info["local"]
        for link in links
        if not device or link.get("ifname") == device
        for info in link.get("addr_info", ())
        if "local" in info
    }


def _overlay(host: str) -> str:
    return f"ansible-playbook playbooks/overlay.yml --limit {host}"


def _go(
    trip: _Trip,
    network: Mapping[str, Any],
    here: End,
    there: End,
    near: Mapping[str, Any],
    far: Mapping[str, Any],
    kind: Mapping[str, Any],
) -> None:
    own, peer = network["nodes"][here.host], network["nodes"][there.host]
    flat = network["backend"] not in ("vxlan", "host-gw")
    lease = next((one for one in peer["leases"] if (":" in one["subnet"]) is (":" in there.address)), None)
    gateway = direct_way(network, own, peer, lease) if lease and not flat else ""
    tunnel = "" if gateway else network["device"]
    inner = {"source": here.address, "target": there.address, **kind}
    if here.container:
        _leave_container(trip, network, here, there, near, flat)
    if network["bridge"] and here.container:
        _bridge(trip, network, here.host, near)
    out = near["routes"].get("out", {})
    if tunnel:
        # Before the route, which goes with its device.
        _device(trip, network, here.host, near)
    if not flat or not network["bridge"]:
        if here.container:
            _forwarding(trip, here, near)
        _route(trip, here, there, out, tunnel, gateway)
    go = network["bridge"] if flat and network["bridge"] else out.get("dev", "")
    if here.container:
        bridged = near["settings"].get("net.bridge.bridge-nf-call-ip%stables" % ("6" if ":" in here.address else "")) == "1"
        if not flat or bridged:
            _firewall(trip, here.host, near, Packet(**inner, come=network["bridge"], go=go, local=_local(near)), FORWARDED)
    else:
        _firewall(trip, here.host, near, Packet(**inner, go=go, local=_local(near)), SENT)
    if tunnel:
        if not flat:
            _neighbour(trip, network, here, peer, lease or {}, near)
        _fdb(trip, network, here, there, peer, near, flat)
    _underlay(trip, here, there, near, far)
    if tunnel:
        outer = {"source": own["underlay_ip"], "target": peer["underlay_ip"], "protocol": "udp", "port": network["port"]}
        outer["vni"] = network["vni"]
        device = near["routes"].get("underlay", {}).get("dev", "")
        _firewall(trip, here.host, near, Packet(**outer, go=device, local=_local(near)), SENT)
        come = far["routes"].get("underlay", {}).get("dev", "")
        _firewall(trip, there.host, far, Packet(**outer, come=come, local=_local(far)), RECEIVED)
        _device(trip, network, there.host, far)
        _mac(trip, network, there.host, peer, far, flat)
    _arrive(trip, network, here, there, far, flat, Packet(**inner, local=_local(far)), tunnel)


def _local(tables: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(_addresses(tables["addresses"]))


def _leave_container(
    trip: _Trip, network: Mapping[str, Any], here: End, there: End, near: Mapping[str, Any], flat: bool
) -> None:
    if here.container == "?":
        remedy = "docker ps; docker network inspect " + docker_name(network)
        trip.add(here.host, "container", "", f"no container that runs on {here.host} has the address {here.address}", remedy)
        return
    inside = near["container"]
    if not inside:
        trip.add(here.host, "container", "", f"{here.container} does not run", f"docker start {here.container}")
        return
    device: Mapping[str, Any] = next((link for link in inside["addresses"] if here.address in _addresses([link])), {})
    restart = f"docker restart {here.container}"
    if not device:
        trip.add(here.host, "container", "", f"{here.container} does not have its address {here.address} any more", restart)
        return
    name = device["ifname"]
    if not _up(device):
        command = f"nsenter -t $(docker inspect -f '{{{{.State.Pid}}}}' {here.container}) -n ip link set {name} up"
        trip.add(here.host, "container", "", f"{name} of {here.container} is down", command)
        return
    route = near["routes"].get("container", {})
    if "error" in route or not route:
        why = route.get("error", "it was not asked")
        trip.add(here.host, "container route", "", f"{here.container} has no route to {there.address}: {why}", restart)
        return
    via = route.get("gateway", "")
    trip.add(here.host, "container route", f"{there.address} " + (f"via {via} " if via else "") + f"by {route.get('dev')}")
    expected = {lease["gateway"] for lease in network["nodes"][here.host]["leases"]}
    if not flat and via not in expected:
        trip.steps.pop()
        text = f"{here.container} sends to {via or 'nobody'}, not to the host's {', '.join(sorted(expected))}"
        trip.add(here.host, "container route", "", text, restart)
        return
    pair = next((link for link in near["links"] if link.get("ifindex") == device.get("link_index")), None)
    if pair is None:
        trip.add(here.host, "endpoint", "", f"the other end of {name} of {here.container} is gone", restart)
    elif not _up(pair):
        trip.add(
            here.host, "endpoint", "", f"{pair['ifname']}, the other end of {name}, is down", f"ip link set {pair['ifname']} up"
        )
    elif pair.get("master") != network["bridge"]:
        command = f"ip link set {pair['ifname']} master {network['bridge']}"
        trip.add(here.host, "endpoint", "", f"{pair['ifname']} is no port of {network['bridge']}", command)
    else:
        trip.add(here.host, "endpoint", f"{pair['ifname']} is a port of {network['bridge']}")


def _bridge(trip: _Trip, network: Mapping[str, Any], host: str, tables: Mapping[str, Any]) -> None:
    name = network["bridge"]
    link = _link(tables, name)
    wanted = {lease["gateway"] for lease in network["nodes"][host]["leases"]}
    if not link:
        trip.add(host, "bridge", "", f"there is no {name}", _overlay(host))
    elif not _up(link):
        trip.add(host, "bridge", "", f"{name} is down", f"ip link set {name} up")
    elif not wanted & _addresses(tables["addresses"], name):
        found = ", ".join(sorted(_addresses(tables["addresses"], name))) or "no address"
        text = f"{name} has {found}, not {', '.join(sorted(wanted))}"
        trip.add(host, "bridge", "", text, _overlay(host) + "; Docker may have to restart")
    else:
        trip.add(host, "bridge", f"{name} is up with {', '.join(sorted(wanted))}")


def _forwarding(trip: _Trip, end: End, tables: Mapping[str, Any]) -> None:
    name = "net.ipv6.conf.all.forwarding" if ":" in end.address else "net.ipv4.ip_forward"
    if tables["settings"].get(name) != "1":
        trip.add(end.host, "forwarding", "", f"{name} is {tables['settings'].get(name) or 'not there'}", f"sysctl -w {name}=1")
    else:
        trip.add(end.host, "forwarding", f"{name} is 1")


def _route(trip: _Trip, here: End, there: End, route: Mapping[str, Any], tunnel: str, gateway: str) -> None:
    planned = f"via {gateway}" if gateway else f"by {tunnel}" if tunnel else "directly"
    if "error" in route or not route:
        text = f"the host has no route to {there.address}: {route.get('error', 'it was not asked')}"
        trip.add(here.host, "route", "", text, _overlay(here.host))
        return
    kind = route.get("type", "unicast")
    way = (f"via {route['gateway']} " if route.get("gateway") else "") + f"by {route.get('dev', '')}"
    if kind != "unicast":
        trip.add(here.host, "route", "", f"the route to {there.address} is {kind}", _overlay(here.host))
    elif tunnel and route.get("dev") != tunnel or gateway and route.get("gateway") != gateway:
        text = f"the route to {there.address} leads {way}; planned is {planned}"
        trip.add(here.host, "route", "", text, _overlay(here.host))
    else:
        trip.add(here.host, "route", f"{there.address} {way}")


def _firewall(trip: _Trip, host: str, tables: Mapping[str, Any], packet: Packet, hooks: Sequence[str]) -> None:
    verdict = stopped(tables, packet, hooks)
    what = f"{packet.protocol} {packet.source} to {packet.target}" + (f" port {packet.port}" if packet.port else "")
    if verdict:
        trip.add(host, "firewall", "", f"{verdict.where} stops {what}: {verdict.rule}", verdict.remedy)
    else:
        trip.add(host, "firewall", f"lets {what} pass ({', '.join(hooks)})")


def _device(trip: _Trip, network: Mapping[str, Any], host: str, tables: Mapping[str, Any]) -> None:
    name = network["device"]
    link = _link(tables, name)
    data = link.get("linkinfo", {}).get("info_data", {})
    own = network["nodes"][host]
    if not link:
        trip.add(host, "VTEP", "", f"there is no {name}", _overlay(host))
        return
    if not _up(link):
        trip.add(host, "VTEP", "", f"{name} is down", f"ip link set {name} up, and {_overlay(host)} for what it lost")
        return
    wanted = {"id": network["vni"], "port": network["port"], "local": own["underlay_ip"]}
    found = {"id": data.get("id"), "port": data.get("port"), "local": data.get("local") or data.get("local6")}
    wrong = [f"{key} {found[key]}, not {value}" for key, value in wanted.items() if found[key] != value]
    if wrong:
        trip.add(host, "VTEP", "", f"{name} has {'; '.join(wrong)}", _overlay(host))
    elif network["backend"] not in ("vxlan", "host-gw") and network["bridge"] and link.get("master") != network["bridge"]:
        trip.add(host, "VTEP", "", f"{name} is no port of {network['bridge']}", _overlay(host))
    else:
        trip.add(host, "VTEP", f"{name} is up, VNI {network['vni']}, port {network['port']}, from {own['underlay_ip']}")


def _neighbour(
    trip: _Trip,
    network: Mapping[str, Any],
    here: End,
    peer: Mapping[str, Any],
    lease: Mapping[str, Any],
    near: Mapping[str, Any],
) -> None:
    entry = next(
        (one for one in near["neigh"] if one.get("dst") == lease["vtep_ip"] and one.get("dev") == network["device"]), None
    )
    what = f"{lease['vtep_ip']} on {network['device']}"
    if entry is None or "lladdr" not in entry:
        trip.add(here.host, "neighbour", "", f"there is no neighbour {what}, and nobody answers for it", _overlay(here.host))
    elif entry["lladdr"] != peer["vtep_mac"]:
        trip.add(here.host, "neighbour", "", f"{what} has {entry['lladdr']}, not {peer['vtep_mac']}", _overlay(here.host))
    else:
        trip.add(here.host, "neighbour", f"{what} is {entry['lladdr']} ({', '.join(entry.get('state', []))})")


def _fdb(
    trip: _Trip, network: Mapping[str, Any], here: End, there: End, peer: Mapping[str, Any], near: Mapping[str, Any], flat: bool
) -> None:
    # With a group, everybody is at the group until the device has learnt better.
    device, expected = network["device"], network["group"] or peer["underlay_ip"]
    mac = ZERO_MAC if flat else peer["vtep_mac"]
    found = [one["dst"] for one in near["fdb"] if one.get("ifname") == device and one.get("mac") == mac and "dst" in one]
    if not found:
        trip.add(here.host, "FDB", "", f"{device} does not know where {mac} of {there.host} is", _overlay(here.host))
    elif expected not in found:
        text = f"{device} sends what is for {there.host} to {', '.join(found)}, not to {expected}"
        trip.add(here.host, "FDB", "", text, _overlay(here.host))
    else:
        trip.add(here.host, "FDB", f"{mac} is at {expected}")


def _underlay(trip: _Trip, here: End, there: End, near: Mapping[str, Any], far: Mapping[str, Any]) -> None:
    route = near["routes"].get("underlay", {})
    address = route.get("dst", "")
    if "error" in route or not route:
        why = route.get("error", "it was not asked")
        trip.add(here.host, "underlay", "", f"there is no route to the underlay address of {there.host}: {why}", "ip route")
        return
    if route.get("type", "unicast") != "unicast":
        trip.add(here.host, "underlay", "", f"the route to {address} is {route['type']}", f"ip route get {address}; ip route")
        return
    device, hop = route.get("dev", ""), route.get("gateway") or address
    link = _link(near, device)
    if link and not _up(link):
        trip.add(here.host, "underlay", "", f"{device} is down", f"ip link set {device} up")
        return
    entry: Mapping[str, Any] = next((one for one in near["neigh"] if one.get("dst") == hop and one.get("dev") == device), {})
    if "FAILED" in entry.get("state", []):
        trip.add(
            here.host, "underlay", "", f"nobody answers for {hop} on {device}", f"ping {hop}; look at {device} and its switch"
        )
        return
    if address not in _addresses(far["addresses"]):
        text = f"{there.host} does not have the underlay address {address}"
        trip.add(there.host, "underlay", "", text, f"ip address on {there.host}, or overlay_underlay_ip in the inventory")
        return
    via = f" via {route['gateway']}" if route.get("gateway") else ""
    trip.add(here.host, "underlay", f"{address}{via} by {device}")


def _mac(
    trip: _Trip, network: Mapping[str, Any], host: str, record: Mapping[str, Any], tables: Mapping[str, Any], flat: bool
) -> None:
    found = _link(tables, network["device"]).get("address")
    if not flat and found != record["vtep_mac"]:
        text = f"{network['device']} has {found}, and the others send to {record['vtep_mac']}"
        trip.add(host, "VTEP MAC", "", text, _overlay(host))


def _arrive(
    trip: _Trip,
    network: Mapping[str, Any],
    here: End,
    there: End,
    far: Mapping[str, Any],
    flat: bool,
    packet: Packet,
    tunnel: str,
) -> None:
    come = tunnel or far["routes"].get("underlay", {}).get("dev", "")
    values = {key: getattr(packet, key) for key in ("source", "target", "protocol", "port", "state", "local")}
    if not there.container:
        if there.address not in _addresses(far["addresses"]):
            trip.add(there.host, "far end", "", f"no device of {there.host} has {there.address}", _overlay(there.host))
            return
        _firewall(trip, there.host, far, Packet(**values, come=come), RECEIVED)
        trip.add(there.host, "far end", f"{there.address} is the host's own")
        return
    _bridge(trip, network, there.host, far)
    if not flat:
        _forwarding(trip, there, far)
        route = far["routes"].get("in", {})
        if "error" in route or route.get("dev") != network["bridge"]:
            why = route.get("error") or f"it leads by {route.get('dev')}, not by {network['bridge']}"
            trip.add(
                there.host, "far route", "", f"what comes for {there.address} does not get there: {why}", _overlay(there.host)
            )
            return
        trip.add(there.host, "far route", f"{there.address} by {network['bridge']}")
        _firewall(trip, there.host, far, Packet(**values, come=come, go=network["bridge"]), FORWARDED)
    _enter_container(trip, network, there, far)


def _enter_container(trip: _Trip, network: Mapping[str, Any], there: End, far: Mapping[str, Any]) -> None:
    inside = far["container"]
    if there.container == "?" or not inside:
        name = "no container that runs there" if there.container == "?" else f"{there.container} does not run, and nobody else"
        trip.add(there.host, "far container", "", f"{name} has the address {there.address}", "docker ps --all")
        return
    device: Mapping[str, Any] = next((link for link in inside["addresses"] if there.address in _addresses([link])), {})
    pair: Mapping[str, Any] = next((link for link in far["links"] if link.get("ifindex") == device.get("link_index")), {})
    restart = f"docker restart {there.container}"
    if not device:
        trip.add(there.host, "far container", "", f"{there.container} does not have {there.address} any more", restart)
    elif not _up(device):
        trip.add(there.host, "far container", "", f"{device['ifname']} of {there.container} is down", restart)
    elif not pair or not _up(pair):
        trip.add(
            there.host, "far endpoint", "", f"the other end of {device['ifname']} of {there.container} is gone or down", restart
        )
    elif pair.get("master") != network["bridge"]:
        command = f"ip link set {pair['ifname']} master {network['bridge']}"
        trip.add(there.host, "far endpoint", "", f"{pair['ifname']} is no port of {network['bridge']}", command)
    else:
        trip.add(there.host, "far container", f"{there.container} has {there.address}, behind {pair['ifname']}")


def verdict(trips: Sequence[tuple[str, Sequence[Step]]]) -> Step | None:
    """The first broken step; None where the packet gets there and back."""
    return next((step for _way, steps in trips for step in steps if step.broken), None)


def told(name: str, ends: tuple[End, End], trips: Sequence[tuple[str, Sequence[Step]]]) -> list[str]:
    """The whole way in words."""
    lines = [f"{ends[0].title} ({ends[0].address}) to {ends[1].title} ({ends[1].address}) on {name}"]
    for way, steps in trips:
        if steps:
            lines.append("there:" if way == "there" else "and back:")
        lines += [f"  {'!!' if step.broken else 'ok'} {step.host}: {step.what}: {step.broken or step.found}" for step in steps]
    broken = verdict(trips)
    lines.append(f"BROKEN: {broken.host}: {broken.broken}. What to do: {broken.remedy}" if broken else "REACHABLE, both ways.")
    return lines


def asked(plan: Mapping[str, Any], src: str, dst: str) -> dict[str, Any]:
    """C(hosts) to ask, or C(error)."""
    try:
        if not src or not dst:
            raise ExplainError("give both ends: -e src=A -e dst=B, each a host, a container, HOST/CONTAINER or an address")
        return {"hosts": hosts_to_ask(plan, src, dst), "error": ""}
    except ExplainError as error:
        return {"hosts": [], "error": str(error)}


def pair(plan: Mapping[str, Any], src: str, dst: str, name: str, running: Mapping[str, Any]) -> dict[str, Any]:
    """Both ends as plain data, each with what to ask its host, or C(error)."""
    try:
        network, here, there = resolve(plan, src, dst, name, running)
    except ExplainError as error:
        return {"network": "", "ends": [], "error": str(error)}
    ends = [
        {"host": end.host, "address": end.address, "container": end.container, "routes": lookups(plan, network, end, other)}
        for end, other in ((here, there), (there, here))
    ]
    return {"network": network, "ends": ends, "error": ""}


def explained(
    plan: Mapping[str, Any],
    found: Mapping[str, Any],
    tables: Sequence[Mapping[str, Any]],
    protocol: str = "icmp",
    port: int = 0,
) -> dict[str, Any]:
    """The way in words, as data, and the first broken step in a sentence; empty where none is."""
    one, other = (End(end["host"], end["address"], end["container"]) for end in found["ends"])
    trips = explain(plan, found["network"], (one, other), (tables[0], tables[1]), protocol, int(port))
    broken = verdict(trips)
    return {
        "told": told(found["network"], (one, other), trips),
        "steps": [{"way": way, **step.__dict__} for way, steps in trips for step in steps],
        "broken": f"{broken.host}: {broken.what}: {broken.broken}. What to do: {broken.remedy}" if broken else "",
    }


def passed(packets: Sequence[Mapping[str, Any]], addresses: Sequence[str]) -> list[str]:
    """What overlay_listen saw of the pings between two addresses, a line for each device and direction."""
    ends = set(addresses)
    return [
        f"{one['what']} {one['source']} to {one['target']}: {one['way']} by {one['device']}"
        + (f", in a packet {' to '.join(one['outer'])} with VNI {one['vni']}" if one["outer"] else "")
        + f", {one['count']} times"
        for one in packets
        if {one["source"], one["target"]} <= ends or one["target"] in ends and one["what"].endswith("request")
    ]
