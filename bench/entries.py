#!/usr/bin/env python3
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Neighbours, FDB entries and routes of N peers on one vxlan device: our modules beside iproute2's batches.

    make bench [N="100 1000"]

Both do the same work in the same run, each on an empty device. Of a module
the whole process is timed, and what remains without Python's start and the
imports: reading the options, one dump, one batch, the answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NAMESPACE = "aonbench"
ENTER = ["nsenter", f"--net=/run/netns/{NAMESPACE}"]
LINK = "ip link add vx type vxlan id 88 local 10.1.1.1 dstport 4789 nolearning && ip link set vx up"


def peers(count: int) -> dict[str, list[dict[str, Any]]]:
    numbers = range(2, count + 2)
    bases = [f"10.{100 + n // 256}.{n % 256}.0" for n in numbers]
    macs = [f"02:00:00:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:{n & 255:02x}" for n in numbers]
    return {
        "neigh_entry": [{"dst": base, "lladdr": mac} for base, mac in zip(bases, macs)],
        "fdb_entry": [{"mac": mac, "dst": f"192.168.{n // 256}.{n % 256}"} for mac, n in zip(macs, numbers)],
        "route_entry": [{"dst": f"{base}/24", "gateway": base, "onlink": True} for base in bases],
    }


def batch(module: str, entries: list[dict[str, Any]]) -> tuple[list[str], str]:
    """The same entries as iproute2 takes them."""
    if module == "neigh_entry":
        lines = [f"neigh replace {e['dst']} lladdr {e['lladdr']} dev vx nud permanent" for e in entries]
    elif module == "fdb_entry":
        lines = [f"fdb replace {e['mac']} dev vx dst {e['dst']} self permanent" for e in entries]
    else:
        lines = [f"route replace {e['dst']} proto 157 via {e['gateway']} dev vx onlink" for e in entries]
    return ["bridge" if module == "fdb_entry" else "ip", "-batch", "-"], "\n".join(lines) + "\n"


def timed(command: list[str], stdin: str = "") -> tuple[float, float, str]:
    """Seconds of processor time, which other work on the machine disturbs least; peak MB; output."""
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], check=True); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)"
    )
    whole = [*ENTER, sys.executable, "-c", code, *command]
    done = subprocess.run(whole, input=stdin, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    seconds, memory = done.stderr.split()[-2:]
    return float(seconds), int(memory) / 1024, done.stdout


def module_run(module: str, entries: list[dict[str, Any]], purge: bool = True) -> tuple[float, float, str]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as handle:
        json.dump({"ANSIBLE_MODULE_ARGS": {"device": "vx", "entries": entries, "purge": purge}}, handle)
        handle.flush()
        name = f"ansible_collections.agentless.overlay.plugins.modules.{module}"
        path = ":".join([f"{ROOT}/.collections", os.environ.get("PYTHONPATH", "")])
        return timed(["env", f"PYTHONPATH={path}", sys.executable, "-m", name, handle.name])


def empty() -> None:
    subprocess.run([*ENTER, "sh", "-c", f"ip link del vx 2>/dev/null; {LINK}"], check=True)


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or [100, 1000]
    sys.path.insert(0, str(ROOT / ".collections"))
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    subprocess.run([*ENTER, "ip", "link", "set", "lo", "up"], check=True)
    rows = []
    try:
        print("module        peers  whole s  work s  again s    MB dumps batches messages  iproute2 s  ratio")
        for count in counts:
            for module, entries in peers(count).items():
                empty()
                command, text = batch(module, entries)
                other = timed(command, text)[0]
                empty()
                first, memory, answer = module_run(module, entries)
                again, memory_again, answer_again = module_run(module, entries)
                # A call that finds all as wanted and has nothing wanted: start, imports, look-up.
                start = module_run(module, [], purge=False)[0]
                counters = json.loads(answer)["counters"][module]
                assert json.loads(answer)["changed"] and not json.loads(answer_again)["changed"]
                row = {
                    "module": module,
                    "peers": count,
                    "whole": first,
                    "work": first - start,
                    "again": again - start,
                    "peak_mb": max(memory, memory_again),
                    **counters,
                    "iproute2": other,
                    "ratio": (first - start) / other,
                }
                rows.append(row)
                print(
                    f"{module:12} {count:6} {row['whole']:8.2f} {row['work']:7.2f} {row['again']:8.2f} {row['peak_mb']:5.0f} "
                    f"{row['dumps']:5} {row['batches']:7} {row['messages']:8} {other:11.3f} {row['ratio']:6.1f}",
                    flush=True,
                )
    finally:
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)
    Path(ROOT / ".cache").mkdir(exist_ok=True)
    (ROOT / ".cache/bench-entries.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
