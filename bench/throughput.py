#!/usr/bin/env python3
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TCP between containers on two lab hosts, by each kind of network, beside Docker Swarm's overlay and the bare underlay.

    make bench-throughput [SECONDS=2 ROUNDS=15 NETWORKS=all]

All in one run on the same two hosts, in turns, so that what else the machine does hits all alike; the median of the rounds
counts. Compared is the share of the bare underlay's and of Swarm's throughput, and how far the latter may be chance: between
which shares 95 of 100 draws of as many rounds lie. iperf3 runs in the containers' namespaces.

Each host has a processor of its own, as two machines have, where this one has two: else how the kernel spreads both hosts' work
over all processors decides more than the work. Programs are held there, and packets from the underlay are taken up there.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PREFIX = "aobench"
LAB = ["bash", str(ROOT / "roles/lab/files/lab.sh")]
HOSTS = {"docker1": "192.168.65.3", "docker2": "192.168.65.4"}
NETWORKS: list[dict[str, Any]] = [
    {"name": "vxlan", "cidr": "10.1.0.0/16", "vni": 1, "attach": {"docker_network": "vxlan"}},
    {"name": "direct", "cidr": "10.5.0.0/16", "vni": 5, "direct_routing": True, "attach": {"docker_network": "direct"}},
    {"name": "hostgw", "backend": "host-gw", "cidr": "10.2.0.0/16", "attach": {"docker_network": "hostgw"}},
    {"name": "l2", "backend": "l2", "cidr": "10.3.0.0/16", "vni": 3, "attach": {"docker_network": "l2"}},
    {"name": "p2p", "backend": "p2p", "cidr": "10.4.0.0/16", "vni": 4, "attach": {"docker_network": "p2p"}},
]
SWARM = "swarm"
PROCESSORS = os.cpu_count() or 1


def lab(*args: str) -> str:
    done = subprocess.run(
        [*LAB, *args], capture_output=True, text=True, check=False, env={**os.environ, "LAB_PREFIX": PREFIX}, cwd=ROOT
    )
    if done.returncode:
        raise SystemExit(f"lab.sh {' '.join(args)}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def own_processor(host: str) -> list[str]:
    """How to run a program where the host's work is done."""
    return ["taskset", "--cpu-list", str(list(HOSTS).index(host) % PROCESSORS)]


def part_processors() -> None:
    for number, host in enumerate(HOSTS):
        mask = f"{1 << number % PROCESSORS:x}"
        lab("exec", host, "sh", "-c", f"for queue in /sys/class/net/eth0/queues/rx-*; do echo {mask} >$queue/rps_cpus; done")


def converge(folder: Path, networks: list[dict[str, Any]]) -> None:
    """The networks, by the playbook that users run."""
    hosts = {name: {"ansible_host": address} for name, address in HOSTS.items()}
    pid_file = f"/var/lib/agentless-overlay-lab/{PREFIX}/{{{{ inventory_hostname }}}}/pid"
    variables = {
        "overlay_networks": networks,
        "overlay_underlay_subnet": "192.168.65.0/24",
        "ansible_connection": "agentless.overlay.netns",
        "ansible_become": False,
        "ansible_python_interpreter": sys.executable,
        "overlay_netns_name": PREFIX + "-{{ inventory_hostname }}",
        "overlay_netns_pid_file": pid_file,
    }
    inventory = folder / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"children": {"overlay": {"hosts": hosts, "vars": variables}}}}))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "playbooks/overlay.yml", "-i", inventory],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def swarm() -> None:
    """Docker's own overlay network, with its defaults."""
    lab("exec", "docker1", "docker", "swarm", "init", "--advertise-addr", HOSTS["docker1"])
    token = lab("exec", "docker1", "docker", "swarm", "join-token", "--quiet", "worker")
    lab("exec", "docker2", "docker", "swarm", "join", "--token", token, f"{HOSTS['docker1']}:2377")
    lab(
        "exec",
        "docker1",
        "docker",
        "network",
        "create",
        "--driver",
        "overlay",
        "--attachable",
        "--subnet",
        "10.9.0.0/24",
        SWARM,
    )


def containers(networks: list[dict[str, Any]]) -> dict[str, str]:
    """A container on each network of each host; by network the address of that on docker2."""
    addresses = {}
    for network in [*(item["name"] for item in networks), SWARM]:
        for host in HOSTS:
            run = ["docker", "run", "--detach", "--name", network, "--network", network, "overlay-lab", "sleep", "1000000"]
            lab("exec", host, *run)
        template = '{{(index .NetworkSettings.Networks "%s").IPAddress}}' % network
        addresses[network] = lab("exec", "docker2", "docker", "container", "inspect", "-f", template, network)
    return addresses


def inside(host: str, network: str) -> list[str]:
    """How to run a program of the host in the container's network namespace; on the host itself for none."""
    if not network:
        return ["exec", host, *own_processor(host)]
    pid = lab("exec", host, "docker", "container", "inspect", "-f", "{{.State.Pid}}", network)
    return ["exec", host, *own_processor(host), "nsenter", "-t", pid, "-n"]


def measure(network: str, address: str, seconds: str) -> float:
    """Gbit/s from docker1 to docker2, as the receiver counts them."""
    server = subprocess.Popen(
        [*LAB, *inside("docker2", network), "iperf3", "--server", "--one-off"],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "LAB_PREFIX": PREFIX},
    )
    for _attempt in range(50):
        if ":5201" in lab(*inside("docker2", network), "ss", "-ltn"):
            break
        time.sleep(0.1)
    said = lab(*inside("docker1", network), "iperf3", "--client", address, "--time", seconds, "--json")
    server.wait()
    return float(json.loads(said)["end"]["sum_received"]["bits_per_second"]) / 1e9


def chance(values: list[float], beside: list[float]) -> tuple[float, float]:
    """Between which shares the median's lies in 95 of 100 draws of as many rounds from these (bootstrap)."""
    draw = random.Random(0)
    shares = sorted(
        statistics.median(draw.choices(values, k=len(values))) / statistics.median(draw.choices(beside, k=len(beside)))
        for _draw in range(2000)
    )
    return shares[50], shares[-51]


def main() -> None:
    seconds, rounds, chosen = (sys.argv[1:] + ["2", "15", "all"][len(sys.argv) - 1 :])[:3]
    networks = [item for item in NETWORKS if chosen == "all" or item["name"] in chosen.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        try:
            lab("up", *(f"{name}={address}/24" for name, address in HOSTS.items()))
            part_processors()
            converge(Path(folder), networks)
            swarm()
            ways = {"": HOSTS["docker2"], **containers(networks)}
            found: dict[str, list[float]] = {network: [] for network in ways}
            for turn in range(int(rounds)):
                # To and fro, so that none always comes after the same one.
                for network in list(ways)[:: -1 if turn % 2 else 1]:
                    found[network].append(measure(network, ways[network], seconds))
        finally:
            lab("down")
    names = {
        "": "bare underlay, host to host",
        "hostgw": "host-gw",
        "direct": "vxlan with direct_routing, on one underlay subnet",
        SWARM: "Docker Swarm's overlay",
    }
    middle = {way: statistics.median(values) for way, values in found.items()}
    rows = [
        {
            **{"way": names.get(way, way), "gbit": gbit, "of_underlay": gbit / middle[""], "of_swarm": gbit / middle[SWARM]},
            "chance": chance(found[way], found[SWARM]) if way != SWARM else None,
        }
        for way, gbit in sorted(middle.items(), key=lambda item: -item[1])
    ]
    print("| from container to container by | Gbit/s | of the underlay | of Swarm | 95 of 100 |\n|---|---|---|---|---|")
    for row in rows:
        spread = f"{row['chance'][0]:.0%} to {row['chance'][1]:.0%}" if row["chance"] else ""
        print(f"| {row['way']} | {row['gbit']:.1f} | {row['of_underlay']:.0%} | {row['of_swarm']:.0%} | {spread} |")
    (ROOT / ".cache").mkdir(exist_ok=True)
    (ROOT / ".cache/bench-throughput.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
