# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One host's part of the plan, as the options of overlay_host. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.agentless.overlay.plugins.module_utils._marks import MARK
from ansible_collections.agentless.overlay.plugins.module_utils._resources import BY_SECTION
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import version_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network, Plan

Options = dict[str, Any]
Sections = dict[str, list[Options]]
# Whoever could send a router advertisement to a device of ours is a container or a peer, not a router of the host's.
_NO_ADVERTISEMENTS = {"accept_ra": 0, "autoconf": 0}
_FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


class Part:
    """Sections named after the modules, which each network of a host fills.

    A section that none fills asks for the absence of what an earlier run may have made.
    """

    def __init__(self, allow_renumber: bool = False) -> None:
        self.allow_renumber = allow_renumber
        self.sections: Sections = {
            section: [_copy_options(options) for options in resource.nothing or ()] for section, resource in BY_SECTION.items()
        }
        self._devices: list[Options] = []
        self._filled: set[str] = set()

    def add(self, section: str, *options: Options) -> None:
        if section not in self._filled:
            self._filled.add(section)
            self.sections[section] = []
        self.sections[section] += options

    def add_device(self, section: str, network: str, options: Options) -> None:
        """A tunnel's device of a network, which is ours and up, and no longer there when its network has gone."""
        device = {"alias": MARK + network, "up": True, **_NO_ADVERTISEMENTS, **options}
        self._devices.append(device)
        self.sections[section][0]["entries"].append(device)

    def add_bridge(self, network: str, options: Options) -> None:
        self.add("bridge", {"alias": MARK + network, **_NO_ADVERTISEMENTS, **options})

    def add_routes(self, entries: Sequence[Options]) -> None:
        self.sections["route_entry"][0]["entries"] += entries

    def adopt(self) -> None:
        """Let what carries no mark be taken over, wherever a module asks for it."""
        for options in [*self._devices, *(one for name in ("bridge", "route_entry", "files") for one in self.sections[name])]:
            options["adopt"] = True


def _copy_options(options: Mapping[str, Any]) -> Options:
    return {name: list(value) if isinstance(value, list) else value for name, value in options.items()}


def make_part(
    plan: Plan,
    node: str,
    allow_renumber: bool = False,
    containers: Mapping[str, Any] | None = None,
    nexthops: str = "auto",
    adopt: bool = False,
) -> Sections:
    """Everything that must be true on a node.

    @param nexthops: when routes use nexthop objects, as for route_entry
    @param adopt: whether to take over what is there under a name of ours and carries no mark
    @param containers: by node and Docker network, the containers that run there, for networks that ask for them
    """
    part = Part(allow_renumber)
    mine = plan.list_networks_of(node)
    if mine:
        part.add("boot", {})
    for network in mine:
        network.fill(part, network.members[node])
    _add_forwarding(part, mine)
    _add_managers(part, mine)
    if nexthops != "auto":
        part.sections["route_entry"][0]["nexthops"] = nexthops
    if adopt:
        part.adopt()
    asking = [network for network in mine if network.asks_containers]
    if asking:
        # Not for the next boot: the containers will be others then.
        part.sections["boot"][0]["sections"] = {name: list(one) for name, one in part.sections.items() if name != "boot"}
    for network in asking:
        network.fill_moment(part, network.members[node], containers or {})
    return part.sections


def _add_forwarding(part: Part, mine: Sequence[Network]) -> None:
    """Who routes between containers and others has to forward."""
    versions = {version_of(cidr) for network in mine if network.forwards for cidr in network.cidrs}
    part.add("sysctl", *({"name": _FORWARDING[version], "value": "1"} for version in sorted(versions)))


def _add_managers(part: Part, mine: Sequence[Network]) -> None:
    """Those who manage devices and firewalls of a host have to leave ours alone."""
    tunnels = [tunnel for network in mine for tunnel in network.tunnels]
    bridges = [bridge["name"] for bridge in part.sections["bridge"]]
    flows: list[Options] = []
    for tunnel in sorted(tunnels, key=lambda tunnel: (tunnel.protocol, tunnel.port)):
        flow = tunnel.to_options("protocol", "port")
        flows += [flow] if flow not in flows else []
    if mine:
        part.add("managers", {"devices": [tunnel.device for tunnel in tunnels], "bridges": bridges, "flows": flows})


def list_probe_targets(
    plan: Plan, node: str, containers: Mapping[str, Any], waiting: Collection[str] = ()
) -> list[dict[str, Any]]:
    """What a node should be able to reach: every peer's bridge, and the containers known on it.

    @param containers: by node, what overlay_probe returned as containers, or nothing
    @param waiting: nodes whose Docker waits for a restart by its owner: docker0 has no lease yet
    """
    targets = []
    for network in plan.list_networks_of(node):
        shared = {"network": network.docker_name, "mtu": network.mtu}
        versions = {version_of(cidr) for cidr in network.cidrs}
        for name, peer in network.find_peers(node).items():
            pending = name in waiting and network.attach.waits_for_docker
            addresses = [network.find_probe_address(peer, lease, pending) for lease in peer.leases]
            targets += [{"name": name, "address": address, **shared} for address in addresses if address]
            container = (containers.get(name) or {}).get(network.docker_name)
            if container and not pending:
                targets += [
                    {"name": f"{name}/{container['name']}", "address": address, **shared}
                    for address in container["addresses"]
                    if version_of(address) in versions
                ]
    return targets
