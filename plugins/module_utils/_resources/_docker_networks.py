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
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set, Tuple, cast

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._docker._daemon_keys import (
    BACKUP_SUFFIX,
    DAEMON_JSON,
    NO_NFTABLES,
)
from ansible_collections.agentless.overlay.plugins.module_utils._docker._seen import KEY, Dockerd, query_dockerd
from ansible_collections.agentless.overlay.plugins.module_utils._engine import _netlink
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import Message, NetlinkError
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
_MTU = "com.docker.network.driver.mtu"
# All options that we ever give a network.
_OURS = (
    *(_BRIDGE + name for name in ("name", "enable_ip_masquerade", "trusted_host_interfaces", "gateway_mode_ipv4")),
    _BRIDGE + "gateway_mode_ipv6",
    _MTU,
)


@dataclass(frozen=True)
class DockerNetwork(Entry):
    """A Docker network with a bridge of its own; Docker cannot change one, only make it anew.

    Its driver has options that we give it, and others: those of C(default-network-opts) in daemon.json, which Docker from 24
    writes into each network that it makes. Of an option that is there, only the label tells whose it is.
    """

    name: str
    network: str
    # Subnet, gateway and the range that containers get addresses from, one of each a family.
    pools: Tuple[Tuple[str, str, str], ...]
    options: Tuple[Tuple[str, str], ...]
    # The names of the options that are ours.
    ours: Tuple[str, ...] = field(default=(), compare=False)
    ident: str = field(default="", compare=False)

    @property
    def overlay(self) -> str:
        return self.network

    @property
    def key(self) -> Key:
        return (self.name,)

    def same(self, wanted: Any) -> bool:
        # Docker adds an IPv4 subnet of its own to a network that is IPv6 alone.
        versions = {":" in pool[0] for pool in wanted.pools}
        pools = tuple(pool for pool in self.pools if (":" in pool[0]) in versions)
        asked = dict(wanted.options)
        return bool(
            (self.network, pools) == (wanted.network, wanted.pools)
            and asked.items() <= dict(self.options).items()
            and set(self.ours) <= asked.keys()
        )

    def lines(self) -> List[str]:
        pools = ["%s %s" % (self.name, _describe_pool(pool)) for pool in self.pools]
        return (
            ["%s for %s" % (self.name, self.network)]
            + pools
            + ["%s option %s=%s" % (self.name, name, value) for name, value in self.options]
        )

    def __str__(self) -> str:
        return "%s %s" % (self.name, " ".join(pool[0] for pool in self.pools))


def _describe_pool(pool: Tuple[str, str, str]) -> str:
    subnet, gateway, ip_range = pool
    return "subnet %s gateway %s" % (subnet, gateway) + (" ip-range %s" % ip_range if ip_range else "")


@dataclass
class NetworkSpec(Spec[Entry]):
    """The options, which become entries when the version of Docker is known."""

    items: List[Mapping[str, Any]] = field(default_factory=list)

    @property
    def subnets(self) -> Dict[str, List[Any]]:
        """What each shall have, by its name."""
        return {item["name"]: [ipaddress.ip_network(subnet) for subnet in item["subnets"]] for item in self.items}


def choose_driver_options(release: Tuple[int, int], options: Mapping[str, Any]) -> Tuple[Tuple[str, str], ...]:
    """The driver's options that a release of Docker needs. Pure."""
    found = {
        _BRIDGE + "name": options["bridge"],
        _BRIDGE + "enable_ip_masquerade": str(bool(options.get("masquerade"))).lower(),
        _MTU: str(options["mtu"]),
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


def _find_device_to(host: Host, address: str) -> str:
    """The device by which the host sends to an address; empty where it cannot."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    fields = {"family": family, "dst_len": 128 if ":" in address else 32}
    try:
        found = host.session.get(Message(_netlink.RTM_GETROUTE, 0, _netlink.rtmsg, fields, [("RTA_DST", address)]))
    except NetlinkError:
        # ENETUNREACH, or what a rule or a route of kind unreachable or prohibit says.
        return ""
    index = _netlink.read_attributes(found).get("RTA_OIF") if found is not None else None
    return host.name(index) if index is not None else ""


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


class DockerNetworks(Resource[Entry]):
    name = section = "docker_network"
    options = _OPTIONS

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Entry]:
        return NetworkSpec(purge_owned=self.section in sections, items=list(sections.get(self.section, ())))

    def read(self, host: Host, spec: Spec[Entry], devices: Set[str]) -> Dict[Key, Entry]:
        spec = cast(NetworkSpec, spec)
        if not spec.purge_owned or not spec.items and not _docker_api.is_docker_installed():
            return {}
        seen = query_dockerd(host, _docker_api.SOCKET)
        if host.rolling_back and (seen.docker is None or not seen.docker.running):
            # That nobody can say what there is does not mean that there is nothing.
            raise OverlayError(seen.error or "dockerd is not running")
        # The empty name stands for the underlay device.
        via = {address for item in spec.items if "" in item["devices"] for address in item["via"]}
        found: Dict[Key, Entry] = {
            KEY: replace(seen, ways={address: _find_device_to(host, address) for address in sorted(via)})
        }
        for item in seen.docker.networks if seen.docker is not None else ():
            if _docker_api.LABEL in (item.get("Labels") or {}):
                entry = _decode_docker_network(item)
                found[entry.key] = entry
        return found

    def settle(self, found: Mapping[Key, Entry], spec: Spec[Entry]) -> Dict[Key, Entry]:
        docker = cast(Dockerd, found[KEY]).docker if KEY in found else None
        if docker is None or not docker.running or not docker.understood:
            return dict(found)
        wanted: Dict[Key, Entry] = {KEY: found[KEY]}
        for entry in _make_entries(cast(NetworkSpec, spec), cast(Dockerd, found[KEY]), docker.release):
            there = cast(DockerNetwork, found.get(entry.key))
            wanted[entry.key] = there if there is not None and there.same(entry) else _keep_other_options(there, entry)
        return wanted

    def obstacles(
        self, host: Host, spec: Spec[Entry], found: Mapping[Key, Entry], wanted: Mapping[Key, Entry]
    ) -> Iterable[str]:
        spec = cast(NetworkSpec, spec)
        if KEY not in found:
            return []
        seen = cast(Dockerd, found[KEY])
        if seen.docker is None:
            return [seen.error] if spec.items or seen.installed else []
        if not spec.items and (not seen.docker.running or seen.docker.other or seen.docker.rootless):
            return []
        problems = self._unfit(seen.docker)
        if problems or not seen.docker.running:
            return problems
        problems += [
            "docker_network: this host has no route to the peer %s, so that the device towards it is not known. Give it one "
            "(ip route get %s), or take that peer out of the network" % (address, address)
            for address, device in sorted(seen.ways.items())
            if not device
        ]
        for item in seen.docker.networks:
            if _docker_api.LABEL not in (item.get("Labels") or {}):
                problems += _list_clashes(item, spec)
        touched = (cast(DockerNetwork, found[key]) for key in found if key != KEY and found[key] is not wanted.get(key))
        return [*problems, *(sentence for entry in touched for sentence in _list_users(entry))]

    @staticmethod
    def _unfit(docker: _docker_api.Docker) -> List[str]:
        """What is wrong with the Docker of this host itself."""
        problems = _docker_api.list_foreign_refusals(docker, _docker_api.SOCKET)
        if problems:
            return problems
        if not docker.running:
            return _docker_api.list_unseen_refusals(docker, _docker_api.SOCKET) or [
                "docker_network: dockerd is not running; " + _suggest_start()
            ]
        if not docker.understood:
            return ["docker: %r is not a version of Docker that this collection understands" % docker.version]
        return [] if docker.has_iptables else [NO_NFTABLES % docker.firewall]

    def extra(self, entry: Entry, spec: Spec[Entry]) -> bool:
        return spec.purge_owned

    def diff(self, found: Mapping[Key, Entry], wanted: Mapping[Key, Entry]) -> List[Op[Entry]]:
        ops = [op for op in super().diff(found, wanted) if op.entry.key != KEY]
        taken = {pool[0] for op in ops if op.after is not None for pool in cast(DockerNetwork, op.after).pools}
        # Two networks cannot share a subnet, so one that takes over another's waits until that is gone.
        return [
            replace(op, recreate=True)
            if op.before is not None and op.after is not None
            else replace(op, early=op.after is None and any(pool[0] in taken for pool in cast(DockerNetwork, op.entry).pools))
            for op in ops
        ]

    def apply(self, host: Host, ops: Sequence[Op[Entry]]) -> List[Failure]:
        for op in ops:
            before, after = cast(DockerNetwork, op.before), cast(DockerNetwork, op.after)
            try:
                if before is not None:
                    _docker_api.call_api("/networks/" + before.ident, _docker_api.SOCKET, "DELETE")
                if after is not None:
                    _docker_api.call_api("/networks/create", _docker_api.SOCKET, "POST", _make_request(after))
            except OverlayError as error:
                return [Failure(op, str(error))]
        return []


def _make_entries(spec: NetworkSpec, seen: Dockerd, release: Tuple[int, int]) -> Iterable[DockerNetwork]:
    """The options as entries, which is as this host's Docker needs them."""
    for item in spec.items:
        ranges = item.get("ip_ranges") or [""] * len(item["subnets"])
        trusted = [device for device in item["devices"] if device]
        if "" in item["devices"]:
            trusted += [seen.ways[address] for address in item["via"]]
        options = choose_driver_options(release, {**item, "devices": trusted})
        pools = tuple(zip(item["subnets"], item["gateways"], ranges))
        yield DockerNetwork(item["name"], item["network"], pools, options, tuple(name for name, _value in options))


def _keep_other_options(found: Any, entry: DockerNetwork) -> DockerNetwork:
    """The entry as it shall be, with the options that it has of others."""
    if found is None:
        return entry
    others = {name: value for name, value in found.options if name not in found.ours}
    return replace(entry, options=tuple(sorted({**others, **dict(entry.options)}.items())))


def _decode_docker_network(item: Mapping[str, Any]) -> DockerNetwork:
    configs = (item.get("IPAM") or {}).get("Config") or []
    pools = [(config.get("Subnet", ""), config.get("Gateway", ""), config.get("IPRange", "")) for config in configs]
    options = item.get("Options") or {}
    named = item["Labels"].get(_docker_api.OPTIONS_LABEL)
    # One made before there was that label: all that we may have set.
    ours = _OURS if named is None else [one if one == _MTU else _BRIDGE + one for one in named.split(",")]
    return DockerNetwork(
        item["Name"],
        item["Labels"][_docker_api.LABEL],
        tuple(sorted(pools, key=lambda pool: ":" in pool[0])),
        tuple(sorted(options.items())),
        tuple(name for name in ours if name in options),
        item["Id"],
    )


def _make_request(entry: DockerNetwork) -> Dict[str, Any]:
    configs = []
    for subnet, gateway, ip_range in entry.pools:
        config = {"Subnet": subnet, "Gateway": gateway}
        configs.append(dict(config, IPRange=ip_range) if ip_range else config)
    ours = [name[len(_BRIDGE) :] if name.startswith(_BRIDGE) else name for name in entry.ours]
    return {
        "Name": entry.name,
        "CheckDuplicate": True,
        "Driver": "bridge",
        "IPAM": {"Driver": "default", "Config": configs},
        "EnableIPv6": any(":" in subnet for subnet, _gateway, _range in entry.pools),
        "Options": dict(entry.options),
        "Labels": {_docker_api.LABEL: entry.network, _docker_api.OPTIONS_LABEL: ",".join(ours)},
    }


def _suggest_start() -> str:
    """What to do about a Docker that is down."""
    if not os.path.exists(DAEMON_JSON + BACKUP_SUFFIX):
        return "start it, and run again"
    return (
        "start it, and run again. Where it does not start on its daemon.json, which has keys of ours: "
        "playbooks/teardown.yml takes them out and starts it"
    )


def _list_clashes(item: Mapping[str, Any], spec: NetworkSpec) -> List[str]:
    """Of a network of somebody else's that it has the name or addresses of one to be made, in sentences. Pure."""
    problems = []
    for name, subnets in spec.subnets.items():
        if item["Name"] == name:
            problems.append(
                "docker_network: there is a Docker network %s that this collection did not make. Remove it "
                "(docker network rm %s), or choose another name in attach" % (name, name)
            )
            continue
        problems += [
            "docker_network: Docker network %s has %s, which overlaps %s's %s. Remove it, or give the host another lease"
            % (item["Name"], subnet, name, ours)
            for subnet in _docker_api.list_docker_subnets(item)
            for ours in subnets
            if subnet.version == ours.version and subnet.overlaps(ours)
        ]
    return problems


def _list_users(entry: DockerNetwork) -> List[str]:
    """What keeps a network from being removed. A stopped container counts: it could not be started any more."""
    # Only here: it takes as long to import as many a resource takes to read.
    from urllib.parse import quote

    filters = quote(json.dumps({"network": [entry.name]}))
    users = _docker_api.call_api("/containers/json?all=1&filters=" + filters, _docker_api.SOCKET) or []
    if not users:
        return []
    return [
        "docker_network: %s would have to be removed or made anew, and containers use it: %s. Remove them first"
        % (entry, ", ".join(sorted(map(_docker_api.find_container_name, users))))
    ]
