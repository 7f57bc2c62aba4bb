# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One transaction at a time on a host. PRIVATE to the collection."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager
from typing import Iterator

from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import OverlayError

WAIT = 120  # seconds


def _find_lock_file() -> str:
    # Network namespaces that share a file system, as those of tests, do not share what is locked.
    return "/run/agentless-overlay.%d.lock" % os.stat("/proc/self/ns/net").st_ino


def _is_same_file(handle: int, path: str) -> bool:
    """Whether a path still leads to an open file: who had the lock before us removes it."""
    try:
        return os.fstat(handle).st_ino == os.stat(path).st_ino
    except FileNotFoundError:
        return False


@contextmanager
def hold_host_lock(wait: float = WAIT) -> Iterator[None]:
    """Hold the host's lock, or raise OverlayError that says which process does.

    The kernel gives it back when the process ends, however it ends.
    """
    path = _find_lock_file()
    deadline = time.monotonic() + wait
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(handle, path):
                break
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                os.close(handle)
                raise
            if time.monotonic() > deadline:
                holder = os.read(handle, 32).decode().strip() or "unknown"
                os.close(handle)
                raise OverlayError(
                    "another run has been working on this host for %d s (process %s, lock %s). Nothing was changed; "
                    "wait for it, or end it, and run again" % (wait, holder, path)
                ) from error
            time.sleep(0.1)
        os.close(handle)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, b"%d\n" % os.getpid())
        yield
    finally:
        # Where somebody has removed the file, another one may have its own there by now.
        if _is_same_file(handle, path):
            os.unlink(path)
        os.close(handle)
