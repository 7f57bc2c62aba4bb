# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What dockerd says of itself, by its API and its command line. PRIVATE to the collection."""

from __future__ import annotations

import glob
import ipaddress
import json
import os
import re
import shlex
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

if TYPE_CHECKING:
    from ansible_collections.agentless.overlay.plugins.module_utils._resource import Host

SOCKET = "/var/run/docker.sock"
_NOBODY = 65534


def api(path: str, socket_path: str, method: str = "GET", data: Any = None) -> Any:
    """The answer of dockerd to a request; None where no dockerd listens, or the answer is empty."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(30)
        try:
            sock.connect(socket_path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as error:
            raise _silent(socket_path, error) from error
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
            raise _silent(socket_path, error) from error
    if answer.status not in (200, 201, 204):
        raise OverlayError(
            "docker: dockerd answers %s to %s %s: %s"
            % (answer.status, method, path, said[:300].decode(errors="replace").strip())
        )
    return json.loads(said) if said else None


def _silent(socket_path: str, error: OSError) -> OverlayError:
    return OverlayError("docker: dockerd does not answer on %s: %s" % (socket_path, error))


@dataclass(frozen=True)
class Container:
    """A running container, with its addresses and MAC by the name of the Docker network; the default one is bridge."""

    name: str
    addresses: Dict[str, List[str]]
    macs: Dict[str, str] = field(default_factory=dict)

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
    # iptables, or nftables; told from 28.1, and there was no other before.
    firewall: str = "iptables"
    # Docker networks as its API lists them.
    networks: List[Dict[str, Any]] = field(default_factory=list)

    @property
    def release(self) -> Tuple[int, int]:
        match = re.match(r"(\d+)\.(\d+)", self.version)
        if match is None:
            raise OverlayError("docker: %r is not a version of Docker that this collection understands" % self.version)
        return int(match.group(1)), int(match.group(2))


def installed() -> bool:
    """Whether there is a dockerd on this host, running or not."""
    return os.path.exists(SOCKET) or shutil.which("dockerd") is not None


def running_containers(socket_path: str) -> List[Container]:
    """The running containers by name; empty where dockerd does not answer."""
    found = []
    for item in api("/containers/json", socket_path) or []:
        networks = item.get("NetworkSettings", {}).get("Networks", {})
        addresses = {}
        for name, network in networks.items():
            given = [network[key] for key in ("IPAddress", "GlobalIPv6Address") if network.get(key)]
            if given:
                addresses[name] = given
        macs = {name: networks[name].get("MacAddress", "") for name in addresses}
        found.append(Container(item["Names"][0].lstrip("/"), addresses, macs))
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
    info = api("/info", socket_path)
    docker = Docker(
        version=version["Version"],
        running=True,
        containers=running_containers(socket_path),
        live_restore=bool(info.get("LiveRestoreEnabled")),
        firewall=(info.get("FirewallBackend") or {}).get("Driver") or "iptables",
        networks=api("/networks", socket_path),
    )
    bridge = next((item for item in docker.networks if item["Name"] == "bridge" and item["Driver"] == "bridge"), None)
    if bridge is not None:
        options = bridge.get("Options") or {}
        for config in (bridge.get("IPAM") or {}).get("Config") or []:
            subnet, given = config.get("Subnet", ""), config.get("Gateway", "")
            if "." in subnet and given:
                docker.gateway = "%s/%s" % (given, subnet.partition("/")[2])
            elif ":" in subnet:
                # Docker before 28 does not tell the gateway, which is the first address.
                first = str(ipaddress.ip_network(subnet)[1])
                docker.gateway6 = "%s/%s" % (given.partition("/")[0] or first, subnet.partition("/")[2])
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


def arguments() -> List[str]:
    """What the running dockerd was started with, less the configuration file; empty where none runs."""
    pid = _process()
    if pid is None:
        return []
    with open("/proc/%d/cmdline" % pid, encoding="utf-8", errors="replace") as handle:
        words = handle.read().rstrip("\0").split("\0")[1:]
    kept: List[str] = []
    for before, word in zip([""] + words, words):
        if not word.startswith("--config-file") and before != "--config-file":
            kept.append(word)
    return kept


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


def validate(host: Host, release: Tuple[int, int], text: str) -> None:
    """Let dockerd judge a daemon.json, beside the flags that it runs with; raise OverlayError with what it says."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fchown(handle.fileno(), _NOBODY, _NOBODY)
        check = ["dockerd"] + arguments() + ["--config-file", handle.name]
        if release >= (23, 0):
            check.append("--validate")
        # Before 23.0 there is no such flag. Without privileges it reads its configuration, and ends at
        # "needs to be started with root privileges" before it touches anything (20.10.24, by strace).
        nobody = ["setpriv", "--reuid=%d" % _NOBODY, "--regid=%d" % _NOBODY, "--clear-groups"]
        code, out, err = host.run(nobody + check, None)
    said = (err or out).strip()
    if "unable to configure the Docker daemon" in said or code and release >= (23, 0):
        raise OverlayError(
            "docker_bip: dockerd would not start with daemon.json, so nothing was changed: %s" % said.splitlines()[-1]
        )


def process_of(name: str, socket_path: str) -> Optional[int]:
    """The process id of a running container's first process."""
    found = api("/containers/%s/json" % name, socket_path)
    return found["State"]["Pid"] or None if found else None
