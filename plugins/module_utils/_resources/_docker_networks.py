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
import os
import socket
import urllib.parse
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Mapping, Sequence, Set, Tuple, cast

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._docker._daemon_keys import (
    BACKUP_SUFFIX,
    DAEMON_JSON,
    NO_NFTABLES,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import RTM_GETROUTE, Message, attributes, rtmsg
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Entry,
    Failure,
    Key,
    Op,
    Options,
    OverlayError,
    Resource,
    Spec,
)

_BRIDGE = "com.docker.network.bridge."


@dataclass(frozen=True)
class DockerNetwork(Entry):
    """A Docker network with a bridge of its own; Docker cannot change one, only make it anew."""

    name: str
    network: str
    # Subnet, gateway and the range that containers get addresses from, one of each a family.
    pools: Tuple[Tuple[str, str, str], ...]
    options: Tuple[Tuple[str, str], ...]
    ident: str = field(default="", compare=False)

    @property
    def overlay(self) -> str:
        return self.network

    @property
    def key(self) -> Key:
        return (self.name,)

    def lines(self) -> List[str]:
        pools = ["%s %s" % (self.name, _pool(pool)) for pool in self.pools]
        return (
            ["%s for %s" % (self.name, self.network)]
            + pools
            + ["%s option %s=%s" % (self.name, name, value) for name, value in self.options]
        )

    def __str__(self) -> str:
        return "%s %s" % (self.name, " ".join(pool[0] for pool in self.pools))


def _pool(pool: Tuple[str, str, str]) -> str:
    subnet, gateway, ip_range = pool
    return "subnet %s gateway %s" % (subnet, gateway) + (" ip-range %s" % ip_range if ip_range else "")


@dataclass
class NetworkSpec(Spec[DockerNetwork]):
    """The options, which become entries when the version of Docker is known."""

    items: List[Mapping[str, Any]] = field(default_factory=list)


def options_for(release: Tuple[int, int], options: Mapping[str, Any]) -> Tuple[Tuple[str, str], ...]:
    """The driver's options that a release of Docker needs. Pure."""
    found = {
        _BRIDGE + "name": options["bridge"],
        _BRIDGE + "enable_ip_masquerade": str(bool(options.get("masquerade"))).lower(),
        "com.docker.network.driver.mtu": str(options["mtu"]),
    }
    if not options["devices"]:
        return tuple(sorted(found.items()))
    # From 28.0 Docker drops what comes to a container from another device, before any rule of ours is asked.
    if release >= (28, 2):
        found[_BRIDGE + "trusted_host_interfaces"] = ":".join(options["devices"])
    elif release >= (28, 0):
        for subnet in options["subnets"]:
            found[_BRIDGE + ("gateway_mode_ipv6" if ":" in subnet else "gateway_mode_ipv4")] = "nat-unprotected"
    return tuple(sorted(found.items()))


def _device_to(host: Host, address: str) -> str:
    """The device by which the host sends to an address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    fields = {"family": family, "dst_len": 128 if ":" in address else 32}
    found = host.session.get(Message(RTM_GETROUTE, 0, rtmsg, fields, [("RTA_DST", address)]))
    index = attributes(found).get("RTA_OIF") if found is not None else None
    if index is None:
        raise OverlayError("docker_network: this host has no route to the peer %s" % address)
    return host.name(index)


_OPTIONS: Options = {
    "name": {"type": "str", "required": True},
    "network": {"type": "str", "required": True},
    "subnets": {"type": "list", "elements": "str", "required": True},
    "gateways": {"type": "list", "elements": "str", "required": True},
    "ip_ranges": {"type": "list", "elements": "str"},
    "bridge": {"type": "str", "required": True},
    "devices": {"type": "list", "elements": "str", "default": []},
    "via": {"type": "list", "elements": "str", "default": []},
    "mtu": {"type": "int", "required": True},
    "masquerade": {"type": "bool", "default": False},
}


class DockerNetworks(Resource[DockerNetwork]):
    name = section = "docker_network"
    options = _OPTIONS

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[DockerNetwork]:
        return NetworkSpec(purge_owned=self.section in sections, items=list(sections.get(self.section, ())))

    def read(self, host: Host, spec: Spec[DockerNetwork], devices: Set[str]) -> Dict[Key, DockerNetwork]:
        spec = cast(NetworkSpec, spec)
        if not spec.purge_owned:
            return {}
        if not spec.items and not _docker_api.installed():
            return {}
        docker = _docker_api.inspect(host, _docker_api.SOCKET)
        if not docker.running:
            if spec.items or host.rolling_back:
                _docker_api.refuse_unseen(docker, _docker_api.SOCKET)
                raise OverlayError("docker_network: dockerd is not running; " + self._way_up())
            return {}
        if host.rolling_back:
            return self._found(docker, spec)
        if spec.items and not docker.has_iptables:
            raise OverlayError(NO_NFTABLES % docker.firewall)
        for item in spec.items:
            ranges = item.get("ip_ranges") or [""] * len(item["subnets"])
            trusted = [device for device in item["devices"] if device]
            if "" in item["devices"]:
                # Stands for the underlay device.
                trusted += [_device_to(host, address) for address in item["via"]]
            options = options_for(docker.release, {**item, "devices": trusted})
            entry = DockerNetwork(item["name"], item["network"], tuple(zip(item["subnets"], item["gateways"], ranges)), options)
            spec.present[entry.key] = entry
        for item in docker.networks:
            if _docker_api.LABEL not in (item.get("Labels") or {}):
                self._refuse_clash(item, spec)
        found = self._found(docker, spec)
        for key, entry in found.items():
            if key not in spec.present or not entry.same(spec.present[key]):
                self._refuse_in_use(entry)
        return found

    def _found(self, docker: _docker_api.Docker, spec: NetworkSpec) -> Dict[Key, DockerNetwork]:
        """Ours that there are."""
        found = {}
        for item in docker.networks:
            if _docker_api.LABEL not in (item.get("Labels") or {}):
                continue
            entry = self._decode(item)
            asked = spec.present.get(entry.key)
            if asked is not None:
                # Docker adds an IPv4 subnet of its own to a network that is IPv6 alone.
                versions = {":" in pool[0] for pool in asked.pools}
                entry = replace(entry, pools=tuple(pool for pool in entry.pools if (":" in pool[0]) in versions))
            found[entry.key] = entry
        return found

    @staticmethod
    def _way_up() -> str:
        """What to do about a Docker that is down."""
        if not os.path.exists(DAEMON_JSON + BACKUP_SUFFIX):
            return "start it, and run again"
        return (
            "start it, and run again. Where it does not start on its daemon.json, which has keys of ours: "
            "playbooks/teardown.yml takes them out and starts it"
        )

    @staticmethod
    def _decode(item: Mapping[str, Any]) -> DockerNetwork:
        configs = (item.get("IPAM") or {}).get("Config") or []
        pools = [(config.get("Subnet", ""), config.get("Gateway", ""), config.get("IPRange", "")) for config in configs]
        return DockerNetwork(
            item["Name"],
            item["Labels"][_docker_api.LABEL],
            tuple(sorted(pools, key=lambda pool: ":" in pool[0])),
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
            for subnet in _docker_api.subnets_of(item):
                for ours in (ipaddress.ip_network(pool[0]) for pool in entry.pools):
                    if subnet.version == ours.version and subnet.overlaps(ours):  # type: ignore[arg-type]
                        raise OverlayError(
                            "docker_network: Docker network %s has %s, which overlaps %s's %s. Remove it, or give the host "
                            "another lease" % (item["Name"], subnet, entry.name, ours)
                        )

    @staticmethod
    def _refuse_in_use(entry: DockerNetwork) -> None:
        """A stopped container counts: it could not be started any more."""
        filters = urllib.parse.quote(json.dumps({"network": [entry.name]}))
        users = _docker_api.api("/containers/json?all=1&filters=" + filters, _docker_api.SOCKET) or []
        if users:
            raise OverlayError(
                "docker_network: %s would have to be removed or made anew, and containers use it: %s. Remove them first"
                % (entry, ", ".join(sorted(map(_docker_api.container_name, users))))
            )

    def extra(self, entry: DockerNetwork, spec: Spec[DockerNetwork]) -> bool:
        return spec.purge_owned

    def diff(self, actual: Mapping[Key, DockerNetwork], wanted: Mapping[Key, DockerNetwork]) -> List[Op[DockerNetwork]]:
        ops = super().diff(actual, wanted)
        taken = {pool[0] for op in ops if op.after is not None for pool in op.after.pools}
        # Two networks cannot share a subnet, so one that takes over another's waits until that is gone.
        return [
            replace(op, recreate=True)
            if op.before is not None and op.after is not None
            else replace(op, early=op.after is None and any(pool[0] in taken for pool in op.entry.pools))
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
        configs = []
        for subnet, gateway, ip_range in entry.pools:
            config = {"Subnet": subnet, "Gateway": gateway}
            configs.append(dict(config, IPRange=ip_range) if ip_range else config)
        return {
            "Name": entry.name,
            "CheckDuplicate": True,
            "Driver": "bridge",
            "IPAM": {"Driver": "default", "Config": configs},
            "EnableIPv6": any(":" in subnet for subnet, _gateway, _range in entry.pools),
            "Options": dict(entry.options),
            "Labels": {_docker_api.LABEL: entry.network},
        }
