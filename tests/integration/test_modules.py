# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules on real vxlan devices in a bare namespace, looked at with iproute2, on both ends of pyroute2's range."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from labs import ROOT, Namespace, failing, lines

LINK = {
    "name": "vx",
    "vni": 88,
    "port": 4789,
    "local": "10.1.1.1",
    "learning": False,
    "mac": "02:00:00:00:00:01",
    "mtu": 1450,
    "addresses": ["10.88.50.0/32"],
}


def mac(number: int) -> str:
    return f"02:00:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def peers(count: int, first: int = 2) -> dict[str, list[dict[str, Any]]]:
    """Options for three objects a peer."""
    numbers = range(first, first + count)
    base = [f"10.{100 + n // 256}.{n % 256}.0" for n in numbers]
    return {
        "neigh_entry": [{"dst": ip, "lladdr": mac(n)} for ip, n in zip(base, numbers)],
        "fdb_entry": [{"mac": mac(n), "dst": f"192.168.{n // 256}.{n % 256}"} for n in numbers],
        "route_entry": [{"dst": f"{ip}/24", "gateway": ip, "onlink": True} for ip in base],
    }


def host(count: int = 3, **link: Any) -> dict[str, Any]:
    """Options of overlay_host for a device with peers."""
    sections: dict[str, Any] = {
        name: [{"device": "vx", "entries": entries, "purge": True}] for name, entries in peers(count).items()
    }
    return {"vxlan_link": [{"entries": [{**LINK, **link}]}], **sections}


def tables(namespace: Namespace) -> dict[str, Any]:
    return {
        "link": re.sub(r"^\d+: ", "", namespace.sh("ip -d link show dev vx | sed 's/ addrgenmode.*//'", check=False)),
        "address": namespace.sh("ip -4 -o address show dev vx | cut -d: -f2-", check=False),
        "neigh": sorted(namespace.sh("ip neigh show dev vx nud permanent", check=False).splitlines()),
        "fdb": sorted(namespace.sh("bridge fdb show dev vx", check=False).splitlines()),
        "route": sorted(namespace.sh("ip route show").splitlines()),
    }


def test_link_is_made_as_iproute2_sees_it(namespace: Namespace, pyroute2: str) -> None:
    namespace.converge("vxlan_link", pyroute2, **LINK)
    link = namespace.json("ip -j -d link show dev vx")[0]
    data = link["linkinfo"]["info_data"]
    assert (data["id"], data["port"], data["local"], data["learning"]) == (88, 4789, "10.1.1.1", False)
    assert (link["mtu"], link["address"]) == (1450, "02:00:00:00:00:01")
    assert "UP" in link["flags"]
    assert namespace.sh("ip -4 -o address show dev vx").split()[3] == "10.88.50.0/32"
    namespace.converge("vxlan_link", pyroute2, name="vx", state="absent")
    assert "vx" not in namespace.sh("ip link")


@pytest.mark.parametrize(
    ("option", "value", "seen"),
    [
        ("local", "10.1.1.9", "local 10.1.1.9"),
        ("ttl", 7, "ttl 7"),
        ("tos", 8, "tos 0x8"),
        ("learning", True, "vxlan id 88 local 10.1.1.1 srcport 0 0 dstport 4789 ttl"),
        ("ageing", 77, "ageing 77"),
        ("df", "set", "df set"),
        ("mtu", 1400, "mtu 1400"),
        ("alias", "hello", "alias hello"),
    ],
)
def test_what_can_change_in_place_does(namespace: Namespace, option: str, value: Any, seen: str) -> None:
    namespace.module("overlay_host", **host())
    before = tables(namespace)
    index = namespace.sh("cat /sys/class/net/vx/ifindex 2>/dev/null; ip -o link show dev vx | cut -d: -f1")
    done = namespace.converge("overlay_host", **host(**{option: value}))
    assert len(done["operations"]) == 1 and "vxlan_link: change vx" in done["operations"][0]
    assert seen in namespace.sh("ip -d link show dev vx")
    after = tables(namespace)
    assert index.split()[-1] == namespace.sh("ip -o link show dev vx | cut -d: -f1").split()[-1]
    for table in ("address", "neigh", "fdb", "route"):
        assert after[table] == before[table], table


@pytest.mark.parametrize(
    ("options", "changed", "seen"),
    [
        ({"vni": 99}, ["-vx vni 88", "+vx vni 99"], "vxlan id 99"),
        ({"port": 8472}, ["-vx port 4789", "+vx port 8472"], "dstport 8472"),
        ({"ttl_inherit": True}, ["-vx ttl_inherit false", "+vx ttl_inherit true"], "ttl inherit"),
        ({"maxaddress": 50}, ["-vx maxaddress 0", "+vx maxaddress 50"], "maxaddr 50"),
        (
            {"srcport_min": 40000, "srcport_max": 50000},
            *(["-vx srcport 0-0", "+vx srcport 40000-50000"], "srcport 40000 50000"),
        ),
        ({"udpcsum": False}, ["-vx udpcsum true", "+vx udpcsum false"], "noudpcsum"),
        ({"udp6zerocsumtx": True}, ["-vx udp6zerocsumtx false", "+vx udp6zerocsumtx true"], " udp6zerocsumtx"),
        ({"udp6zerocsumrx": True}, ["-vx udp6zerocsumrx false", "+vx udp6zerocsumrx true"], " udp6zerocsumrx"),
        ({"gbp": True}, ["-vx gbp false", "+vx gbp true"], " gbp"),
        ({"proxy": True}, ["-vx proxy false", "+vx proxy true"], " proxy"),
        ({"rsc": True}, ["-vx rsc false", "+vx rsc true"], " rsc"),
        ({"l2miss": True}, ["-vx l2miss false", "+vx l2miss true"], " l2miss"),
        ({"l3miss": True}, ["-vx l3miss false", "+vx l3miss true"], " l3miss"),
    ],
)
def test_the_rest_recreates_and_puts_everything_back(
    namespace: Namespace, pyroute2: str, options: dict[str, Any], changed: list[str], seen: str
) -> None:
    namespace.module("overlay_host", **host())
    namespace.sh("ip route add 172.30.0.0/16 via 10.88.50.9 dev vx onlink metric 7")  # somebody else's
    before = tables(namespace)
    index = namespace.sh("ip -o link show dev vx | cut -d: -f1")
    # The module of one resource puts back what is on the device as well.
    done = namespace.converge("vxlan_link", pyroute2, **{**LINK, **options})
    assert "vxlan_link: re-create vx" in done["operations"][0]
    assert "packets over vx, both ways" in done["impact"][0]["drops"]
    assert lines(done, "vxlan_link") == changed
    assert [diff["before_header"] for diff in done["diff"]] == ["vxlan_link"]
    after = tables(namespace)
    assert seen in after["link"]
    for table in ("address", "neigh", "fdb", "route"):
        assert after[table] == before[table], table
    assert namespace.sh("ip -o link show dev vx | cut -d: -f1") == index
    # And back: what is given by its presence alone is taken away by making the device without it.
    back = {name: value for name, value in options.items() if isinstance(value, bool)}
    if back:
        namespace.converge("vxlan_link", pyroute2, **LINK, **{name: not value for name, value in back.items()})
        assert tables(namespace) == before


def test_a_device_with_a_policy_keeps_it_through_a_change(namespace: Namespace, pyroute2: str) -> None:
    """The kernel works out a changed device's header bits from what the message says: the policy must not get lost."""
    namespace.converge("vxlan_link", pyroute2, **LINK, gbp=True)
    done = namespace.converge("vxlan_link", pyroute2, **LINK, gbp=True, ttl=9, tos=8)
    assert done["operations"][0].startswith("vxlan_link: change vx")
    assert " gbp" in namespace.sh("ip -d link show dev vx") and "ttl 9" in namespace.sh("ip -d link show dev vx")


def test_a_device_over_ipv6_with_ipv6_inside(namespace: Namespace, pyroute2: str) -> None:
    base = {**LINK, "local": "fd65::1", "mtu": 1430, "addresses": ["10.88.50.0/32", "fd00:88::/128"]}
    options: dict[str, Any] = {
        "vxlan_link": [{"entries": [{**base, "flowlabel": 7}]}],
        "neigh_entry": [{"device": "vx", "entries": [{"dst": "fd00:88:0:1::", "lladdr": mac(5)}], "purge": True}],
        "fdb_entry": [{"device": "vx", "entries": [{"mac": mac(5), "dst": "fd65::2"}], "purge": True}],
        "route_entry": [
            {
                "entries": [{"dst": "fd00:88:0:1::/64", "gateway": "fd00:88:0:1::", "device": "vx", "onlink": True}],
                "purge": True,
            }
        ],
    }
    namespace.converge("overlay_host", pyroute2, **options)
    assert "flowlabel 0x7 " in namespace.sh("ip -d link show dev vx") and "local fd65::1" in namespace.sh(
        "ip -d link show dev vx"
    )
    address = namespace.sh("ip -6 address show dev vx")
    assert "inet6 fd00:88::/128 scope global" in address and "tentative" not in address.split("fe80")[0]
    assert "fd00:88:0:1:: lladdr" in namespace.sh("ip -6 neigh show dev vx nud permanent")
    assert "dst fd65::2 self permanent" in namespace.sh("bridge fdb show dev vx")
    assert "fd00:88:0:1::/64 via fd00:88:0:1:: dev vx proto 157 metric 1024 onlink" in namespace.sh("ip -6 route")
    options["vxlan_link"][0]["entries"][0]["flowlabel"] = 9
    done = namespace.converge("overlay_host", pyroute2, **options)
    assert len(done["operations"]) == 1 and "flowlabel 0x9 " in namespace.sh("ip -d link show dev vx")
    # Of one family only: what was ours in the other goes.
    options.update(neigh_entry=[{"device": "vx", "entries": [], "purge": True}], route_entry=[{"entries": [], "purge": True}])
    done = namespace.converge("overlay_host", pyroute2, **options)
    assert "proto 157" not in namespace.sh("ip -6 route; ip route")


def test_a_port_of_a_bridge_with_the_kernels_own_entry(namespace: Namespace, pyroute2: str) -> None:
    """A bridge is made, found and mended; the FDB entry that the kernel makes for remote is nobody's to purge."""
    bridge = {"name": "br.7", "mac": mac(7), "mtu": 1450, "alias": "agentless.overlay:x", "addresses": ["172.18.50.1/16"]}
    link = {**LINK, "addresses": [], "learning": True, "remote": "10.1.1.2", "master": "br.7", "neigh_suppress": True}
    options: dict[str, Any] = {
        "bridge": [bridge],
        "vxlan_link": [{"entries": [link]}],
        "fdb_entry": [{"device": "vx", "entries": [], "purge": True}],
    }
    namespace.converge("overlay_host", pyroute2, **options)
    assert "00:00:00:00:00:00 dst 10.1.1.2 self permanent" in namespace.sh("bridge fdb show dev vx")
    assert "172.18.50.1/16" in namespace.sh("ip -o address show dev br.7")
    assert "neigh_suppress on" in namespace.sh("bridge -d link show dev vx")
    for harm in (
        "ip link set vx nomaster",
        "bridge link set dev vx neigh_suppress off",
        "ip link set br.7 down",
        f"ip link set br.7 address {mac(9)}",
        "ip link del br.7",
        "ip link set vx type vxlan id 88 remote 10.1.1.3",
    ):
        namespace.sh(harm)
        done = namespace.converge("overlay_host", pyroute2, **options)
        assert done["changed"], harm
        assert "neigh_suppress on" in namespace.sh("bridge -d link show dev vx")
    namespace.converge("overlay_host", pyroute2, bridge=[], vxlan_link=[{"entries": [link | {"state": "absent"}]}])
    assert namespace.sh("ip -br link").split()[0::3][:1] == ["lo"] and "br.7" not in namespace.sh("ip link")


def test_localbypass_where_pyroute2_has_no_name_for_it(namespace: Namespace, pyroute2: str) -> None:
    namespace.converge("vxlan_link", pyroute2, **LINK)
    done = namespace.converge("vxlan_link", pyroute2, **LINK, localbypass=False)
    assert lines(done, "vxlan_link") == ["-vx localbypass true", "+vx localbypass false"]
    assert "change vx" in done["operations"][0]


def test_a_route_whose_device_the_kernel_finds(namespace: Namespace, pyroute2: str) -> None:
    namespace.sh("ip link add eth0 type veth peer name eth1; ip address add 192.168.65.3/24 dev eth0")
    namespace.sh("ip link set eth0 up; ip link set eth1 up")
    entries = [{"dst": "10.19.2.0/24", "gateway": "192.168.65.4"}]
    namespace.converge("route_entry", pyroute2, entries=entries, purge=True)
    assert "10.19.2.0/24 via 192.168.65.4 dev eth0 proto 157" in namespace.sh("ip route")
    done = namespace.converge("route_entry", pyroute2, entries=[{**entries[0], "gateway": "192.168.65.5"}], purge=True)
    assert lines(done, "route_entry") == [
        "-10.19.2.0/24 via 192.168.65.4 dev eth0 proto 157",
        "+10.19.2.0/24 via 192.168.65.5 proto 157",
    ]
    failed = namespace.module("route_entry", pyroute2, fails=True, entries=[{"dst": "10.19.2.0/24", "gateway": "172.31.1.1"}])
    assert "ENETUNREACH" in failed["msg"] and "the host is as it was" in failed["msg"]
    assert "10.19.2.0/24 via 192.168.65.5 dev eth0" in namespace.sh("ip route")


def test_forwarding_does_not_take_the_default_route_away(namespace: Namespace) -> None:
    """Forwarding switches router advertisements off; a host that has its way out from them is told first."""
    namespace.sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up")
    namespace.sh("ip -6 route add default via fe80::1 dev eth0 proto ra")
    options = {"sysctl": [{"name": "net.ipv6.conf.all.forwarding", "value": "1"}]}
    failed = namespace.module("overlay_host", check=True, fails=True, **options)
    assert "Set net.ipv6.conf.eth0.accept_ra to 2" in failed["msg"]
    namespace.sh("sysctl -q net.ipv6.conf.eth0.accept_ra=2")
    namespace.converge("overlay_host", **options)
    assert namespace.sh("sysctl -n net.ipv6.conf.all.forwarding").strip() == "1"


def test_a_change_that_drops_packets_may_be_refused(namespace: Namespace) -> None:
    namespace.module("overlay_host", **host())
    before = tables(namespace)
    for check in (True, False):
        failed = namespace.module("overlay_host", check=check, fails=True, allow_drops=False, **host(vni=89))
        assert "Nothing was changed" in failed["msg"] and "re-create vx vni 89" in failed["msg"]
    assert tables(namespace) == before
    # What drops nothing is done: one more peer, another outer TTL.
    namespace.converge("overlay_host", allow_drops=False, **host(4, ttl=9))


def test_a_changed_mac_keeps_the_neighbours(namespace: Namespace) -> None:
    namespace.module("overlay_host", **host())
    before = tables(namespace)
    done = namespace.converge("overlay_host", **host(mac="02:00:00:00:00:99"))
    assert [diff["before_header"] for diff in done["diff"]] == ["vxlan_link"]
    after = tables(namespace)
    assert "02:00:00:00:00:99" in after["link"]
    assert (after["neigh"], after["route"]) == (before["neigh"], before["route"])


@pytest.mark.parametrize("module", ["neigh_entry", "fdb_entry", "route_entry"])
def test_thousand_entries_are_one_dump_and_one_batch(namespace: Namespace, pyroute2: str, module: str) -> None:
    namespace.module("vxlan_link", **LINK)
    options = {"device": "vx", "entries": peers(1000)[module], "purge": True}
    peak = f"/tmp/{namespace.name}.peak"
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[2:], check=True); "
        "open(sys.argv[1], 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
    )
    done = namespace.module(module, pyroute2, wrapper=(sys.executable, "-c", code, peak), **options)
    counters = {"dumps": 1, "requests": 1, "batches": 1, "messages": 1000}
    if module == "route_entry":
        # A thousand routes are worth nexthop objects: a dump and a batch more.
        assert done["counters"]["nexthop"] == {**counters, "requests": 0}
    assert done["counters"][module] == counters
    assert int(namespace.sh(f"cat {peak}; rm {peak}")) < 100 * 1024, "kilobytes"
    count = {
        "neigh_entry": "ip neigh show dev vx",
        "fdb_entry": "bridge fdb show dev vx",
        "route_entry": "ip route show proto 157",
    }
    assert len(namespace.sh(count[module]).splitlines()) == 1000
    again = namespace.module(module, pyroute2, **options)
    assert not again["changed"]
    again["counters"][module]["requests"] = counters["requests"]
    assert again["counters"][module] == dict(counters, batches=0, messages=0)


def test_the_batch_is_one_system_call(namespace: Namespace) -> None:
    """The same, counted by strace, which does not believe our counters."""
    namespace.module("vxlan_link", **LINK)
    options = {"device": "vx", "entries": peers(1000)["fdb_entry"], "purge": True}
    sent = []
    for _run in range(2):
        trace = f"/tmp/{namespace.name}.trace"
        namespace.module("fdb_entry", wrapper=("strace", "-f", "-o", trace, "-e", "trace=sendto,sendmsg"), **options)
        text = namespace.sh(f"cat {trace}; rm {trace}")
        sent.append([line for line in text.splitlines() if "nlmsg_type=RTM_NEWNEIGH" in line])
    assert len(sent[0]) == 1
    assert sent[1] == []


@pytest.mark.parametrize("module", ["neigh_entry", "fdb_entry", "route_entry"])
def test_purge_and_change_touch_just_what_differs(namespace: Namespace, pyroute2: str, module: str) -> None:
    namespace.module("vxlan_link", **LINK)
    entries = peers(5)[module]
    namespace.converge(module, pyroute2, device="vx", entries=entries, purge=True)
    wrong = {"neigh_entry": "lladdr", "fdb_entry": "dst", "route_entry": "gateway"}[module]
    value = {"neigh_entry": "02:00:00:00:00:77", "fdb_entry": "10.9.9.9", "route_entry": "10.7.7.7"}[module]
    changed = [{**entries[0], wrong: value}, *entries[1:4]]
    done = namespace.converge(module, pyroute2, device="vx", entries=changed, purge=True)
    assert [operation.split()[1] for operation in done["operations"]] == ["change", "remove"]
    assert done["counters"][module]["messages"] == 2
    # Without purge what is not listed stays; absent takes just what is listed.
    namespace.converge(module, pyroute2, device="vx", entries=[entries[0]])
    key = {"neigh_entry": "dst", "fdb_entry": "mac", "route_entry": "dst"}[module]
    done = namespace.converge(module, pyroute2, device="vx", state="absent", **{key: entries[0][key]})
    assert len(done["operations"]) == 1


def test_zero_mac_has_many_destinations(namespace: Namespace, pyroute2: str) -> None:
    """Head-end replication: entries that share a MAC must not eat each other."""
    namespace.module("vxlan_link", **LINK)
    entries = [{"mac": "00:00:00:00:00:00", "dst": f"192.168.0.{n}"} for n in range(2, 5)]
    namespace.converge("fdb_entry", pyroute2, device="vx", entries=entries, purge=True)
    assert len(namespace.sh("bridge fdb show dev vx").splitlines()) == 3
    done = namespace.converge("fdb_entry", pyroute2, device="vx", entries=entries[1:], purge=True)
    assert done["operations"] == ["fdb_entry: remove 00:00:00:00:00:00 dev vx dst 192.168.0.2 self permanent"]
    assert len(namespace.sh("bridge fdb show dev vx").splitlines()) == 2


def test_what_is_not_ours_is_left_alone(namespace: Namespace) -> None:
    namespace.sh("ip link add other type vxlan id 5 dstport 4790 local 10.1.1.1; ip link set other up")
    namespace.sh(
        "ip neigh add 10.50.0.1 lladdr 02:00:00:00:50:01 dev other; bridge fdb add 02:00:00:00:50:01 dev other dst 10.1.1.7"
    )
    namespace.sh("ip route add 10.50.0.0/24 via 10.50.0.1 dev other onlink proto static")
    namespace.module("overlay_host", **host())
    namespace.sh("ip route add 10.51.0.0/24 via 10.50.0.1 dev vx onlink proto static")
    options = host(0)
    options["vxlan_link"][0]["purge"] = True
    options["route_entry"] = [{"entries": [], "purge": True}]
    namespace.converge("overlay_host", **options)
    assert "10.50.0.1 lladdr" in namespace.sh("ip neigh show dev other")
    assert "02:00:00:00:50:01" in namespace.sh("bridge fdb show dev other")
    assert namespace.sh("ip route show proto static").splitlines() == [
        "10.50.0.0/24 via 10.50.0.1 dev other onlink ",
        "10.51.0.0/24 via 10.50.0.1 dev vx onlink ",
    ]
    assert namespace.sh("ip route show proto 157") == ""


def test_devices_of_ours_that_nobody_wants_go(namespace: Namespace) -> None:
    first = {**LINK, "name": "vx1", "alias": "agentless.overlay:old"}
    namespace.module("vxlan_link", **first)
    namespace.sh("ip link add foreign type vxlan id 5 dstport 4790 local 10.1.1.1")
    # The new one takes over VNI and port, so the old one has to go first.
    second = {**LINK, "name": "vx2", "alias": "agentless.overlay:new"}
    done = namespace.converge("vxlan_link", entries=[second], purge=True)
    assert [operation.split()[1] for operation in done["operations"][:2]] == ["remove", "add"]
    names = [link["ifname"] for link in namespace.json("ip -j link show type vxlan")]
    assert sorted(names) == ["foreign", "vx2"]


def test_a_failing_operation_leaves_the_host_as_it_was(namespace: Namespace, pyroute2: str) -> None:
    namespace.module("overlay_host", **host(3))
    before = tables(namespace)
    options = host(6, vni=99)
    options["fdb_entry"][0]["entries"][4] = {"mac": mac(77), "dst": "2001:db8::7"}  # the wrong family
    answer = namespace.module("overlay_host", pyroute2, fails=True, **options)
    assert tables(namespace) == before
    assert "02:00:00:00:00:4d dev vx dst 2001:db8::7" in answer["msg"]
    assert "EAFNOSUPPORT: Address family not supported by protocol" in answer["msg"]
    assert "What to do: the address must be of the same family" in answer["msg"]
    assert "the host is as it was" in answer["msg"]


def test_a_device_is_not_removed_for_one_that_cannot_be_made(namespace: Namespace) -> None:
    namespace.module("overlay_host", **host(3))
    before = tables(namespace)
    answer = namespace.module("overlay_host", fails=True, **host(3, vni=99, dev="eth9"))
    assert "there is no device eth9" in answer["msg"] and "Nothing was changed" in answer["msg"]
    # Nor where the kernel refuses the new one: VNI and port are another device's.
    namespace.sh("ip link add other type vxlan id 99 dstport 4789 local 10.1.1.1")
    answer = namespace.module("overlay_host", fails=True, **host(3, vni=99))
    assert "VNI 99 on port 4789 is that of other, which is not ours" in answer["msg"] and "Nothing was changed" in answer["msg"]
    assert tables(namespace) == before


def test_a_failure_on_an_empty_host_leaves_it_empty(namespace: Namespace) -> None:
    before = tables(namespace)
    options = host(3)
    options["route_entry"][0]["entries"].append({"dst": "10.7.0.0/24", "gateway": "10.7.0.1", "onlink": False})
    answer = namespace.module("overlay_host", fails=True, **options)
    assert "ENETUNREACH" in answer["msg"]
    assert tables(namespace) == before
    assert namespace.sh("ip -o link | wc -l").strip() == "1"


def test_a_failure_after_the_network_part_undoes_it(namespace: Namespace) -> None:
    """Files come after routes; a file that cannot be written takes everything back, the rules and settings as well."""
    namespace.module("overlay_host", **host(2))
    before = tables(namespace), namespace.sh("nft list ruleset; sysctl net.ipv4.ip_forward")
    options = {
        **host(4, vni=77, mac="02:00:00:00:00:55"),
        "firewall": [{"network": "demo", "cidrs": ["10.88.0.0/16"], "leases": ["10.88.50.0/24"], "devices": ["vx"]}],
        "sysctl": [{"name": "net.ipv4.ip_forward", "value": "1"}],
        "files": [{"path": "/proc/nowhere/file", "content": "x"}],
    }
    answer = namespace.module("overlay_host", fails=True, **options)
    assert "files: add /proc/nowhere/file" in answer["msg"] and "the host is as it was" in answer["msg"]
    after = tables(namespace), namespace.sh("nft list ruleset; sysctl net.ipv4.ip_forward")
    assert after[0] == before[0]
    # The chain that Docker makes as well stays, empty.
    assert "agentless" not in after[1] and after[1].splitlines()[-1] == before[1].splitlines()[-1]


def test_a_failure_undoes_bridges_and_namespaces(namespace: Namespace, tmp_path: Path) -> None:
    """What was there is there again as it was, with what was on it; what was not is gone."""
    rules = [{"network": "x", "cidrs": ["172.16.0.0/16"], "bridge": "br.7"}]
    namespace.converge("overlay_host", firewall=rules)
    bridge = {"name": "br.7", "mac": mac(7), "mtu": 1450, "alias": "agentless.overlay:x", "addresses": ["172.16.1.254/16"]}
    inside = {"network": "x", "bridge": "br.7", "gateway": "172.16.1.254", "mtu": 1450}
    first = {"name": f"{namespace.name}-a", "address": "172.16.1.1/16", **inside}
    second = {"name": f"{namespace.name}-b", "address": "172.16.1.2/16", **inside}
    namespace.converge("overlay_host", bridge=[bridge], sandbox=[first])
    inner = f"ip -n {namespace.name}-a"
    look = (
        f"ip -br link | grep -v ao; ip -4 -br address; {inner} -br -4 address | sed 's/@[a-z0-9]*//; s/  */ /g'; {inner} route"
    )
    before = namespace.sh(look)
    for wanted in (
        {"bridge": [{**bridge, "mtu": 1400, "addresses": ["172.16.9.254/16"]}], "sandbox": [first, second]},
        # Removals: the firewall's comes after that of the bridge.
        {"bridge": [], "sandbox": [], "firewall": []},
        {
            "bridge": [bridge, {**bridge, "name": "br.8", "mac": mac(8), "addresses": []}],
            "sandbox": [{**first, "gateway": "172.16.1.9"}],
        },
    ):
        if "firewall" in wanted:
            options, wrapper = {}, failing(tmp_path, "nft", " -f ")
        else:
            options, wrapper = {"files": [{"path": "/proc/nowhere/file", "content": "x"}]}, ()
        answer = namespace.module("overlay_host", fails=True, wrapper=wrapper, **wanted, **options)
        assert "the host is as it was" in answer["msg"], answer["msg"]
        assert ("firewall: remove" in answer["msg"]) is ("firewall" in wanted)
        assert namespace.sh(look) == before
        assert f"{namespace.name}-b" not in namespace.sh("ip netns list")
    # Half of one, as a run leaves it that is killed, is made whole; and somebody else's namespace is not taken.
    namespace.sh(f"ip netns del {namespace.name}-a; sleep 0.2")
    namespace.converge("overlay_host", bridge=[bridge], sandbox=[first])
    assert namespace.sh(look) == before
    namespace.sh(f"ip netns add {namespace.name}-b")
    try:
        answer = namespace.module("overlay_host", fails=True, sandbox=[first, second])
        assert f"there is a namespace {namespace.name}-b already" in answer["msg"]
    finally:
        namespace.sh(f"ip netns del {namespace.name}-b")
    namespace.converge("overlay_host", bridge=[], sandbox=[], firewall=[])
    assert namespace.name + "-a" not in namespace.sh("ip netns list") and "br.7" not in namespace.sh("ip link")


def test_a_namespace_by_hand_has_ipv6(namespace: Namespace) -> None:
    """It is what was asked for, is found so in the next run, and its port is that of the host."""
    bridge = {"name": "br.7", "mac": mac(7), "mtu": 1450, "alias": "agentless.overlay:x", "addresses": ["fd00:9::1/64"]}
    sandbox = {"name": f"{namespace.name}-a", "network": "x", "bridge": "br.7", "gateway": "fd00:9::1", "mtu": 1450}
    publish = [{"port": 9091, "to": "[fd00:9::2]:80"}]
    rules = {"network": "x", "cidrs": ["fd00:9::/64"], "bridge": "br.7", "publish": publish}
    inner = f"ip -n {namespace.name}-a"
    for address in ("fd00:9::9/64", "fd00:9::2/64"):
        namespace.converge("overlay_host", bridge=[bridge], sandbox=[{**sandbox, "address": address}], firewall=[rules])
        assert f"{address} \n" in namespace.sh(f"{inner} -br -6 address show dev eth0 scope global") + "\n"
    assert "default via fd00:9::1 dev eth0" in namespace.sh(f"{inner} -6 route")
    namespace.sh("ip link set lo up; ip -6 address add fd65::1/128 dev lo nodad")
    server = (
        "import socket; s = socket.create_server(('::', 80), family=socket.AF_INET6); s.settimeout(20); "
        "print('ready', flush=True); s.accept()[0].sendall(b'inside')"
    )
    command = ["ip", "netns", "exec", f"{namespace.name}-a", "python3", "-c", server]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdout is not None and listening.stdout.readline() == "ready\n"
        client = "import socket; print(socket.create_connection(('fd65::1', 9091), 20).recv(9).decode())"
        assert namespace.sh(f'python3 -c "{client}"') == "inside\n"
    namespace.converge("overlay_host", bridge=[], sandbox=[], firewall=[])
    assert namespace.name + "-a" not in namespace.sh("ip netns list")


def test_a_connected_network_is_not_replaced(namespace: Namespace) -> None:
    namespace.module("vxlan_link", **LINK)
    namespace.sh("ip link add br9 type bridge; ip link set br9 up; ip addr add 10.100.2.1/24 dev br9")
    answer = namespace.module("route_entry", fails=True, device="vx", entries=peers(1)["route_entry"])
    assert "10.100.2.0/24 is this host's own directly connected network" in answer["msg"]
    assert "dev br9" in namespace.sh("ip route show 10.100.2.0/24")


def test_a_host_without_pyroute2_is_told_the_package(namespace: Namespace, tmp_path: Path) -> None:
    (tmp_path / "pyroute2").mkdir()
    (tmp_path / "pyroute2/__init__.py").write_text("raise ImportError('not here')\n")
    wrapper = ("env", f"PYTHONPATH={tmp_path}:{ROOT}/.collections")
    answer = namespace.module("vxlan_link", wrapper=wrapper, fails=True, **LINK)
    assert "Debian, Ubuntu, Fedora: python3-pyroute2" in answer["msg"]


@pytest.mark.parametrize(
    ("module", "options", "words"),
    [
        ("vxlan_link", {"name": "vx"}, "vni is required"),
        ("vxlan_link", {"name": "vx", "vni": 0}, "vni 0 is not from 1 to 16777215"),
        ("vxlan_link", {"name": "a-name-too-long-for-linux", "vni": 3}, "not a device name of at most 15 characters"),
        ("vxlan_link", {"name": "lo", "vni": 3}, "lo exists and is not a vxlan device"),
        ("vxlan_link", {"name": "vx", "vni": 3, "local": "host1"}, "'host1' is not an IP address"),
        (
            "vxlan_link",
            {"name": "vx", "vni": 3, "addresses": ["fd00::1/64", "fd00::1/56"]},
            "fd00::1 is listed with two lengths",
        ),
        ("vxlan_link", {"name": "vx", "vni": 3, "dev": "eth9"}, "there is no device eth9"),
        ("neigh_entry", {"dst": "10.0.0.1", "lladdr": "02:00:00:00:00:01"}, "names no device"),
        ("neigh_entry", {"device": "vx", "dst": "10.0.0.1"}, "lladdr is required"),
        ("neigh_entry", {"device": "vx", "dst": "10.0.0.1", "lladdr": "2:3"}, "'2:3' is not a MAC"),
        ("fdb_entry", {"device": "vx", "mac": "02:00:00:00:00:01"}, "dst is required"),
        ("fdb_entry", {"device": "nodev", "mac": "02:00:00:00:00:01", "dst": "10.0.0.1"}, "there is no device nodev"),
        ("route_entry", {"device": "lo", "dst": "10.0.0.1/24"}, "has host bits set"),
        ("route_entry", {"device": "lo", "dst": "10.0.0.0/24", "entries": []}, "mutually exclusive"),
        ("fdb_entry", {"device": "lo", "entries": [{"mac": mac(1), "dst": "10.0.0.1"}] * 2}, "is listed twice"),
    ],
)
def test_wrong_options_are_refused_in_words(namespace: Namespace, module: str, options: dict[str, Any], words: str) -> None:
    before = namespace.sh("ip -d link; ip route; ip neigh")
    assert words in namespace.module(module, fails=True, **options)["msg"]
    assert namespace.sh("ip -d link; ip route; ip neigh") == before
