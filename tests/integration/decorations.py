# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random hosts: what is wished of one, and what its owners do on our devices and beside them by hand."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

Wish = dict[str, Any]
MAC = "02:00:00:00:00:%02x"
# A bridge of somebody else's, which has the lowest MAC of its ports; that of its own port is above those of our devices.
SWITCH, SWITCH_PORT = "sw0", MAC % 96
# What cannot be put back may be refused; that is rare, so that most hosts say how it is with all else.
OFTEN, RARE = 0.25, 0.02
# Commands on a device D, of which the number is I and the bridge B; N is a number that nobody else has.
TUNNEL = {
    "route metrics": "ip route add 172.16.N.0/24 via 10.8I.0.9 dev D onlink metric 5 mtu 1200 advmss 1100 proto static",
    "route lock": "ip route add 172.17.N.0/24 dev D mtu lock 1300 window 9000 rtt 20ms rto_min 50ms initcwnd 20 congctl reno",
    "route table": "ip route add 172.18.N.0/24 dev D table 4242 proto 44; ip route add 172.18.N.0/24 dev D table 100 metric 3",
    "route tos realm": "ip route add tos 0x10 172.19.N.0/24 dev D realm 5",
    "route local": "ip route add local 192.0.2.N/32 dev D table local proto static",
    "route via inet6": "ip route add 172.20.N.0/24 via inet6 fe80::9 dev D",
    "route multipath": "ip route add 172.21.N.0/24 nexthop via 192.168.1.9 dev eth0 weight 3 nexthop dev D",
    "route6 multipath": "ip -6 route add fd21:N::/64 nexthop via fe80::9 dev D nexthop via fe80::9 dev eth0",
    "route same prefix": "ip route append 172.22.N.0/24 dev eth0 metric 7; ip route append 172.22.N.0/24 dev D metric 7",
    "route encap": "ip route add 172.23.N.0/24 encap ip id 5 dst 192.0.2.4 dev D",
    "route6 expires": "ip -6 route add fd16:N::/64 dev D expires 5900 metric 7",
    "route6 same prefix": "ip -6 route append fd17:N::/64 dev eth0; ip -6 route append fd17:N::/64 dev D",
    "route6 metrics": "ip -6 route add fd18:N::/64 via fe80::9 dev D metric 12 mtu 1300 hoplimit 9 pref high",
    "route6 table": "ip -6 route add fd19:N::/64 dev D table 100 proto 44; ip -6 route add fd19:N::/64 dev D table 4242",
    "route6 local": "ip -6 route add local fd20::N/128 dev D table local",
    "route6 multicast": "ip -6 route add multicast ff0e:N::/64 dev D table local",
    "nexthop": "ip nexthop add id N via 10.8I.0.77 dev D onlink proto 44; ip route add 172.24.N.0/24 nhid N",
    "nexthop6": "ip nexthop add id N via fe80::80 dev D; ip -6 route add fd22:N::/64 nhid N",
    "nexthop group": "ip nexthop add id N via 192.168.1.81 dev eth0; ip nexthop add id 10N dev D; "
    "ip nexthop add id 20N group 10N,3/N; ip route add 172.25.N.0/24 nhid 20N",
    "fdb nexthops": "ip nexthop add id N via 10.1.9.2 fdb; ip nexthop add id 10N via 10.1.9.3 fdb; "
    "ip nexthop add id 20N group N/10N fdb; bridge fdb add 02:00:00:00:93:N dev D nhid 20N self",
    "fdb port vni via": "bridge fdb append 00:00:00:00:00:00 dev D dst 10.1.9.N port 5000 vni 77 via eth0 self permanent",
    "fdb other port": "bridge fdb add 02:00:00:00:94:N dev D dst 10.1.9.3 port 5001 vni 78",
    "fdb static": "bridge fdb add 02:00:00:00:95:N dev D dst 10.1.9.3 static",
    "fdb extern_learn": "bridge fdb add 02:00:00:00:96:N dev D dst 10.1.9.3 extern_learn",
    "fdb router": "bridge fdb add 02:00:00:00:97:N dev D dst 10.1.9.3 router",
    "fdb several": "bridge fdb append 01:00:5e:00:05:N dev D dst 10.1.9.3; "
    "bridge fdb append 01:00:5e:00:05:N dev D dst 10.1.9.4",
    "vrf": "ip link add red type vrf table 77; ip link set red up; ip link set D master red",
}
# On a tunnel, a port or a bridge.
ANY = {
    "neigh permanent": "ip neigh add 10.8I.9.N lladdr 02:00:00:00:21:N dev D nud permanent protocol 44",
    "neigh noarp": "ip neigh add 10.8I.8.N lladdr 02:00:00:00:22:N dev D nud noarp",
    "neigh extern_learn": "ip neigh add 10.8I.7.N lladdr 02:00:00:00:23:N dev D nud permanent extern_learn",
    "neigh stale": "ip neigh add 10.8I.6.N lladdr 02:00:00:00:24:N dev D nud stale extern_learn",
    "neigh router": "ip neigh add fd91::N lladdr 02:00:00:00:25:N dev D nud permanent router",
    "neigh proxy": "ip neigh add proxy 10.8I.5.N dev D; ip neigh add proxy fd91:1::N dev D protocol 44",
    "address lifetime": "ip address add 10.99.N.1/24 dev D valid_lft 5900 preferred_lft 3900",
    "address label": "ip address add 10.100.N.1/24 brd 10.100.N.77 dev D label D:N",
    "address peer": "ip address add 10.101.N.1 peer 10.101.N.2/32 dev D",
    "address metric": "ip address add 10.102.N.1/24 dev D metric 55",
    "address noprefixroute": "ip address add 10.103.N.1/24 dev D noprefixroute scope link",
    "address secondary": "ip address add 10.104.N.1/24 dev D; ip address add 10.104.N.2/24 dev D",
    "address6 lifetime": "ip address add fd99:N::1/64 dev D valid_lft 5900 preferred_lft 3900",
    "address6 noprefixroute": "ip address add fd98:N::1/64 dev D noprefixroute",
    "address6 peer": "ip address add fd97:N::1 peer fd97:N::2/64 dev D",
    "address6 metric": "ip address add fd96:N::1/64 dev D metric 55 home mngtmpaddr",
    "address6 link-local": "ip address add fe80::N/64 dev D",
    "address6 deprecated": "ip address add fd95:N::1/64 dev D preferred_lft 0",
    "address autojoin": "ip address add 239.7.7.N/32 dev D autojoin",
    "txqueuelen": "ip link set D txqueuelen 77N",
    "group": "ip link set D group 5N",
    "altname": "ip link property add dev D altname other-N altname an-even-longer-name-than-that-N",
    "promisc": "ip link set D promisc on",
    "allmulticast": "ip link set D allmulticast on",
    "addrgenmode": "ip link set D addrgenmode none",
    "gso": "ip link set D gso_max_size 400N gso_max_segs 2N",
    "no multicast": "ip link set D multicast off",
    "qdisc": "tc qdisc add dev D root handle 5: tbf rate 10mbit burst 10k latency 5ms",
    "clsact": "tc qdisc add dev D clsact",
    "macvlan": "ip link add link D name mac.N type macvlan mode bridge",
    "vlan": "ip link add link D name D.5 type vlan id 5",
    "sysctl4": "sysctl -q net/ipv4/conf/D/rp_filter=2 net/ipv4/conf/D/proxy_arp=1 net/ipv4/conf/D/arp_ignore=1",
    "sysctl6": "sysctl -q net/ipv6/conf/D/hop_limit=33 net/ipv6/conf/D/proxy_ndp=1 net/ipv6/conf/D/forwarding=1",
    "sysctl mtu6": "sysctl -q net/ipv6/conf/D/mtu=1300",
    "sysctl neigh": "sysctl -q net/ipv4/neigh/D/gc_stale_time=77 net/ipv6/neigh/D/ucast_solicit=5",
    "rule": "ip rule add iif D table 100 pref 50N; ip rule add oif D table 100 pref 60N; "
    "ip -6 rule add iif D table 100 pref 50N",
    "nft": "nft add table inet otherN; nft 'add chain inet otherN c { type filter hook forward priority 5; }'; "
    "nft add rule inet otherN c iif D counter accept; nft add rule inet otherN c oifname D counter",
    "nft set": 'nft add table inet setN; nft \'add set inet setN devs { type iface_index; elements = { "D", "eth0" }; }\'',
    "nft ingress": "nft add table netdev sideN; "
    "nft 'add chain netdev sideN c { type filter hook ingress device D priority 0; }'",
}
PORT = {
    "port hairpin": "ip link set D type bridge_slave hairpin on isolated on cost 77 guard on priority 5",
    "port flood": "ip link set D type bridge_slave learning off flood off mcast_flood off bcast_flood off",
    "port multicast": "ip link set D type bridge_slave mcast_router 2 fastleave on mcast_to_unicast on",
    "port arp": "ip link set D type bridge_slave proxy_arp on root_block on group_fwd_mask 8",
    "port locked": "ip link set D type bridge_slave locked on",
    "port backup": "ip link set c0 master B; ip link set D type bridge_slave backup_port c0",
    "port vlan": "ip link set B type bridge vlan_filtering 1; bridge vlan add vid 10 dev D pvid untagged; "
    "bridge vlan add vid 5 dev B self",
    "port tunnel": "ip link set D type bridge_slave vlan_tunnel on; bridge vlan add dev D vid 30; "
    "bridge vlan add dev D vid 30 tunnel_info id 30",
    "mdb": "bridge mdb add dev B port D grp 239.5.5.N permanent; bridge mdb add dev B port D grp ff0e::N permanent vid 10",
    "fdb master": "bridge fdb add 02:00:00:00:30:N dev D master static; "
    "bridge fdb add 02:00:00:00:31:N dev D master sticky static",
    "fdb master extern": "bridge fdb add 02:00:00:00:32:N dev D master extern_learn",
    "fdb master and self": "bridge fdb add 02:00:00:00:33:N dev D dst 10.1.9.3 self; "
    "bridge fdb add 02:00:00:00:33:N dev D master static",
    "fdb master vlan": "bridge fdb add 02:00:00:00:34:N dev D master static vlan 10",
}
BRIDGE = {
    "bridge options": "ip link set D type bridge ageing_time 7700 mcast_snooping 0 priority 100 forward_delay 500 "
    "group_fwd_mask 8",
    "bridge multicast": "ip link set D type bridge mcast_querier 1 mcast_igmp_version 3 mcast_last_member_count 3",
    "bridge vlan protocol": "ip link set D type bridge vlan_default_pvid 7 vlan_protocol 802.1ad",
    "bridge port": "ip link set c1 master D; ip link set c1 type bridge_slave hairpin on cost 33; "
    "bridge fdb add 02:00:00:00:35:N dev c1 master static; bridge mdb add dev D port c1 grp 239.5.6.N permanent",
    "bridge fdb": "bridge fdb add 02:00:00:00:36:N dev D self local",
    "bridge route": "ip route add 10.55.N.0/24 dev D mtu 1200 table 100; "
    "ip -6 route add fd55:N::/64 dev D metric 9 expires 5900",
}
# Not on a device of ours.
BESIDE = {
    "others' route types": "ip route add blackhole 172.30.N.0/24 metric 3; ip route add unreachable 172.30.N.0/24 table 4242",
    "others' nexthops": "ip nexthop add id 30N via 192.168.2.9 dev eth1; ip nexthop add id 31N blackhole; "
    "ip route add 172.31.N.0/24 nhid 30N",
    "others' multipath": "ip route add 172.29.N.0/24 nexthop via 192.168.1.9 dev eth0 nexthop via 192.168.2.9 dev eth1",
}
KINDS = {**TUNNEL, **ANY, **PORT, **BRIDGE, **BESIDE}
HARD = {
    *("route multipath", "route6 multipath", "route encap", "nexthop group", "vrf", "qdisc", "clsact", "macvlan", "vlan"),
    *("nft ingress", "port backup", "port vlan", "port tunnel", "bridge vlan protocol"),
}


@dataclass(frozen=True)
class Decoration:
    kind: str
    command: str


class Dice(random.Random):
    """A random host. Of three seeds in a row the first has devices in a bridge of somebody else's, and the second has not."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.turn, self.apart = seed % 3, random.Random(seed)

    def wish(self) -> Wish:
        bridges = [name for name in ("br.1", "br.2") if self.random() < 0.5]
        links = [name for name in ("vx.1", "vx.2", "vx.3") if self.random() < 0.6] or ["vx.1"]
        wish: Wish = {
            "bridge": [self.bridge(name) for name in bridges],
            "vxlan_link": [{"entries": [self.link(name, bridges) for name in links], "purge": True}],
            "neigh_entry": [],
            "fdb_entry": [],
            "route_entry": [{"entries": [], "purge": True, "nexthops": self.choice(["always", "never"])}],
            "sysctl": [{"name": "net.ipv4.ip_forward", "value": str(self.randrange(2))}],
            "firewall": [
                {"network": f"n{n}", "cidrs": [f"10.{n}.0.0/16"], "bridge": "br.1"} for n in (5,) if self.random() < 0.4
            ],
        }
        for entry in wish["vxlan_link"][0]["entries"]:
            if "master" not in entry and self.turn == 0 and self.apart.random() < 0.7:
                entry.update(master=SWITCH, addresses=[])
            if "master" not in entry:
                self.add_peers(wish, entry["name"])
        return wish

    def bridge(self, name: str) -> dict[str, Any]:
        number = int(name[-1])
        return {
            **{"name": name, "mac": MAC % (number + 16 * self.randrange(2)), "mtu": self.choice([1400, 1450])},
            **{"alias": f"agentless.overlay:{self.choice('ab')}", "accept_ra": 0, "autoconf": 0},
            "addresses": self.sample([f"10.7{number}.0.{n}/16" for n in (1, 2, 3)], self.randrange(1, 3)),
        }

    def link(self, name: str, bridges: list[str]) -> dict[str, Any]:
        number = int(name[-1])
        entry: dict[str, Any] = {
            **{"name": name, "vni": number, "port": 4789, "local": "192.168.1.1", "learning": True},
            **{"mac": MAC % (64 + number + 16 * self.randrange(2)), "mtu": self.choice([1400, 1450])},
            **{"alias": f"agentless.overlay:{self.choice('ab')}", "accept_ra": 0, "autoconf": 0},
            **{"udpcsum": self.random() < 0.8, "rsc": False},
        }
        if bridges and self.random() < 0.5:
            return {**entry, "master": self.choice(bridges), "addresses": [], "neigh_suppress": self.random() < 0.5}
        return {**entry, "addresses": [f"10.8{number}.0.{self.randrange(1, 4)}/24", f"fd8{number}::1/64"]}

    def add_peers(self, wish: Wish, device: str) -> None:
        number, peers, six = int(device[-1]), self.sample(range(1, 9), self.randrange(3)), self.sample(range(1, 9), 1)
        shared = {"device": device, "purge": True}
        wish["neigh_entry"].append({**shared, "entries": [{"dst": f"10.{number}.{n}.0", "lladdr": MAC % n} for n in peers]})
        wish["fdb_entry"].append({**shared, "entries": [{"mac": MAC % n, "dst": f"10.1.2.{n}"} for n in peers]})
        way = {"device": device, "onlink": True}
        wish["route_entry"][0]["entries"] += [
            *({"dst": f"10.{number}.{n}.0/24", "gateway": f"10.{number}.{n}.0", **way} for n in peers),
            *({"dst": f"fd0{number}:{n}::/64", "gateway": f"fd99::{n}", **way} for n in six),
        ]

    def decorations(self, wish: Wish, only: Collection[str] = ()) -> list[Decoration]:
        """What is done by hand to the host that a wish has made; C(only) of these kinds, and those for sure."""
        links = wish["vxlan_link"][0]["entries"]
        places = [(TUNNEL, one["name"], "") for one in links if "master" not in one]
        places += [(PORT, one["name"], one["master"]) for one in links if "master" in one]
        places += [(BRIDGE, one["name"], "") for one in wish["bridge"]] + [(BESIDE, "eth1", "")]
        places += [(ANY, one["name"], "") for one in [*links, *wish["bridge"]]]
        # Where a device leaves it, or joins it in the wish of the next seed.
        places += [(ANY, SWITCH, "")] if self.turn != 1 else []
        found = []
        for kinds, device, bridge in places:
            for kind, command in kinds.items():
                chance = RARE if kind in HARD else OFTEN * 2 / 3 if kinds is ANY else OFTEN
                drawn = self.random() < chance
                if kind == "sysctl mtu6" and device.startswith(("br", SWITCH)):
                    # Each time that a bridge gets a carrier, some time later, the kernel gives it back the device's own.
                    continue
                if kind in only if only else drawn:
                    words = {"D": device, "I": device[-1], "B": bridge, "N": str(len(found) % 90 + 10)}
                    found.append(Decoration(kind, "".join(words.get(letter, letter) for letter in command)))
        return found
