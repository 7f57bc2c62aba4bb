# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A process on a host of a test: runs the engine, commands, and the listing, a line of JSON each, hundreds of times.

Started as a program it is that process; imported, it is what talks to one.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()


class Inside:
    """The far end of it."""

    def __init__(self, job: subprocess.Popen[str]) -> None:
        self.job = job

    def ask(self, what: str, **options: Any) -> Any:
        assert self.job.stdin is not None and self.job.stdout is not None
        self.job.stdin.write(json.dumps([what, options]) + "\n")
        self.job.stdin.flush()
        line = self.job.stdout.readline()
        assert line, f"the process on the host ended: {what} {options}"
        answer = json.loads(line)
        assert "traceback" not in answer, answer["traceback"]
        return answer["is"]

    def converge(self, wish: dict[str, Any], check: bool = False, fail_at: int | None = None) -> dict[str, Any]:
        """The module's answer, or C(error), what it says when it fails.

        @param fail_at: which of the operations fails, without having done anything
        """
        found: dict[str, Any] = self.ask("converge", wish=wish, check=check, fail_at=fail_at)
        return found

    def sh(self, *commands: str) -> list[str]:
        """Run commands, each on its own; what went wrong with each that failed."""
        found: list[str] = self.ask("sh", commands=commands)
        return found

    def look(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = self.ask("look")
        return found

    def changes(self, before: dict[str, list[str]]) -> dict[str, Any]:
        """What is not as it was, after time for what comes by itself."""
        from listing import difference

        deadline = time.monotonic() + 1.5
        while (found := difference(before, self.look())) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found


@contextlib.contextmanager
def inside(*enter: str, **env: str) -> Iterator[Inside]:
    """The process, behind the command C(enter)."""
    from labs import ROOT, environment, module_paths

    paths = ":".join([*module_paths("current"), str(HERE.parent)])
    job = subprocess.Popen(
        [*enter, sys.executable, str(HERE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(PYTHONPATH=paths, **env),
    )
    try:
        yield Inside(job)
    finally:
        assert job.stdin is not None
        with contextlib.suppress(OSError):
            job.stdin.close()
        job.wait()


class Broken:
    """An engine of which one operation fails, once: what follows is the undo."""

    def __init__(self, order: Sequence[Any], failure: Any) -> None:
        self.left: int | None = None
        self.failure = failure
        for resource in order:
            resource.apply = self.wrapped(resource.apply)

    def wrapped(self, real: Any) -> Any:
        def apply(host: Any, ops: Any) -> Any:
            if self.left is None:
                return real(host, ops)
            if self.left >= len(ops):
                self.left -= len(ops)
                return real(host, ops)
            at, self.left = self.left, None
            return (real(host, ops[:at]) if at else []) or [self.failure(ops[at], "injected")]

        return apply


def main() -> None:
    import traceback

    import listing

    from ansible_collections.agentless.overlay.plugins.module_utils import _module
    from ansible_collections.agentless.overlay.plugins.module_utils._engine import _netlink
    from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
    from ansible_collections.agentless.overlay.plugins.module_utils._engine._programs import run_program
    from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Failure, OverlayError
    from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER

    broken = Broken(ORDER, Failure)

    def converge(wish: dict[str, Any], check: bool, fail_at: int | None) -> dict[str, Any]:
        broken.left = fail_at
        host = Host(run=run_program)
        try:
            return _module.converge(host, _module.validate_sections(wish), check, whole=True)
        except (OverlayError, _netlink.NetlinkError, OSError) as error:
            return {"error": f"{type(error).__name__}: {error}" if not isinstance(error, OverlayError) else str(error)}
        finally:
            host.session.close()

    def sh(commands: list[str]) -> list[str]:
        done = [subprocess.run(["sh", "-c", one], capture_output=True, text=True, check=False) for one in commands]
        return [f"{one}: {ran.stderr.strip()}" for one, ran in zip(commands, done) if ran.returncode]

    do: dict[str, Any] = {"converge": converge, "sh": sh, "look": listing.look}
    answers, sys.stdout = sys.stdout, io.StringIO()
    for line in sys.stdin:
        what, options = json.loads(line)
        try:
            answer = {"is": do[what](**options)}
        except Exception:
            answer = {"traceback": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
