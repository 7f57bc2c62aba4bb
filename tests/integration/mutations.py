# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hands do to a converged host, and what of it is drift."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Drift = tuple[str, str, str]  # resource, kind, name
Sections = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Mutation:
    name: str
    command: str
    # Those of one place would hide each other, and those of a device what is on it.
    place: str
    # What has to be found; of a firewall's rule not the name, which is as long as the rule. Of what is others', nothing.
    must: tuple[Drift, ...] = ()
    # What the kernel takes along, or not: how the name begins.
    may: tuple[Drift, ...] = ()
    # How what is others' is taken back.
    undo: str = ""
    # Whether what comes back has another number or MAC.
    anew: bool = False

    def hides(self, other: Mutation) -> bool:
        short, long = sorted((self.place, other.place), key=len)
        return long == short or long.startswith(short + " ")


def mutations(sections: Sections, chance: random.Random, nexthops: bool, managed: list[str]) -> list[Mutation]:
    """One of each kind, of entries of a host's part of the plan; C(managed) are files for other managers."""
    number = str(chance.randrange(10, 100))
    found = [
        *_tunnels(sections, chance, number, nexthops),
        *_bridges(sections, number),
        *_sandboxes(sections),
        *_firewall(chance),
    ]
    if nexthops:
        found += _nexthops(sections, chance)
    return [*found, *_files(managed), *_docker(), *_others(number)]


def _lost(sections: Sections, device: str) -> tuple[Drift, ...]:
    """What a device of ours may lose at once."""
    dsts = [route["dst"] for route in sections["route_entry"][0]["entries"] if route.get("device") == device]
    kinds = ("address", "neigh_entry", "fdb_entry", "nexthop")
    return (*((kind, "missing", device + " ") for kind in kinds), *(("route_entry", "missing", dst) for dst in dsts))


def _tunnels(sections: Sections, chance: random.Random, number: str, nexthops: bool) -> Iterator[Mutation]:
    for link in sections["vxlan_link"][0]["entries"]:
        device = link["name"]
        lost, wrong = _lost(sections, device), (("vxlan_link", "wrong", device),)
        settings = f"/proc/sys/net/ipv6/conf/{device}"
        for name, command in {
            "mtu": "mtu 1320",
            "mtu without IPv6": "mtu 1200",
            "mac": "address 02:00:00:00:00:09",
            "down": "down",
            "alias": f"alias agentless.overlay:{number}",
            "learning": f"type vxlan {'nolearning' if link['learning'] else 'learning'}",
            "local": "type vxlan local 192.168.65.99",
            "ageing": "type vxlan ageing 77",
            "ttl": "type vxlan ttl 9",
            "tos": "type vxlan tos 0x10",
            "df": "type vxlan df set",
            "remote": "type vxlan remote 192.168.65.96",
            **({"out of its bridge": "nomaster"} if "master" in link else {"in a bridge": "master br.90"}),
            **({"neigh_suppress": "type bridge_slave neigh_suppress on"} if "master" in link else {}),
        }.items():
            yield Mutation(f"{device} {name}", f"ip link set {device} {command}", device, wrong, lost)
        yield Mutation(f"{device} accept_ra", f"echo 1 >{settings}/accept_ra", device, wrong)
        yield Mutation(f"{device} autoconf", f"echo 1 >{settings}/autoconf", device, wrong)
        yield Mutation(f"{device} deleted", f"ip link del {device}", device, (("vxlan_link", "missing", device),), lost)
        other = {"local": "192.168.65.3", "vni": 7000 + link["vni"]}
        yield Mutation(
            f"{device} another vni",
            f"ip link del {device}; ip link add {device} type vxlan id {other['vni']} dstport 4789 local {other['local']}; "
            f"ip link set {device} alias {link['alias']} up",
            *(device, wrong, lost),
        )
        for extra in (f"10.77.{number}.1/24", f"fd77:{number}::1/64"):
            command = f"ip address add {extra} dev {device} nodad"
            if ":" not in extra:
                command = command.replace(" nodad", "")
            yield Mutation(f"{device} address extra", command, device, (("address", "extra", f"{device} {extra}"),))
        for address in link["addresses"]:
            must = (("address", "missing", f"{device} {address}"),)
            yield Mutation(f"{device} address missing", f"ip address del {address} dev {device}", device, must, lost)
            command = f"ip address change {address} dev {device} valid_lft 5900 preferred_lft 5900"
            must = (("address", "wrong", f"{device} {address}"),)
            yield Mutation(f"{device} address that expires", command, device, must)
    for part in sections["neigh_entry"]:
        device = part["device"]
        for entry in chance.sample(part["entries"], 1):
            dst, key = entry["dst"], f"{device} {entry['dst']}"
            for name, command, kind in (
                ("missing", f"ip neigh del {dst} dev {device}", "missing"),
                ("wrong", f"ip neigh replace {dst} dev {device} lladdr 02:00:00:00:00:{number}", "wrong"),
                ("noarp", f"ip neigh replace {dst} dev {device} lladdr {entry['lladdr']} nud noarp", "wrong"),
            ):
                yield Mutation(f"{device} neighbour {name}", command, key, (("neigh_entry", kind, key),))
        extra = f"ip neigh add 10.99.0.{number} dev {device} lladdr 02:00:00:00:00:02"
        yield Mutation(
            f"{device} neighbour extra", extra, f"{device} 99", (("neigh_entry", "extra", f"{device} 10.99.0.{number}"),)
        )
    for part in sections["fdb_entry"]:
        device = part["device"]
        for entry in chance.sample(part["entries"], min(1, len(part["entries"]))):
            mac, dst = entry["mac"], entry["dst"]
            zero = mac == "00:00:00:00:00:00"
            key = f"{device} {mac} {dst}" if zero else f"{device} {mac}"
            gone = Mutation(
                f"{device} fdb missing",
                f"bridge fdb del {mac} dev {device} dst {dst} self",
                key,
                (("fdb_entry", "missing", key),),
            )
            yield gone
            if not zero:
                command = f"bridge fdb replace {mac} dev {device} dst 192.168.65.98 self permanent"
                yield Mutation(f"{device} fdb wrong", command, key, (("fdb_entry", "wrong", key),))
                command = f"bridge fdb replace {mac} dev {device} dst {dst} port 5000 self permanent"
                yield Mutation(f"{device} fdb port", command, key, (("fdb_entry", "wrong", key),))
        mac = f"02:00:00:00:05:{number}"
        for state in ("permanent", "static"):
            command = f"bridge fdb add {mac} dev {device} dst 192.168.65.97 self {state}"
            yield Mutation(f"{device} fdb extra", command, f"{device} {mac}", (("fdb_entry", "extra", f"{device} {mac}"),))
        command = f"bridge fdb append 00:00:00:00:00:00 dev {device} dst 192.168.65.{number} self permanent"
        key = f"{device} 00:00:00:00:00:00 192.168.65.{number}"
        yield Mutation(f"{device} fdb broadcast extra", command, key, (("fdb_entry", "extra", key),))
    for route in sections["route_entry"][0]["entries"]:
        dst = route["dst"]
        place = f"{route.get('device') or 'gateway'} {dst}"
        command = f"ip route del {dst} proto 157"
        yield Mutation("route missing", command, place, (("route_entry", "missing", dst),))
        if ":" not in dst:
            # Not of another protocol: that one would not be ours to replace (test_other_routes).
            command = f"ip route replace {dst} via 192.168.65.1 proto 157"
            yield Mutation("route wrong", command, place, (("route_entry", "wrong", dst),))
            command = f"ip route replace {dst} dev eth0 scope link proto 157"
            yield Mutation("route elsewhere", command, place, (("route_entry", "wrong", dst),))
            if not nexthops:
                way = f"via {route['gateway']}" + (f" dev {route['device']} onlink" if route.get("device") else "")
                command = f"ip route replace {dst} {way} proto 157 mtu 1200"
                yield Mutation("route metrics", command, place, (("route_entry", "wrong", dst),))
    for way in ("dev vxlan.88", "dev eth0", "via 192.168.65.1 metric 9"):
        place = "vxlan.88 extra" if "vxlan" in way else "extra"
        dst = f"10.97.{number}.0/24"
        yield Mutation("route extra", f"ip route add {dst} {way} proto 157", place, (("route_entry", "extra", dst),))
    dst = f"fd97:{number}::/64"
    extra = f"ip -6 route add {dst} dev vxlan.89 proto 157"
    yield Mutation("route6 extra", extra, "vxlan.89 extra", (("route_entry", "extra", dst),))


def _nexthops(sections: Sections, chance: random.Random) -> Iterator[Mutation]:
    routes = [route for route in sections["route_entry"][0]["entries"] if route.get("device") and ":" not in route["dst"]]
    for route in chance.sample(routes, 2):
        device, gateway, dst = route["device"], route["gateway"], route["dst"]
        key, place = f"{device} {gateway}", f"{device} {dst}"
        find = f"$(ip nexthop show dev {device} | sed -n 's/^id \\([0-9]*\\) via {gateway} .*/\\1/p')"
        may = (("route_entry", "missing", dst),)
        yield Mutation("nexthop missing", f"ip nexthop del id {find}", place, (("nexthop", "missing", key),), may)
        command = f"ip nexthop replace id {find} via 10.88.7.7 dev {device} onlink proto 157"
        may = (("route_entry", "wrong", dst), ("nexthop", "wrong", device), ("nexthop", "missing", key))
        yield Mutation("nexthop wrong", command, place, (), (*may, ("nexthop", "extra", f"{device} 10.88.7.7")))
    extra = (("nexthop", "extra", "vxlan.88 10.88.9.9"),)
    yield Mutation(
        "nexthop extra", "ip nexthop add id 7777 via 10.88.9.9 dev vxlan.88 onlink proto 157", "vxlan.88 nexthop", extra
    )


def _bridges(sections: Sections, number: str) -> Iterator[Mutation]:
    for bridge in sections["bridge"]:
        device = bridge["name"]
        wrong, lost = (("bridge", "wrong", device),), _lost(sections, device)
        ports = (("vxlan_link", "wrong", "vxlan.90"), ("sandbox", "wrong", ""))
        place = "vxlan.90" if device == "br.90" else device
        for name, command in {
            "mtu": "mtu 1340",
            "down": "down",
            "alias": f"alias agentless.overlay:{number}",
            **({"mac": "address 02:00:00:00:00:08"} if bridge.get("mac") else {}),
        }.items():
            yield Mutation(f"{device} {name}", f"ip link set {device} {command}", place, wrong, lost)
        yield Mutation(f"{device} accept_ra", f"echo 1 >/proc/sys/net/ipv6/conf/{device}/accept_ra", place, wrong)
        must = (("bridge", "missing", device),)
        yield Mutation(f"{device} deleted", f"ip link del {device}", place, must, (*lost, *ports), anew=not bridge.get("mac"))
        for address in bridge["addresses"]:
            must = (("address", "missing", f"{device} {address}"),)
            yield Mutation(f"{device} address missing", f"ip address del {address} dev {device}", place, must, lost)
        extra = f"10.78.{number}.1/24"
        must = (("address", "extra", f"{device} {extra}"),)
        yield Mutation(f"{device} address extra", f"ip address add {extra} dev {device}", place, must)


def _sandboxes(sections: Sections) -> Iterator[Mutation]:
    for item in sections["sandbox"]:
        name = item["name"]
        for what, command in {
            "mtu": f"ip -n {name} link set eth0 mtu 1400",
            "down": f"ip -n {name} link set eth0 down",
            "route": f"ip -n {name} route del default",
            "address": f"ip -n {name} address add 10.94.9.9/16 dev eth0",
        }.items():
            yield Mutation(f"sandbox {what}", command, "MyDocker0", (("sandbox", "wrong", name),))
        yield Mutation("sandbox gone", f"ip netns del {name}", "MyDocker0", (("sandbox", "missing", name),), anew=True)


def _firewall(chance: random.Random) -> Iterator[Mutation]:
    table = "inet agentless_overlay"
    for line in (chance.randrange(1, 4),):
        command = f"nft delete rule {table} postrouting handle $(nft -a list chain {table} postrouting | "
        command += f"sed -n 's/.*masquerade.*handle //p' | sed -n {line}p)"
        yield Mutation("nft rule missing", command, "nft", (("firewall", "missing", ""),))
    vteps = f"nft add element {table} vteps_88 '{{ 192.168.65.95 }}'"
    yield Mutation("nft sender extra", vteps, "nft", (("firewall", "extra", ""),))
    sender = (
        f"nft delete element {table} vteps_90 '{{ 192.168.65.5 }}' || nft delete element {table} vteps_90 '{{ 192.168.65.4 }}'"
    )
    yield Mutation("nft sender missing", sender, "nft", (("firewall", "missing", ""),))
    yield Mutation("nft rule extra", f"nft add rule {table} input udp dport 1 drop", "nft", (("firewall", "extra", ""),))
    yield Mutation("nft chain flushed", f"nft flush chain {table} input", "nft", (("firewall", "missing", ""),))
    yield Mutation("nft table deleted", f"nft delete table {table}", "nft", (("firewall", "missing", ""),))
    for program in ("iptables", "ip6tables"):
        command = f"{program} -D DOCKER-USER $({program} -S DOCKER-USER | grep -n agentless | cut -d: -f1 | "
        command += "awk '{print $1 - 1}' | head -n 1)"
        yield Mutation(f"{program} rule missing", command, program, (("firewall", "missing", ""),))
        extra = f"{program} -I DOCKER-USER -i eth7 -m comment --comment agentless.overlay:gone -j ACCEPT"
        yield Mutation(f"{program} rule extra", extra, program, (("firewall", "extra", ""),))


def _files(managed: list[str]) -> Iterator[Mutation]:
    for section, path in (("files", "/run/flannel/subnet.env"), ("boot", "/etc/agentless-overlay/boot.sh")):
        yield Mutation(f"{section} edited", f"echo '# more' >>{path}", path, ((section, "wrong", path),))
        yield Mutation(f"{section} mode", f"chmod 0600 {path}", path, ((section, "wrong", path),))
        yield Mutation(f"{section} gone", f"rm {path}", path, ((section, "missing", path),))
    for path in managed:
        yield Mutation("managers edited", f"echo '# more' >>{path}", path, (("managers", "wrong", path),))
        yield Mutation("managers gone", f"rm {path}", path, (("managers", "missing", path),))
    for name, value in (("net.ipv4.ip_forward", 0), ("net.ipv6.conf.all.forwarding", 0)):
        yield Mutation(name, f"sysctl -q {name}={value}", "sysctl", (("sysctl", "wrong", name),))


def _docker() -> Iterator[Mutation]:
    path = "/etc/docker/daemon.json"
    wrong = (("docker_bip", "wrong", path),)
    yield Mutation("bip edited", f'sed -i \'s/"bip": "10.88/"bip": "10.66/\' {path}', "docker", wrong)
    yield Mutation("mtu edited", f"sed -i 's/1450/1449/' {path}", "docker", wrong)
    yield Mutation("docker network gone", "docker network rm web", "docker", (("docker_network", "missing", "web"),), anew=True)
    command = "docker network rm web; docker network create --label agentless.overlay=web --subnet 10.77.0.0/24 web"
    yield Mutation("docker network another", command, "docker", (("docker_network", "wrong", "web"),), anew=True)


def _others(number: str) -> Iterator[Mutation]:
    for name, place, command, undo in (
        ("route", "", "ip route add 10.200.@.0/24 via 192.168.65.1", "ip route del 10.200.@.0/24"),
        ("route protocol", "", "ip route add 10.201.@.0/24 dev eth0 proto 44 mtu 1200", "ip route del 10.201.@.0/24"),
        ("route table", "", "ip route add 10.202.@.0/24 dev eth0 table 100", "ip route flush table 100"),
        ("route on ours", "vxlan.88", "ip route add 10.203.@.0/24 dev vxlan.88 metric 4", "ip route del 10.203.@.0/24"),
        ("route blackhole", "", "ip route add blackhole 10.204.@.0/24", "ip route del 10.204.@.0/24"),
        ("neighbour", "", "ip neigh add 192.168.65.@ dev eth0 lladdr 02:00:00:00:00:@", "ip neigh del 192.168.65.@ dev eth0"),
        ("proxy", "vxlan.88", "ip neigh add proxy 10.88.1.@ dev vxlan.88", "ip neigh del proxy 10.88.1.@ dev vxlan.88"),
        ("fdb", "", "bridge fdb add 02:00:00:00:07:@ dev eth0", "bridge fdb del 02:00:00:00:07:@ dev eth0"),
        ("address", "", "ip address add 10.205.@.1/24 dev eth0", "ip address del 10.205.@.1/24 dev eth0"),
        ("rule", "", "ip rule add iif vxlan.88 table 100 pref 5@", "ip rule del pref 5@"),
        ("nexthop", "", "ip nexthop add id @ via 192.168.65.1 dev eth0", "ip nexthop del id @"),
        ("vxlan", "", "ip link add vxlan.7@ type vxlan id 7@ dstport 4789; ip link set vxlan.7@ up", "ip link del vxlan.7@"),
        ("bridge", "", "ip link add br.7@ type bridge; ip link set br.7@ up mtu 1400", "ip link del br.7@"),
        ("table", "", "nft add table inet mine; nft 'add chain inet mine c { type filter hook input priority 5; }'",
         "nft delete table inet mine"),
        ("DOCKER-USER", "iptables", "iptables -A DOCKER-USER -s 192.0.2.@ -j DROP",
         "iptables -D DOCKER-USER -s 192.0.2.@ -j DROP"),
        ("iptables", "", "iptables -A INPUT -s 192.0.2.@ -j DROP", "iptables -D INPUT -s 192.0.2.@ -j DROP"),
        ("txqueuelen", "vxlan.89", "ip link set vxlan.89 txqueuelen 7@ group 5",
         "ip link set vxlan.89 txqueuelen 1000 group 0"),
        ("promisc", "vxlan.89", "ip link set vxlan.89 promisc on", "ip link set vxlan.89 promisc off"),
        ("rp_filter", "vxlan.89", "echo 2 >/proc/sys/net/ipv4/conf/vxlan.89/rp_filter",
         "echo 0 >/proc/sys/net/ipv4/conf/vxlan.89/rp_filter"),
        ("port", "vxlan.90", "ip link set vxlan.90 type bridge_slave hairpin on cost 77",
         "ip link set vxlan.90 type bridge_slave hairpin off cost 100"),
        ("bridge option", "vxlan.90", "ip link set br.90 type bridge ageing_time 7700",
         "ip link set br.90 type bridge ageing_time 30000"),
        ("learnt", "vxlan.90", "bridge fdb add 02:00:00:00:08:@ dev vxlan.90 dst 192.168.65.5 self dynamic",
         "bridge fdb del 02:00:00:00:08:@ dev vxlan.90 dst 192.168.65.5 self"),
        ("daemon.json", "docker", "sed -i '1s/{/{ \"debug\": true,/' /etc/docker/daemon.json",
         "sed -i '1s/ \"debug\": true,//' /etc/docker/daemon.json"),
        ("file", "", "echo x >/run/flannel/@", "rm /run/flannel/@"),
        ("sysctl", "", "sysctl -q net.ipv4.conf.eth0.log_martians=1", "sysctl -q net.ipv4.conf.eth0.log_martians=0"),
    ):  # fmt: skip
        command, undo = (text.replace("@", number) for text in (command, undo))
        yield Mutation(f"others' {name}", command, place or f"others' {name}", undo=undo)
