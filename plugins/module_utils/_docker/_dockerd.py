# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dockerd as a program: its process, its flags, and its judgement of a file. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shlex
import tempfile
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._programs import run_program
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

if TYPE_CHECKING:
    from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host

_NOBODY = 65534
_SYSTEMD = "/run/systemd/system"


def _processes(name: str) -> Iterator[str]:
    """The folders below /proc of processes of that name; of one inside a container, in another mount namespace, not."""
    ours = os.stat("/proc/self/ns/mnt").st_ino
    for path in glob.glob("/proc/[0-9]*/comm"):
        folder = os.path.dirname(path)
        try:
            with open(path, encoding="ascii", errors="replace") as handle:
                found = handle.read().strip() == name and os.stat(folder + "/ns/mnt").st_ino == ours
        except OSError:
            continue
        if found:
            yield folder


def process() -> Optional[int]:
    """The process id of this host's dockerd."""
    return next((int(os.path.basename(folder)) for folder in _processes("dockerd")), None)


def leaves_containers() -> bool:
    """Whether containers live on without it, as under live-restore: those that their shims hold."""
    # A process's name has fifteen characters.
    for folder in _processes("containerd-shim"):
        with contextlib.suppress(OSError), open(folder + "/cmdline", encoding="utf-8", errors="replace") as handle:
            if "moby" in handle.read().split("\0"):
                return True
    return False


def sleeps(socket_path: str) -> bool:
    """Whether systemd listens in dockerd's place, and would start it for whoever connects.

    To look must not start what an administrator has stopped.
    """
    if not os.path.isdir(_SYSTEMD) or process() is not None:
        return False
    listed = run_program(["systemctl", "list-sockets", "--all", "--full", "--plain", "--no-legend"], None)[1]
    for line in listed.splitlines():
        words = line.split()
        if len(words) >= 3 and os.path.realpath(words[0]) == os.path.realpath(socket_path):
            # One that runs in a mount namespace of its own is no process of ours.
            return run_program(["systemctl", "is-active", words[-1]], None)[1].strip() not in ("active", "reloading")
    return False


def arguments() -> List[str]:
    """What the running dockerd was started with, less the configuration file; empty where none runs."""
    pid = process()
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
    pid = process()
    if pid is not None:
        with open("/proc/%d/cmdline" % pid, encoding="utf-8", errors="replace") as handle:
            words += handle.read().split("\0")
    if os.path.isdir(_SYSTEMD):
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
    pid = process()
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
            "docker_bip: dockerd would not start with daemon.json, so nothing was changed: %s"
            % hide_values(said.splitlines()[-1], json.loads(text))
        )


def hide_values(said: str, found: Any) -> str:
    """What dockerd says without the values that it quotes, which may be secret. Pure."""
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list):
        for value in found:
            said = hide_values(said, value)
    elif isinstance(found, str) and len(found) > 3:
        said = said.replace(found, "***")
    return said
