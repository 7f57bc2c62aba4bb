#!/usr/bin/env python3
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""N peers on one vxlan device of one host: our engine beside iproute2's batches, which do the same work in the same run.

    python bench/peers.py [N ...]

From nothing, unchanged, 1 % changed, all removed, each with nexthop objects; and from nothing with plain routes. Of ours, the
engine is timed from the options as they arrive to the answer; Python's start and the imports are not. Of iproute2, both of its
processes are timed as a whole, on a batch that is ready. Each is tried three times in turn, and the fastest of each counts:
other work on the machine only ever adds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NAMESPACE = "aonbench"
ENTER = ["nsenter", f"--net=/run/netns/{NAMESPACE}"]
LINK = {"name": "vx", "vni": 88, "port": 4789, "local": "10.1.1.1", "learning": False, "up": True}
ROUNDS = 3
CASES = ("from nothing", "unchanged", "1 % changed", "all removed", "plain routes")
PLAIN = 10000  # peers; beyond, the kernel takes minutes for plain routes

Peer = tuple[str, str, str]


def peers(count: int, moved: int = 0) -> list[Peer]:
    """Subnet's first address, VTEP's MAC and outer address of each; of the first C(moved) the last two are others."""
    found = []
    for number in range(count):
        base = f"10.{number >> 8 & 255}.{number & 255}.0"
        mac = f"{'06' if number < moved else '02'}:00:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
        outer = f"172.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        found.append((base, mac, outer))
    return found


def options(wanted: list[Peer], nexthops: str = "always") -> dict[str, Any]:
    """As overlay_host takes them."""
    return {
        "vxlan_link": [{"entries": [LINK]}],
        "neigh_entry": [{"device": "vx", "purge": True, "entries": [{"dst": ip, "lladdr": mac} for ip, mac, _outer in wanted]}],
        "fdb_entry": [{"device": "vx", "purge": True, "entries": [{"mac": mac, "dst": outer} for _ip, mac, outer in wanted]}],
        "route_entry": [
            {
                "purge": True,
                "nexthops": nexthops,
                "entries": [{"dst": f"{ip}/24", "gateway": ip, "device": "vx", "onlink": True} for ip, _mac, _outer in wanted],
            }
        ],
    }


def batches(case: str, count: int, moved: int) -> Iterator[tuple[str, str]]:
    """The same work as programs and batches of iproute2's."""
    every, changed = peers(count), peers(count, moved)[:moved]
    if case == "plain routes":
        yield (
            "ip",
            "".join(
                f"neigh replace {ip} lladdr {mac} dev vx nud permanent\n"
                f"route replace {ip}/24 via {ip} dev vx onlink proto 157\n"
                for ip, mac, _outer in every
            ),
        )
    if case == "from nothing":
        yield (
            "ip",
            "".join(
                f"neigh replace {ip} lladdr {mac} dev vx nud permanent\n"
                f"nexthop replace id {number} via {ip} dev vx onlink proto 157\nroute replace {ip}/24 nhid {number} proto 157\n"
                for number, (ip, mac, _outer) in enumerate(every, 1)
            ),
        )
    if case in ("from nothing", "plain routes"):
        yield "bridge", "".join(f"fdb replace {mac} dev vx dst {outer} self permanent\n" for _ip, mac, outer in every)
    if case in ("unchanged", "1 % changed"):
        yield "ip", "neigh show dev vx nud permanent\nnexthop show dev vx\nroute show\n"
        yield "bridge", "fdb show dev vx\n"
    if case == "1 % changed":
        yield "ip", "".join(f"neigh replace {ip} lladdr {mac} dev vx nud permanent\n" for ip, mac, _outer in changed)
        old = "".join(f"fdb del {mac} dev vx self\n" for _ip, mac, _outer in every[:moved])
        yield "bridge", old + "".join(f"fdb replace {mac} dev vx dst {outer} self permanent\n" for _ip, mac, outer in changed)
    if case == "all removed":
        yield (
            "ip",
            "".join(
                f"route del {ip}/24 proto 157\nnexthop del id {number}\nneigh del {ip} dev vx\n"
                for number, (ip, _mac, _outer) in enumerate(every, 1)
            ),
        )
        yield "bridge", "".join(f"fdb del {mac} dev vx self\n" for _ip, mac, _outer in every)


def child(job: str) -> None:
    """Inside the namespace, one process a case: time it and tell."""
    import resource
    import time

    case, whose, count = json.loads(job)
    moved = max(1, count // 100)
    told: dict[str, Any] = {}
    if whose == "iproute2":
        work = list(batches(case, count, moved))
        began = time.perf_counter()
        for program, text in work:
            subprocess.run([program, "-batch", "-"], input=text.encode(), check=True, stdout=subprocess.PIPE)
        told["seconds"] = time.perf_counter() - began
    else:
        sys.path.insert(0, str(ROOT / ".collections"))
        from ansible_collections.agentless.overlay.plugins.module_utils import _module

        wanted = [] if case == "all removed" else peers(count, moved if case == "1 % changed" else 0)
        text = json.dumps(options(wanted, "never" if case == "plain routes" else "always"))
        given = json.loads(text)
        began = time.perf_counter()
        answer = _module.converge(_module.Host(), _module.validate_sections(given), whole=True)
        told["seconds"] = time.perf_counter() - began
        told["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        for name in ("dumps", "batches", "messages"):
            told[name] = sum(counter[name] for counter in answer["counters"].values())
        # Four entries a peer; a peer that moved has a neighbour and two FDB entries, its old and its new one.
        writes = {"unchanged": 0, "1 % changed": 3 * moved}.get(case)
        assert writes in (None, told["messages"]), (case, told)
    print(json.dumps(told))


def run(case: str, whose: str, count: int) -> dict[str, Any]:
    job = json.dumps([case, whose, count])
    done = subprocess.run([*ENTER, sys.executable, __file__, "--child", job], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{case}, {whose}, {count}: {done.stdout}{done.stderr}")
    return dict(json.loads(done.stdout))


def prepare(case: str, whose: str, count: int) -> None:
    subprocess.run([*ENTER, "sh", "-c", "ip link del vx 2>/dev/null; true"], check=True)
    link = "ip link add vx type vxlan id 88 local 10.1.1.1 dstport 4789 nolearning && ip link set vx up"
    subprocess.run([*ENTER, "sh", "-c", link], check=True)
    if case not in ("from nothing", "plain routes"):
        run("from nothing", whose, count)


def rows(counts: list[int]) -> Iterator[dict[str, Any]]:
    for count in counts:
        for case in CASES if count <= PLAIN else CASES[:-1]:
            best: dict[str, dict[str, Any]] = {}
            for _round in range(ROUNDS if count <= 10000 else 1):
                for whose in ("iproute2", "engine"):
                    prepare(case, whose, count)
                    told = run(case, whose, count)
                    best[whose] = min(told, best.get(whose, told), key=lambda one: one["seconds"])
            ours, theirs = best["engine"], best["iproute2"]["seconds"]
            yield {"peers": count, "case": case, "iproute2": theirs, "ratio": ours["seconds"] / theirs, **ours}


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or [100, 1000, 10000, 50000]
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    found = []
    try:
        subprocess.run([*ENTER, "ip", "link", "set", "lo", "up"], check=True)
        print(" peers  case          engine s  iproute2 s  ratio  peak MB  dumps  batches  messages")
        for row in rows(counts):
            found.append(row)
            print(
                f"{row['peers']:6}  {row['case']:12} {row['seconds']:9.3f} {row['iproute2']:11.3f} {row['ratio']:6.1f} "
                f"{row['peak_mb']:8.0f} {row['dumps']:6} {row['batches']:8} {row['messages']:9}",
                flush=True,
            )
    finally:
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)
    (ROOT / ".cache").mkdir(exist_ok=True)
    (ROOT / ".cache/bench-peers.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    elif os.geteuid():
        raise SystemExit("This needs root: it works in a network namespace of its own.")
    else:
        main()
