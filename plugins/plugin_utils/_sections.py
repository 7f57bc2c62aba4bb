# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One host's part of the plan, as the options of overlay_host. Pure. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.agentless.overlay.plugins.module_utils._marks import FILE_HEAD, MARK, SUBNET_ENV
from ansible_collections.agentless.overlay.plugins.module_utils._resources import BY_SECTION

# What is for all: the key of head-end replication in an FDB.
ZERO_MAC = "00:00:00:00:00:00"
# Whoever could send a router advertisement to a device of ours is a container or a peer, not a router of the host's.
NO_ADVERTISEMENTS = {"accept_ra": 0, "autoconf": 0}
Sections = dict[str, list[dict[str, Any]]]


def host_sections(
    plan: Mapping[str, Any],
    node: str,
    allow_renumber: bool = False,
    containers: Mapping[str, Any] | None = None,
    nexthops: str = "auto",
    adopt: bool = False,
) -> Sections:
    """Everything that must be true on a node, in sections named after the modules.

    @param plan: what Plan.as_dict returns
    @param nexthops: when routes use nexthop objects, as for route_entry
    @param adopt: whether to take over what is there under a name of ours and carries no mark
    @param containers: by node and Docker network, the containers that run there, for networks with static: true
    """
    sections: Sections = {section: [] for section in BY_SECTION}
    for section in ("vxlan_link", "route_entry"):
        sections[section].append({"entries": [], "purge": True})
    mine = [network for network in plan["networks"].values() if node in network["nodes"]]
    if mine:
        sections["boot"].append({})
    for network in mine:
        if network["attach"] == "namespace":
            _by_hand(sections, network)
        elif network["backend"] in ("vxlan", "host-gw"):
            _routed(sections, network, node, allow_renumber)
        else:
            _flat(sections, network, node)
    _forwarding(sections, mine)
    _managers(sections, mine)
    _gone(sections)
    if nexthops != "auto":
        sections["route_entry"][0]["nexthops"] = nexthops
    if adopt:
        _adopt(sections)
    static = [network for network in mine if network["static"]]
    if static:
        # Not for the next boot: the containers will be others then.
        sections["boot"][0]["sections"] = {name: list(parts) for name, parts in sections.items() if name != "boot"}
    for network in static:
        _static(sections, network, node, containers or {})
    return sections


def _gone(sections: Sections) -> None:
    """Ask for the absence of what an earlier run may have made, where nothing of its kind is asked for."""
    if not sections["files"]:
        # Of a network that was routed.
        sections["files"].append({"path": SUBNET_ENV, "state": "absent"})
    if not sections["docker_bip"]:
        # Of a network that had docker0.
        sections["docker_bip"].append({"state": "absent"})


def _adopt(sections: Sections) -> None:
    """Let what carries no mark be taken over, wherever a module asks for it."""
    for item in [*sections["vxlan_link"][0]["entries"], *sections["bridge"], *sections["route_entry"], *sections["files"]]:
        item["adopt"] = True


def peers_of(network: Mapping[str, Any], node: str) -> dict[str, Any]:
    """The records of a node's peers in a network, by name."""
    nodes = network["nodes"]
    names = nodes[node].get("peers")
    if names is None:
        return {name: record for name, record in nodes.items() if name != node}
    return {name: nodes[name] for name in names if name in nodes}


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def _forwarding(sections: Sections, mine: list[Any]) -> None:
    """Who routes between containers and others has to forward."""
    versions = {_version(cidr) for network in mine if _forwards(network) for cidr in network["cidrs"]}
    names = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
    sections["sysctl"] += [{"name": names[version], "value": "1"} for version in sorted(versions)]


def _forwards(network: Mapping[str, Any]) -> bool:
    return bool(network["attach"] != "host" or network["backend"] == "vxlan")


def _managers(sections: Sections, mine: list[Any]) -> None:
    devices = [entry["name"] for entry in sections["vxlan_link"][0]["entries"]]
    bridges = [entry["name"] for entry in sections["bridge"]]
    ports = {tunnel["port"] for item in sections["firewall"] for tunnel in item.get("vxlan", [])}
    if mine:
        sections["managers"].append({"devices": devices, "bridges": bridges, "ports": sorted(ports)})


def _device(network: Mapping[str, Any], own: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The vxlan device of a network; what link says goes before what follows from the backend."""
    device = {
        "name": network["device"],
        "vni": network["vni"],
        "port": network["port"],
        "local": own["underlay_ip"],
        "mac": own["vtep_mac"],
        "mtu": network["mtu"],
        "alias": MARK + network["name"],
        "up": True,
        **NO_ADVERTISEMENTS,
        **more,
        **network["link"],
    }
    if own.get("dev"):
        device["dev"] = own["dev"]
    return device


def _routed(sections: Sections, network: Mapping[str, Any], node: str, allow_renumber: bool) -> None:
    """A subnet a node, and a route to each peer's: through the tunnel, or straight to its underlay address."""
    own = network["nodes"][node]
    peers = peers_of(network, node)
    routes = sections["route_entry"][0]["entries"]
    tunnels = [network, *network["parallel"]] if network["backend"] == "vxlan" else []
    devices = [tunnel["device"] for tunnel in tunnels]
    ways = [(peer, lease, direct_way(network, own, peer, lease)) for peer in peers.values() for lease in peer["leases"]]
    tunnelled = [(peer, lease) for peer, lease, way in ways if not way]
    for number, tunnel in enumerate(tunnels):
        sections["vxlan_link"][0]["entries"].append(
            _device(
                {**network, **tunnel},
                {**own, "vtep_mac": _mac(own, number)},
                learning=False,
                addresses=[_host_address(lease["vtep_ip"]) for lease in own["leases"]],
            )
        )
        neighbours = [{"dst": lease["vtep_ip"], "lladdr": _mac(peer, number)} for peer, lease in tunnelled]
        # One of a peer, whatever leases of it are behind the tunnel.
        fdb = {_mac(peer, number): peer["underlay_ip"] for peer, _lease in tunnelled}
        sections["neigh_entry"].append({"device": tunnel["device"], "entries": neighbours, "purge": True})
        entries = [{"mac": mac, "dst": address} for mac, address in fdb.items()]
        sections["fdb_entry"].append({"device": tunnel["device"], "entries": entries, "purge": True})
    routes += [
        {"dst": lease["subnet"], "gateway": way}
        if way
        else {"dst": lease["subnet"], "gateway": lease["vtep_ip"], "device": network["device"], "onlink": True}
        for _peer, lease, way in ways
    ]
    firewall = {
        "network": network["name"],
        "cidrs": network["cidrs"],
        "leases": [lease["subnet"] for lease in own["leases"]],
        # Ready before the first peer without a tunnel comes: Docker 28 cannot be told later.
        "devices": devices + ([""] if "segments" in own else []),
        "bridge": network["bridge"],
    }
    if devices:
        firewall.update(_senders(network, peers))
    sections["firewall"].append(firewall)
    _attach_routed(sections, network, own, allow_renumber)


def _mac(record: Mapping[str, Any], number: int) -> str:
    """The MAC of a node's VTEP: of the network's own, or of one beside it."""
    return str([record["vtep_mac"], *record.get("parallel_macs", [])][number])


def _host_address(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def direct_way(network: Mapping[str, Any], own: Mapping[str, Any], peer: Mapping[str, Any], lease: Mapping[str, Any]) -> str:
    """The peer's underlay address, where a packet to the lease needs no tunnel; else nothing."""
    if network["backend"] != "host-gw" and not network["direct_routing"]:
        return ""
    version = str(_version(lease["subnet"]))
    subnet = own["segments"].get(version)
    if subnet is None or peer["segments"].get(version) != subnet:
        return ""
    return str(peer["via"].get(version, ""))


def _senders(network: Mapping[str, Any], peers: Mapping[str, Any]) -> dict[str, Any]:
    """Who may send us packets of the network's VNIs."""
    tunnels = [network, *network["parallel"]]
    return {
        "vxlan": [{"vni": tunnel["vni"], "port": tunnel["port"]} for tunnel in tunnels],
        "vteps": sorted(peer["underlay_ip"] for peer in peers.values()),
    }


def _neighbouring(own: Mapping[str, Any]) -> list[str]:
    """An address that the host's underlay device leads to, and that is not the host's own."""
    for version, segment in sorted(own.get("segments", {}).items()):
        first, second = (str(ipaddress.ip_network(segment)[number]) for number in (1, 2))
        return [second if own["via"].get(version) == first else first]
    return []


def _attach_routed(sections: Sections, network: Mapping[str, Any], own: Mapping[str, Any], allow_renumber: bool) -> None:
    if network["docker_network"]:
        sections["docker_network"].append(
            {
                "name": network["docker_network"],
                "network": network["name"],
                "subnets": [lease["subnet"] for lease in own["leases"]],
                "gateways": [lease["gateway"] for lease in own["leases"]],
                "bridge": network["bridge"],
                "devices": sections["firewall"][-1]["devices"],
                # The name of the underlay device only the host knows.
                "via": _neighbouring(own),
                "mtu": network["mtu"],
                "masquerade": False,
            }
        )
        return
    # The first address of each lease, which a runtime's bridge gets.
    gateways = [f"{ipaddress.ip_network(lease['subnet'])[1]}/{lease['subnet'].partition('/')[2]}" for lease in own["leases"]]
    words = {4: "FLANNEL", 6: "FLANNEL_IPV6"}
    lines = [
        f"{words[_version(cidr)]}_NETWORK={cidr}\n{words[_version(cidr)]}_SUBNET={gateway}\n"
        for cidr, gateway in zip(network["cidrs"], gateways)
    ]
    content = FILE_HEAD + "".join(lines) + f"FLANNEL_MTU={network['mtu']}\nFLANNEL_IPMASQ=true\n"
    sections["files"].append({"path": SUBNET_ENV, "content": content})
    if network["attach"] == "host":
        return
    bips = {"bip6" if ":" in gateway else "bip": gateway for gateway in gateways}
    sections["docker_bip"].append({**bips, "mtu": network["mtu"], "ip_masq": False, "allow_renumber": allow_renumber})


def _flat(sections: Sections, network: Mapping[str, Any], node: str) -> None:
    """One subnet for all nodes, as if they were on one switch."""
    own = network["nodes"][node]
    peers = peers_of(network, node)
    lengths = [cidr.partition("/")[2] for cidr in network["cidrs"]]
    gateways = [f"{lease['gateway']}/{length}" for lease, length in zip(own["leases"], lengths)]
    more: dict[str, Any] = {"learning": True}
    if network["backend"] == "p2p":
        more["remote"] = next((peer["underlay_ip"] for peer in peers.values()), None)
    elif network["backend"] == "multicast":
        more["group"] = network["group"]
    if network["attach"] == "host":
        more["addresses"] = gateways
    else:
        more.update(master=network["bridge"], addresses=[], neigh_suppress=network["neigh_suppress"])
        sections["bridge"].append(
            {
                "name": network["bridge"],
                # Not that of the lowest port, which would change with each container.
                "mac": own["vtep_mac"],
                "mtu": network["mtu"],
                "alias": MARK + network["name"],
                **NO_ADVERTISEMENTS,
                "addresses": gateways,
            }
        )
        sections["docker_network"].append(
            {
                "name": network["docker_network"],
                "network": network["name"],
                "subnets": network["cidrs"],
                "gateways": [lease["gateway"] for lease in own["leases"]],
                "ip_ranges": [lease["subnet"] for lease in own["leases"]],
                "bridge": network["bridge"],
                "devices": [],
                "via": [],
                "mtu": network["mtu"],
                "masquerade": True,
            }
        )
    sections["vxlan_link"][0]["entries"].append(_device(network, own, **more))
    fdb: list[dict[str, Any]] = []
    if network["backend"] == "l2":
        # Head-end replication: what is for all goes to each.
        fdb += [{"mac": ZERO_MAC, "dst": peer["underlay_ip"]} for peer in peers.values()]
    sections["fdb_entry"].append({"device": network["device"], "entries": fdb, "purge": True})
    sections["firewall"].append({"network": network["name"], **_senders(network, peers)})


def _static(sections: Sections, network: Mapping[str, Any], node: str, containers: Mapping[str, Any]) -> None:
    """The peers' containers of this moment, so that nobody has to ask for them."""
    peers = peers_of(network, node)
    # Of a peer that nobody asked what runs on it, what is there stays.
    known = set(peers) <= set(containers)
    fdb, neighbours = [], []
    for name, peer in peers.items():
        for container in (containers.get(name) or {}).get(network["docker_network"], []):
            fdb.append({"mac": container["mac"], "dst": peer["underlay_ip"]})
            neighbours += [{"dst": address, "lladdr": container["mac"]} for address in container["addresses"]]
    sections["fdb_entry"].append({"device": network["device"], "entries": fdb, "purge": True, "keep_unicast": not known})
    sections["neigh_entry"].append({"device": network["bridge"], "entries": neighbours, "purge": known})


def _by_hand(sections: Sections, network: Mapping[str, Any]) -> None:
    """What Docker makes for a container, made by hand: sandbox, endpoint, network, SNAT, port mapping."""
    length = network["cidrs"][0].partition("/")[2]
    sections["bridge"].append(
        {
            "name": network["bridge"],
            "mtu": network["mtu"],
            "alias": MARK + network["name"],
            **NO_ADVERTISEMENTS,
            "addresses": [f"{network['gateway']}/{length}"],
        }
    )
    publish = []
    for container in network["containers"]:
        sections["sandbox"].append(
            {
                "name": container["name"],
                "network": network["name"],
                "bridge": network["bridge"],
                "address": f"{container['address']}/{length}",
                "gateway": network["gateway"],
                "mtu": network["mtu"],
            }
        )
        for mapping in container["publish"]:
            if mapping["by"] == "dnat":
                publish.append({"port": mapping["port"], "to": f"{container['address']}:{mapping['to']}"})
            else:
                sections["units"] += _proxy(mapping["port"], f"{container['address']}:{mapping['to']}")
    sections["firewall"].append(
        {"network": network["name"], "cidrs": network["cidrs"], "bridge": network["bridge"], "publish": publish}
    )


def _proxy(port: int, to: str) -> list[dict[str, Any]]:
    """A userland proxy: systemd's own, which starts with the first connection."""
    name = f"agentless-overlay-proxy-{port}"
    return [
        {
            "name": f"{name}.service",
            "content": (
                f"[Unit]\nDescription=Port {port} of this host for {to}\nRequires={name}.socket\n\n"
                f"[Service]\nExecStart=/lib/systemd/systemd-socket-proxyd {to}\n"
            ),
            "enabled": False,
        },
        {
            "name": f"{name}.socket",
            "content": (
                f"[Unit]\nDescription=Port {port} of this host for {to}\n\n"
                f"[Socket]\nListenStream=0.0.0.0:{port}\n\n[Install]\nWantedBy=sockets.target\n"
            ),
            "enabled": True,
        },
    ]


def probe_targets(
    plan: Mapping[str, Any], node: str, containers: Mapping[str, Any], waiting: Collection[str] = ()
) -> list[dict[str, Any]]:
    """What a node should be able to reach: every peer's bridge, and the containers known on it.

    @param containers: by node, what overlay_probe returned as containers, or nothing
    @param waiting: nodes whose Docker waits for a restart by its owner: docker0 has no lease yet
    """
    targets = []
    for network in plan["networks"].values():
        if node not in network["nodes"] or network["attach"] == "namespace":
            continue
        docker_network = docker_name(network)
        shared = {"network": docker_network, "mtu": network["mtu"]}
        for name, peer in peers_of(network, node).items():
            pending = name in waiting and docker_network == "bridge"
            for lease in peer["leases"]:
                # Before Docker 28 a bridge of its own has no working IPv6 address until a container is on it.
                idle = _version(lease["gateway"]) == 6 and network["backend"] in ("vxlan", "host-gw")
                address = lease["vtep_ip"] if pending or idle else lease["gateway"]
                if address == lease["vtep_ip"] and network["backend"] == "host-gw":
                    # Which no device has there.
                    continue
                targets.append({"name": name, "address": address, **shared})
            container = (containers.get(name) or {}).get(docker_network)
            if container and not pending:
                targets += [
                    {"name": f"{name}/{container['name']}", "address": address, **shared}
                    for address in container["addresses"]
                    if _version(address) in {_version(cidr) for cidr in network["cidrs"]}
                ]
    return targets


def docker_name(network: Mapping[str, Any]) -> str:
    """What Docker calls the network that the leases go to; empty where they go to none."""
    return str(network["docker_network"] or ("bridge" if network["attach"] == "docker0" else ""))


def docker_networks(plan: Mapping[str, Any], name: str = "") -> list[str]:
    """The Docker networks that hold leases, as Docker calls them; or only that of one network."""
    return sorted({docker_name(network) for network in plan["networks"].values() if name in ("", network["name"])} - {""})


def static_networks(plan: Mapping[str, Any]) -> list[str]:
    """The Docker networks whose containers' MACs and addresses are written into each peer."""
    return sorted({network["docker_network"] for network in plan["networks"].values() if network["static"]})


def tunnel_ports(plan: Mapping[str, Any]) -> list[int]:
    """The UDP ports of all tunnels."""
    tunnels = (tunnel for network in plan["networks"].values() for tunnel in (network, *network["parallel"]))
    return sorted({tunnel["port"] for tunnel in tunnels} - {0})
