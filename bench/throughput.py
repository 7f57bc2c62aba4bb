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
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/integration"))

from labs import Lab

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


def own_processor(host: str) -> list[str]:
    """How to run a program where the host's work is done."""
    return ["taskset", "--cpu-list", str(list(HOSTS).index(host) % PROCESSORS)]


def part_processors(lab: Lab) -> None:
    for number, host in enumerate(HOSTS):
        mask = f"{1 << number % PROCESSORS:x}"
        lab.sh(host, f"for queue in /sys/class/net/eth0/queues/rx-*; do echo {mask} >$queue/rps_cpus; done")


def swarm(lab: Lab) -> None:
    """Docker's own overlay network, with its defaults."""
    lab.sh("docker1", f"docker swarm init --advertise-addr {HOSTS['docker1']}")
    token = lab.sh("docker1", "docker swarm join-token --quiet worker").strip()
    lab.sh("docker2", f"docker swarm join --token {token} {HOSTS['docker1']}:2377")
    lab.sh("docker1", f"docker network create --driver overlay --attachable --subnet 10.9.0.0/24 {SWARM}")


def containers(lab: Lab) -> dict[str, str]:
    """A container on each network of each host; by network the address of that on docker2."""
    addresses = {}
    for network in [*(item["name"] for item in lab.networks), SWARM]:
        for host in HOSTS:
            lab.sh(host, f"docker run --detach --name {network} --network {network} overlay-lab sleep 1000000")
        template = '{{(index .NetworkSettings.Networks "%s").IPAddress}}' % network
        addresses[network] = lab.exec("docker2", "docker", "container", "inspect", "-f", template, network).stdout.strip()
    return addresses


def inside(lab: Lab, host: str, network: str) -> list[str]:
    """How to run a program of the host in the container's network namespace; on the host itself for none."""
    if not network:
        return own_processor(host)
    pid = lab.sh(host, f"docker container inspect -f '{{{{.State.Pid}}}}' {network}").strip()
    return [*own_processor(host), "nsenter", "-t", pid, "-n"]


def measure(lab: Lab, network: str, address: str, seconds: str) -> float:
    """Gbit/s from docker1 to docker2, as the receiver counts them."""
    here, there = inside(lab, "docker1", network), inside(lab, "docker2", network)
    server = lab.popen("docker2", *there, "iperf3", "--server", "--one-off")
    for _attempt in range(50):
        if ":5201" in lab.exec("docker2", *there, "ss", "-ltn").stdout:
            break
        time.sleep(0.1)
    said = lab.exec("docker1", *here, "iperf3", "--client", address, "--time", seconds, "--json").stdout
    server.communicate()
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
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        lab.hosts = {name: {"ansible_host": address} for name, address in HOSTS.items()}
        lab.networks = [item for item in NETWORKS if chosen == "all" or item["name"] in chosen.split(",")]
        try:
            lab.up()
            part_processors(lab)
            lab.write_inventory(overlay_underlay_subnet="192.168.65.0/24")
            lab.converge()
            swarm(lab)
            ways = {"": HOSTS["docker2"], **containers(lab)}
            found: dict[str, list[float]] = {network: [] for network in ways}
            for turn in range(int(rounds)):
                # To and fro, so that none always comes after the same one.
                for network in list(ways)[:: -1 if turn % 2 else 1]:
                    found[network].append(measure(lab, network, ways[network], seconds))
        finally:
            lab.down()
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
