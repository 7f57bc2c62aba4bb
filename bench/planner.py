#!/usr/bin/env python3
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The planner for N nodes: time and memory of the plan, and of one host's part of it.

    python bench/planner.py [N ...]

One network, half of the leases on record and half of them new. Each count has a process of its own, so that its peak memory is
its own; the fastest of three counts. What a host is sent is measured as the JSON that its module gets.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3


def child(count: int) -> None:
    """One count, in a process of its own."""
    import resource
    import time

    sys.path.insert(0, str(ROOT / ".collections"))
    from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS, restore_plan
    from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
    from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import make_part
    from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import make_plan

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Names that differ late, as those of real hosts do.
    names = [f"web{number:05}.rack{number % 40:02}.dc1.example.com" for number in range(count)]
    nodes = [Node(name, f"172.16.{number >> 8}.{number & 255}") for number, name in enumerate(names)]
    records = {"demo": {names[number]: f"10.{64 + (number >> 8)}.{number & 255}.0/24" for number in range(0, count, 2)}}
    began = time.perf_counter()
    made = make_plan(BACKENDS, [{"name": "demo", "cidr": "10.64.0.0/10", "vni": 88}], nodes, records)
    plan = made.plan.to_plain()
    planned = time.perf_counter()
    assert not made.errors and len(plan["networks"]["demo"]["members"]) == count and len(made.new["demo"]) == count // 2
    # As each host's action does it: the plan comes as plain data.
    part = make_part(restore_plan(plan), names[0])
    cut = time.perf_counter()
    told = {
        "nodes": count,
        "plan_seconds": planned - began,
        "part_seconds": cut - planned,
        "part_kb": len(json.dumps(part)) / 1024,
        "plan_kb": len(json.dumps(plan)) / 1024,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "imports_mb": before / 1024,
    }
    print(json.dumps(told))


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or [100, 1000, 3000, 10000]
    rows: list[dict[str, Any]] = []
    print(" nodes  plan s  ms a node  peak MB (imports)  plan kB  a host's part s  its kB")
    for count in counts:
        runs = []
        for _round in range(ROUNDS):
            done = subprocess.run(
                [sys.executable, __file__, "--child", str(count)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(done.stderr)
            runs.append(json.loads(done.stdout))
        row = min(runs, key=lambda one: float(one["plan_seconds"]))
        rows.append(row)
        print(
            f"{count:6} {row['plan_seconds']:7.2f} {row['plan_seconds'] / count * 1000:10.2f} {row['peak_mb']:8.0f} "
            f"({row['imports_mb']:.0f}) {row['plan_kb']:15.0f} {row['part_seconds']:16.2f} {row['part_kb']:7.0f}",
            flush=True,
        )
    (ROOT / ".cache").mkdir(exist_ok=True)
    (ROOT / ".cache/bench-planner.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]))
    else:
        main()
