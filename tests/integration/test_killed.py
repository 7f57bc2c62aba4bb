# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs that are killed at a random moment: the next one always ends converged. OVERLAY_KILLS=30 for more of them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from labs import BIN, ROOT, Lab, Net

KILLS = int(os.environ.get("OVERLAY_KILLS", "2"))

# As on a host that never had the overlay.
BARE = (
    "ip link del vxlan.88; nft delete table inet agentless_overlay; iptables -F DOCKER-USER; "
    "rm -rf /etc/docker/daemon.json* /etc/agentless-overlay /run/flannel; "
    "rm -rf /etc/systemd/network/10-agentless* /etc/systemd/networkd.conf.d; "
    'echo \'{"bip": "172.17.0.1/16"}\' >/etc/docker/daemon.json; service docker restart'
)


def family(pid: int) -> list[int]:
    """A process and everything below it, as far as it goes: also what a lab host runs of it."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [below for child in path.read_text().split() for below in family(int(child))]
    return found


def kill(job: subprocess.Popen[bytes]) -> None:
    """End a run and all its processes at once, so that none of them can clean up."""
    # Held first, for the list not to change while it is read.
    seen: set[int] = set()
    while new := [pid for pid in family(job.pid) if pid not in seen]:
        for pid in new:
            seen.add(pid)
            os.kill(pid, signal.SIGSTOP)
    for pid in seen:
        os.kill(pid, signal.SIGKILL)
    job.wait()


@pytest.mark.parametrize("number", range(KILLS))
def test_the_run_after_a_killed_one_ends_converged(net: Net, number: int) -> None:
    lab: Lab = net.lab
    for host in lab.hosts:
        lab.sh(host, "docker rm -f c1 >/dev/null 2>&1; " + BARE)
    # A number that can be given again.
    seed = int(os.environ.get("OVERLAY_SEED", random.randrange(2**32)))
    moment = random.Random(seed).uniform(1, 10)
    print(f"OVERLAY_SEED={seed}: killed after {moment:.2f} s")
    command = [str(BIN / "ansible-playbook"), "playbooks/overlay.yml", "-i", str(lab.inventory)]
    job = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(moment)
    kill(job)
    lab.converge()
    for host in lab.hosts:
        state, golden = lab.state(host), dict(net.golden[host])
        for one in (state, golden):
            # No container runs now.
            one["route"] = [line.replace("linkdown ", "") for line in one["route"]]
        for key in set(state) - {"docker-user", "daemon.json"}:
            assert state[key] == golden[key], key
        # Rules of ours stand in any order, before Docker's own where it has been started since.
        assert {line for line in state["docker-user"].splitlines() if "agentless" in line} == {
            line for line in golden["docker-user"].splitlines() if "agentless" in line
        }
        assert lab.sh(host, "ls -A /run /etc/docker /etc/agentless-overlay | grep -e overlay-new -e lock$ || true") in (
            "",
            "lock\n",
        )
    assert set(lab.converge("--check", "--diff").changed().values()) == {0}
