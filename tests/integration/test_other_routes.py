# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes of others, of the kernel's and of the physical device, through all that happens to a vxlan device."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from labs import Namespace

NO_DAD = "sysctl -q net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0"
LINK = {"vni": 88, "port": 4789, "local": "10.1.1.1", "learning": False, "mac": "02:00:00:00:00:01", "mtu": 1450}
# Not through a gateway of its own network: the kernel looks for that before it moves the route.
ROUTE = {"dst": "fd88:2::/64", "gateway": "fd99::2", "onlink": True}


@pytest.fixture
def wired(namespace: Namespace) -> Iterator[Namespace]:
    """A host with a physical device: the other end of its wire answers to fe80::2."""
    far = Namespace()
    try:
        for side in (namespace, far):
            side.sh(NO_DAD)
        namespace.sh(f"ip link add eth0 type veth peer name eth0 netns {far.name}")
        namespace.sh("ip link set eth0 up; ip address add 2001:db8:1::1/64 dev eth0; ip address add 10.1.1.1/24 dev eth0")
        far.sh("ip address add fe80::2/64 dev eth0; ip link set eth0 up")
        namespace.sh("ping -6 -q -c 1 -w 20 fe80::2%eth0")
        yield namespace
    finally:
        far.remove()


def routes(namespace: Namespace, device: str = "eth0") -> list[str]:
    """What the kernel has for a device; in the order of its tables, in which it looks."""
    return namespace.sh(f"ip -6 route show table main dev {device}; ip -4 route show table main dev {device}").splitlines()


def vxlan(**more: object) -> dict[str, object]:
    return {"entries": [{"name": "vx1", **LINK, **more}, {"name": "vx2", **LINK, "vni": 89, "mac": "02:00:00:00:00:02"}]}


def test_the_physical_device_keeps_its_link_local_network(wired: Namespace, pyroute2: str) -> None:
    """The kernel has fe80::/64 once for each device, all with one metric."""
    wired.converge("vxlan_link", pyroute2, **vxlan())
    before = {device: routes(wired, device) for device in ("eth0", "vx1", "vx2")}
    assert any(line.startswith("fe80::/64") for line in before["eth0"])
    for port in (8472, 4789, 8472):
        done = wired.converge("vxlan_link", pyroute2, **vxlan(port=port))
        assert "re-create vx1" in done["operations"][0]
        assert not any("fe80" in operation for operation in done["operations"])
        wired.sh("ping -6 -q -c 1 -W 2 fe80::2%eth0")
        assert {device: routes(wired, device) for device in before} == before
    both = [{**entry, "udpcsum": False} for entry in vxlan(port=8472)["entries"]]  # type: ignore[attr-defined]
    wired.converge("vxlan_link", pyroute2, entries=both)
    wired.sh("ping -6 -q -c 1 -W 2 fe80::2%eth0")
    assert {device: routes(wired, device) for device in before} == before


def test_an_undone_recreation_leaves_it_too(wired: Namespace, pyroute2: str) -> None:
    wired.converge("vxlan_link", pyroute2, **vxlan())
    before = {device: routes(wired, device) for device in ("eth0", "vx1", "vx2")}
    both = [{**entry, "udpcsum": False} for entry in vxlan()["entries"]]  # type: ignore[attr-defined]
    broken = [{"path": "/proc/nowhere/file", "content": "x"}]
    answer = wired.module("overlay_host", pyroute2, fails=True, vxlan_link=[{"entries": both}], files=broken)
    assert "the host is as it was" in answer["msg"]
    wired.sh("ping -6 -q -c 1 -W 2 fe80::2%eth0")
    assert {device: routes(wired, device) for device in before} == before


@pytest.mark.parametrize("fails", [False, True])
def test_routes_of_others_are_put_back_beside_each_other(wired: Namespace, pyroute2: str, fails: bool) -> None:
    """The same destination and metric on the physical device and on ours: of IPv6, and, appended, of IPv4."""
    wired.converge("vxlan_link", pyroute2, **vxlan(addresses=["10.88.1.0/32", "fd88:1::/128"]))
    for device in ("eth0", "vx1"):
        wired.sh(f"ip -6 route append 2001:db8:9::/64 dev {device} metric 77 proto static")
        wired.sh(f"ip -6 route append 2001:db8:8::/64 dev {device}; ip -4 route append 10.99.0.0/24 dev {device} proto static")
    before = {device: routes(wired, device) for device in ("eth0", "vx1")}
    assert sum(line.startswith(("2001:db8:9::", "2001:db8:8::", "10.99.")) for line in before["vx1"]) == 3
    if fails:
        broken = [{"path": "/proc/nowhere/file", "content": "x"}]
        options = {"vxlan_link": [vxlan(port=8472)], "files": broken}
        assert "the host is as it was" in wired.module("overlay_host", pyroute2, fails=True, **options)["msg"]
    else:
        done = wired.converge("vxlan_link", pyroute2, **vxlan(port=8472))
        assert len([operation for operation in done["operations"] if "route_entry: add" in operation]) == 3
    assert {device: routes(wired, device) for device in before} == before


def test_a_route_of_ours_moves_in_one_step_and_of_others_goes_first(wired: Namespace, pyroute2: str) -> None:
    wired.converge("vxlan_link", pyroute2, **vxlan())
    wired.sh("ip -6 route add fd88:2::/64 dev eth0 proto static; ip -4 route add 10.88.2.0/24 via 10.1.1.9 proto static")
    four = {"dst": "10.88.2.0/24", "gateway": "10.88.2.0", "onlink": True}
    first = {"entries": [{**ROUTE, "device": "vx1"}, {**four, "device": "vx1", "adopt": True}], "purge": True}
    before = routes(wired)
    for check in (True, False):
        answer = wired.module("route_entry", pyroute2, check=check, fails=True, **first)
        assert "somebody else has a route to fd88:2::/64 (fd88:2::/64 dev eth0 proto static)" in answer["msg"]
        assert "adopt: true" in answer["msg"] and "10.88.2.0" not in answer["msg"]
        assert routes(wired) == before
    first["adopt"] = True
    # What fails afterwards puts the other's back.
    broken = [{"path": "/proc/nowhere/file", "content": "x"}]
    answer = wired.module("overlay_host", pyroute2, fails=True, route_entry=[first], files=broken)
    assert "the host is as it was" in answer["msg"]
    assert routes(wired) == before and "proto 157" not in wired.sh("ip -6 route; ip route")
    done = wired.converge("route_entry", pyroute2, **first)
    assert [operation.split()[1] for operation in done["operations"]] == ["remove", "change", "add"]
    assert wired.sh("ip -6 route show fd88:2::/64; ip route show 10.88.2.0/24").splitlines() == [
        "fd88:2::/64 via fd99::2 dev vx1 proto 157 metric 1024 onlink pref medium",
        "10.88.2.0/24 via 10.88.2.0 dev vx1 proto 157 onlink ",
    ]
    second = {"entries": [{**ROUTE, "device": "vx2"}, {**four, "device": "vx2"}], "purge": True}
    done = wired.converge("route_entry", pyroute2, **second)
    assert [operation.split()[1] for operation in done["operations"]] == ["change", "change"]
    assert "dev vx1" not in wired.sh("ip -6 route show proto 157; ip route show proto 157")


def test_a_route_of_ours_that_a_device_takes_along_replaces_nobodys(wired: Namespace, pyroute2: str) -> None:
    """The module of the devices alone does not know which routes are wanted: it puts back what was there, and no more."""
    wired.converge("vxlan_link", pyroute2, **vxlan())
    wired.sh("ip -6 route add fd88:2::/64 dev eth0 proto static; ip -6 route append fd88:2::/64 dev vx1 proto 157")
    wired.sh("ip route add 10.88.2.0/24 dev vx1 proto 157; ip route append 10.88.2.0/24 dev eth0 proto static")
    before = wired.sh("ip -6 route show fd88:2::/64; ip route show 10.88.2.0/24")
    wired.converge("vxlan_link", pyroute2, **vxlan(port=8472))
    assert wired.sh("ip -6 route show fd88:2::/64; ip route show 10.88.2.0/24") == before


def test_what_the_kernel_made_is_refused_where_ours_shall_be(wired: Namespace, pyroute2: str) -> None:
    wired.converge("vxlan_link", pyroute2, **vxlan())
    wired.sh("ip -6 route add fd88:3::/64 via fe80::2 dev eth0 proto ra metric 1024")
    before = routes(wired)
    own = {"device": "vx1", "dst": "2001:db8:1::/64", "metric": 256}
    answer = wired.module("route_entry", pyroute2, fails=True, **own)
    assert "2001:db8:1::/64 is this host's own directly connected network" in answer["msg"]
    answer = wired.module("route_entry", pyroute2, fails=True, **{**ROUTE, "device": "vx1", "dst": "fd88:3::/64"})
    assert "a router of this host's own network leads to fd88:3::/64" in answer["msg"]
    assert routes(wired) == before


def test_the_first_of_two_routes_in_one_place_stays_the_first(wired: Namespace, pyroute2: str) -> None:
    """Of IPv4 the kernel uses the first, whatever its protocol."""

    def wish(port: int) -> dict[str, object]:
        route = {"dst": "10.88.2.0/24", "gateway": "10.88.2.0", "onlink": True, "device": "vx1"}
        link = {"name": "vx1", **LINK, "port": port, "addresses": ["10.88.1.0/32"]}
        return {
            "vxlan_link": [{"entries": [link], "purge": True}],
            "route_entry": [{"entries": [route], "purge": True}],
        }

    wired.converge("overlay_host", pyroute2, **wish(4789))
    wired.sh("ip route append 10.88.2.0/24 dev eth0 proto static")
    before = wired.sh("ip route show 10.88.2.0/24")
    assert before.splitlines()[0].startswith("10.88.2.0/24 via 10.88.2.0 dev vx1")
    wired.converge("overlay_host", pyroute2, **wish(8472))
    assert wired.sh("ip route show 10.88.2.0/24") == before
    broken = [{"path": "/proc/nowhere/file", "content": ""}]
    answer = wired.module("overlay_host", pyroute2, fails=True, **wish(4789), files=broken)
    assert "the host is as it was" in answer["msg"]
    assert wired.sh("ip route show 10.88.2.0/24") == before


def test_a_purge_takes_our_own_only(wired: Namespace, pyroute2: str) -> None:
    """Also on a device on which routes of ours are listed, and of ours also those that no listed device has."""
    wired.sh("ip route add default via 10.1.1.254 proto static; ip route add 172.18.0.0/16 via 10.1.1.77 dev eth0 proto bird")
    others = routes(wired)
    wired.converge("route_entry", pyroute2, device="eth0", purge=True, entries=[{"dst": "10.88.9.0/24", "gateway": "10.1.1.9"}])
    wired.converge("route_entry", pyroute2, entries=[{"dst": "10.88.8.0/24", "gateway": "10.1.1.8"}], purge=True)
    ours = wired.json("ip -j route show proto 157")
    assert [route["dst"] for route in ours] == ["10.88.8.0/24"]
    wired.converge("route_entry", pyroute2, entries=[], purge=True)
    assert routes(wired) == others


def test_a_table_that_never_stands_still(wired: Namespace, pyroute2: str) -> None:
    """As on a router with BGP: each dump of nexthop objects is interrupted by a change of somebody else's."""
    wired.shell("ip -batch - <<END\n" + "".join(f"nexthop add id {n} via 10.1.1.9 dev eth0\n" for n in range(9, 5000)) + "END")
    one = "nexthop add id 9%d via 10.1.1.9 dev eth0\nnexthop del id 9%d\n"
    lines = "".join(one % (n, n) for n in range(1000, 3000))
    script = f"while true; do ip -force -batch - <<END\n{lines}END\ndone"
    command = ["nsenter", f"--net=/run/netns/{wired.name}", "sh", "-c", script]
    job = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        section = {"entries": [{**ROUTE, "device": "eth0"}], "purge": True, "nexthops": "always"}
        wired.converge("route_entry", pyroute2, **section)
        torn = [wired.module("route_entry", pyroute2, **section)["counters"]["nexthop"]["dumps"] > 1 for _turn in range(3)]
        assert any(torn)
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    assert [one["dst"] for one in wired.json("ip -j -6 route show proto 157")] == [ROUTE["dst"]]
