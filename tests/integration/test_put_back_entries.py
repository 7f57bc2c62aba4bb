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

LINK = {
    **{"name": "vx1", "vni": 88, "port": 4789, "local": "10.1.1.1", "learning": False, "mac": "02:00:00:00:00:01"},
    **{"mtu": 1450, "alias": "agentless.overlay:main"},
}
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


def test_a_device_gets_and_loses_a_remote_of_its_own(there: Namespace, pyroute2: str) -> None:
    """From l2 to p2p and back: the kernel keeps an entry for a device's own remote, and we one for each of many."""
    zero = "00:00:00:00:00:00"

    def both(*hosts: str, **link: Any) -> dict[str, Any]:
        entries = [{"mac": zero, "dst": host} for host in hosts]
        return {**wish(**link), "fdb_entry": [{"device": "vx1", "purge": True, "entries": entries}]}

    def look() -> list[str]:
        return sorted(one["dst"] for one in there.json("bridge -j fdb show dev vx1"))

    there.converge("overlay_host", pyroute2, **both("10.1.1.2", "10.1.1.3"))
    undone(there, pyroute2, **both(remote="10.1.1.2"))
    assert look() == ["10.1.1.2", "10.1.1.3"]
    there.converge("overlay_host", pyroute2, **both(remote="10.1.1.2"))
    assert look() == ["10.1.1.2"] and "remote 10.1.1.2" in there.sh("ip -d link show vx1")
    undone(there, pyroute2, **both("10.1.1.2", "10.1.1.3"))
    assert look() == ["10.1.1.2"]
    there.converge("overlay_host", pyroute2, **both("10.1.1.2", "10.1.1.3"))
    assert look() == ["10.1.1.2", "10.1.1.3"] and "remote 10.1.1.2" not in there.sh("ip -d link show vx1")
    there.converge("overlay_host", pyroute2, **both("10.1.1.3"))
    assert look() == ["10.1.1.3"]


def test_an_fdb_entry_by_a_nexthop_object_becomes_one_by_address(there: Namespace, pyroute2: str) -> None:
    there.sh("ip nexthop add id 1 via 172.16.1.1 fdb; ip nexthop add id 10 group 1 fdb")
    there.sh("bridge fdb add 02:00:00:00:00:05 dev vx1 nhid 10 self")
    before = there.sh("bridge fdb show dev vx1")
    section = {"device": "vx1", "entries": [{"mac": "02:00:00:00:00:05", "dst": "10.1.1.6"}]}
    undone(there, pyroute2, fdb_entry=[section])
    assert there.sh("bridge fdb show dev vx1") == before
    there.converge("fdb_entry", pyroute2, **section)
    assert there.sh("bridge fdb show dev vx1").strip() == "02:00:00:00:00:05 dst 10.1.1.6 self permanent"


ROUTES = """
    ip route add 172.16.1.0/24 via 10.88.1.9 dev vx1 onlink metric 5 mtu 1200 advmss 1100 proto static
    ip route add 172.16.2.0/24 dev vx1 mtu lock 1300 window 9000 rtt 20ms rto_min 50ms initcwnd 20 congctl reno
    ip route add 172.16.3.0/24 dev vx1 table 4242 proto 44; ip route add 172.16.3.0/24 dev vx1 table 100 metric 3
    ip route add tos 0x10 172.16.4.0/24 dev vx1 realm 5
    ip route add local 192.0.2.1/32 dev vx1 table local proto static
    ip route add 172.16.5.0/24 via inet6 fe80::9 dev vx1
    ip route add 172.16.6.0/24 dev vx1 src 10.88.1.1 scope link proto bird
    ip route add 172.16.7.0/24 dev vx1 proto 157 table 77
    ip route add 172.16.8.0/24 dev vx1 proto static; ip route append 172.16.8.0/24 dev vx1 proto boot
    ip route append 172.16.8.0/24 via 10.88.1.9 dev vx1 proto boot; ip route append 172.16.8.0/24 dev vx1 mtu 1200
    ip route add 172.16.13.0/24 dev vx1 proto 157 mtu 1200
    ip route add blackhole 172.16.9.0/24; ip route append 172.16.9.0/24 dev vx1
    ip route add 172.16.10.0/24 dev vx1 proto static; ip route append 172.16.10.0/24 dev eth0 proto static
    ip route add 172.16.11.0/24 dev eth0 proto static; ip route append 172.16.11.0/24 dev vx1 proto static
    ip -6 route add fd16:1::/64 dev vx1 expires 5900 metric 7
    ip -6 route add fd16:2::/64 via fe80::9 dev vx1 metric 12 mtu 1300 hoplimit 9 pref high
    ip -6 route add fd16:3::/64 dev vx1 table 100 proto 44; ip -6 route add fd16:3::/64 dev vx1 table 4242
    ip -6 route add local fd16:4::1/128 dev vx1 table local
    ip -6 route append fd16:5::/64 dev eth0; ip -6 route append fd16:5::/64 dev vx1
    ip -6 route add default from fd16:6::/64 via fe80::9 dev vx1 table 100
    ip -6 route add fd16:7::/64 dev vx1 src fd88:1::1
    ip -4 route add 172.16.12.0/24 encap ip id 5 dst 192.0.2.4 dev vx1 || true"""


def all_routes(namespace: Namespace) -> list[str]:
    """In the order of the kernel's tables, less what it makes by itself, and with a lifetime as about what it was."""
    found = []
    for family in "46":
        for one in namespace.json(f"ip -d -j -{family} route show table all"):
            if one["protocol"] != "kernel":
                one["expires"] = one.get("expires", 0) // 1000
                one["flags"] = [flag for flag in one.get("flags", []) if flag != "linkdown"]
                found.append(json.dumps(one, sort_keys=True))
    return found + [line for line in namespace.sh("ip route show table all").splitlines() if " lock " in line]


def in_order(routes: list[str]) -> list[str]:
    """Sorted, but for routes of one place, of which the order is the kernel's."""
    return sorted(routes, key=lambda one: [json.loads(one)[name] for name in ("dst",)] if one[0] == "{" else ["z" + one])


def test_routes_of_all_tables_and_kinds(there: Namespace, pyroute2: str) -> None:
    there.sh(ROUTES)
    assert len(all_routes(there)) > 25
    through_all(there, pyroute2, lambda: in_order(all_routes(there)))


NEXTHOPS = """
    ip nexthop add id 31 via 10.88.1.77 dev vx1 onlink proto 44; ip route add 172.24.1.0/24 nhid 31
    ip nexthop add id 32 dev vx1; ip route add 172.24.2.0/24 nhid 32 mtu 1200 table 100
    ip nexthop add id 33 via fe80::80 dev vx1; ip -6 route add fd22:1::/64 nhid 33 metric 9
    ip nexthop add id 34 via 10.1.1.9 dev eth0
    ip nexthop add id 9 group 31,3/34; ip route add 172.24.3.0/24 nhid 9
    ip nexthop add id 8 group 31/32 proto 44; ip route add 172.24.4.0/24 nhid 8 metric 7
    ip nexthop add id 36 via 10.88.1.78 dev vx1 proto 157; ip route add 172.24.5.0/24 nhid 36 proto 157 table 55
    ip nexthop add id 37 blackhole; ip route add 172.24.6.0/24 nhid 37"""


@pytest.mark.parametrize("compat", [1, 0])
def test_nexthop_objects_and_groups_and_their_routes(there: Namespace, pyroute2: str, compat: int) -> None:
    there.sh(f"sysctl -q net.ipv4.nexthop_compat_mode={compat}")
    there.sh(NEXTHOPS)

    def look() -> list[str]:
        return listed(there, "ip -d -j nexthop show") + sorted(all_routes(there))

    assert len(look()) == 15
    through_all(there, pyroute2, look)
    # The others go on without a device that goes.
    there.converge("vxlan_link", pyroute2, name="vx1", state="absent")
    assert there.json("ip -j nexthop show id 9")[0]["group"] == [{"id": 34}]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ip route add 172.21.1.0/24 nexthop via 10.1.1.9 dev eth0 nexthop dev vx1", "172.21.1.0/24 is a route of somebody"),
        (
            "ip -6 route add fd21:1::/64 nexthop via fe80::9 dev eth0 nexthop via fe80::9 dev vx1",
            "fd21:1::/64 is a route of somebody",
        ),
        ("ip -6 route add fd21:2::/64 dev vx1; ip -6 route append fd21:2::/64 dev eth0", "fd21:2::/64 is a route of somebody"),
        (
            "for dev in eth0 vx1 eth1; do ip route append 172.21.2.0/24 dev $dev; done",
            "before that over eth1, where it cannot be put back",
        ),
        (
            "ip nexthop add id 1 dev vx1; ip nexthop add id 2 via 10.1.1.9 dev eth0; "
            "ip nexthop add id 3 group 1/2 type resilient buckets 8",
            "resilient group of nexthop objects (id 3)",
        ),
    ],
)
def test_what_cannot_be_put_back_is_refused(there: Namespace, pyroute2: str, command: str, words: str) -> None:
    there.sh(command)

    def look() -> list[str]:
        return all_routes(there) + listed(there, "ip -d -j link show vx1") + listed(there, "ip -d -j nexthop show")

    before = look()
    for check in (True, False):
        answer = there.module("overlay_host", pyroute2, check=check, fails=True, **wish(port=8472))
        assert words in answer["msg"] and answer["msg"].endswith("Nothing was changed"), answer["msg"]
        assert look() == before
    # What changes in place is as free as before.
    there.converge("overlay_host", pyroute2, **wish(mtu=1400))


def test_a_network_of_an_address_with_a_lifetime(there: Namespace, pyroute2: str) -> None:
    """It has an expiry, and no router announced it."""
    section = {"entries": [], "purge": True}
    options = {"vxlan_link": [{"entries": [LINK]}], "route_entry": [section]}
    there.sh("ip address add fd99:7::1/64 dev vx1 valid_lft 5900 preferred_lft 3900")
    there.converge("overlay_host", pyroute2, **options)
    assert len(there.json("ip -j -6 route show fd99:7::/64 dev vx1")) == 1


def test_a_nexthop_object_of_others_under_our_number(there: Namespace, pyroute2: str) -> None:
    """On our own device, where it would be as we wish it, but for whose it is."""
    number = int.from_bytes(bytes((10, 88, 2, 0)), "big")
    there.sh(f"ip nexthop add id {number} via 10.88.2.0 dev vx1 onlink proto static")
    before = there.sh("ip nexthop show; ip route show")
    route = {"dst": "10.88.2.0/24", "gateway": "10.88.2.0", "onlink": True, "device": "vx1"}
    section = {"entries": [route], "purge": True}
    for check in (True, False):
        answer = there.module("route_entry", pyroute2, check=check, fails=True, nexthops="always", **section)
        assert f"somebody else has a nexthop object of the number {number}" in answer["msg"]
        assert "ip nexthop del id" in answer["msg"] and there.sh("ip nexthop show; ip route show") == before
    there.converge("route_entry", pyroute2, nexthops="never", **section)
    assert before.splitlines()[0] in there.sh("ip nexthop show").splitlines()


def test_our_protocol_on_what_we_never_make_is_not_ours(there: Namespace, pyroute2: str) -> None:
    """A purge takes what has our protocol and our form, from the tables in which ours are."""
    there.sh("ip route add blackhole 172.30.1.0/24 proto 157; ip route add 172.30.2.0/24 dev eth0 proto 157 table 55")
    there.sh("ip route add 172.30.3.0/24 proto 157 nexthop via 10.1.1.8 dev eth0 nexthop via 10.1.1.9 dev eth0")
    before = all_routes(there)
    there.sh("ip route add 172.30.4.0/24 dev eth0 proto 157")
    there.converge("route_entry", pyroute2, entries=[], purge=True)
    assert all_routes(there) == before


def test_routes_whose_source_is_an_address_of_ours(there: Namespace, pyroute2: str) -> None:
    """Wherever such a route leads, the kernel takes it away with the address."""
    there.sh("ip route add 10.99.0.0/24 via 10.1.1.9 dev eth0 src 10.88.1.1 metric 7")
    there.sh("ip route add 10.98.0.0/24 via 10.1.1.9 dev eth0 src 10.88.1.1 table 100")

    def look() -> list[str]:
        return listed(there, "ip -d -j -4 route show table all proto boot")

    before = look()
    for port in (8472, 4789):
        done = there.converge("overlay_host", pyroute2, **wish(port=port))
        assert "route_entry: add 10.99.0.0/24" in " ".join(done["operations"])
        assert look() == before
    undone(there, pyroute2, **wish(port=8472))
    assert look() == before
    # What it cannot be put back without.
    for sections in ({"vxlan_link": [{"entries": [], "purge": True}]}, wish(addresses=["10.88.2.1/24"])):
        refused = there.module("overlay_host", pyroute2, fails=True, **sections)
        assert "10.99.0.0/24 is a route of somebody else's" in refused["msg"] and "whose source is" in refused["msg"]
        assert look() == before
    # Of IPv6 the source alone goes, which nobody sees.
    there.sh("ip route del 10.99.0.0/24; ip -6 route add fd77::/64 via fd00::9 dev eth0 src fd88:1::1")
    refused = there.module("overlay_host", pyroute2, fails=True, **wish(port=8472))
    assert "fd77::/64 is a route of somebody else's" in refused["msg"]
    assert there.json("ip -j -6 route show fd77::/64")[0]["prefsrc"] == "fd88:1::1"
