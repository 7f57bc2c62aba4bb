#!/usr/bin/env python3
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole runs of overlay.yml and drift.yml on N unchanged lab hosts, beside a play with one trivial module call a host.

    python bench/fleet.py [N ...]

The hosts have no Docker and one routed network. Processor time is counted, of the controller and of all hosts, which are on
one machine: what else goes on there disturbs that least. So is the time on the clock. Each is tried twice in turn (beyond 100
hosts once), and the less of each counts.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
LAB = ["bash", str(ROOT / "roles/lab/files/lab.sh")]
PREFIX = f"aobench{os.getpid()}"
BIN = Path(sys.executable).parent
ROUNDS = 2
TRIVIAL = "- {hosts: overlay, gather_facts: false, tasks: [{ansible.builtin.ping: }]}\n"


def lab(*args: str) -> None:
    env = {**os.environ, "LAB_PREFIX": PREFIX, "LAB_DOCKER": "no"}
    subprocess.run([*LAB, *args], check=True, env=env, stdout=subprocess.DEVNULL)


def addresses(count: int) -> dict[str, str]:
    return {f"h{number}": f"192.168.{64 + number // 250}.{number % 250 + 2}" for number in range(1, count + 1)}


def make(folder: Path, count: int) -> None:
    """The lab and its inventory."""
    hosts = addresses(count)
    lab("up", *(f"{name}={address}/20" for name, address in hosts.items()))
    for name, address in hosts.items():
        # Neighbours that are asked for share one table of 1,024 with all namespaces of the machine: known ones do not.
        known = "".join(
            f"neigh replace {far} lladdr 02:4c:{':'.join(f'{int(part):02x}' for part in far.split('.'))} dev eth0\n"
            for far in hosts.values()
            if far != address
        )
        subprocess.run(["ip", "-n", f"{PREFIX}-{name}", "-batch", "-"], input=known, text=True, check=True)
    values = {
        "overlay_networks": [{"name": "bench", "cidr": "10.88.0.0/16", "vni": 88, "attach": "host"}],
        "ansible_connection": "agentless.overlay.netns",
        "ansible_become": False,
        "ansible_python_interpreter": sys.executable,
        "overlay_netns_name": PREFIX + "-{{ inventory_hostname }}",
        "overlay_netns_pid_file": f"/var/lib/agentless-overlay-lab/{PREFIX}/{{{{ inventory_hostname }}}}/pid",
        "overlay_report_dir": str(folder / "report"),
    }
    inventory = {
        "all": {"children": {"overlay": {"hosts": {k: {"ansible_host": v} for k, v in hosts.items()}, "vars": values}}}
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (folder / "trivial.yml").write_text(TRIVIAL)


def play(folder: Path, playbook: str) -> dict[str, float]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [str(BIN / "ansible-playbook"), playbook, "-i", str(folder / "hosts.yml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"processor": processor, "clock": time.monotonic() - began}


def measure(count: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            make(folder, count)
            yield {"hosts": count, "run": "overlay.yml, from nothing", **play(folder, "playbooks/overlay.yml")}
            runs = (str(folder / "trivial.yml"), "playbooks/overlay.yml", "playbooks/drift.yml")
            best: dict[str, dict[str, float]] = {}
            for _round in range(ROUNDS if count <= 100 else 1):
                for path in runs:
                    told = play(folder, path)
                    known = best.setdefault(path, told)
                    best[path] = {key: min(value, known[key]) for key, value in told.items()}
            trivial = best[runs[0]]
            for path, told in best.items():
                ratios = {f"{key}_ratio": value / trivial[key] for key, value in told.items()}
                yield {"hosts": count, "run": Path(path).name, **told, **ratios}
        finally:
            lab("down")


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or [10, 50, 100, 200]
    rows = []
    (ROOT / ".cache").mkdir(exist_ok=True)
    print("hosts  run                        clock s  ratio  processor s  a host  ratio")
    for count in counts:
        for row in measure(count):
            rows.append(row)
            # At once: with hundreds of hosts it takes long, and what was measured should outlive an interrupt.
            (ROOT / ".cache/bench-fleet.json").write_text(json.dumps(rows, indent=1))
            clock, processor = (f"{row[key]:.2f}" if key in row else "" for key in ("clock_ratio", "processor_ratio"))
            print(
                f"{count:5}  {row['run']:26} {row['clock']:7.1f} {clock:>6} {row['processor']:12.1f} "
                f"{row['processor'] / count:7.3f} {processor:>6}",
                flush=True,
            )


if __name__ == "__main__":
    if os.geteuid():
        raise SystemExit("This needs root: it makes lab hosts.")
    main()
