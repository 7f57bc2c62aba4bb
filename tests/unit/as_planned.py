# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What iproute2 would say on hosts that are as planned, from their parts of the plan: the tables that explain reads."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ZERO_MAC = "00:00:00:00:00:00"
Sections = Mapping[str, Sequence[Mapping[str, Any]]]


def tables_of(
    host: Mapping[str, Any], sections: Sections, containers: Sequence[Mapping[str, Any]], end: Mapping[str, Any]
) -> dict[str, Any]:
    """The answer of overlay_tables.

    @param host: its C(underlay) addresses, with their lengths
    @param containers: those that run there, each with the C(bridge) that it is on
    @param end: what explain asks of this host
    """
    devices = list(_devices(host, sections))
    # Of the pair of each container the end on the host has an even number.
    ends = [
        {"ifname": f"veth{number}", "ifindex": 100 + 2 * number, "flags": ["UP"], "master": one["bridge"]}
        for number, one in enumerate(containers)
    ]
    chosen = next((number for number, one in enumerate(containers) if one["name"] == end["container"]), None)
    return {
        "links": [*devices, *ends],
        "addresses": devices,
        "neigh": [
            {"dst": entry["dst"], "dev": part["device"], "lladdr": entry["lladdr"], "state": ["PERMANENT"]}
            for part in sections["neigh_entry"]
            for entry in part["entries"]
        ],
        "fdb": list(_fdb(sections)),
        "nft": [],
        "iptables": "",
        "ip6tables": "",
        "settings": {
            **{one["name"]: str(one["value"]) for one in sections["sysctl"]},
            "net.bridge.bridge-nf-call-iptables": "1",
            "net.bridge.bridge-nf-call-ip6tables": "1",
        },
        "routes": {one["name"]: _route(one, devices, sections, containers, chosen) for one in end["routes"]},
        "container": {} if chosen is None else {"addresses": [_inside(containers[chosen], chosen)]},
    }


def _addresses(values: Sequence[str]) -> list[dict[str, Any]]:
    return [{"local": value.partition("/")[0], "prefixlen": int(value.partition("/")[2])} for value in values]


def _devices(host: Mapping[str, Any], sections: Sections) -> Iterator[dict[str, Any]]:
    yield {"ifname": "eth0", "flags": ["UP"], "addr_info": _addresses(host["underlay"])}
    for link in sections["vxlan_link"][0]["entries"]:
        data = {"id": link["vni"], "port": link["port"], "local6" if ":" in link["local"] else "local": link["local"]}
        yield {
            **{"ifname": link["name"], "flags": ["UP"], "address": link["mac"], "master": link.get("master")},
            **{"linkinfo": {"info_kind": "vxlan", "info_data": data}, "addr_info": _addresses(link.get("addresses", ()))},
        }
    bridges = {one["name"]: list(one["addresses"]) for one in sections["bridge"]}
    for one in sections["docker_network"]:
        lengths = [subnet.partition("/")[2] for subnet in one["subnets"]]
        bridges.setdefault(one["bridge"], [f"{gateway}/{length}" for gateway, length in zip(one["gateways"], lengths)])
    for one in sections["docker_bip"]:
        bridges["docker0"] = [one[key] for key in ("bip", "bip6") if one.get(key)]
    yield from ({"ifname": name, "flags": ["UP"], "addr_info": _addresses(given)} for name, given in bridges.items() if given)


def _inside(container: Mapping[str, Any], number: int) -> dict[str, Any]:
    addresses = [{"local": address} for address in container["addresses"]]
    return {"ifname": "eth0", "flags": ["UP"], "link_index": 100 + 2 * number, "addr_info": addresses}


def _fdb(sections: Sections) -> Iterator[dict[str, Any]]:
    for link in sections["vxlan_link"][0]["entries"]:
        for option in ("remote", "group"):
            if link.get(option):
                yield {"ifname": link["name"], "mac": ZERO_MAC, "dst": link[option]}
    for part in sections["fdb_entry"]:
        yield from ({"ifname": part["device"], "mac": one["mac"], "dst": one["dst"]} for one in part["entries"])


def _route(
    asked: Mapping[str, Any],
    devices: Sequence[Mapping[str, Any]],
    sections: Sections,
    containers: Sequence[Mapping[str, Any]],
    chosen: int | None,
) -> dict[str, Any]:
    """As C(ip route get): the longest prefix that the destination is in."""
    to = ipaddress.ip_address(asked["to"])
    if asked.get("container"):
        if chosen is None:
            return {}
        bridge = next(one for one in devices if one["ifname"] == containers[chosen]["bridge"])
        for info in bridge["addr_info"]:
            network = ipaddress.ip_network(f"{info['local']}/{info['prefixlen']}", strict=False)
            if network.version == to.version:
                near = {"dst": asked["to"], "dev": "eth0"}
                return near if to in network else {**near, "gateway": info["local"]}
    ways: list[tuple[int, dict[str, Any]]] = [
        (0, {"dev": "eth0", "gateway": "192.168.65.254" if to.version == 4 else "fd65::254"})
    ]
    for device in devices:
        for info in device["addr_info"]:
            network = ipaddress.ip_network(f"{info['local']}/{info['prefixlen']}", strict=False)
            if network.version == to.version and to in network:
                ways.append((network.prefixlen, {"dev": device["ifname"]}))
    for one in sections["route_entry"][0]["entries"]:
        network = ipaddress.ip_network(one["dst"])
        if network.version == to.version and to in network:
            ways.append((network.prefixlen, {"gateway": one["gateway"], "dev": one.get("device", "eth0")}))
    return {"dst": asked["to"], **max(ways, key=lambda way: way[0])[1]}
