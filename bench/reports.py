#!/usr/bin/env python3
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of report.yml for fleets of N hosts, good and bad: how large each is, how long they take, how much memory.

    python bench/reports.py [N ...]

Of what drift.yml and verify.yml would have found (tests/unit/fleets.py), without a host. Each kind and count has a process of
its own, whose processor time counts. Above a million pairs that were pinged none is tried: the matrix alone would take
gigabytes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MOST_PINGS = 1_000_000
sys.path[:0] = [str(ROOT / ".collections"), str(ROOT / "tests/unit")]

from fleets import KINDS, count_pings, make_fleet


def child(count: int, kind: str) -> None:
    """One kind and count, in a process of its own."""
    import resource
    import time

    from ansible_collections.agentless.overlay.plugins.plugin_utils._see.drift import write_drift_files
    from ansible_collections.agentless.overlay.plugins.plugin_utils._see.page import make_page, render_page

    plan, drift, matrix = make_fleet([f"host{number:05}" for number in range(count)], kind)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    files = render_page(make_page(plan, drift, matrix))
    seconds = time.process_time() - began
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    files["drift.md"] = write_drift_files(drift)["md"]
    sizes = {name: len(text.encode()) / 1000 for name, text in files.items()}
    print(json.dumps({"hosts": count, "kind": kind, "seconds": seconds, "kilobytes": sizes, "more_mb": more}))


def main() -> None:
    rows: list[dict[str, Any]] = []
    print("hosts kind       seconds  report.html kB  topology.svg kB  topology.mmd kB  drift.md kB  more MB")
    for count in [int(word) for word in sys.argv[1:]] or [3, 300, 1000, 3000]:
        for kind in KINDS:
            if count_pings(count, kind) > MOST_PINGS:
                continue
            command = [sys.executable, __file__, "--child", str(count), kind]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            row = json.loads(done.stdout)
            rows.append(row)
            sizes = row["kilobytes"]
            print(
                f"{count:5} {kind:10} {row['seconds']:7.2f} {sizes['report.html']:15.0f} {sizes['topology.svg']:16.0f} "
                f"{sizes['topology.mmd']:16.0f} {sizes['drift.md']:12.0f} {row['more_mb']:8.0f}",
                flush=True,
            )
    (ROOT / ".cache").mkdir(exist_ok=True)
    (ROOT / ".cache/bench-reports.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]), sys.argv[3])
    else:
        main()
