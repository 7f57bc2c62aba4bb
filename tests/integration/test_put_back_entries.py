# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others entered on a device of ours, through its re-creation and through an undo: it comes back as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from labs import Namespace

LINK = {"name": "vx1", "vni": 88, "port": 4789, "local": "10.1.1.1", "learning": False, "mac": "02:00:00:00:00:01", "mtu": 1450}
ADDRESSES = ["10.88.1.1/24", "fd88:1::1/64"]
BROKEN = [{"path": "/proc/nowhere/file", "content": "x"}]
# What comes and goes by itself.
PASSING = ("used", "confirmed", "updated", "probes", "refcnt")


def wish(**more: Any) -> dict[str, Any]:
    return {"vxlan_link": [{"entries": [{**LINK, "addresses": ADDRESSES, **more}]}]}


@pytest.fixture
def there(namespace: Namespace, pyroute2: str) -> Namespace:
    """A host with a physical device and a vxlan device of ours."""
    namespace.sh("sysctl -q net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0")
    namespace.sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up")
    namespace.sh("ip address add 10.1.1.1/24 dev eth0; ip address add fd00::1/64 dev eth0")
    namespace.converge("overlay_host", pyroute2, **wish())
    return namespace


def listed(namespace: Namespace, command: str) -> list[str]:
    """What iproute2 lists, in the order of the words."""
    found = namespace.json(command)
    return sorted(json.dumps({k: v for k, v in one.items() if k not in PASSING}, sort_keys=True) for one in found)


def undone(namespace: Namespace, pyroute2: str, **sections: Any) -> None:
    answer = namespace.module("overlay_host", pyroute2, fails=True, files=BROKEN, **sections)
    assert "the host is as it was" in answer["msg"], answer["msg"]


def through_all(namespace: Namespace, pyroute2: str, look: Callable[[], Any], **others: Any) -> None:
    """Look at it before and after a device was re-created, a re-creation was undone, and a removal was undone."""
    before = look()
    for port in (8472, 4789):
        done = namespace.converge("overlay_host", pyroute2, **wish(port=port), **others)
        assert "vxlan_link: re-create" in " ".join(done["operations"])
        assert look() == before
    for sections in (wish(port=8472), {"vxlan_link": [{"entries": [{"name": "vx1", "state": "absent"}]}]}):
        undone(namespace, pyroute2, **sections, **others)
        assert look() == before
    undone(namespace, pyroute2, **wish(up=False), **others)
    assert look() == before


def test_neighbours(there: Namespace, pyroute2: str) -> None:
    there.sh("""
        ip neigh add 10.88.5.1 dev vx1 nud noarp lladdr 02:00:00:00:00:05
        ip neigh add 10.88.5.2 dev vx1 nud permanent lladdr 02:00:00:00:00:06 router protocol 99
        ip neigh add 10.88.5.3 dev vx1 extern_learn lladdr 02:00:00:00:00:07 nud reachable
        ip neigh add 10.88.5.4 dev vx1 managed
        ip neigh add 10.88.5.5 dev vx1 managed extern_learn
        ip neigh add 10.88.5.6 dev vx1 nud permanent lladdr 02:00:00:00:00:08
        ip neigh add proxy 10.88.6.1 dev vx1 protocol 33
        ip neigh add proxy fd88:6::1 dev vx1 router
        ip neigh add fd88:5::5 dev vx1 nud permanent lladdr 02:00:00:00:00:09""")

    def look() -> list[str]:
        found = listed(there, "ip -d -j neigh show dev vx1 nud all") + listed(there, "ip -d -j neigh show proxy")
        # The kernel tries to reach those that it shall keep, and makes its own for multicast.
        found = [one.replace('["FAILED"]', '["INCOMPLETE"]') for one in found]
        return [one for one in found if '"ff02::' not in one and '"224.' not in one]

    assert len(look()) == 9
    through_all(there, pyroute2, look)
    before = look()
    for mac in ("02:00:00:00:00:77", "02:00:00:00:00:01"):
        there.converge("overlay_host", pyroute2, **wish(mac=mac))
        assert look() == before
    undone(there, pyroute2, **wish(mac="02:00:00:00:00:77"))
    assert look() == before


def test_fdb_entries(there: Namespace, pyroute2: str) -> None:
    there.sh("""
        ip nexthop add id 1 via 172.16.1.1 fdb; ip nexthop add id 2 via 172.16.1.2 fdb; ip nexthop add id 10 group 1/2 fdb
        bridge fdb add 02:00:00:00:00:05 dev vx1 nhid 10 self
        bridge fdb add 02:00:00:00:00:06 dev vx1 dst 10.1.1.6 port 99 vni 77 via eth0 self static
        bridge fdb add 02:00:00:00:00:07 dev vx1 dst 10.1.1.6 self extern_learn router
        bridge fdb add 02:00:00:00:00:08 dev vx1 dst 10.1.1.6 self extern_learn dynamic
        bridge fdb add 02:00:00:00:00:0a dev vx1 dst 10.1.1.6 self
        bridge fdb append 00:00:00:00:00:00 dev vx1 dst 10.1.1.6 self static
        bridge fdb append 00:00:00:00:00:00 dev vx1 dst 10.1.1.7 port 5 via eth0 self static
        bridge fdb append 01:00:00:00:00:0a dev vx1 dst 10.1.1.9 self
        bridge fdb append 01:00:00:00:00:0a dev vx1 dst 10.1.1.9 port 7 self""")

    def look() -> list[str]:
        return sorted(there.sh("bridge -d fdb show dev vx1").splitlines())

    assert len(look()) == 9
    through_all(there, pyroute2, look)


@pytest.mark.parametrize("mac", ["00:00:00:00:00:00", "02:00:00:00:00:05"])
@pytest.mark.parametrize("alone", [False, True])
def test_an_fdb_entry_that_names_its_devices_own_port_and_vni(there: Namespace, pyroute2: str, mac: str, alone: bool) -> None:
    own = {"mac": mac, "dst": "10.1.1.6", "port": 4789, "vni": 88}
    other = {"mac": "00:00:00:00:00:00", "dst": "10.1.1.6", "port": 4790}
    section = {"device": "vx1", "purge": True, "entries": [own, other]}
    if alone:
        there.converge("fdb_entry", pyroute2, **section)
    else:
        there.converge("overlay_host", pyroute2, **wish(), fdb_entry=[section])
    found = [(one["mac"], one["dst"], one.get("port")) for one in there.json("bridge -j fdb show dev vx1")]
    assert sorted(found, key=str) == sorted([(mac, "10.1.1.6", None), (other["mac"], "10.1.1.6", 4790)], key=str)
    if not alone:
        # The port of the device as it will be.
        own["port"], other["port"] = 4790, 4789
        section["entries"] = [own, other]
        there.converge("overlay_host", pyroute2, **wish(port=4790), fdb_entry=[section])
        found = [(one["mac"], one["dst"], one.get("port")) for one in there.json("bridge -j fdb show dev vx1")]
        assert sorted(found, key=str) == sorted([(mac, "10.1.1.6", None), (other["mac"], "10.1.1.6", 4789)], key=str)
    absent = [{**own, "state": "absent"}, {**other, "state": "absent"}]
    there.converge("fdb_entry", pyroute2, device="vx1", entries=absent)
    assert there.json("bridge -j fdb show dev vx1") == []


def test_an_fdb_entry_by_a_nexthop_object_becomes_one_by_address(there: Namespace, pyroute2: str) -> None:
    there.sh("ip nexthop add id 1 via 172.16.1.1 fdb; ip nexthop add id 10 group 1 fdb")
    there.sh("bridge fdb add 02:00:00:00:00:05 dev vx1 nhid 10 self")
    before = there.sh("bridge fdb show dev vx1")
    section = {"device": "vx1", "entries": [{"mac": "02:00:00:00:00:05", "dst": "10.1.1.6"}]}
    undone(there, pyroute2, fdb_entry=[section])
    assert there.sh("bridge fdb show dev vx1") == before
    there.converge("fdb_entry", pyroute2, **section)
    assert there.sh("bridge fdb show dev vx1").strip() == "02:00:00:00:00:05 dst 10.1.1.6 self permanent"
