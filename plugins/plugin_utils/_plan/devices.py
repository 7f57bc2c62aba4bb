# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Devices that networks make on a host, of whatever kind: a host has one of a name. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import Errors
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.fields import Item
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import EVERYWHERE, Underlay
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network

_REMEDY = "Name one of the two differently"


@dataclass(frozen=True)
class Device:
    """One that a network makes on each of its hosts, and the option that its name comes from."""

    name: str
    kind: str
    option: str
    value: Any


def list_made_devices(network: Network) -> Iterator[Device]:
    for number, tunnel in enumerate(network.tunnels):
        # Without a name is what was refused.
        if tunnel.device:
            yield Device(tunnel.device, "device", "parallel" if number else "device", tunnel.device)
    # Docker's own bridge Docker makes.
    if network.bridge and network.docker_name != "bridge":
        option, value = ("vni", network.tunnel.vni) if network.tunnel is not None else ("name", network.name)
        option, value = ("bridge", network.bridge) if "bridge" in network.options else (option, value)
        yield Device(network.bridge, "bridge", option, value)


def find_device_clashes(where: str, mine: Network, theirs: Network, errors: Errors) -> None:
    """Names that two networks of one host both give."""
    taken = {device.name: device for device in list_made_devices(theirs)}
    for device in list_made_devices(mine):
        other = taken.get(device.name)
        if other is not None:
            same = f"the same {other.kind}" if other.kind == device.kind else f"a {other.kind} of that name"
            problem = f"{_describe(device)}network {theirs.name} has {same}"
            errors.add(EVERYWHERE, f"{where}.{device.option}", device.value, problem, _REMEDY)


def find_own_clashes(where: str, item: Item, errors: Errors) -> None:
    """Names that a network gives twice."""
    taken: dict[str, Device] = {}
    for device in list_made_devices(item.network):
        other = taken.setdefault(device.name, device)
        if other is not device:
            problem = f"{_describe(device)}the network's {other.kind} ({other.option}) has that name"
            errors.add(EVERYWHERE, f"{where}.{other.option}", other.value, problem, _REMEDY)


def find_underlay_clashes(items: Sequence[tuple[str, Item]], underlays: Mapping[str, Underlay], errors: Errors) -> None:
    """Names of devices that are the host's, by what networks and hosts say of their underlay, and that a network makes.

    @param items: each with the name of its variable
    """
    makers = [(item, device) for _where, item in items for device in list_made_devices(item.network)]
    for where, item in items:
        dev = item.network.underlay_dev
        for other, device in makers:
            if dev and device.name == dev and item.nodes & other.nodes:
                problem = f"network {other.network.name} makes a {device.kind} of that name"
                errors.add(EVERYWHERE, f"{where}.dev", dev, problem, "Name the hosts' own device, or the other one differently")
    for node, underlay in underlays.items():
        for other, device in makers if underlay.dev else ():
            if device.name == underlay.dev and node in other.nodes:
                problem = f"network {other.network.name} makes a {device.kind} of that name"
                remedy = "Name the host's own device, or the other one differently"
                errors.add(node, "overlay_underlay_dev", underlay.dev, problem, remedy)


def _describe(device: Device) -> str:
    """Where the name follows from another option, what it is the name of."""
    return f"its {device.kind} would be {device.name}, and " if device.option in ("vni", "name") else ""
