# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a hand changes on a host: named exactly by a check run, mended exactly by a run."""

from __future__ import annotations

import pytest
from labs import Net

NEIGH = "10.88.87.0 dev vxlan.88 lladdr {mac} permanent"
FDB = "{mac} dev vxlan.88 dst 192.168.65.4 self permanent"
ROUTE = "10.88.87.0/24 via 10.88.87.0 dev vxlan.88 proto 157 onlink"

# What a hand does on docker1, and the one difference that it makes.
DRIFTS: dict[str, tuple[str, dict[str, list[str]]]] = {
    "neighbour deleted": ("ip neigh del 10.88.87.0 dev vxlan.88", {"neigh_entry": ["+" + NEIGH]}),
    "neighbour with a wrong MAC": (
        "ip neigh replace 10.88.87.0 dev vxlan.88 lladdr 02:00:00:00:00:01",
        {"neigh_entry": ["-" + NEIGH.format(mac="02:00:00:00:00:01"), "+" + NEIGH]},
    ),
    "FDB entry with a wrong destination": (
        "bridge fdb replace {mac} dev vxlan.88 dst 192.168.65.99 self permanent",
        {"fdb_entry": ["-" + FDB.replace("65.4", "65.99"), "+" + FDB]},
    ),
    "extra FDB entry": (
        "bridge fdb add 02:00:00:00:00:05 dev vxlan.88 dst 192.168.65.5",
        {"fdb_entry": ["-" + FDB.format(mac="02:00:00:00:00:05").replace("65.4", "65.5")]},
    ),
    "route deleted": ("ip route del 10.88.87.0/24", {"route_entry": ["+" + ROUTE]}),
    "extra route of ours": (
        "ip route add 10.88.99.0/24 via 10.88.99.0 dev vxlan.88 onlink proto 157",
        {"route_entry": ["-" + ROUTE.replace("87.0", "99.0")]},
    ),
    "route that leads elsewhere": (
        "ip route replace 10.88.87.0/24 via 192.168.65.4 proto 157",
        {"route_entry": ["-10.88.87.0/24 via 192.168.65.4 dev eth0 proto 157", "+" + ROUTE]},
    ),
    "device down": (
        "ip link set vxlan.88 down",
        # The kernel drops neighbours and routes of a device that goes down, and keeps its FDB.
        {"vxlan_link": ["-vxlan.88 up false", "+vxlan.88 up true"], "neigh_entry": ["+" + NEIGH], "route_entry": ["+" + ROUTE]},
    ),
    "wrong MTU": ("ip link set vxlan.88 mtu 1300", {"vxlan_link": ["-vxlan.88 mtu 1300", "+vxlan.88 mtu 1450"]}),
    "wrong MAC of the device": (
        "ip link set vxlan.88 address 02:00:00:00:00:09",
        {"vxlan_link": ["-vxlan.88 mac 02:00:00:00:00:09", "+vxlan.88 mac {own}"], "neigh_entry": ["+" + NEIGH]},
    ),
    "extra address": ("ip address add 10.1.2.3/32 dev vxlan.88", {"address": ["-10.1.2.3/32 dev vxlan.88"]}),
    "device deleted": (
        "ip link del vxlan.88",
        {
            "vxlan_link": [
                "+vxlan.88 vni 88",
                "+vxlan.88 port 4789",
                "+vxlan.88 local 192.168.65.3",
                "+vxlan.88 learning false",
                "+vxlan.88 mac {own}",
                "+vxlan.88 mtu 1450",
                "+vxlan.88 alias agentless.overlay:demo",
                "+vxlan.88 accept_ra 0",
                "+vxlan.88 autoconf 0",
                "+vxlan.88 up true",
            ],
            "address": ["+10.88.50.0/32 dev vxlan.88"],
            "neigh_entry": ["+" + NEIGH],
            "fdb_entry": ["+" + FDB],
            "route_entry": ["+" + ROUTE],
        },
    ),
    "device with another VNI": (
        # Everything else as it was, so that the VNI is the one difference.
        "ip link del vxlan.88 && "
        "ip link add vxlan.88 address {own} mtu 1450 type vxlan id 99 local 192.168.65.3 dstport 4789 nolearning && "
        "for one in accept_ra autoconf; do echo 0 >/proc/sys/net/ipv6/conf/vxlan.88/$one; done && "
        "ip link set vxlan.88 alias agentless.overlay:demo up && ip address add 10.88.50.0/32 dev vxlan.88 && "
        "ip neigh add 10.88.87.0 dev vxlan.88 lladdr {mac} && bridge fdb add {mac} dev vxlan.88 dst 192.168.65.4 && "
        "ip route add 10.88.87.0/24 via 10.88.87.0 dev vxlan.88 onlink proto 157",
        {"vxlan_link": ["-vxlan.88 vni 99", "+vxlan.88 vni 88"]},
    ),
    "bip edited": (
        "sed -i s/10.88.50.1/10.99.0.1/ /etc/docker/daemon.json",
        {"docker_bip": ['-"bip": "10.99.0.1/24"', '+"bip": "10.88.50.1/24"']},
    ),
    "subnet.env edited": (
        "sed -i s/1450/1500/ /run/flannel/subnet.env",
        {"files": ["-FLANNEL_MTU=1500", "+FLANNEL_MTU=1450"]},
    ),
    "forwarding off": (
        "sysctl -q net.ipv4.ip_forward=0",
        {"sysctl": ["-net.ipv4.ip_forward = 0", "+net.ipv4.ip_forward = 1"]},
    ),
    "rule in DOCKER-USER deleted": (
        "iptables -D DOCKER-USER 1",
        {
            "firewall": [
                "+iptables DOCKER-USER: -s 10.88.50.0/24 -d 10.88.0.0/16 -i docker0 -o vxlan.88 "
                "-m comment --comment agentless.overlay:demo -j ACCEPT"
            ]
        },
    ),
    "rule added to our table": (
        "nft add rule inet agentless_overlay postrouting ip saddr 1.2.3.4 drop",
        {"firewall": ["-nft chain postrouting: ip saddr 1.2.3.4 drop"]},
    ),
    "VTEP taken out of the set": (
        "nft delete element inet agentless_overlay vteps_88 '{ 192.168.65.4 }'",
        {"firewall": ["+nft set vteps_88: 192.168.65.4"]},
    ),
    "our table deleted": (
        "nft delete table inet agentless_overlay",
        {
            "firewall": [
                "+nft chain input: type filter hook input priority -10; policy accept;",
                "+nft chain input: udp dport 4789 @th,96,24 0x58 ip saddr != @vteps_88 counter drop",
                "+nft chain postrouting: type nat hook postrouting priority 100; policy accept;",
                '+nft chain postrouting: ip saddr != 10.88.0.0/16 ip daddr 10.88.0.0/16 oifname "vxlan.88" masquerade',
                "+nft chain postrouting: ip saddr 10.88.50.0/24 ip daddr != 10.88.0.0/16 ip daddr != 224.0.0.0/4 masquerade",
                "+nft set vteps_88: 192.168.65.4",
                "+nft set vteps_88: type ipv4_addr",
            ]
        },
    ),
    "boot script edited": (
        "sed -i s/1450/1400/ /etc/agentless-overlay/boot.sh",
        {
            "boot": [
                "-try ip link set dev vxlan.88 mtu 1400",
                "+try ip link set dev vxlan.88 mtu 1450",
                "-FLANNEL_MTU=1400",
                "+FLANNEL_MTU=1450",
            ]
        },
    ),
}


@pytest.mark.parametrize("name", DRIFTS)
def test_drift_is_named_exactly_and_mended_exactly(net: Net, name: str) -> None:
    lab = net.lab
    names = {
        "mac": lab.json("docker2", "ip -j link show dev vxlan.88")[0]["address"],
        "own": lab.json("docker1", "ip -j link show dev vxlan.88")[0]["address"],
    }
    command, expected = DRIFTS[name]
    for placeholder, value in names.items():
        command = command.replace("{%s}" % placeholder, value)
        expected = {key: [line.replace("{%s}" % placeholder, value) for line in found] for key, found in expected.items()}
    lab.sh("docker1", command)
    drifted = {host: lab.state(host) for host in lab.hosts}
    assert drifted != net.golden

    predicted = lab.converge("--check", "--diff")
    assert predicted.diffs == {"docker1": expected}
    assert predicted.changed() == {"docker1": 1, "docker2": 0}
    assert {host: lab.state(host) for host in lab.hosts} == drifted, "a check run changed something"

    # Without Docker being restarted: that would stop the container, and the run would refuse.
    started = lab.sh("docker1", "docker container inspect --format '{{.State.StartedAt}}' c1")
    done = lab.converge("--diff", "--skip-tags", "verify")
    assert done.diffs == predicted.diffs and done.changed() == predicted.changed()
    states = {host: lab.state(host) for host in lab.hosts}
    for key, value in states["docker1"].items():
        if key not in ("docker-user", "nft"):
            assert value == net.golden["docker1"][key], key
    # Rules of ours stand in any order.
    for key in ("docker-user", "nft"):
        assert sorted(states["docker1"][key].splitlines()) == sorted(net.golden["docker1"][key].splitlines())
    assert states["docker2"] == net.golden["docker2"]
    assert lab.sh("docker1", "docker container inspect --format '{{.State.StartedAt}}' c1") == started

    again = lab.converge("--diff", "--skip-tags", "verify")
    assert again.diffs == {} and again.changed() == {"docker1": 0, "docker2": 0}
