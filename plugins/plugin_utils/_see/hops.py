# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What explain looks at between the two ends: a function for each hop that a network may list. Pure. PRIVATE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Hop
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.container_hops import enter_container, leave_container
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.filtering import FORWARDED, RECEIVED, SENT
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.walk import (
    Tables,
    Walk,
    find_link,
    find_underlay_device,
    is_up,
    list_addresses,
    suggest_run,
)


def _check_bridge(walk: Walk, host: str, tables: Tables) -> None:
    name = walk.network.bridge
    link = find_link(tables, name)
    wanted = {lease.gateway for lease in walk.network.members[host].leases}
    there = list_addresses(tables["addresses"], name)
    if not link:
        walk.add_broken(host, "bridge", f"there is no {name}", suggest_run(host))
    elif not is_up(link):
        walk.add_broken(host, "bridge", f"{name} is down", f"ip link set {name} up")
    elif not wanted & there:
        text = f"{name} has {', '.join(sorted(there)) or 'no address'}, not {', '.join(sorted(wanted))}"
        walk.add_broken(host, "bridge", text, suggest_run(host) + "; Docker may have to restart")
    else:
        walk.add(host, "bridge", f"{name} is up with {', '.join(sorted(wanted))}")


def _check_vtep(walk: Walk, host: str, tables: Tables) -> None:
    tunnel, own = walk.tunnel, walk.network.members[host]
    name = tunnel.device
    link = find_link(tables, name)
    data = link.get("linkinfo", {}).get("info_data", {})
    if not link:
        walk.add_broken(host, "VTEP", f"there is no {name}", suggest_run(host))
        return
    if not is_up(link):
        remedy = f"ip link set {name} up, and {suggest_run(host)} for what it lost"
        walk.add_broken(host, "VTEP", f"{name} is down", remedy)
        return
    wanted = {"id": tunnel.vni, "port": tunnel.port, "local": own.underlay_ip}
    found = {"id": data.get("id"), "port": data.get("port"), "local": data.get("local") or data.get("local6")}
    wrong = [f"{key} {found[key]}, not {value}" for key, value in wanted.items() if value and found[key] != value]
    words = [name + " is up", *([f"VNI {tunnel.vni}"] if tunnel.vni else []), *([f"port {tunnel.port}"] if tunnel.port else [])]
    if wrong:
        walk.add_broken(host, "VTEP", f"{name} has {'; '.join(wrong)}", suggest_run(host))
    elif walk.network.shared and walk.network.bridge and link.get("master") != walk.network.bridge:
        walk.add_broken(host, "VTEP", f"{name} is no port of {walk.network.bridge}", suggest_run(host))
    else:
        walk.add(host, "VTEP", f"{', '.join(words)}, from {own.underlay_ip}")


def _check_forwarding(walk: Walk, host: str, tables: Tables) -> None:
    name = "net.ipv6.conf.all.forwarding" if walk.version == 6 else "net.ipv4.ip_forward"
    if tables["settings"].get(name) != "1":
        text = f"{name} is {tables['settings'].get(name) or 'not there'}"
        walk.add_broken(host, "forwarding", text, f"sysctl -w {name}=1")
    else:
        walk.add(host, "forwarding", f"{name} is 1")


def _check_route(walk: Walk) -> None:
    host, address, route, way = walk.here.host, walk.there.address, walk.near["routes"].get("out", {}), walk.way
    if "error" in route or not route:
        text = f"the host has no route to {address}: {route.get('error', 'it was not asked')}"
        walk.add_broken(host, "route", text, suggest_run(host))
        return
    device = way.tunnel.device if way.tunnel is not None else ""
    planned = f"via {way.gateway}" if way.gateway else f"by {device}" if device else "directly"
    kind = route.get("type", "unicast")
    found = (f"via {route['gateway']} " if route.get("gateway") else "") + f"by {route.get('dev', '')}"
    if kind != "unicast":
        walk.add_broken(host, "route", f"the route to {address} is {kind}", suggest_run(host))
    elif device and route.get("dev") != device or way.gateway and route.get("gateway") != way.gateway:
        text = f"the route to {address} leads {found}; planned is {planned}"
        walk.add_broken(host, "route", text, suggest_run(host))
    else:
        walk.add(host, "route", f"{address} {found}")


def _check_firewall_forward(walk: Walk) -> None:
    go = walk.near["routes"].get("out", {}).get("dev", "")
    walk.check_firewall(walk.here.host, walk.near, walk.make_inner(walk.near, walk.network.bridge, go), FORWARDED)


def _check_firewall_bridge(walk: Walk) -> None:
    bridge = walk.network.bridge
    # Where the kernel shows bridged packets to iptables.
    setting = "net.bridge.bridge-nf-call-ip%stables" % ("6" if walk.version == 6 else "")
    if walk.near["settings"].get(setting) == "1":
        walk.check_firewall(walk.here.host, walk.near, walk.make_inner(walk.near, bridge, bridge), FORWARDED)


def _check_firewall_out(walk: Walk) -> None:
    shared = walk.network.bridge if walk.network.shared else ""
    go = shared or walk.near["routes"].get("out", {}).get("dev", "")
    walk.check_firewall(walk.here.host, walk.near, walk.make_inner(walk.near, go=go), SENT)


def _check_neighbour(walk: Walk) -> None:
    host, device, lease = walk.here.host, walk.tunnel.device, walk.peer.find_lease(walk.version)
    address, mac = lease.vtep_ip if lease is not None else "", walk.peer.macs[0]
    entry = next((one for one in walk.near["neigh"] if one.get("dst") == address and one.get("dev") == device), None)
    what = f"{address} on {device}"
    if entry is None or "lladdr" not in entry:
        text = f"there is no neighbour {what}, and nobody answers for it"
        walk.add_broken(host, "neighbour", text, suggest_run(host))
    elif entry["lladdr"] != mac:
        walk.add_broken(host, "neighbour", f"{what} has {entry['lladdr']}, not {mac}", suggest_run(host))
    else:
        walk.add(host, "neighbour", f"{what} is {entry['lladdr']} ({', '.join(entry.get('state', []))})")


def _check_fdb(walk: Walk) -> None:
    host, device = walk.here.host, walk.tunnel.device
    mac, expected = walk.network.find_entry(walk.own, walk.peer)
    found = [one["dst"] for one in walk.near["fdb"] if one.get("ifname") == device and one.get("mac") == mac and "dst" in one]
    if not found:
        text = f"{device} does not know where {mac} of {walk.there.host} is"
        walk.add_broken(host, "FDB", text, suggest_run(host))
    elif expected not in found:
        text = f"{device} sends what is for {walk.there.host} to {', '.join(found)}, not to {expected}"
        walk.add_broken(host, "FDB", text, suggest_run(host))
    else:
        walk.add(host, "FDB", f"{mac} is at {expected}")


def _check_underlay(walk: Walk) -> None:
    host, there, route = walk.here.host, walk.there.host, walk.near["routes"].get("underlay", {})
    address = route.get("dst", "")
    if "error" in route or not route:
        why = route.get("error", "it was not asked")
        walk.add_broken(host, "underlay", f"there is no route to the underlay address of {there}: {why}", "ip route")
        return
    if route.get("type", "unicast") != "unicast":
        text = f"the route to {address} is {route['type']}"
        walk.add_broken(host, "underlay", text, f"ip route get {address}; ip route")
        return
    device, hop = route.get("dev", ""), route.get("gateway") or address
    link = find_link(walk.near, device)
    if link and not is_up(link):
        walk.add_broken(host, "underlay", f"{device} is down", f"ip link set {device} up")
        return
    entry: Mapping[str, Any] = next(
        (one for one in walk.near["neigh"] if one.get("dst") == hop and one.get("dev") == device), {}
    )
    if "FAILED" in entry.get("state", []):
        remedy = f"ping {hop}; look at {device} and its switch"
        walk.add_broken(host, "underlay", f"nobody answers for {hop} on {device}", remedy)
        return
    own = walk.peer.find_underlay_address(walk.version)
    if own not in list_addresses(walk.far["addresses"]):
        remedy = f"ip address on {there}, or overlay_underlay_ip in the inventory"
        walk.add_broken(there, "underlay", f"{there} does not have the underlay address {own}", remedy)
        return
    via = f" via {route['gateway']}" if route.get("gateway") else ""
    announced = f", which a NAT makes {own} of {there}" if address == walk.peer.public_ip else ""
    walk.add(host, "underlay", f"{address}{via} by {device}{announced}")


def _check_tunnel_out(walk: Walk) -> None:
    packet = walk.make_outer(walk.near, go=find_underlay_device(walk.near))
    walk.check_firewall(walk.here.host, walk.near, packet, SENT)


def _check_tunnel_in(walk: Walk) -> None:
    packet = walk.make_outer(walk.far, come=find_underlay_device(walk.far))
    walk.check_firewall(walk.there.host, walk.far, packet, RECEIVED)


def _check_far_mac(walk: Walk) -> None:
    device, wanted = walk.tunnel.device, walk.peer.macs[0]
    found = find_link(walk.far, device).get("address")
    if found != wanted:
        text = f"{device} has {found}, and the others send to {wanted}"
        walk.add_broken(walk.there.host, "VTEP MAC", text, suggest_run(walk.there.host))


def _find_far_device(walk: Walk) -> str:
    """The device by which packets come to the far host."""
    return walk.way.tunnel.device if walk.way.tunnel is not None else find_underlay_device(walk.far)


def _check_far_end(walk: Walk) -> None:
    host, address = walk.there.host, walk.there.address
    if address not in list_addresses(walk.far["addresses"]):
        walk.add_broken(host, "far end", f"no device of {host} has {address}", suggest_run(host))
        return
    walk.check_firewall(host, walk.far, walk.make_inner(walk.far, come=_find_far_device(walk)), RECEIVED)
    if walk.broken is None:
        walk.add(host, "far end", f"{address} is the host's own")


def _check_far_route(walk: Walk) -> None:
    host, address, bridge = walk.there.host, walk.there.address, walk.network.bridge
    route = walk.far["routes"].get("in", {})
    if "error" in route or route.get("dev") != bridge:
        why = route.get("error") or f"it leads by {route.get('dev')}, not by {bridge}"
        text = f"what comes for {address} does not get there: {why}"
        walk.add_broken(host, "far route", text, suggest_run(host))
    else:
        walk.add(host, "far route", f"{address} by {bridge}")


def _check_far_firewall(walk: Walk) -> None:
    packet = walk.make_inner(walk.far, come=_find_far_device(walk), go=walk.network.bridge)
    walk.check_firewall(walk.there.host, walk.far, packet, FORWARDED)


CHECKS: dict[Hop, Callable[[Walk], None]] = {
    Hop.LEAVE_CONTAINER: leave_container,
    Hop.BRIDGE: lambda walk: _check_bridge(walk, walk.here.host, walk.near),
    Hop.VTEP: lambda walk: _check_vtep(walk, walk.here.host, walk.near),
    Hop.FORWARDING: lambda walk: _check_forwarding(walk, walk.here.host, walk.near),
    Hop.ROUTE: _check_route,
    Hop.FIREWALL_FORWARD: _check_firewall_forward,
    Hop.FIREWALL_BRIDGE: _check_firewall_bridge,
    Hop.FIREWALL_OUT: _check_firewall_out,
    Hop.NEIGHBOUR: _check_neighbour,
    Hop.FDB: _check_fdb,
    Hop.UNDERLAY: _check_underlay,
    Hop.TUNNEL_OUT: _check_tunnel_out,
    Hop.TUNNEL_IN: _check_tunnel_in,
    Hop.FAR_VTEP: lambda walk: _check_vtep(walk, walk.there.host, walk.far),
    Hop.FAR_MAC: _check_far_mac,
    Hop.FAR_END: _check_far_end,
    Hop.FAR_BRIDGE: lambda walk: _check_bridge(walk, walk.there.host, walk.far),
    Hop.FAR_FORWARDING: lambda walk: _check_forwarding(walk, walk.there.host, walk.far),
    Hop.FAR_ROUTE: _check_far_route,
    Hop.FAR_FIREWALL: _check_far_firewall,
    Hop.ENTER_CONTAINER: enter_container,
}
