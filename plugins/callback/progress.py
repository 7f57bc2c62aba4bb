# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: progress
type: stdout
short_description: How far a run of many hosts is, without a line for each
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Prints for each task one line, and while it runs one more every few seconds, with how many hosts are done, changed, failed
    and left.
  - A host that fails or cannot be reached is printed in full, and so is what M(ansible.builtin.debug) says.
  - At the end, the totals, and the names of hosts that changed or failed.
requirements:
  - set as stdout callback in the configuration, C(ANSIBLE_STDOUT_CALLBACK=agentless.overlay.progress)
extends_documentation_fragment:
  - default_callback
  - result_format_callback
options:
  progress_seconds:
    description: How many seconds lie between two lines of a task that runs.
    type: float
    default: 10
    env:
      - name: OVERLAY_PROGRESS_SECONDS
    ini:
      - section: callback_agentless_overlay_progress
        key: progress_seconds
"""

import time
from typing import Any

from ansible.plugins.callback.default import CallbackModule as Default

from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import join_names

_SHOWN = 20  # names in a line


def _get_part(result: Any, name: str) -> Any:
    """A part of a result, whose names have an underline before ansible-core 2.19."""
    return getattr(result, name if hasattr(result, name) else f"_{name}")


class CallbackModule(Default):  # type: ignore[misc]
    """The default output, less what it says of each host that is well."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "agentless.overlay.progress"

    def __init__(self) -> None:
        super().__init__()
        self._hosts = 0
        self._began = self._printed = 0.0
        self._counts: dict[str, int] = {}
        self._name = ""

    def set_options(self, *args: Any, **kwargs: Any) -> None:
        """Without skipped hosts the default prints a task's banner with the first host that it prints."""
        super().set_options(*args, **kwargs)
        self.set_option("display_skipped_hosts", False)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Counts the hosts of the play, or of its batch."""
        self._finish()
        super().v2_playbook_on_play_start(play)
        variables = play.get_variable_manager().get_vars(play=play)
        self._hosts = len(variables.get("ansible_play_batch") or [])

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Begins to count anew."""
        self._finish()
        super().v2_playbook_on_task_start(task, is_conditional)
        self._name = task.get_name().rpartition(" : ")[2]
        self._began = self._printed = time.monotonic()
        self._counts = dict.fromkeys(("unchanged", "changed", "skipped", "failed", "unreachable"), 0)

    def _count(self, result: Any, how: str) -> None:
        task = _get_part(result, "task")
        # Of what runs once for all there is nothing to count.
        if task.run_once or task.action in ("meta", "ansible.builtin.meta"):
            return
        self._counts[how] += 1
        now = time.monotonic()
        if now - self._printed >= self.get_option("progress_seconds") and sum(self._counts.values()) < self._hosts:
            self._printed = now
            self._print()

    def _print(self) -> None:
        done = sum(self._counts.values())
        told = ", ".join(f"{number} {how}" for how, number in self._counts.items() if number)
        left = max(0, self._hosts - done)
        seconds = time.monotonic() - self._began
        self._display.display(f"{self._name}: {done} of {self._hosts} hosts: {told}; {left} left; {seconds:.0f} s")

    def _finish(self) -> None:
        if sum(self._counts.values()):
            self._print()
        self._counts = {}

    def v2_runner_on_ok(self, result: Any) -> None:
        """Counted; what debug says is printed."""
        content = _get_part(result, "result")
        if _get_part(result, "task").action in ("debug", "ansible.builtin.debug"):
            super().v2_runner_on_ok(result)
        self._count(result, "changed" if content.get("changed") else "unchanged")

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Counted."""
        self._count(result, "skipped")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Printed, and counted."""
        super().v2_runner_on_failed(result, ignore_errors)
        self._count(result, "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Printed, and counted."""
        super().v2_runner_on_unreachable(result)
        self._count(result, "unreachable")

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Its host is counted when all items are done."""

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        """As above."""

    def v2_playbook_on_include(self, included_file: Any) -> None:
        """One line a host would be as many as there are hosts."""

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Totals, and who is not among those that are well."""
        self._finish()
        kinds: dict[str, list[str]] = {"unchanged": [], "changed": [], "failed": [], "unreachable": []}
        for host in sorted(stats.processed):
            told = stats.summarize(host)
            kind = "unreachable" if told["unreachable"] else "failed" if told["failures"] else ""
            kinds[kind or ("changed" if told["changed"] else "unchanged")].append(host)
        self._display.banner("PLAY RECAP")
        total = sum(len(hosts) for hosts in kinds.values())
        self._display.display(f"{total} hosts: " + ", ".join(f"{len(hosts)} {kind}" for kind, hosts in kinds.items()))
        for kind in ("changed", "failed", "unreachable"):
            if kinds[kind]:
                self._display.display(f"{kind}: {join_names(kinds[kind], _SHOWN)}")
