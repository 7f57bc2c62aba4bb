# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bridges that nobody gave a MAC, so that they have one of a port: what our devices do to them, as iproute2 sees it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from labs import Namespace
from test_undo import AS_IT_WAS, NO_DAD, differences, look

MAC = "02:00:00:00:00:%02x"
MARK = "agentless.overlay:x"
LINK = {"vni": 88, "port": 4789, "local": "10.1.1.1", "mtu": 1450, "alias": MARK, "accept_ra": 0, "autoconf": 0}
BROKEN = [{"path": "/proc/nowhere/file", "content": "x"}]
PERMANENT = (
    "ip neigh add 10.77.0.5 lladdr 02:00:00:00:77:05 dev sw0 nud permanent; "
    "ip neigh add fd77::5 lladdr 02:00:00:00:77:05 dev sw0 nud permanent router"
)
# What the kernel forgets too when there is no carrier, as on a bridge without a port that was given a MAC.
NEIGHBOURS = PERMANENT + "; ip neigh add 10.77.0.6 lladdr 02:00:00:00:77:06 dev sw0 nud noarp"


def port(number: int = 8, name: str = "vx", **more: Any) -> dict[str, Any]:
    return {**LINK, "name": name, "mac": MAC % number, "master": "sw0", "addresses": [], **more}


def wish(*links: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"vxlan_link": [{"entries": list(links), "purge": True}], **more}


def entered(host: Namespace) -> list[str]:
    return sorted(line for line in host.sh("ip neigh show dev sw0 nud all").splitlines() if ":77:" in line)


def mac_of(host: Namespace, device: str) -> str:
    return str(host.json(f"ip -j link show dev {device}")[0]["address"])


@pytest.fixture
def host(namespace: Namespace) -> Namespace:
    """One with a bridge of somebody else's, which has no MAC of its own."""
    namespace.sh(
        f"{NO_DAD}; ip link add sw0 type bridge; ip link set sw0 up; "
        "ip address add 10.77.0.1/16 dev sw0; ip address add fd77::1/64 dev sw0"
    )
    return namespace


def add_port(host: Namespace) -> None:
    host.sh(f"ip link add c0 address {MAC % 0x50} type veth peer name c0in; ip link set c0 master sw0 up; ip link set c0in up")


def refused(host: Namespace, pyroute2: str, options: dict[str, Any]) -> str:
    before = look(host)
    for check in (True, False):
        answer = host.module("overlay_host", pyroute2, check=check, fails=True, **options)
        assert "the bridge sw0 has no port and a MAC that the kernel drew" in answer["msg"], answer["msg"]
        assert answer["msg"].endswith("Nothing was changed")
        assert differences(host, before) == {}
    remedy = re.search(r"ip link set dev sw0 address \S+", answer["msg"])
    assert remedy is not None
    return remedy[0]


def undone(host: Namespace, pyroute2: str, options: dict[str, Any]) -> None:
    before, neighbours = look(host), entered(host)
    answer = host.module("overlay_host", pyroute2, fails=True, **options, files=BROKEN)
    assert AS_IT_WAS in answer["msg"], answer["msg"]
    assert differences(host, before) == {}
    assert entered(host) == neighbours


@pytest.mark.parametrize("whose", ["somebody's", "ours without a MAC", "ours with the MAC that the kernel drew"])
def test_a_mac_that_the_kernel_drew_is_not_lost(host: Namespace, pyroute2: str, whose: str) -> None:
    bridge: dict[str, Any] = {"name": "sw0", "alias": MARK, "adopt": True, "addresses": ["10.77.0.1/16", "fd77::1/64"]}
    more: dict[str, Any] = {}
    if whose != "somebody's":
        bridge.update({"mac": mac_of(host, "sw0")} if "drew" in whose else {})
        more["bridge"] = [bridge]
    host.converge("overlay_host", pyroute2, **wish(**more))
    host.sh(PERMANENT)
    remedy = refused(host, pyroute2, wish(port(), **more))
    host.sh(f"{remedy}; {PERMANENT}")
    more["bridge"] = [{**bridge, "mac": mac_of(host, "sw0")}] if "drew" in whose else more.get("bridge", [])
    undone(host, pyroute2, wish(port(), **more))
    neighbours = entered(host)
    done = host.converge("overlay_host", pyroute2, **wish(port(), **more))
    assert remedy.endswith(mac_of(host, "sw0")) and entered(host) == neighbours != []
    assert done["impact"] == []


@pytest.mark.parametrize("made", ["with a MAC", "by the run", "by the run with a MAC"])
def test_a_mac_that_stays_or_was_not_there_is_no_obstacle(namespace: Namespace, pyroute2: str, made: str) -> None:
    bridge = {"name": "sw0", "alias": MARK, **({"mac": MAC % 9} if "MAC" in made else {})}
    if made == "with a MAC":
        namespace.sh(f"ip link add sw0 address {MAC % 9} type bridge")
    done = namespace.converge("overlay_host", pyroute2, **wish(port(), bridge=[] if made == "with a MAC" else [bridge]))
    assert mac_of(namespace, "sw0") == MAC % (9 if "MAC" in made else 8)
    assert done["impact"] == []


# What of our devices is there before, and what is wished then; the bridge has another port with the MAC 02:...:50.
NEW_MAC: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "a lower one joins": ([], [port(8)]),
    "one whose MAC is not given joins": ([], [{**port(8), "mac": None}]),
    "one joins that was there": ([port(8, master=None)], [port(8)]),
    "two join": ([], [port(8), port(9, "vy", vni=89)]),
    "one takes another's place": ([port(8)], [port(9, "vy", vni=89)]),
    "it is made again": ([port(8)], [port(8, vni=90)]),
    "it gets another MAC": ([port(8)], [port(9)]),
    "it gets a lower MAC": ([port(0x60)], [port(8)]),
    "it gets a MAC that is not the lowest": ([port(8)], [port(0x60)]),
    "it leaves": ([port(8)], [port(8, master=None)]),
    "it goes": ([port(8)], []),
}
SAME_MAC: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "a higher one joins": ([], [port(0x60)]),
    "a higher one goes": ([port(0x60)], []),
    "a higher one is made again": ([port(0x60)], [port(0x60, vni=90)]),
    "it gets an MTU": ([port(8)], [port(8, mtu=1440)]),
}


def without_none(links: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in link.items() if value is not None} for link in links]


@pytest.mark.parametrize("how", [*NEW_MAC, *SAME_MAC])
def test_neighbours_of_a_bridge_outlive_its_mac(host: Namespace, pyroute2: str, how: str) -> None:
    add_port(host)
    before, after = (without_none(links) for links in {**NEW_MAC, **SAME_MAC}[how])
    host.converge("overlay_host", pyroute2, **wish(*before))
    host.sh(NEIGHBOURS)
    neighbours, mac = entered(host), mac_of(host, "sw0")
    undone(host, pyroute2, wish(*after))
    done = host.converge("overlay_host", pyroute2, **wish(*after))
    assert entered(host) == neighbours and len(neighbours) == 3
    drops = " ".join(impact["drops"] for impact in done["impact"])
    if "not given" in how:
        # Nobody knows before which one the kernel will draw.
        assert "packets over sw0 to this host" in drops
        return
    changed = mac_of(host, "sw0") != mac
    assert changed == (how in NEW_MAC and how != "it is made again")
    assert ("packets over sw0 to this host" in drops) is changed, json.dumps(done, indent=1)


def test_a_bridge_that_was_given_a_mac_keeps_it(host: Namespace, pyroute2: str) -> None:
    add_port(host)
    host.sh(f"ip link set dev sw0 address {MAC % 0x70}; {NEIGHBOURS}")
    neighbours = entered(host)
    undone(host, pyroute2, wish(port()))
    done = host.converge("overlay_host", pyroute2, **wish(port()))
    assert done["impact"] == [] and not any("neigh_entry" in one for one in done["operations"])
    assert entered(host) == neighbours


def test_a_bridge_that_loses_ipv6_for_a_while_is_as_it_was(host: Namespace, pyroute2: str) -> None:
    """It has the lowest MTU of its ports, and the multicast entries of its own that it needs."""
    add_port(host)
    undone(host, pyroute2, wish(port(0x60, mtu=1200)))
