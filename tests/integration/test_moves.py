# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes that move from one device to another, as in the change of a VNI with a parallel device, while packets flow."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from labs import Namespace

NO_DAD = "sysctl -q net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0"
PORT = "dstport 4789 nolearning"


def routes(device: str, how: str) -> dict[str, Any]:
    """To the far host's subnets, through the VTEP's address in each, as the planner gives them."""
    way = {"device": device, "onlink": True}
    entries = [
        {"dst": "10.88.2.0/24", "gateway": "10.88.2.0", **way},
        {"dst": "fd88:2::/64", "gateway": "fd88:2::", **way},
    ]
    return {"entries": entries, "purge": True, "nexthops": how}


@pytest.fixture
def pair(namespace: Namespace) -> Iterator[Namespace]:
    """A host and a far one, each with a device of two VNIs, and the far one's subnets behind each of them."""
    far = Namespace()
    try:
        for side in (namespace, far):
            side.sh(NO_DAD)
        namespace.sh(f"ip link add eth0 type veth peer name eth0 netns {far.name}")
        for side, mine, other in ((namespace, 1, 2), (far, 2, 1)):
            side.sh(f"ip address add 10.1.1.{mine}/24 dev eth0; ip link set eth0 up")
            for vni in (1, 2):
                device = f"vx{vni}"
                mac, theirs = (f"02:00:00:00:0{vni}:0{number}" for number in (mine, other))
                side.sh(f"""
                    ip link add {device} address {mac} type vxlan id {vni} local 10.1.1.{mine} {PORT}; ip link set {device} up
                    ip address add 10.88.{mine}.0/32 dev {device}; ip address add fd88:{mine}::/128 dev {device}
                    ip neigh add 10.88.{other}.0 lladdr {theirs} dev {device}
                    ip neigh add fd88:{other}:: lladdr {theirs} dev {device}
                    bridge fdb add {theirs} dev {device} dst 10.1.1.{other}""")
        far.sh("ip address add 10.88.2.1/32 dev lo; ip address add fd88:2::1/128 dev lo")
        far.sh(
            "ip route add 10.88.1.0/24 via 10.88.1.0 dev vx2 onlink; ip -6 route add fd88:1::/64 via fd88:1:: dev vx2 onlink"
        )
        yield namespace
    finally:
        far.remove()


@contextmanager
def without_a_lost_ping(namespace: Namespace, *addresses: str) -> Iterator[None]:
    jobs = []
    for address in addresses:
        command = ["nsenter", f"--net=/run/netns/{namespace.name}", "ping", "-q", "-i", "0.002", address]
        jobs.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    try:
        time.sleep(0.5)
        yield
    finally:
        said = []
        for job in jobs:
            job.send_signal(2)
            said.append(job.communicate(timeout=30)[0])
    for text in said:
        sent, received = (int(number) for number in re.findall(r"(\d+) (?:packets transmitted|received)", text))
        assert sent > 100 and sent - received <= 1, text  # the last one may be on its way


@pytest.mark.parametrize("how", ["never", "always"])
def test_a_gateway_in_its_own_network_moves_without_a_gap(pair: Namespace, pyroute2: str, how: str) -> None:
    pair.converge("route_entry", pyroute2, **routes("vx1", how))
    with without_a_lost_ping(pair, "10.88.2.1", "fd88:2::1"):
        for device in ("vx2", "vx1"):
            done = pair.converge("route_entry", pyroute2, **routes(device, how))
            assert done["impact"] == []
            for family, dst in (("-4", "10.88.2.0/24"), ("-6", "fd88:2::/64")):
                found = pair.json(f"ip -j {family} route show {dst}")
                assert [(one["dst"], one["dev"]) for one in found] == [(dst, device)]
        # An undo goes the same way.
        broken = [{"path": "/proc/nowhere/file", "content": "x"}]
        answer = pair.module("overlay_host", pyroute2, fails=True, route_entry=[routes("vx2", how)], files=broken)
        assert "the host is as it was" in answer["msg"], answer["msg"]
        # And from plain routes to numbers and back in the same step.
        other = {"never": "always", "always": "never"}[how]
        pair.converge("route_entry", pyroute2, **routes("vx2", other))
    # The way to the gateway was for the moment only.
    assert not {"fd88:2::", "fd88:2::/128"} & {one["dst"] for one in pair.json("ip -j -6 route")}
