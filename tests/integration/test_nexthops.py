# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes by nexthop objects, and the netlink path that thousands of entries take, on all versions of pyroute2."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest
from labs import Namespace, lines, module_paths, run
from test_modules import LINK, host, mac

VERSIONS = ("current", "0.8.1", "0.7.2", "0.5.14")
# 10.100.2.0, .3.0 and .4.0, the gateways of peers(3), as numbers.
NUMBERS = [int.from_bytes(bytes((10, 100, n, 0)), "big") for n in (2, 3, 4)]


def wanted(how: str, count: int = 3, **more: Any) -> dict[str, Any]:
    """Options of overlay_host, its routes with or without nexthop objects; of all devices, as the roles give them."""
    sections = host(count)
    routes = [dict(entry, device="vx") for entry in sections["route_entry"][0]["entries"]]
    return {**sections, "route_entry": [{"entries": routes, "purge": True, "nexthops": how, **more}]}


def seen(namespace: Namespace) -> dict[str, Any]:
    """Nexthops and routes as iproute2 lists them."""
    return {
        "nexthops": sorted(line.strip() for line in namespace.sh("ip nexthop show").splitlines()),
        "routes": sorted(line.strip() for line in namespace.sh("ip route show proto 157").splitlines()),
    }


PLAIN = {
    "nexthops": [],
    "routes": [f"10.100.{n}.0/24 via 10.100.{n}.0 dev vx onlink" for n in (2, 3, 4)],
}
BY_NUMBER = {
    "nexthops": [f"id {number} via 10.100.{n}.0 dev vx scope link proto 157 onlink" for n, number in zip((2, 3, 4), NUMBERS)],
    "routes": [f"10.100.{n}.0/24 nhid {number} via 10.100.{n}.0 dev vx onlink" for n, number in zip((2, 3, 4), NUMBERS)],
}


@pytest.mark.parametrize("version", VERSIONS)
def test_made_changed_into_plain_ones_and_back_and_purged(namespace: Namespace, version: str) -> None:
    namespace.converge("overlay_host", version, **wanted("always"))
    assert seen(namespace) == BY_NUMBER
    for how, then in (("never", PLAIN), ("always", BY_NUMBER)):
        done = namespace.converge("overlay_host", version, **wanted(how))
        # A route is replaced, never removed and added: nothing else is touched.
        assert {diff["before_header"] for diff in done["diff"]} == {"nexthop", "route_entry"}
        assert len(done["operations"]) == 6 and done["impact"] == []
        assert seen(namespace) == then
    namespace.converge("overlay_host", version, **wanted("always", 2))
    assert seen(namespace) == {name: found[:2] for name, found in BY_NUMBER.items()}
    namespace.converge("overlay_host", version, route_entry=[{"entries": [], "purge": True}])
    assert seen(namespace) == {"nexthops": [], "routes": []}


def test_gateways_move_from_a_device_that_goes(namespace: Namespace) -> None:
    """Their numbers stay, and are taken until the old device has gone."""

    def options(name: str, vni: int) -> dict[str, Any]:
        found = wanted("always")
        link = {**LINK, "name": name, "vni": vni, "alias": "agentless.overlay:x"}
        entries = [dict(entry, device=name) for entry in found["route_entry"][0]["entries"]]
        return {
            "vxlan_link": [{"entries": [link], "purge": True}],
            "route_entry": [{"entries": entries, "purge": True, "nexthops": "always"}],
        }

    namespace.converge("overlay_host", **options("vx", 88))
    before = seen(namespace)
    broken = {"files": [{"path": "/proc/nowhere/file", "content": "x"}]}
    answer = namespace.module("overlay_host", fails=True, **options("vy", 99), **broken)
    assert "the host is as it was" in answer["msg"] and seen(namespace) == before, answer["msg"]
    namespace.converge("overlay_host", **options("vy", 99))
    assert seen(namespace) == {key: [line.replace("dev vx", "dev vy") for line in found] for key, found in before.items()}


def test_ipv6(namespace: Namespace) -> None:
    link = {"vxlan_link": [{"entries": [{**LINK, "addresses": ["10.88.50.0/32", "fd88:50::/128"]}]}]}
    route = {"dst": "fd88:51::/64", "gateway": "fd88:51::", "device": "vx", "onlink": True}
    for how, objects in (("always", 1), ("never", 0), ("always", 1)):
        namespace.converge("overlay_host", **link, route_entry=[{"entries": [route], "purge": True, "nexthops": how}])
        assert len(namespace.json("ip -j -6 nexthop show proto 157")) == objects
        found = namespace.json("ip -j -6 route show fd88:51::/64")[0]
        assert (found["gateway"], found["dev"], "nhid" in found) == ("fd88:51::", "vx", bool(objects))


def test_from_five_hundred_on_by_itself(namespace: Namespace) -> None:
    for count, objects in ((499, 0), (500, 500), (499, 0)):
        done = namespace.converge("overlay_host", **wanted("auto", count))
        # The last time a peer leaves, and that alone drops anything.
        assert {one["drops"] for one in done["impact"]} <= {"packets to 10.101.245.0/24"}
        assert len(namespace.sh("ip nexthop show").splitlines()) == objects
        assert namespace.sh("ip route show proto 157").count(" nhid ") == objects
        assert len(namespace.sh("ip route show proto 157").splitlines()) == count


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        ("ip nexthop del id {0}", [f"+id {NUMBERS[0]} via 10.100.2.0 dev vx onlink proto 157"]),
        (
            "ip nexthop replace id {1} via 10.100.9.9 dev vx onlink proto 157",
            [
                f"-id {NUMBERS[1]} via 10.100.9.9 dev vx onlink proto 157",
                f"+id {NUMBERS[1]} via 10.100.3.0 dev vx onlink proto 157",
            ],
        ),
        ("ip nexthop add id 77 via 10.100.9.9 dev vx onlink proto 157", ["-id 77 via 10.100.9.9 dev vx onlink proto 157"]),
        ("ip route del 10.100.4.0/24", []),
    ],
)
def test_harm_is_named_and_mended(namespace: Namespace, harm: str, named: list[str]) -> None:
    namespace.module("overlay_host", **wanted("always"))
    namespace.sh(harm.format(*NUMBERS))
    assert seen(namespace) != BY_NUMBER
    done = namespace.converge("overlay_host", **wanted("always"))
    assert lines(done, "nexthop") == named
    assert seen(namespace) == BY_NUMBER


def test_those_of_others_stay(namespace: Namespace) -> None:
    namespace.module("overlay_host", **wanted("never"))
    namespace.sh("ip link add d0 type bridge; ip address add 192.0.2.1/24 dev d0; ip link set d0 up")
    namespace.sh("ip nexthop add id 5 via 192.0.2.9 dev d0; ip nexthop add id 6 blackhole; ip nexthop add id 7 group 5")
    namespace.sh("ip nexthop add id 8 via 10.100.2.0 dev vx onlink proto static; ip route add 198.51.100.0/24 nhid 8")
    before = namespace.sh("ip nexthop show; ip route show 198.51.100.0/24")
    for how in ("always", "never"):
        namespace.converge("overlay_host", **wanted(how))
        assert set(before.splitlines()) <= set(namespace.sh("ip nexthop show; ip route show 198.51.100.0/24").splitlines())
    # One of somebody else's under a number of ours is not overwritten, and the transaction leaves nothing half done.
    namespace.sh(f"ip nexthop add id {NUMBERS[1]} via 192.0.2.77 dev d0 proto static")
    before = namespace.sh("ip nexthop show; ip route show")
    failed = namespace.module("overlay_host", fails=True, **wanted("always"))
    assert str(NUMBERS[1]) in failed["msg"]
    assert namespace.sh("ip nexthop show; ip route show") == before


@pytest.mark.parametrize(
    ("make", "take", "words"),
    [
        ("ip route add 10.44.0.0/16 nhid {2}", "ip route del 10.44.0.0/16", "the route to 10.44.0.0/16"),
        ("ip route add 10.44.0.0/16 nhid {2} table 77", "ip route del 10.44.0.0/16 table 77", "the route to 10.44.0.0/16"),
        # In a table that no entry names it is not ours, whatever it says.
        (
            "ip route add 10.44.0.0/16 nhid {2} table 77 proto 157",
            "ip route del 10.44.0.0/16 table 77",
            "the route to 10.44.0.0/16",
        ),
        ("ip nexthop add id 7 group {1}/{2}", "ip nexthop del id 7", "group of nexthop objects (id 7)"),
    ],
)
def test_what_of_others_names_one_that_is_to_go(namespace: Namespace, make: str, take: str, words: str) -> None:
    def there() -> list[Any]:
        return [
            namespace.json(f"ip -j {what}") for what in ("nexthop show", "-4 route show table all", "neigh show nud permanent")
        ]

    namespace.module("overlay_host", **wanted("always"))
    # What names one that stays is in nobody's way.
    namespace.sh(f"ip route add 10.45.0.0/16 nhid {NUMBERS[0]}; {make.format(*NUMBERS)}")
    before = there()
    namespace.converge("overlay_host", **wanted("always"))
    for how, count in (("always", 2), ("never", 3)):
        for check in (True, False):
            failed = namespace.module("overlay_host", check=check, fails=True, **wanted(how, count))
            assert f"nexthop: id {NUMBERS[2]} via 10.100.4.0 on vx is to go" in failed["msg"] and words in failed["msg"]
            assert ("10.45.0.0/16" in failed["msg"]) == (how == "never") and failed["msg"].endswith("Nothing was changed")
            assert there() == before
    namespace.sh(take)
    namespace.converge("overlay_host", **wanted("always", 2))
    assert [one["id"] for one in namespace.json("ip -j nexthop show")] == NUMBERS[:2]
    assert namespace.json("ip -j route show 10.45.0.0/16")[0]["nhid"] == NUMBERS[0]


@pytest.mark.parametrize("goes", [{"entries": [], "purge": True}, {"name": "vx", "state": "absent"}])
def test_with_a_device_that_goes_goes_what_names_its_nexthops(namespace: Namespace, goes: dict[str, Any]) -> None:
    options = wanted("always")
    options["vxlan_link"] = [{"entries": [{**LINK, "alias": "agentless.overlay:demo"}], "purge": True}]
    namespace.module("overlay_host", **options)
    namespace.sh(f"ip route add 10.44.0.0/16 nhid {NUMBERS[2]}")
    namespace.converge("overlay_host", vxlan_link=[goes], route_entry=[{"entries": [], "purge": True}])
    assert [one["ifname"] for one in namespace.json("ip -j link show type vxlan") if one] == []
    assert namespace.json("ip -j nexthop show") == namespace.json("ip -j route show 10.44.0.0/16") == []


def test_what_thousands_refuse_is_told_in_few_lines(namespace: Namespace) -> None:
    namespace.module("overlay_host", **wanted("never"))
    options = wanted("always", 600)
    # Somebody else has all the numbers.
    gateways = [ip_address(entry["gateway"]) for entry in options["route_entry"][0]["entries"]]
    namespace.shell("".join(f"ip nexthop add id {int(gateway)} blackhole\n" for gateway in gateways))
    before = namespace.sh("ip route show; ip neigh show; bridge fdb show; ip nexthop show")
    failed = namespace.module("overlay_host", fails=True, **options)
    assert failed["msg"].endswith("and 580 more\nNothing was changed") and failed["msg"].count("\n") == 21
    assert namespace.sh("ip route show; ip neigh show; bridge fdb show; ip nexthop show") == before
    # And where the kernel refuses thousands: gateways that are on no wire.
    namespace.shell("ip nexthop flush")
    options = wanted("never", 600)
    for entry in options["route_entry"][0]["entries"]:
        entry["onlink"] = False
    before = namespace.sh("ip route show; ip neigh show; bridge fdb show")
    failed = namespace.module("overlay_host", fails=True, **options)
    assert "operations failed" in failed["msg"] and failed["msg"].endswith("more") and failed["msg"].count("\n") == 21
    assert namespace.sh("ip route show; ip neigh show; bridge fdb show") == before


def test_a_kernel_without_them_gets_plain_routes(namespace: Namespace) -> None:
    """One before 5.3, which does not know the messages; no such kernel is at hand, so its answer is put in its mouth."""
    code = """
import errno, json, sys
from ansible_collections.agentless.overlay.plugins.module_utils import _module
from ansible_collections.agentless.overlay.plugins.module_utils._engine import _netlink

def refusing(real):
    def asked(self, message, *more):
        if message.cls is _netlink.nhmsg:
            raise _netlink.NetlinkError(errno.EOPNOTSUPP)
        return real(self, message, *more)
    return asked

for name in ("get", "rows"):
    setattr(_netlink.Session, name, refusing(getattr(_netlink.Session, name)))
for _run in range(2):
    answer = _module.converge(_module.Host(), _module.validate_sections(json.loads(sys.argv[1])))
    print(answer["changed"])
"""
    options = json.dumps(wanted("always"))
    command = ("nsenter", f"--net=/run/netns/{namespace.name}", sys.executable, "-c", code, options)
    assert run(*command, PYTHONPATH=":".join(module_paths("current"))).stdout.split() == ["True", "False"]
    assert seen(namespace) == PLAIN


@contextmanager
def far(namespace: Namespace) -> Iterator[None]:
    """A peer, made by iproute2: 10.100.2.1 answers behind the VTEP of the first of peers()."""
    name = f"{namespace.name}-f"
    run("ip", "netns", "add", name)

    def there(command: str) -> None:
        run("ip", "netns", "exec", name, "sh", "-c", command)

    namespace.sh(f"ip link add eth0 type veth peer name eth0 netns {name}")
    namespace.sh("ip address add 10.1.1.1/8 dev eth0; ip link set eth0 up; ip route add 192.168.0.0/16 dev eth0")
    there("ip address add 192.168.0.2/16 dev eth0; ip link set eth0 up; ip link set lo up; ip route add 10.1.1.1 dev eth0")
    there(f"ip link add vx address {mac(2)} type vxlan id 88 local 192.168.0.2 dstport 4789 nolearning; ip link set vx up")
    there("ip address add 10.100.2.1/32 dev lo; ip route add 10.88.50.0/32 dev vx src 10.100.2.1")
    there(f"ip neigh add 10.88.50.0 lladdr {LINK['mac']} dev vx; bridge fdb add {LINK['mac']} dev vx dst 10.1.1.1")
    try:
        yield
    finally:
        run("ip", "netns", "del", name)


@pytest.mark.parametrize("version", (VERSIONS[0], VERSIONS[-1]))
def test_changed_under_way_without_a_lost_ping(namespace: Namespace, version: str) -> None:
    with far(namespace):
        namespace.module("overlay_host", version, **wanted("never", 600))
        flags = ("-q", "-i", "0.002", "-I", "10.88.50.0", "10.100.2.1")
        command = ["nsenter", f"--net=/run/netns/{namespace.name}", "ping", *flags]
        job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            time.sleep(0.5)
            for how in ("always", "never", "always"):
                assert namespace.module("overlay_host", version, **wanted(how, 600))["changed"]
        finally:
            job.send_signal(2)
            said = job.communicate(timeout=30)[0]
        sent, received = (int(number) for number in re.findall(r"(\d+) (?:packets transmitted|received)", said))
        assert sent > 100 and sent - received <= 1, said  # the last one may be on its way


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_comes_of_each_version(namespace: Namespace, version: str) -> None:
    """Twelve hundred of each entry, checked, made, unchanged, some changed: what iproute2 sees is what was asked for."""
    count = 1200
    for number, how in enumerate(("auto", "never")):
        options = wanted(how, count)
        if number:
            for entry in options["fdb_entry"][0]["entries"][:7]:
                entry["dst"] = entry["dst"].replace("192.168.", "172.16.")
        done = namespace.converge("overlay_host", version, **options)
        found = {entry["dst"]: entry["lladdr"] for entry in namespace.json("ip -j neigh show dev vx nud permanent")}
        assert found == {entry["dst"]: entry["lladdr"] for entry in options["neigh_entry"][0]["entries"]}
        found = {entry["mac"]: entry["dst"] for entry in namespace.json("bridge -j fdb show dev vx") if "dst" in entry}
        assert found == {entry["mac"]: entry["dst"] for entry in options["fdb_entry"][0]["entries"]}
        found = {entry["dst"]: entry["gateway"] for entry in namespace.json("ip -j route show proto 157")}
        assert found == {entry["dst"]: entry["gateway"] for entry in options["route_entry"][0]["entries"]}
        written = [done["counters"][name]["messages"] for name in ("neigh_entry", "fdb_entry", "nexthop", "route_entry")]
        # The second time each route is replaced and each nexthop removed.
        assert written == ([0, 7, count, count] if number else [count] * 4)


def test_one_peer_among_ten_thousand(namespace: Namespace) -> None:
    """As many messages as entries, and strace, which does not believe our counters, sees no other write."""
    namespace.module("overlay_host", **wanted("auto", 10000))
    options = wanted("auto", 10000)
    options["neigh_entry"][0]["entries"][5000]["lladdr"] = "06:00:00:00:00:01"
    options["fdb_entry"][0]["entries"][5000]["mac"] = "06:00:00:00:00:01"
    assert len(namespace.module("overlay_host", check=True, **options)["operations"]) == 3
    writes = []
    for _run in range(2):
        trace = f"/tmp/{namespace.name}.trace"
        wrapper = ("strace", "-f", "-s", "64", "-o", trace, "-e", "trace=sendto,sendmsg")
        done = namespace.module("overlay_host", wrapper=wrapper, **options)
        text = namespace.sh(f"cat {trace}; rm {trace}")
        writes.append(len(re.findall(r"nlmsg_type=RTM_(?:NEW|DEL)", text)))
        assert writes[-1] == sum(counter["messages"] for counter in done["counters"].values())
    # The neighbour, the new FDB entry, the old one.
    assert writes == [3, 0]


@pytest.mark.parametrize("version", VERSIONS)
def test_only_what_is_used_of_pyroute2_is_imported(version: str) -> None:
    """Importing all of it takes longer than the work of a host that has not changed."""
    code = """
import sys
from ansible_collections.agentless.overlay.plugins.module_utils import _module
print(*sorted(name for name in sys.modules if name.startswith("pyroute2")))
"""
    done = run(sys.executable, "-c", code, PYTHONPATH=":".join(module_paths(version)))
    names = done.stdout.split()
    assert "pyroute2.netlink" in names
    assert not {"pyroute2.iproute", "pyroute2.ndb", "pyroute2.ipdb", "pyroute2.netns", "asyncio"} & set(names), names
    assert len(names) < 40, names


@pytest.mark.parametrize("version", VERSIONS)
def test_all_that_is_read_is_decoded_the_fast_way(namespace: Namespace, version: str) -> None:
    """The way round by pyroute2's own decoder, for what a later version may change, gives the same and is not needed."""
    namespace.module("overlay_host", version, **wanted("always"))
    namespace.sh("ip -6 address add fd88::1/64 dev vx nodad; ip -6 neigh add fd88::2 lladdr 02:00:00:00:00:77 dev vx")
    code = """
from ansible_collections.agentless.overlay.plugins.module_utils._engine import _codec
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _fdb, _neighbours, _nexthops, _route
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import Message, Session, ndmsg, nhmsg, rtmsg

asked = [
    (30, ndmsg, 7, _fdb._ATTRIBUTES),
    (30, ndmsg, 0, _neighbours._ATTRIBUTES),
    (26, rtmsg, 0, _route.ATTRIBUTES),
    (106, nhmsg, 0, _nexthops._ATTRIBUTES),
]
for kind, cls, family, names in asked:
    message = Message(kind, 0, cls, {"family": family}, [])
    quick = Session().rows(message, names)
    slow = Session()._dump(message, lambda data: _codec.decode_by_pyroute2(cls, data))
    assert len(quick) == len(slow) > 2, (cls, quick, slow)
    for one, other in zip(quick, slow):
        assert len(one.pop("raw")) >= 8
        assert one == {name: other[name] for name in (*one, *(name for name in names if name in other))}, (one, other)

def never(*_args):
    raise AssertionError("slow")

_codec.decode_by_pyroute2 = never
for kind, cls, family, names in asked:
    Session().rows(Message(kind, 0, cls, {"family": family}, []), names)
"""
    run("nsenter", f"--net=/run/netns/{namespace.name}", sys.executable, "-c", code, PYTHONPATH=":".join(module_paths(version)))
