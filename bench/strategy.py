#!/usr/bin/env python3
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""overlay.yml and drift.yml by Ansible's own strategy and by mitogen's, over SSH to three booted machines.

    python bench/strategy.py [ROUNDS]

The machines are the tests' own (Debian 12, 13 and 14 with their Docker), already converged, and nothing is to be done on them.
SSH keeps its connections for 20 s, as it is set up for most. Both strategies in turns; the least of each counts.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/integration"))

from labs import Machines, mitogen

TRIVIAL = "- {hosts: overlay, gather_facts: false, tasks: [{ansible.builtin.ping: }]}\n"


def spent() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic(), used.ru_utime + used.ru_stime


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "trivial.yml").write_text(TRIVIAL)
        machines = Machines(folder / "inventory")
        try:
            machines.up()
            machines.converge()
            print("run           strategy        clock s  processor s of the controller")
            for playbook in (str(folder / "trivial.yml"), "playbooks/overlay.yml", "playbooks/drift.yml"):
                best: dict[str, tuple[float, float]] = {}
                for _round in range(rounds):
                    for strategy, env in (("linear", {}), ("mitogen_linear", mitogen())):
                        began = spent()
                        played = machines.play("-e", f"overlay_report_dir={folder}/report", playbook=playbook, **env)
                        if played.code:
                            raise SystemExit(played.output[-3000:])
                        told = tuple(after - before for before, after in zip(began, spent(), strict=True))
                        best[strategy] = min(best.get(strategy, told), told)
                for strategy, (clock, processor) in best.items():
                    rows.append({"run": Path(playbook).name, "strategy": strategy, "clock": clock, "processor": processor})
                    print(f"{Path(playbook).name:13} {strategy:15} {clock:7.1f} {processor:12.1f}", flush=True)
        finally:
            machines.down()
    (ROOT / ".cache").mkdir(exist_ok=True)
    (ROOT / ".cache/bench-strategy.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    if os.geteuid():
        raise SystemExit("This needs root: it boots machines.")
    if importlib.util.find_spec("ansible_mitogen") is None:
        raise SystemExit("This needs mitogen: pip install -r requirements.txt")
    main()
