# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Docker networks of the user's own that hold a lease, beside docker0. PRIVATE to the collection.

No daemon.json, no restart: Docker makes such a network at once, and again at
each of its starts.
"""

from __future__ import annotations

import ipaddress
import json
import urllib.parse
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Mapping, Sequence, Set, Tuple, cast

from ansible_collections.agentless.overlay.plugins.module_utils import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._daemon_json import NO_NFTABLES
from ansible_collections.agentless.overlay.plugins.module_utils._resource import (
    Entry,
    Failure,
    Host,
    Key,
    Op,
    OverlayError,
    Resource,
    Spec,
)

# Docker networks with this label are ours; its value is the overlay network's name.
LABEL = "agentless.overlay"
_BRIDGE = "com.docker.network.bridge."


@dataclass(frozen=True)
class DockerNetwork(Entry):
    """A Docker network with a bridge of its own; Docker cannot change one, only make it anew."""

    name: str
    network: str
    subnet: str
    gateway: str
    options: Tuple[Tuple[str, str], ...]
    ident: str = field(default="", compare=False)

    @property
    def key(self) -> Key:
        return (self.name,)

    def lines(self) -> List[str]:
        first = "%s subnet %s gateway %s for %s" % (self.name, self.subnet, self.gateway, self.network)
        return [first] + ["%s option %s=%s" % (self.name, name, value) for name, value in self.options]

    def __str__(self) -> str:
        return "%s %s" % (self.name, self.subnet)


@dataclass
class NetworkSpec(Spec[DockerNetwork]):
    """The options, which become entries when the version of Docker is known."""

    items: List[Mapping[str, Any]] = field(default_factory=list)


def options_for(release: Tuple[int, int], options: Mapping[str, Any]) -> Tuple[Tuple[str, str], ...]:
    """The driver's options that a release of Docker needs. Pure."""
    found = {
        _BRIDGE + "name": options["bridge"],
        _BRIDGE + "enable_ip_masquerade": "false",
        "com.docker.network.driver.mtu": str(options["mtu"]),
    }
    # From 28.0 Docker drops what comes to a container from another device, before any rule of ours is asked.
    if release >= (28, 2):
        found[_BRIDGE + "trusted_host_interfaces"] = options["device"]
    elif release >= (28, 0):
        found[_BRIDGE + "gateway_mode_ipv4"] = "nat-unprotected"
    return tuple(sorted(found.items()))


class DockerNetworks(Resource[DockerNetwork]):
    name = section = "docker_network"

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[DockerNetwork]:
        return NetworkSpec(purge_owned=self.section in sections, items=list(sections.get(self.section, ())))

    def read(self, host: Host, spec: Spec[DockerNetwork], devices: Set[str]) -> Dict[Key, DockerNetwork]:
        spec = cast(NetworkSpec, spec)
        if not spec.purge_owned:
            return {}
        docker = _docker_api.inspect(host, _docker_api.SOCKET)
        if not docker.running:
            if spec.items:
                raise OverlayError("docker_network: dockerd is not running; start it, and run again")
            return {}
        if spec.items and docker.firewall != "iptables":
            raise OverlayError(NO_NFTABLES % docker.firewall)
        for item in spec.items:
            entry = DockerNetwork(
                item["name"], item["network"], item["subnet"], item["gateway"], options_for(docker.release, item)
            )
            spec.present[entry.key] = entry
        found = {}
        for item in docker.networks:
            if LABEL in (item.get("Labels") or {}):
                entry = self._decode(item)
                found[entry.key] = entry
            else:
                self._refuse_clash(item, spec)
        if not host.rolling_back:
            for key, entry in found.items():
                if key not in spec.present or not entry.same(spec.present[key]):
                    self._refuse_in_use(entry)
        return found

    @staticmethod
    def _decode(item: Mapping[str, Any]) -> DockerNetwork:
        config = (item.get("IPAM", {}).get("Config") or [{}])[0]
        return DockerNetwork(
            item["Name"],
            item["Labels"][LABEL],
            config.get("Subnet", ""),
            config.get("Gateway", ""),
            tuple(sorted((item.get("Options") or {}).items())),
            item["Id"],
        )

    @staticmethod
    def _refuse_clash(item: Mapping[str, Any], spec: NetworkSpec) -> None:
        """Before anything is touched: a network of somebody else's that has the name or addresses of one to be made."""
        for entry in spec.present.values():
            if item["Name"] == entry.name:
                raise OverlayError(
                    "docker_network: there is a Docker network %s that this collection did not make. Remove it "
                    "(docker network rm %s), or choose another name in attach" % (entry.name, entry.name)
                )
            for config in (item.get("IPAM") or {}).get("Config") or []:
                subnet = ipaddress.ip_network(config["Subnet"])
                if subnet.version == 4 and subnet.overlaps(ipaddress.IPv4Network(entry.subnet)):
                    raise OverlayError(
                        "docker_network: Docker network %s has %s, which overlaps %s's %s. Remove it, or give the host "
                        "another lease" % (item["Name"], subnet, entry.name, entry.subnet)
                    )

    @staticmethod
    def _refuse_in_use(entry: DockerNetwork) -> None:
        """A stopped container counts: it could not be started any more."""
        filters = urllib.parse.quote(json.dumps({"network": [entry.name]}))
        users = _docker_api.api("/containers/json?all=1&filters=" + filters, _docker_api.SOCKET) or []
        if users:
            raise OverlayError(
                "docker_network: %s would have to be removed or made anew, and containers use it: %s. Remove them first"
                % (entry, ", ".join(sorted(user["Names"][0].lstrip("/") for user in users)))
            )

    def extra(self, entry: DockerNetwork, spec: Spec[DockerNetwork]) -> bool:
        return spec.purge_owned

    def diff(self, actual: Mapping[Key, DockerNetwork], wanted: Mapping[Key, DockerNetwork]) -> List[Op[DockerNetwork]]:
        ops = super().diff(actual, wanted)
        subnets = {op.after.subnet for op in ops if op.after is not None}
        # Two networks cannot share a subnet, so one that takes over another's waits until that is gone.
        return [
            replace(op, recreate=True)
            if op.before is not None and op.after is not None
            else replace(op, early=op.after is None and op.entry.subnet in subnets)
            for op in ops
        ]

    def apply(self, host: Host, ops: Sequence[Op[DockerNetwork]]) -> List[Failure]:
        for op in ops:
            try:
                if op.before is not None:
                    _docker_api.api("/networks/" + op.before.ident, _docker_api.SOCKET, "DELETE")
                if op.after is not None:
                    _docker_api.api("/networks/create", _docker_api.SOCKET, "POST", self._request(op.after))
            except OverlayError as error:
                return [Failure(op, str(error))]
        return []

    @staticmethod
    def _request(entry: DockerNetwork) -> Dict[str, Any]:
        return {
            "Name": entry.name,
            "CheckDuplicate": True,
            "Driver": "bridge",
            "IPAM": {"Driver": "default", "Config": [{"Subnet": entry.subnet, "Gateway": entry.gateway}]},
            "Options": dict(entry.options),
            "Labels": {LABEL: entry.network},
        }
