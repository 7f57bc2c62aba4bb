# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One transaction at a time on a host."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _lock
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import OverlayError


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_lock, "_find_lock_file", lambda: str(tmp_path / "lock"))
    return tmp_path / "lock"


def hold(ready: multiprocessing.synchronize.Event, seconds: float) -> None:
    with _lock.hold_host_lock():
        ready.set()
        time.sleep(seconds)


def other(seconds: float) -> multiprocessing.Process:
    """Another process that has the lock."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=hold, args=(ready, seconds))
    process.start()
    assert ready.wait(10)
    return process  # type: ignore[return-value]


def test_it_leaves_nothing_behind(path: Path) -> None:
    with _lock.hold_host_lock():
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_a_second_one_waits(path: Path) -> None:
    process = other(0.5)
    with _lock.hold_host_lock():
        assert path.read_text() == f"{os.getpid()}\n"
    process.join()
    assert process.exitcode == 0 and not path.exists()


def test_one_that_waits_too_long_says_for_whom(path: Path) -> None:
    process = other(30)
    words = f"another run has been working on this host for 0 s \\(process {process.pid}, lock"
    with pytest.raises(OverlayError, match=words), _lock.hold_host_lock(wait=0.3):
        raise AssertionError("two have it")
    process.terminate()
    process.join()


def test_the_lock_of_a_killed_one_is_free(path: Path) -> None:
    process = other(30)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert path.exists()
    with _lock.hold_host_lock(wait=0.3):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()
