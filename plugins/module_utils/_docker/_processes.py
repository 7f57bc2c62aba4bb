# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dockerd as a process: which one it is, since when it runs, and with which flags. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shlex
import time
from typing import TYPE_CHECKING, Dict, Iterator, List, Optional

from ansible_collections.agentless.overlay.plugins.module_utils._engine._programs import run_program

if TYPE_CHECKING:
    from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host

SOCKET = "/var/run/docker.sock"
_PIDFILE = "/var/run/docker.pid"
SYSTEMD = "/run/systemd/system"
SNAP = "/var/snap/docker/"
SNAPS_FILE = SNAP + "current/config/daemon.json"


def _list_processes(name: str, elsewhere: bool = False) -> Iterator[str]:
    """The folders below /proc of processes of that name.

    @param elsewhere: those in another mount namespace, as of a container, in place of those in this one
    """
    ours = os.stat("/proc/self/ns/mnt").st_ino
    for path in glob.glob("/proc/[0-9]*/comm"):
        folder = os.path.dirname(path)
        try:
            with open(path, encoding="ascii", errors="replace") as handle:
                found = handle.read().strip() == name and (os.stat(folder + "/ns/mnt").st_ino != ours) == elsewhere
        except OSError:
            continue
        if found:
            yield folder


def find_dockerd(socket_path: str = SOCKET) -> Optional[int]:
    """The process id of this host's dockerd; where there are several, of the one that has the socket."""
    pids = sorted(int(os.path.basename(folder)) for folder in _list_processes("dockerd"))
    if len(pids) < 2:
        return pids[0] if pids else None
    holding = [pid for pid in pids if _has_socket(pid, socket_path)]
    noted = [pid for pid in pids if str(pid) == _read_first_line(_PIDFILE)]
    return (holding or noted or pids)[0]


def _has_socket(pid: int, socket_path: str) -> bool:
    """Whether a process listens on a socket. Not by asking it, which would start one that systemd starts on demand."""
    wanted = os.path.realpath(socket_path)
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as handle:
        rows = [line.split() for line in handle]
    links = {"socket:[%s]" % row[6] for row in rows if len(row) > 7 and os.path.realpath(row[7]) == wanted}
    for path in glob.glob("/proc/%d/fd/*" % pid):
        with contextlib.suppress(OSError):
            if os.readlink(path) in links:
                return True
    return False


def _read_first_line(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as handle:
            return handle.readline().strip()
    except OSError:
        return ""


def leaves_containers() -> bool:
    """Whether containers live on without it, as under live-restore: those that their shims hold."""
    # A process's name has fifteen characters.
    for folder in _list_processes("containerd-shim"):
        with contextlib.suppress(OSError), open(folder + "/cmdline", encoding="utf-8", errors="replace") as handle:
            if "moby" in handle.read().split("\0"):
                return True
    return False


def name_strange_dockerd() -> str:
    """Of a dockerd that is not the host's own, a snap's or one without privileges, what it is; empty where there is none."""
    for folder in _list_processes("dockerd", elsewhere=True):
        with contextlib.suppress(OSError):
            pid, user = int(os.path.basename(folder)), os.stat(folder).st_uid
            if os.readlink(folder + "/exe").startswith("/snap/"):
                return "the snap's dockerd runs (process %d), which reads %s" % (pid, SNAPS_FILE)
            with open(folder + "/environ", encoding="utf-8", errors="replace") as handle:
                if "ROOTLESSKIT_STATE_DIR" in handle.read():
                    return "a rootless dockerd runs (process %d, user id %d), whose containers are in a network of its own" % (
                        pid,
                        user,
                    )
    return ""


def is_socket_activated(socket_path: str) -> bool:
    """Whether systemd listens in dockerd's place, and would start it for whoever connects.

    To look must not start what an administrator has stopped.
    """
    if not os.path.isdir(SYSTEMD) or find_dockerd(socket_path) is not None:
        return False
    listed = run_program(["systemctl", "list-sockets", "--all", "--full", "--plain", "--no-legend"], None)[1]
    for line in listed.splitlines():
        words = line.split()
        if len(words) >= 3 and os.path.realpath(words[0]) == os.path.realpath(socket_path):
            # One that runs in a mount namespace of its own is no process of ours.
            return run_program(["systemctl", "is-active", words[-1]], None)[1].strip() not in ("active", "reloading")
    return False


def is_masked(host: Host) -> bool:
    """Whether an administrator has seen to it that nothing starts it."""
    if not os.path.isdir(SYSTEMD):
        return False
    return str(host.run(["systemctl", "show", "--property=LoadState", "docker.service"], None)[1]).strip() == "LoadState=masked"


def _read_command_line(pid: Optional[int]) -> List[str]:
    try:
        with open("/proc/%s/cmdline" % pid, encoding="utf-8", errors="replace") as handle:
            return handle.read().rstrip("\0").split("\0")
    except OSError:
        return []


def read_dockerd_arguments(pid: Optional[int]) -> List[str]:
    """What the running dockerd was started with, less the configuration file; empty where none runs."""
    words = _read_command_line(pid)[1:]
    kept: List[str] = []
    for before, word in zip([""] + words, words):
        if not word.startswith("--config-file") and before != "--config-file":
            kept.append(word)
    return kept


def read_dockerd_flags(host: Host, pid: Optional[int]) -> Dict[str, str]:
    """The flags that dockerd runs with or will be started with, and their values where given in the same word or the next."""
    words = _read_command_line(pid)
    if os.path.isdir(SYSTEMD):
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


def _read_start_time(pid: Optional[int]) -> Optional[int]:
    """When a process was started, in ticks since this machine was."""
    try:
        # Not the times of /proc/PID itself: those are of the first look at it.
        with open("/proc/%s/stat" % pid, encoding="ascii", errors="replace") as handle:
            return int(handle.read().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def identify_process(pid: Optional[int]) -> str:
    """What no other process has, now or after a reboot; empty for none."""
    ticks = _read_start_time(pid)
    return "%s %s %d" % (_read_first_line("/proc/sys/kernel/random/boot_id"), pid, ticks) if ticks is not None else ""


def is_older_than(path: str, pid: Optional[int]) -> bool:
    """Whether the running dockerd is older than a file of others', so that it may not have read it.

    Where the clock has been set back since the file was written, nobody knows; then it is taken to be read.
    """
    ticks = _read_start_time(pid)
    try:
        # Not /proc/uptime, which in a system container is that of the container.
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - (ticks or 0) / os.sysconf("SC_CLK_TCK")
        return ticks is not None and age > time.time() - os.stat(path).st_mtime >= 0
    except OSError:
        return False
