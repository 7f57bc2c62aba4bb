# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dockerd's judgement of a daemon.json. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any, Iterator, Optional, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _processes
from ansible_collections.agentless.overlay.plugins.module_utils._docker._daemon_text import parse_object

if TYPE_CHECKING:
    from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host

_NOBODY = 65534
# 20.10.5 stops there, 20.10.24 adds "privileges" (moby, cmd/dockerd/daemon.go).
_NEEDS_ROOT = "needs to be started with root"


@contextlib.contextmanager
def _store_secret(text: str, owner: int) -> Iterator[str]:
    """A path by which root, or one other user, reads a text that may hold passwords: on no disk, where that can be had."""
    run = "/run" if os.path.isdir("/run") else None
    if owner == 0:
        # It never has a name, so that whatever happens to this process nothing stays.
        with tempfile.TemporaryFile("w", encoding="utf-8", errors="surrogateescape", newline="", dir=run) as stream:
            stream.write(text)
            stream.flush()
            yield "/proc/%d/fd/%d" % (os.getpid(), stream.fileno())
        return
    folder = tempfile.mkdtemp(prefix="agentless-overlay-", dir=run)
    path = os.path.join(folder, "daemon.json")
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.write(text)
            os.fchown(stream.fileno(), owner, owner)
        os.chown(folder, owner, owner)
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.rmdir(folder)


def judge_daemon_json(host: Host, release: Tuple[int, int], text: str, pid: Optional[int]) -> Optional[str]:
    """What dockerd has against a daemon.json, in a sentence; None where it has nothing.

    @param pid: of the one that runs, for the flags that it would get again
    """
    judges = release >= (23, 0)
    # Before 23.0 there is no --validate. Without privileges it reads its configuration, and ends at "needs to be started with
    # root" before it touches anything (20.10.24, by strace). Others that are nobody could read it meanwhile.
    before = [] if judges else ["setpriv", "--reuid=%d" % _NOBODY, "--regid=%d" % _NOBODY, "--clear-groups"]
    for program in [*before[:1], "dockerd"]:
        if shutil.which(program) is None:
            return (
                "docker_bip: dockerd cannot be asked whether it would start with the new daemon.json: there is no program %s. "
                "Install it where root finds it (dockerd: Docker's own package; setpriv: util-linux)" % program
            )
    with _store_secret(text, 0 if judges else _NOBODY) as path:
        command = [*before, "dockerd", *_processes.read_dockerd_arguments(pid), "--config-file", path] + (
            ["--validate"] if judges else []
        )
        code, out, err = host.run(command, None)
    said = (err or out).strip()
    if code == 0 and judges or code and not judges and _NEEDS_ROOT in said and "unable to configure" not in said:
        return None
    return "docker_bip: dockerd would not start with daemon.json: %s" % hide_values(
        said.splitlines()[-1] if said else "exit code %s, and not a word" % code, parse_object(text, "daemon.json")
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
