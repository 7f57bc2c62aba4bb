# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others set on a device of ours, through its re-creation and through an undo: it comes back, or nothing is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from labs import Namespace, failing, lines

MAC = "02:00:00:00:00:%02x"
MARK = "agentless.overlay:x"
LINK = {"name": "vx", "vni": 88, "port": 4789, "local": "10.1.1.1", "mac": MAC % 8, "mtu": 1450, "alias": MARK}
BRIDGE = {"name": "br.7", "mac": MAC % 7, "mtu": 1450, "alias": MARK, "accept_ra": 0, "autoconf": 0}
FIREWALL = {"network": "x", "cidrs": ["10.77.0.0/16"], "bridge": "br.7"}
# Carriers and timers, and what a port is in, which a bridge that has just got it decides a moment later.
MOVES = ("operstate", "state", "fdb_n_learned", "mcast_n_groups")
# By the words in which a failure names the device: a command that sets something on D, and one that tells of it.
SETTINGS = {
    "queue and group": ("ip link set D txqueuelen 77 group 5", "ip -j -d link show dev D"),
    "other names": ("ip link property add dev D altname other altname an-even-longer-one", "ip -j -d link show dev D"),
    "flags": ("ip link set D promisc on allmulticast on multicast off", "ip -j -d link show dev D"),
    "noarp": ("ip link set D arp off", "ip -j -d link show dev D"),
    "sizes": ("ip link set D gso_max_size 40000 gso_max_segs 20 gro_max_size 50000", "ip -j -d link show dev D"),
    "IPv4 settings": (
        "sysctl -q net/ipv4/conf/D/rp_filter=2 net/ipv4/conf/D/proxy_arp=1 net/ipv4/neigh/D/gc_stale_time=77",
        "sysctl net/ipv4/conf/D net/ipv4/neigh/D",
    ),
    "IPv6 settings": (
        "sysctl -q net/ipv6/conf/D/hop_limit=33 net/ipv6/conf/D/mtu=1300 net/ipv6/conf/D/forwarding=1 "
        "net/ipv6/neigh/D/base_reachable_time_ms=7000 net/ipv6/conf/D/accept_ra_rtr_pref=0",
        "sysctl net/ipv6/conf/D net/ipv6/neigh/D",
    ),
    "no IPv6": ("sysctl -q net/ipv6/conf/D/disable_ipv6=1", "sysctl net/ipv6/conf/D; ip -6 address show dev D"),
    "addrgenmode": ("ip link set D addrgenmode none", "ip -j -d link show dev D; ip -6 -o address show dev D | sed s/^.*://"),
    "stable secret": ("sysctl -q net/ipv6/conf/D/stable_secret=2001:db8::1", "sysctl net/ipv6/conf/D"),
    "addresses": (
        "ip address add 10.99.0.1/24 dev D valid_lft 5900 preferred_lft 3900; "
        "ip address add 10.99.1.1/24 brd 10.99.1.77 dev D label D:x; ip address add 10.99.2.1 peer 10.99.3.2/32 dev D; "
        "ip address add 10.99.4.1/24 dev D metric 55; ip address add 10.99.5.1/24 dev D noprefixroute scope link; "
        "ip address add 239.7.7.7/32 dev D autojoin; ip address add fe80::77/64 dev D; "
        "ip address add fd99::1 peer fd99::2/64 dev D; ip address add fd98::1/64 dev D preferred_lft 0; "
        "ip address add fd97::1/64 dev D metric 55 noprefixroute home; "
        "ip address add fd96::1/64 dev D valid_lft 5900 preferred_lft 99",
        "ip -o -d address show dev D | sed 's/^[0-9]*: //; s/ [0-9]*sec/ sec/g' | grep -v kernel_ll; "
        "ip -4 route show dev D; ip -6 route show dev D | sed 's/expires [0-9]*sec//'",
    ),
}
PORT = {
    "port flags": (
        "ip link set D type bridge_slave hairpin on isolated on learning off flood off priority 5 cost 77 guard on "
        "mcast_router 2 fastleave on proxy_arp on group_fwd_mask 8 locked on",
        "bridge -j -d link show dev D",
    ),
    "FDB of the port": (
        "bridge fdb add 02:00:00:00:77:01 dev D master static; bridge fdb add 02:00:00:00:77:02 dev D master sticky static; "
        "bridge fdb add 02:00:00:00:77:03 dev D master extern_learn; bridge fdb add 02:00:00:00:77:04 dev D master",
        "bridge fdb show dev D | grep -E '00:7[78]:' | sort",
    ),
    "groups of the port": (
        "bridge mdb add dev br.7 port D grp 239.5.5.5 permanent; bridge mdb add dev br.7 port D grp ff0e::5 permanent vid 10; "
        "bridge mdb add dev br.7 port D grp 239.5.5.6 src 10.1.9.9 permanent; "
        "bridge mdb add dev br.7 port D grp 239.5.5.7 permanent filter_mode include source_list 10.1.9.8,10.1.9.7 proto zebra",
        "bridge -d mdb show dev br.7 | grep permanent | sort",
    ),
    "groups of a bridge that snoops no more": (
        "ip link set br.7 type bridge mcast_snooping 1; bridge mdb add dev br.7 port D grp 239.5.5.8 permanent; "
        "ip link set br.7 type bridge mcast_snooping 0",
        "bridge -d mdb show dev br.7 | grep permanent | sort; ip -d link show br.7 | grep -o 'mcast_snooping .'",
    ),
}
BROKEN = [{"path": "/proc/nowhere/file", "content": "x"}]


def still(item: Any) -> Any:
    """Without what moves by itself."""
    if isinstance(item, list):
        return [still(one) for one in item]
    if isinstance(item, dict):
        return {name: still(value) for name, value in item.items() if name not in MOVES and "timer" not in name}
    return item


def told(namespace: Namespace, command: str) -> Any:
    """What a command says: of JSON what stays, of lines all but what an address is until the kernel has looked at it."""
    said = namespace.sh(command, check=False).replace(" tentative", "")
    if not said.startswith("["):
        return sorted(said.splitlines())
    head, _end, rest = said.partition("\n")
    found = still(json.loads(head))
    for link in found:
        link["flags"] = sorted(set(link["flags"]) - {"NO-CARRIER", "LOWER_UP"})
    return found, sorted(rest.splitlines())


def wish(port: int = 4789, master: str = "", **more: Any) -> dict[str, Any]:
    link = {**LINK, "port": port, **({"master": master, "addresses": []} if master else {}), **more}
    options: dict[str, Any] = {"vxlan_link": [{"entries": [link], "purge": True}]}
    if master:
        options["bridge"] = [BRIDGE]
    return options


@pytest.fixture
def host(namespace: Namespace) -> Namespace:
    namespace.sh("sysctl -q net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0")
    return namespace


def through_all(
    host: Namespace, pyroute2: str, options: dict[str, Any], other: dict[str, Any], command: str, look: str
) -> None:
    """Set something on the device, and look at it before and after a re-creation, and two undone runs."""
    host.converge("overlay_host", pyroute2, **options)
    plain = told(host, look)
    host.sh(command)
    before = told(host, look)
    assert before != plain, "nothing was set"
    for wanted in (other, options):
        done = host.converge("overlay_host", pyroute2, **wanted)
        assert "vxlan_link: re-create vx" in " ".join(done["operations"])
        assert still_without_port(told(host, look)) == still_without_port(before)
    gone = {**options, "vxlan_link": [{"entries": [{"name": "vx", "state": "absent"}]}]}
    for wanted in (other, gone):
        answer = host.module("overlay_host", pyroute2, fails=True, **{**wanted, "files": BROKEN})
        assert answer["msg"].count("the host is as it was.") == 1, answer["msg"]
        assert told(host, look) == before


def still_without_port(item: Any) -> Any:
    """Without what makes it another device."""
    return json.loads(json.dumps(item).replace('"port": 8472', '"port": 4789'))


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_what_is_set_on_a_device(host: Namespace, pyroute2: str, kind: str) -> None:
    command, look = (text.replace("D", "vx") for text in SETTINGS[kind])
    through_all(host, pyroute2, wish(), wish(8472), command, look)


@pytest.mark.parametrize("kind", list(PORT))
def test_what_is_set_on_a_port(host: Namespace, pyroute2: str, kind: str) -> None:
    command, look = (text.replace("D", "vx") for text in PORT[kind])
    through_all(host, pyroute2, wish(master="br.7"), wish(8472, "br.7"), command, look)


@pytest.mark.parametrize("kind", [*SETTINGS, *PORT])
def test_what_is_set_on_a_bridge_and_its_ports_comes_back(host: Namespace, pyroute2: str, tmp_path: Path, kind: str) -> None:
    """The firewall goes after the bridge, so its failure finds the bridge gone; a port of a container, and one of ours."""
    options = {**wish(master="br.7"), "firewall": [FIREWALL]}
    host.converge("overlay_host", pyroute2, **options)
    host.sh("ip link add c1 type veth peer name c1in; ip link set c1 master br.7 up; ip link set c1in up")
    devices = ("vx", "c1") if kind in PORT else ("br.7",)
    looks = []
    for device in devices:
        command, look = (text.replace("D", device) for text in {**SETTINGS, **PORT}[kind])
        # A bridge has a MAC once.
        host.sh(command.replace(":77:", ":78:") if device == "c1" else command)
        looks.append(look)
    before = [told(host, look) for look in looks]
    nothing = {"bridge": [], "firewall": [], "vxlan_link": [{"entries": [], "purge": True}]}
    predicted = host.module("overlay_host", pyroute2, check=True, **nothing)["operations"]
    assert predicted.index("bridge: remove br.7") < next(n for n, one in enumerate(predicted) if "firewall: remove" in one)
    answer = host.module("overlay_host", pyroute2, fails=True, wrapper=failing(tmp_path, "nft", " -f "), **nothing)
    assert "the host is as it was." in answer["msg"], answer["msg"]
    assert [told(host, look) for look in looks] == before


def test_what_is_set_on_a_port_that_leaves_comes_back_with_an_undo(host: Namespace, pyroute2: str) -> None:
    """Nothing is made anew then: the device stays, and is no port for a while."""
    host.converge("overlay_host", pyroute2, **wish(master="br.7"))
    looks = []
    for command, look in PORT.values():
        host.sh(command.replace("D", "vx"))
        looks.append(look.replace("D", "vx"))
    before = [told(host, look) for look in looks]
    options = {**wish(master="br.7"), "vxlan_link": wish()["vxlan_link"], "files": BROKEN}
    answer = host.module("overlay_host", pyroute2, fails=True, **options)
    assert "the host is as it was." in answer["msg"], answer["msg"]
    assert [told(host, look) for look in looks] == before


def test_what_the_transaction_itself_sets_is_not_put_back(host: Namespace, pyroute2: str) -> None:
    """Forwarding is switched on for all devices, and the one that is made anew meanwhile keeps to it."""
    host.converge("overlay_host", pyroute2, **wish(), sysctl=[{"name": "net.ipv4.ip_forward", "value": "0"}])
    host.converge("overlay_host", pyroute2, **wish(8472), sysctl=[{"name": "net.ipv4.ip_forward", "value": "1"}])
    assert host.sh("sysctl -n net/ipv4/conf/vx/forwarding").strip() == "1"


STANDING = {
    "macvlan": ("ip link add link D name m0 type macvlan", "the device m0 (macvlan) is on it", "ip link delete m0, or move it"),
    "another vxlan device": (
        "ip link add v2 type vxlan id 5 dstport 4790 local 10.1.1.1 dev D",
        "the device v2 (vxlan) is on it",
        "ip link delete v2",
    ),
    "qdisc": (
        "tc qdisc add dev D root handle 5: tbf rate 10mbit burst 10k latency 5ms",
        "it has a qdisc tbf",
        "tc qdisc delete dev D root",
    ),
    "clsact": ("tc qdisc add dev D clsact", "it has a qdisc clsact", "tc qdisc delete dev D clsact"),
    "nft": (
        "nft add table netdev t; nft 'add chain netdev t c { type filter hook ingress device \"D\" priority 0; }'",
        "nft has a chain or flowtable that is bound to it",
        "nft delete table netdev t",
    ),
}


@pytest.mark.parametrize("kind", list(STANDING))
@pytest.mark.parametrize("device", ["vx", "br.7"])
def test_what_nobody_could_put_back_is_refused(host: Namespace, pyroute2: str, kind: str, device: str) -> None:
    command, words, remedy = (text.replace("D", device) for text in STANDING[kind])
    # A port can carry none of the first kind.
    master = "" if (kind, device) == ("macvlan", "vx") else "br.7"
    options = wish(master=master)
    host.converge("overlay_host", pyroute2, **options)
    host.sh(command)
    look = "ip link; bridge link; tc qdisc; nft list ruleset"
    before = host.sh(look)
    other = {**options, "bridge": [], "vxlan_link": wish()["vxlan_link"]} if device == "br.7" else wish(8472, master)
    fate = "is to be removed" if device == "br.7" else "has to be made anew"
    for check in (True, False):
        answer = host.module("overlay_host", pyroute2, check=check, fails=True, **other)
        assert f"{device} {fate}, and {words}" in answer["msg"] and "Nothing was changed" in answer["msg"]
        assert host.sh(look) == before
    # What changes in place takes nothing along.
    host.converge("overlay_host", pyroute2, **wish(master=master, ttl=9))
    host.sh(remedy.partition(", ")[0])
    host.converge("overlay_host", pyroute2, **other)


@pytest.mark.parametrize("device", ["vx", "br.7"])
def test_an_mtu_that_would_take_that_of_others_along_is_refused(host: Namespace, pyroute2: str, device: str) -> None:
    """The kernel lowers what is on top, and raises none of it again."""
    options = wish() if device == "vx" else wish(master="br.7")
    host.converge("overlay_host", pyroute2, **options)
    host.sh(f"ip link add link {device} name mac.1 type macvlan mode bridge")
    lower = json.loads(json.dumps(options))
    (lower["vxlan_link"][0]["entries"][0] if device == "vx" else lower["bridge"][0])["mtu"] = 1300
    for check in (True, False):
        answer = host.module("overlay_host", pyroute2, check=check, fails=True, **lower)
        assert f"{device}: mtu 1300 would take that of mac.1 (macvlan) along" in answer["msg"], answer["msg"]
        assert host.json("ip -j link show mac.1")[0]["mtu"] == host.json(f"ip -j link show {device}")[0]["mtu"] > 1300
    host.sh("ip link set mac.1 mtu 1300")
    host.converge("overlay_host", pyroute2, **lower)
    assert host.json(f"ip -j link show {device}")[0]["mtu"] == 1300


def test_a_device_that_carries_another_becomes_no_port(host: Namespace) -> None:
    host.converge("overlay_host", **wish(), bridge=[BRIDGE])
    host.sh("ip link add link vx name mac.1 type macvlan mode bridge")
    before = host.sh("ip link; bridge link")
    answer = host.module("overlay_host", fails=True, **wish(master="br.7"))
    assert "vx cannot be a port of br.7 while the device mac.1 (macvlan) is on it. ip link delete mac.1" in answer["msg"]
    assert host.sh("ip link; bridge link") == before
    host.sh("ip link delete mac.1")
    host.converge("overlay_host", **wish(master="br.7"))


def test_a_port_that_others_fall_back_on_is_refused(host: Namespace) -> None:
    host.converge("overlay_host", **wish(master="br.7"))
    host.sh("ip link add c1 type veth peer name c1in; ip link set c1 master br.7 up; bridge link set dev c1 backup_port vx")
    answer = host.module("overlay_host", fails=True, **wish(8472, "br.7"))
    assert "port c1 falls back on it" in answer["msg"]
    host.sh("bridge link set dev c1 nobackup_port")
    host.converge("overlay_host", **wish(8472, "br.7"))


def test_devices_that_stand_on_one_another_go_together(host: Namespace, pyroute2: str) -> None:
    """What is on a device that goes, and is ours and goes too, is in nobody's way."""
    host.converge("overlay_host", pyroute2, **wish(), bridge=[BRIDGE])
    upper = {**LINK, "name": "vx2", "vni": 89, "dev": "br.7", "mtu": 1300}
    entries = [LINK, upper]
    host.converge("overlay_host", pyroute2, vxlan_link=[{"entries": entries, "purge": True}], bridge=[BRIDGE])
    host.converge("overlay_host", pyroute2, vxlan_link=[{"entries": [], "purge": True}], bridge=[])
    assert [link["ifname"] for link in host.json("ip -j link")] == ["lo"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"remote": "10.1.1.2"}, {}),
        ({"group": "239.1.1.1", "dev": "eth0"}, {}),
        ({"group": "239.1.1.1", "dev": "eth0"}, {"dev": "eth0"}),
        ({"dev": "eth0"}, {}),
        ({"master": "br.7", "neigh_suppress": True}, {"master": "br.7"}),
        ({"master": "br.7", "neigh_suppress": True}, {}),
        ({"ttl": 9, "tos": 8, "df": "set", "ageing": 77, "learning": False, "localbypass": False}, {}),
        ({"udpcsum": False, "udp6zerocsumtx": True, "udp6zerocsumrx": True, "gbp": True, "maxaddress": 50}, {}),
        ({"proxy": True, "rsc": True, "l2miss": True, "l3miss": True, "ttl_inherit": True}, {}),
        ({"srcport_min": 40000, "srcport_max": 50000}, {}),
        ({"port": 4789}, {"port": None}),
    ],
)
def test_what_the_wish_no_longer_gives_has_the_kernels_default(
    host: Namespace, pyroute2: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """A device that once was otherwise is as one that never was."""
    host.sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up")

    def options(more: dict[str, Any]) -> dict[str, Any]:
        entry = {name: value for name, value in {**LINK, **more}.items() if value is not None}
        return {"vxlan_link": [{"entries": [entry], "purge": True}], "bridge": [BRIDGE]}

    look = "ip -j -d link show dev vx"
    host.converge("overlay_host", pyroute2, **options(after))
    never = told(host, look)[0]
    host.sh("ip link delete vx")
    host.converge("overlay_host", pyroute2, **options(before))
    assert _device(told(host, look)[0]) != _device(never)
    host.converge("overlay_host", pyroute2, **options(after))
    assert _device(told(host, look)[0]) == _device(never)


def _device(found: Any) -> Any:
    return [{name: value for name, value in link.items() if name not in ("ifindex", "link_index")} for link in found]


def test_a_tunnel_becomes_a_switch_and_a_tunnel_again(host: Namespace, pyroute2: str) -> None:
    """What is for all goes to those who are peers, and to nobody who has left."""
    zero = "00:00:00:00:00:00"

    def options(peers: list[str], **more: str) -> dict[str, Any]:
        entries = [{"mac": zero, "dst": peer} for peer in peers]
        return {**wish(learning=True, **more), "fdb_entry": [{"device": "vx", "entries": entries, "purge": True}]}

    host.sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up")
    steps: list[tuple[dict[str, Any], list[str]]] = [
        (options([], remote="10.1.1.2"), ["10.1.1.2"]),
        (options(["10.1.1.2", "10.1.1.3"]), ["10.1.1.2", "10.1.1.3"]),
        (options(["10.1.1.3"]), ["10.1.1.3"]),
        (options([], remote="10.1.1.3"), ["10.1.1.3"]),
        (options([], group="239.1.1.1", dev="eth0"), ["239.1.1.1"]),
        (options(["10.1.1.2"]), ["10.1.1.2"]),
    ]
    for wanted, peers in steps:
        host.converge("overlay_host", pyroute2, **wanted)
        found = [one["dst"] for one in host.json("bridge -j fdb show dev vx") if one["mac"] == zero]
        assert sorted(found) == peers, wanted


def test_what_others_want_of_a_device_without_our_mark_stays(host: Namespace, pyroute2: str) -> None:
    """Whoever makes a device of one's own with the module says what is to be, and no more."""
    plain = {name: value for name, value in LINK.items() if name != "alias"}
    host.converge("vxlan_link", pyroute2, **plain, ttl=9, remote="10.1.1.2")
    done = host.module("vxlan_link", pyroute2, **plain)
    assert not done["changed"]


def test_two_devices_change_places(host: Namespace, pyroute2: str) -> None:
    """Each VNI is taken until the other device is gone; indexes and entries stay."""
    names = ("vx", "vx2")

    def options(first: int, second: int) -> dict[str, Any]:
        links = [{**LINK, "name": name, "vni": vni} for name, vni in zip(names, (first, second))]
        return {"vxlan_link": [{"entries": links, "purge": True}]}

    host.converge("overlay_host", pyroute2, **options(88, 89))
    for number, name in enumerate(names, 1):
        host.sh(f"bridge fdb add 02:00:00:00:00:0{number} dev {name} dst 10.1.1.{number}")
        host.sh(f"ip address add 10.99.{number}.1/24 dev {name}")
    look = "ip -o link show type vxlan | cut -c 1-20; bridge fdb; ip -o address"
    before = host.sh(look)
    done = host.converge("overlay_host", pyroute2, **options(89, 88))
    assert lines(done, "vxlan_link") == ["-vx vni 88", "-vx2 vni 89", "+vx vni 89", "+vx2 vni 88"]
    assert host.sh(look) == before
    answer = host.module("overlay_host", pyroute2, fails=True, **options(88, 89), files=BROKEN)
    assert "the host is as it was." in answer["msg"], answer["msg"]
    assert host.sh(look) == before
    # And one behind the other.
    host.converge("overlay_host", pyroute2, **options(88, 89))
    host.converge("overlay_host", pyroute2, **options(89, 90))
    host.converge("overlay_host", pyroute2, **options(88, 89))


def test_an_mtu_of_ipv6_alone_stays(namespace: Namespace) -> None:
    """With each MTU that a device gets the kernel gives IPv6 the same one."""
    link = {"name": "vx", "vni": 88, "port": 4789, "local": "10.1.1.1", "alias": "agentless.overlay:x", "mtu": 1450}
    bridge = {"name": "br.7", "alias": "agentless.overlay:x", "mtu": 1450, "addresses": []}
    namespace.converge("overlay_host", vxlan_link=[{"entries": [link], "purge": True}], bridge=[bridge])
    namespace.sh("sysctl -q net/ipv6/conf/vx/mtu=1300 net/ipv6/conf/br.7/mtu=1300")
    changed = {"vxlan_link": [{"entries": [{**link, "mtu": 1400}], "purge": True}], "bridge": [{**bridge, "mtu": 1400}]}
    broken = {"files": [{"path": "/proc/nowhere/file", "content": "x"}]}
    shown = "sysctl -n net/ipv6/conf/vx/mtu net/ipv6/conf/br.7/mtu; ip -o link | grep -o 'mtu [0-9]*'"
    before = namespace.sh(shown)
    namespace.module("overlay_host", fails=True, **changed, **broken)
    assert namespace.sh(shown) == before
    namespace.converge("overlay_host", **changed)
    assert namespace.sh(shown).split()[:2] == ["1300", "1300"] and namespace.sh(shown).count("mtu 1400") == 2
