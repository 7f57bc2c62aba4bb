# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What networks, underlay and what else there is cannot share. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.devices import find_device_clashes
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import Errors
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.fields import Item
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import EVERYWHERE, IPAddress, Underlay
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import as_network, hint_quotes, is_empty

_OWN_DOCKER_NETWORK = "Attach one of them to a Docker network of its own: attach: {docker_network: NAME}"


def find_clashes(where: str, item: Item, other: Item, errors: Errors) -> None:
    """What an item cannot share with one before it."""
    mine, theirs = item.network, other.network
    # A VNI is the fleet's; a device, a bridge or a Docker network is a host's.
    vnis = {tunnel.vni for tunnel in theirs.tunnels if tunnel.vni}
    for tunnel in mine.tunnels:
        if tunnel.vni in vnis:
            problem = f"network {theirs.name} has the same VNI"
            errors.add(EVERYWHERE, f"{where}.vni", tunnel.vni, problem, "Give each network its own VNI")
    if not item.nodes & other.nodes:
        return
    for option, value, problem, remedy in mine.list_clashes(theirs):
        errors.add(EVERYWHERE, f"{where}.{option}", value, problem, remedy)
    same = bool(mine.docker_name) and mine.docker_name == theirs.docker_name
    if same:
        shown = mine.bridge if mine.docker_name == "bridge" else mine.docker_name
        problem = f"network {theirs.name} has {shown} already, which has room for one"
        errors.add(EVERYWHERE, f"{where}.attach", shown, problem, _OWN_DOCKER_NETWORK)
    if not vnis & {tunnel.vni for tunnel in mine.tunnels}:
        # Devices are named after the VNI.
        find_device_clashes(where, mine, theirs, errors)
    # One file a host tells its runtimes of one network.
    if mine.tells_runtimes and theirs.tells_runtimes and not same:
        problem = f"network {theirs.name} has /run/flannel/subnet.env already, which has room for one"
        errors.add(EVERYWHERE, f"{where}.attach", mine.attach.to_plain(), problem, _OWN_DOCKER_NETWORK)


def find_overlaps(items: Sequence[Item], underlays: Mapping[str, Underlay], reserved: Any, errors: Errors) -> None:
    """Networks that overlap each other, an underlay address, or what is reserved."""
    for number, item in enumerate(items):
        for other in items[:number]:
            for cidr, theirs in ((cidr, theirs) for cidr in item.cidrs for theirs in other.cidrs):
                if cidr in theirs or theirs in cidr:
                    errors.add(
                        EVERYWHERE,
                        f"overlay_networks: {item.network.name}.cidr",
                        str(cidr),
                        f"overlaps network {other.network.name}, {theirs}",
                        "Choose a range that no other network has",
                    )
    for node, underlay in sorted(underlays.items()):
        given = {"overlay_underlay_ip": underlay.addresses, "overlay_public_ip": underlay.public}
        for variable, address in ((variable, IPAddress(one)) for variable, some in given.items() for one in some.values()):
            for item in items:
                for cidr in item.cidrs:
                    if address in cidr:
                        problem = f"lies inside network {item.network.name}, {cidr}, so that the tunnel would lead into itself"
                        errors.add(node, variable, str(address), problem, "Choose another cidr for the network")
    _compare_reserved(items, [] if is_empty(reserved) else reserved, errors)


def _compare_reserved(items: Sequence[Item], reserved: Any, errors: Errors) -> None:
    if not isinstance(reserved, (list, tuple)):
        errors.add(EVERYWHERE, "overlay_reserved_cidrs", reserved, "not a list", "Write a list of networks")
        return
    for number, value in enumerate(reserved):
        where = f"overlay_reserved_cidrs[{number}]"
        other_cidr, _problem = as_network(value)
        if other_cidr is None:
            example = "fd00:1::/48" if isinstance(value, str) and ":" in value else "192.168.0.0/16"
            errors.add(EVERYWHERE, where, value, f"not a network{hint_quotes(value)}", f"Write it as {example}")
            continue
        for item in items:
            for cidr in item.cidrs:
                if cidr in other_cidr or other_cidr in cidr:
                    errors.add(
                        EVERYWHERE,
                        f"overlay_networks: {item.network.name}.cidr",
                        str(cidr),
                        f"overlaps the reserved {other_cidr.cidr} ({where})",
                        "Choose another range",
                    )
