# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first and the last hop of a way between containers. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._see.ends import NOBODY, End
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.walk import Tables, Walk, is_up, list_addresses


def _find_device(tables: Tables, end: End) -> Mapping[str, Any]:
    """The container's device with its address."""
    return next((link for link in tables["container"]["addresses"] if end.address in list_addresses([link])), {})


def _find_pair(tables: Tables, device: Mapping[str, Any]) -> Mapping[str, Any]:
    """The other end of it, on the host."""
    return next((link for link in tables["links"] if link.get("ifindex") == device.get("link_index")), {})


def leave_container(walk: Walk) -> None:
    here, host = walk.here, walk.here.host
    if here.container == NOBODY:
        remedy = "docker ps; docker network inspect " + walk.network.docker_name
        text = f"no container that runs on {host} has the address {here.address}"
        walk.add_broken(host, "container", text, remedy)
        return
    if not walk.near["container"]:
        walk.add_broken(host, "container", f"{here.container} does not run", f"docker start {here.container}")
        return
    device, restart = _find_device(walk.near, here), f"docker restart {here.container}"
    if not device:
        text = f"{here.container} does not have its address {here.address} any more"
        walk.add_broken(host, "container", text, restart)
        return
    if not is_up(device):
        name = device["ifname"]
        command = f"nsenter -t $(docker inspect -f '{{{{.State.Pid}}}}' {here.container}) -n ip link set {name} up"
        walk.add_broken(host, "container", f"{name} of {here.container} is down", command)
        return
    _check_container_route(walk, restart)
    if walk.broken is None:
        _check_endpoint(walk, device, restart)


def _check_container_route(walk: Walk, restart: str) -> None:
    here, address = walk.here, walk.there.address
    route = walk.near["routes"].get("container", {})
    if "error" in route or not route:
        why = route.get("error", "it was not asked")
        walk.add_broken(here.host, "container route", f"{here.container} has no route to {address}: {why}", restart)
        return
    via = route.get("gateway", "")
    expected = {lease.gateway for lease in walk.own.leases}
    if not walk.network.shared and via not in expected:
        text = f"{here.container} sends to {via or 'nobody'}, not to the host's {', '.join(sorted(expected))}"
        walk.add_broken(here.host, "container route", text, restart)
        return
    walk.add(here.host, "container route", f"{address} " + (f"via {via} " if via else "") + f"by {route.get('dev')}")


def _check_endpoint(walk: Walk, device: Mapping[str, Any], restart: str) -> None:
    here, name, bridge = walk.here, device["ifname"], walk.network.bridge
    pair = _find_pair(walk.near, device)
    if not pair:
        walk.add_broken(here.host, "endpoint", f"the other end of {name} of {here.container} is gone", restart)
    elif not is_up(pair):
        text = f"{pair['ifname']}, the other end of {name}, is down"
        walk.add_broken(here.host, "endpoint", text, f"ip link set {pair['ifname']} up")
    elif pair.get("master") != bridge:
        command = f"ip link set {pair['ifname']} master {bridge}"
        walk.add_broken(here.host, "endpoint", f"{pair['ifname']} is no port of {bridge}", command)
    else:
        walk.add(here.host, "endpoint", f"{pair['ifname']} is a port of {bridge}")


def enter_container(walk: Walk) -> None:
    there, host = walk.there, walk.there.host
    if there.container == NOBODY or not walk.far["container"]:
        missing = "no container that runs there" if there.container == NOBODY else ""
        name = missing or f"{there.container} does not run, and nobody else"
        walk.add_broken(host, "far container", f"{name} has the address {there.address}", "docker ps --all")
        return
    device, restart = _find_device(walk.far, there), f"docker restart {there.container}"
    pair = _find_pair(walk.far, device)
    if not device:
        text = f"{there.container} does not have {there.address} any more"
        walk.add_broken(host, "far container", text, restart)
    elif not is_up(device):
        walk.add_broken(host, "far container", f"{device['ifname']} of {there.container} is down", restart)
    elif not pair or not is_up(pair):
        text = f"the other end of {device['ifname']} of {there.container} is gone or down"
        walk.add_broken(host, "far endpoint", text, restart)
    elif pair.get("master") != walk.network.bridge:
        command = f"ip link set {pair['ifname']} master {walk.network.bridge}"
        text = f"{pair['ifname']} is no port of {walk.network.bridge}"
        walk.add_broken(host, "far endpoint", text, command)
    else:
        walk.add(host, "far container", f"{there.container} has {there.address}, behind {pair['ifname']}")
