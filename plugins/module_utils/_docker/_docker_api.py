# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What dockerd says of itself, by its API and its command line. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _processes
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

if TYPE_CHECKING:
    from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host

SOCKET = _processes.SOCKET
# Docker networks with this label are ours; its value is the overlay network's name.
LABEL = "agentless.overlay"
# Which of its driver's options are ours, by the ends of their names; default-network-opts of daemon.json adds others.
OPTIONS_LABEL = LABEL + ".options"
# Sockets behind which a dockerd has answered this process.
_AWAKE: Set[str] = set()
# How long one that is there already may take until it listens; in seconds.
_STARTING = 10


class NotThere(OverlayError):
    """What was asked about is not there, or not any more."""


class NotInstalled(OverlayError):
    """There is no dockerd on this host."""


def call_api(path: str, socket_path: str, method: str = "GET", data: Any = None, seconds: int = 30) -> Any:
    """The answer of dockerd to a request; None where the answer is empty, or to a question where none listens.

    Starts none that is stopped.
    """
    if socket_path not in _AWAKE and _processes.is_socket_activated(socket_path):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(seconds)
        try:
            sock.connect(socket_path)
        except OSError as error:
            if isinstance(error, (FileNotFoundError, ConnectionRefusedError)) and method == "GET":
                return None
            raise _make_silence_error(socket_path, error) from error
        # Only where there is somebody to ask: with it come TLS and all of e-mail.
        import http.client

        connection = http.client.HTTPConnection("localhost")
        connection.sock = sock
        try:
            body = json.dumps(data) if data is not None else None
            connection.request(method, path, body, {"Content-Type": "application/json"} if data is not None else {})
            answer = connection.getresponse()
            said = answer.read()
        except OSError as error:
            raise _make_silence_error(socket_path, error) from error
    _AWAKE.add(socket_path)
    # 304: it is so already.
    if answer.status not in (200, 201, 204, 304):
        kind = NotThere if answer.status == 404 else OverlayError
        raise kind("docker: dockerd answers %s to %s %s: %s" % (answer.status, method, path, _read_error(said)))
    return json.loads(said) if said else None


def _read_error(said: bytes) -> str:
    """What an answer that is an error says."""
    text = said.decode(errors="replace").strip()
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:300]


def _make_silence_error(socket_path: str, error: OSError) -> OverlayError:
    return OverlayError("docker: dockerd does not answer on %s: %s" % (socket_path, error))


@dataclass(frozen=True)
class Container:
    """A running container, with its addresses and MAC by the name of the Docker network; the default one is bridge."""

    name: str
    addresses: Dict[str, List[str]]
    macs: Dict[str, str] = field(default_factory=dict)
    paused: bool = False
    # Of a swarm, which makes another one where this one ends.
    task: bool = False
    # Its id, and that of the one whose network it is in, where it has none of its own.
    ident: str = ""
    joins: str = ""

    @property
    def address(self) -> Optional[str]:
        """Its first address on the default bridge, where it is on it."""
        return self.addresses.get("bridge", [None])[0]


@dataclass
class Docker:
    """The state of a host's dockerd; C(running) is False where none answers."""

    version: str
    running: bool
    containers: List[Container] = field(default_factory=list)
    gateway: Optional[str] = None
    gateway6: Optional[str] = None
    mtu: Optional[str] = None
    masquerade: Optional[str] = None
    live_restore: bool = False
    # iptables, nftables, or either with +firewalld behind it; told from 28.1, and there was no other before.
    firewall: str = "iptables"
    # Docker networks as its API lists them.
    networks: List[Dict[str, Any]] = field(default_factory=list)
    # From which it takes addresses for networks that say none, and the prefix length of each; empty for its own.
    pools: List[Tuple[str, int]] = field(default_factory=list)
    # Of a dockerd that is there and does not listen where it was asked.
    deaf: Optional[int] = None
    # What answers where it is not Docker at all, in words.
    other: str = ""
    # Whether it has no privileges, and its networks are in a namespace of its own.
    rootless: bool = False
    # Where its data lie.
    root: str = ""
    # Of one that does not run, whether its containers live on all the same, and which other one runs, in words.
    survived: bool = False
    strange: str = ""

    @property
    def has_iptables(self) -> bool:
        """Whether its rules are those of iptables, beside which ours work."""
        return self.firewall.partition("+")[0] == "iptables"

    @property
    def understood(self) -> bool:
        """Whether it is Docker, and says which one."""
        return not self.other and re.match(r"\d+\.\d+", self.version) is not None

    @property
    def release(self) -> Tuple[int, int]:
        match = re.match(r"(\d+)\.(\d+)", self.version)
        if match is None:
            raise OverlayError("docker: %r is not a version of Docker that this collection understands" % self.version)
        return int(match.group(1)), int(match.group(2))


def is_docker_installed() -> bool:
    """Whether there is a dockerd on this host, running or not."""
    return os.path.exists(SOCKET) or shutil.which("dockerd") is not None


def find_container_name(item: Mapping[str, Any]) -> str:
    """A container's own name; one that others link to has more, each below the name of a container that links to it."""
    names = [name.lstrip("/") for name in item["Names"]]
    return str(next((name for name in names if "/" not in name), names[0]))


def list_running_containers(socket_path: str) -> List[Container]:
    """The running containers by name; empty where dockerd does not answer."""
    found = []
    for item in call_api("/containers/json", socket_path) or []:
        networks = item.get("NetworkSettings", {}).get("Networks", {})
        addresses = {}
        for name, network in networks.items():
            given = [network[key] for key in ("IPAddress", "GlobalIPv6Address") if network.get(key)]
            if given:
                addresses[name] = given
        macs = {name: networks[name].get("MacAddress", "") for name in addresses}
        task = "com.docker.swarm.task.id" in (item.get("Labels") or {})
        joins = str((item.get("HostConfig") or {}).get("NetworkMode", "")).partition("container:")[2]
        paused = item.get("State") == "paused"
        found.append(Container(find_container_name(item), addresses, macs, paused, task, item.get("Id", ""), joins))
    return sorted(found, key=lambda container: container.name)


def is_auto_removed(name: str, socket_path: str) -> bool:
    """Whether a container is gone once it ends (--rm)."""
    try:
        found = call_api("/containers/%s/json" % name, socket_path)
    except NotThere:
        # It has ended since it was listed. One that dockerd says nothing of is another matter: it has to be started again.
        return True
    return bool(found and (found.get("HostConfig") or {}).get("AutoRemove"))


def list_lost_containers(containers: List[Container], socket_path: str) -> List[str]:
    """Those that are gone once they end (--rm), and those in the network of one of them, which could not be started again."""
    gone = [one for one in containers if is_auto_removed(one.name, socket_path)]
    # One may be in the network of another that is so itself.
    for one in gone:
        gone += [other for other in containers if other.joins and other.joins == one.ident and other not in gone]
    return sorted(one.name for one in gone)


def _request_version(socket_path: str) -> Tuple[Any, Optional[int]]:
    """What dockerd says of its version, or the process id of one that is there and does not listen."""
    deadline = time.monotonic() + _STARTING
    while True:
        version = call_api("/version", socket_path)
        # To look through all processes is for where nobody answers.
        pid = _processes.find_dockerd() if version is None else None
        if pid is None or time.monotonic() > deadline:
            return version, pid
        # It has been started a moment ago, or listens elsewhere.
        time.sleep(0.2)


def inspect_docker(host: Host, socket_path: str) -> Docker:
    """Ask dockerd, or its program where it is not running."""
    version, deaf = _request_version(socket_path)
    if version is None:
        return _inspect_silent(host, deaf)
    other = _name_other_engine(version)
    if other:
        return Docker(version=version["Version"], running=True, other=other)
    info = call_api("/info", socket_path)
    docker = Docker(
        version=version["Version"],
        running=True,
        containers=list_running_containers(socket_path),
        live_restore=bool(info.get("LiveRestoreEnabled")),
        firewall=(info.get("FirewallBackend") or {}).get("Driver") or "iptables",
        networks=call_api("/networks", socket_path),
        pools=[(pool["Base"], pool["Size"]) for pool in info.get("DefaultAddressPools") or []],
        rootless="name=rootless" in (info.get("SecurityOptions") or []),
        root=info.get("DockerRootDir") or "",
    )
    bridge = next((item for item in docker.networks if item["Name"] == "bridge" and item["Driver"] == "bridge"), None)
    if bridge is not None:
        options = bridge.get("Options") or {}
        for config in (bridge.get("IPAM") or {}).get("Config") or []:
            subnet, given = config.get("Subnet", ""), config.get("Gateway", "")
            if not subnet:
                continue
            # Docker before 28 does not tell that of IPv6, nor of a docker0 that it made at its last start: the first address.
            gateway = given.partition("/")[0] or str(ipaddress.ip_network(subnet, strict=False)[1])
            told = "%s/%s" % (gateway, subnet.partition("/")[2])
            if ":" in subnet:
                docker.gateway6 = told
            else:
                docker.gateway = told
        docker.mtu = options.get("com.docker.network.driver.mtu")
        docker.masquerade = options.get("com.docker.network.bridge.enable_ip_masquerade")
    return docker


def _inspect_silent(host: Host, deaf: Optional[int]) -> Docker:
    """One that does not run, or not where it was asked."""
    strange = _processes.name_strange_dockerd() if deaf is None else ""
    try:
        out = host.command(["dockerd", "--version"])
    except FileNotFoundError as error:
        if os.path.isdir(_processes.SNAP):
            strange = strange or "the snap's, which reads %s, is installed" % _processes.SNAPS_FILE
        raise NotInstalled(
            "docker: there is no dockerd of this host's own%s; install Docker first (Debian: docker.io, Fedora: moby-engine)"
            % (": " + strange if strange else "")
        ) from error
    version = out.partition("version ")[2].partition(",")[0]
    return Docker(version, running=False, deaf=deaf, survived=_processes.leaves_containers(), strange=strange)


def _name_other_engine(version: Mapping[str, Any]) -> str:
    """What it is that answers as Docker does and is something else, by what it says of its version. Pure."""
    components = version.get("Components") or []
    if not components or any(one.get("Name") == "Engine" for one in components):
        return ""
    return "%s %s" % (components[0].get("Name"), components[0].get("Version"))


def list_foreign_refusals(docker: Docker, socket_path: str) -> List[str]:
    """Why it is none that the collection can work with, in sentences. Pure."""
    if docker.other:
        return [
            "docker: %s answers on %s, not Docker: it reads no daemon.json, and has networks of another kind. Remove what puts "
            "its socket there (podman-docker), and install Docker (Debian: docker.io, Fedora: moby-engine), or take this host "
            "out of the network" % (docker.other, socket_path)
        ]
    if docker.rootless:
        return [
            "docker: the dockerd on %s is rootless (its data lie in %s): its networks are in a namespace of its own, where "
            "nothing of this host's reaches its containers. Run Docker as root on this host" % (socket_path, docker.root)
        ]
    return []


def list_snap_refusals(docker: Docker) -> List[str]:
    """Why its daemon.json is not written, in sentences: it has one elsewhere, and nobody asks it for its judgement. Pure."""
    if not docker.root.startswith(_processes.SNAP):
        return []
    return [
        "docker_bip: this host's Docker is the snap's (its data lie in %s), which reads %s and is restarted by other means. "
        "That is not supported: install Docker's own package or the distribution's in its place, or give the network a "
        "Docker network of its own (attach: docker_network), which needs no daemon.json" % (docker.root, _processes.SNAPS_FILE)
    ]


def list_unseen_refusals(docker: Docker, socket_path: str) -> List[str]:
    """Why nobody may restart it: nobody knows what containers it has. In sentences. Pure."""
    if docker.deaf is not None:
        return [
            "docker: dockerd runs (process %d) and does not listen on %s, so that nobody can say what runs on it. Let it "
            "listen there as well (hosts in daemon.json, -H in its unit)" % (docker.deaf, socket_path)
        ]
    if docker.survived:
        return [
            "docker: dockerd is not running, and containers of it live on (live-restore): nobody can say "
            "what a restart does to them. Start Docker, and run again"
        ]
    if docker.strange:
        return [
            "docker: %s; the host's own dockerd does not run. Only that one, which reads /etc/docker/daemon.json, is "
            "supported: start it, or remove it and take this host out of the network" % docker.strange
        ]
    return []


def list_networks_over(docker: Docker, subnet: str) -> List[str]:
    """The Docker networks of others that have addresses of a subnet, in words; the default one does not count. Pure."""
    wanted = ipaddress.ip_network(subnet, strict=False)
    found = []
    for item in docker.networks:
        if LABEL in (item.get("Labels") or {}) or item.get("Scope") == "swarm" or item["Name"] == "bridge":
            continue
        found += [
            "%s (%s)" % (item["Name"], taken)
            for taken in list_docker_subnets(item)
            if taken.version == wanted.version and taken.overlaps(wanted)  # type: ignore[arg-type]
        ]
    return sorted(found)


def list_guarded_addresses(docker: Docker) -> List[str]:
    """Of running containers the IPv4 addresses that Docker 28.2 keeps from others where allow-direct-routing is off. Pure."""
    guarded = set()
    for item in docker.networks:
        mode = (item.get("Options") or {}).get("com.docker.network.bridge.gateway_mode_ipv4") or "nat"
        if item["Driver"] == "bridge" and not item.get("Internal") and mode == "nat":
            guarded.add(item["Name"])
    given = (address for one in docker.containers for name in guarded for address in one.addresses.get(name, []))
    return sorted(address for address in given if ":" not in address)


def list_docker_subnets(item: Mapping[str, Any]) -> List[Any]:
    """The subnets of a Docker network as its API lists it."""
    configs = (item.get("IPAM") or {}).get("Config") or []
    # Docker 20.10 keeps what it was given, host bits and all.
    return [ipaddress.ip_network(config["Subnet"], strict=False) for config in configs if config.get("Subnet")]


def find_container_process(name: str, socket_path: str) -> Optional[int]:
    """The process id of a running container's first process."""
    found = call_api("/containers/%s/json" % name, socket_path)
    return found["State"]["Pid"] or None if found else None
