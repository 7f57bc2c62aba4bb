# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What dockerd says of itself, by its API and its command line. PRIVATE to the collection."""

from __future__ import annotations

import glob
import http.client
import json
import os
import re
import shlex
import socket
import time
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._resource import Host, OverlayError


class _UnixConnection(http.client.HTTPConnection):
    """HTTP on a socket file."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def api(path: str, socket_path: str) -> Any:
    """The answer of dockerd to a GET, or None where no dockerd listens."""
    connection = _UnixConnection(socket_path)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise OverlayError("docker: dockerd does not answer on %s: %s" % (socket_path, error)) from error
    finally:
        connection.close()
    if answer.status != 200:
        raise OverlayError(
            "docker: dockerd answers %s to GET %s: %s" % (answer.status, path, body[:200].decode(errors="replace"))
        )
    return json.loads(body)


@dataclass(frozen=True)
class Container:
    """A running container, with its address on the default bridge where it is on it."""

    name: str
    address: Optional[str]


@dataclass
class Docker:
    """The state of a host's dockerd; C(running) is False where none answers."""

    version: str
    running: bool
    containers: List[Container] = field(default_factory=list)
    gateway: Optional[str] = None
    mtu: Optional[str] = None
    masquerade: Optional[str] = None

    @property
    def release(self) -> Tuple[int, int]:
        match = re.match(r"(\d+)\.(\d+)", self.version)
        if match is None:
            raise OverlayError("docker: %r is not a version of Docker that this collection understands" % self.version)
        return int(match.group(1)), int(match.group(2))


def running_containers(socket_path: str) -> List[Container]:
    """The running containers by name; empty where dockerd does not answer."""
    found = []
    for item in api("/containers/json", socket_path) or []:
        networks = item.get("NetworkSettings", {}).get("Networks", {})
        address = networks.get("bridge", {}).get("IPAddress") or None
        found.append(Container(item["Names"][0].lstrip("/"), address))
    return sorted(found, key=lambda container: container.name)


def inspect(host: Host, socket_path: str) -> Docker:
    """Ask dockerd, or its program where it is not running."""
    version = api("/version", socket_path)
    if version is None:
        try:
            out = host.command(["dockerd", "--version"])
        except FileNotFoundError as error:
            raise OverlayError(
                "docker: there is no dockerd on this host; install Docker first (Debian: docker.io, Fedora: moby-engine)"
            ) from error
        return Docker(version=out.partition("version ")[2].partition(",")[0], running=False)
    bridge = next(
        (item for item in api("/networks", socket_path) if item["Name"] == "bridge" and item["Driver"] == "bridge"), None
    )
    docker = Docker(version=version["Version"], running=True, containers=running_containers(socket_path))
    if bridge is not None:
        options = bridge.get("Options") or {}
        for config in (bridge.get("IPAM") or {}).get("Config") or []:
            if "." in config.get("Subnet", "") and config.get("Gateway"):
                docker.gateway = "%s/%s" % (config["Gateway"], config["Subnet"].partition("/")[2])
        docker.mtu = options.get("com.docker.network.driver.mtu")
        docker.masquerade = options.get("com.docker.network.bridge.enable_ip_masquerade")
    return docker


def _process() -> Optional[int]:
    """The process id of this host's dockerd; one inside a container is in another mount namespace."""
    ours = os.stat("/proc/self/ns/mnt").st_ino
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(path, encoding="ascii", errors="replace") as handle:
                if handle.read().strip() == "dockerd" and os.stat(os.path.dirname(path) + "/ns/mnt").st_ino == ours:
                    return int(path.split("/")[2])
        except OSError:
            continue
    return None


def flags(host: Host) -> Dict[str, str]:
    """The flags that dockerd runs with or will be started with, and their values where given in the same word or the next."""
    words: List[str] = []
    pid = _process()
    if pid is not None:
        with open("/proc/%d/cmdline" % pid, encoding="utf-8", errors="replace") as handle:
            words += handle.read().split("\0")
    if os.path.isdir("/run/systemd/system"):
        words += host.run(["systemctl", "show", "--property=ExecStart", "docker.service"], None)[1].split()
    for path, name in (("/etc/default/docker", "DOCKER_OPTS"), ("/etc/sysconfig/docker", "OPTIONS")):
        try:
            with open(path, encoding="utf-8", errors="replace") as handle:
                for line in handle:
                    match = re.match(r"\s*(?:export\s+)?%s=(.*)" % name, line)
                    if match:
                        words += shlex.split(" ".join(shlex.split(match.group(1), comments=True)))
        except (OSError, ValueError):
            continue
    found: Dict[str, str] = {}
    for word, following in zip(words, words[1:] + [""]):
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            found["--bridge" if name == "-b" else name] = value if equals else following
    return found


def started_before(path: str) -> bool:
    """Whether the running dockerd is older than a file, so that it may not have read it."""
    pid = _process()
    if pid is None:
        return False
    try:
        # Not the times of /proc/PID itself: those are of the first look at it.
        with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as handle:
            ticks = int(handle.read().rpartition(")")[2].split()[19])
        with open("/proc/uptime", encoding="ascii") as handle:
            uptime = float(handle.read().split()[0])
        age = uptime - ticks / os.sysconf("SC_CLK_TCK")
        return age > time.time() - os.stat(path).st_mtime
    except OSError:
        return False


def process_of(name: str, socket_path: str) -> Optional[int]:
    """The process id of a running container's first process."""
    found = api("/containers/%s/json" % name, socket_path)
    return found["State"]["Pid"] or None if found else None
