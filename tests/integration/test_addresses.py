# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses that change: the wanted ones, all of them and no others, in one run, whatever the kernel takes along."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from labs import Namespace, failing

LINK = {"name": "dev1", "vni": 88, "port": 4789, "local": "10.1.1.1", "mac": "02:00:00:00:00:01", "mtu": 1450}
BRIDGE = {"name": "dev1", "mac": "02:00:00:00:00:01", "mtu": 1450, "alias": "agentless.overlay:x"}
PROMOTE = "net.ipv4.conf.dev1.promote_secondaries"


def options(kind: str, addresses: list[str]) -> dict[str, Any]:
    if kind == "bridge":
        return {"bridge": [{**BRIDGE, "addresses": addresses}]}
    return {"vxlan_link": [{"entries": [{**LINK, "addresses": addresses}]}]}


def found(namespace: Namespace) -> list[tuple[str, bool]]:
    """The addresses of the device, and of each whether it is behind another."""
    shown = namespace.json("ip -j address show dev dev1")[0]["addr_info"]
    return [
        (f"{item['local']}/{item['prefixlen']}", bool(item.get("secondary"))) for item in shown if item["scope"] == "global"
    ]


@pytest.mark.parametrize("kind", ["vxlan_link", "bridge"])
@pytest.mark.parametrize("promote", [0, 1])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["10.0.0.202/24"], ["10.0.0.77/24"]),
        (["10.0.0.5/24", "10.0.0.6/24", "10.0.0.7/24"], ["10.0.0.7/24", "10.0.0.6/24"]),
        (["10.0.0.5/24", "10.0.0.6/24"], ["10.1.0.5/24"]),
        (["10.0.0.5/24"], ["10.0.0.5/16"]),
        (["fd00:77::1/64"], ["fd00:77::1/56"]),
        (["fd00:77::1/64", "fd00:77::2/64"], ["fd00:77::1/128", "fd00:77::2/64"]),
    ],
)
def test_the_wanted_ones_are_there_after_one_run(
    namespace: Namespace, pyroute2: str, kind: str, promote: int, before: list[str], after: list[str]
) -> None:
    namespace.sh(f"sysctl -q net.ipv4.conf.default.promote_secondaries={promote}")
    namespace.converge("overlay_host", pyroute2, **options(kind, before))
    namespace.converge("overlay_host", pyroute2, **options(kind, after))
    assert sorted(address for address, _behind in found(namespace)) == sorted(after)
    assert namespace.sh(f"sysctl -n {PROMOTE}").strip() == str(promote)


def test_an_address_is_changed_with_nothing_lost_behind_it(namespace: Namespace, pyroute2: str) -> None:
    """A device without any IPv4 address would lose its neighbours and the routes of others."""
    namespace.converge("overlay_host", pyroute2, **options("vxlan_link", ["10.0.0.202/24"]))
    namespace.sh("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev dev1 nud permanent")
    namespace.sh("ip route add 10.55.0.0/24 via 10.0.0.9 dev dev1")
    look = "ip neigh show dev dev1 nud permanent; ip route show 10.55.0.0/24"
    before = namespace.sh(look)
    assert len(before.splitlines()) == 2
    namespace.converge("overlay_host", pyroute2, **options("vxlan_link", ["10.0.0.77/24"]))
    assert namespace.sh(look) == before


@pytest.mark.parametrize(
    ("kind", "address", "times"),
    [
        ("vxlan_link", "10.0.0.5/24", "valid_lft 5900 preferred_lft 5900"),
        ("bridge", "10.0.0.5/32", "valid_lft 5900 preferred_lft 99"),
        ("bridge", "fd00:77::1/64", "valid_lft 5900 preferred_lft 5900"),
        ("vxlan_link", "fd00:77::1/128", "valid_lft 5900 preferred_lft 5900"),
        ("vxlan_link", "fd00:77::1/64", "valid_lft forever preferred_lft 0"),
    ],
)
def test_an_address_that_would_go_stays(namespace: Namespace, pyroute2: str, kind: str, address: str, times: str) -> None:
    """Somebody gave it a time: then it would vanish some day, with the route of its network. An undo gives that back."""
    wish = options(kind, [address, "10.9.9.9/32"])
    wish["vxlan_link"] = [{**part, "purge": True} for part in wish.get("vxlan_link", [{"entries": []}])]
    namespace.converge("overlay_host", pyroute2, **wish)
    routes = namespace.sh("ip route show dev dev1; ip -6 route show dev dev1")

    def told() -> list[tuple[int, int]]:
        shown = namespace.json("ip -j address show dev dev1")[0]["addr_info"]
        return [(one["valid_life_time"], one["preferred_life_time"]) for one in shown if address.startswith(one["local"] + "/")]

    forever = told()
    namespace.sh(f"ip address change {address} dev dev1 {times}")
    assert told() != forever
    broken = [{"path": "/proc/nowhere/file", "content": "x"}]
    undone = namespace.module("overlay_host", pyroute2, fails=True, files=broken, **wish)
    assert "the host is as it was" in undone["msg"] and told() != forever
    predicted = namespace.module("overlay_host", pyroute2, check=True, **wish)
    drift = [(one["resource"], one["kind"]) for one in predicted["drift"]]
    assert drift == [("address", "wrong")] and told() != forever
    done = namespace.converge("overlay_host", pyroute2, **wish)
    assert done["operations"] == predicted["operations"] and len(done["operations"]) == 1
    assert told() == forever and namespace.sh("ip route show dev dev1; ip -6 route show dev dev1") == routes


@pytest.mark.parametrize("promote", [0, 1])
def test_an_undone_change_leaves_who_stands_first(namespace: Namespace, pyroute2: str, promote: int) -> None:
    """Of the addresses of one network the first is what the host's own packets come from."""
    namespace.sh(f"sysctl -q net.ipv4.conf.default.promote_secondaries={promote}")
    namespace.converge("overlay_host", pyroute2, **options("vxlan_link", []))
    for address in ("10.0.0.9/24", "10.0.0.5/24", "10.0.0.7/24", "fd00:77::1/64"):
        namespace.sh(f"ip address add {address} dev dev1 nodad")
    before = found(namespace)
    broken = [{"path": "/proc/nowhere/file", "content": "x"}]
    wanted = {**options("vxlan_link", ["10.0.0.7/24", "10.0.0.1/24", "fd00:77::1/48"]), "files": broken}
    answer = namespace.module("overlay_host", pyroute2, fails=True, **wanted)
    assert "the host is as it was" in answer["msg"]
    assert sorted(found(namespace)) == sorted(before)


def test_an_undone_change_puts_the_first_before_the_only_other(namespace: Namespace, pyroute2: str, tmp_path: Path) -> None:
    """What goes behind comes there with nothing else behind it before."""
    namespace.converge("overlay_host", pyroute2, **options("bridge", []))
    for address in ("10.0.0.9/24", "10.0.0.5/24"):
        namespace.sh(f"ip address add {address} dev dev1")
    namespace.sh("ip route add 10.55.0.0/24 via 10.0.0.7 dev dev1")
    before, way = found(namespace), namespace.sh("ip route show 10.55.0.0/24")
    rules = {"firewall": [{"network": "x", "cidrs": ["10.0.0.0/24"], "bridge": "dev1"}]}
    namespace.converge("overlay_host", pyroute2, **rules)
    # The rules go after the addresses.
    wrapper = failing(tmp_path, "nft", " -f ")
    wanted = {**options("bridge", ["10.0.0.5/24"]), "firewall": []}
    answer = namespace.module("overlay_host", pyroute2, fails=True, wrapper=wrapper, **wanted)
    assert "the host is as it was" in answer["msg"], answer["msg"]
    assert found(namespace) == before and namespace.sh("ip route show 10.55.0.0/24") == way


@pytest.mark.parametrize("kind", ["vxlan_link", "bridge"])
def test_a_link_local_address_may_be_listed(namespace: Namespace, pyroute2: str, kind: str) -> None:
    """Also the one that the kernel makes by itself; unlisted ones are nobody's to purge."""
    listed = ["fe80::77/64", "fe80::ff:fe00:1/64", "10.0.0.5/24"]
    namespace.converge("overlay_host", pyroute2, **options(kind, listed))
    namespace.sh("ip address add fe80::88/64 dev dev1")
    namespace.converge("overlay_host", pyroute2, **options(kind, listed))
    namespace.converge("overlay_host", pyroute2, **options(kind, ["10.0.0.5/24"]))
    shown = namespace.sh("ip -6 -o address show dev dev1")
    assert all(address in shown for address in ("fe80::77/64", "fe80::88/64", "fe80::ff:fe00:1/64"))


def test_random_sets_of_addresses(namespace: Namespace) -> None:
    seed = int(os.environ.get("OVERLAY_SEED", random.randrange(10**6)))
    print(f"OVERLAY_SEED={seed}")
    dice = random.Random(seed)

    def draw() -> list[str]:
        chosen: dict[str, str] = {}
        for _number in range(dice.randrange(7)):
            address, length = dice.choice(
                [
                    (f"10.{dice.randrange(2)}.0.{dice.randrange(1, 6)}", dice.choice([16, 24, 32])),
                    (f"fd00:{dice.randrange(1, 3)}::{dice.randrange(1, 4)}", dice.choice([56, 64, 128])),
                ]
            )
            # IPv4 has one address with several lengths, IPv6 has not.
            chosen[address if ":" in address else f"{address}/{length}"] = f"{address}/{length}"
        return list(chosen.values())

    for turn in range(25):
        kind = ("bridge", "vxlan_link")[turn // 13]
        if turn in (0, 13):
            namespace.module("overlay_host", bridge=[])
        if turn % 5 == 0:
            namespace.sh(
                f"sysctl -q net.ipv4.conf.default.promote_secondaries={turn % 2} net.ipv4.conf.all.promote_secondaries=0"
            )
        wanted = draw()
        namespace.converge("overlay_host", **options(kind, wanted))
        assert sorted(address for address, _behind in found(namespace)) == sorted(wanted), (turn, wanted)
