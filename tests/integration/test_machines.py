# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Three booted machines with Docker 20.10, 26.1 and 28.5 in one overlay, reached over SSH as a user who is not root.

One story, told in order: an empty machine is prepared, joins, reboots, is
harmed in several ways, and is left as it was found.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
from collections.abc import Iterator
from difflib import unified_diff
from typing import Any

import pytest
import yaml
from labs import BIN, ROOT, Machines, Played, mitogen, run

# systemd refuses a start after three in ten seconds, by whomever they were.
RESTART = "{ systemctl reset-failed docker.service docker.socket; systemctl restart docker; }"
NO_SUCH = {"log-level": "info", "labels": ["a=b"]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    made = Machines(tmp_path_factory.mktemp("inventory"))
    try:
        made.up()
        yield made
    finally:
        made.down()


# Before and after: what a host has, by programs and a walk that know nothing of us. /run/netns is iproute2's own, and stays.

LISTING = r"""
ip -d a; echo; ip route show table all; ip -6 route; ip neigh show nud permanent; bridge fdb; nft list ruleset; iptables-save
find /etc -xdev \( -type f -printf '%p %m %u ' -exec sha256sum {} \; \) -o \( -not -type f -printf '%p %m %u %l\n' \) | sort
find /run -xdev -not -path '/run/systemd*' -not -path '/run/docker*' -not -path '/run/containerd*' -not -path '/run/log*' \
  -not -path '/run/user*' -not -path '/run/sudo*' -not -path '/run/motd*' -not -path '/run/utmp' \
  -not -path '/run/NetworkManager*' -not -path /run/netns -printf '%p %m %l\n' | sort
"""


def listing(lab: Machines, host: str) -> list[str]:
    # What differs by itself: counters, times, the index of an interface that was made again, and docker0's
    # MAC with what follows from it, which Docker draws when it makes docker0 after a reboot.
    noise = (
        r"\[\d+:\d+\]|counter packets \d+ bytes \d+|expires \d+sec|_lft \S+|^# .* on .*$|^\d+: |@if\d+|\S*timer +\S+"
        r"|0?2:42:[0-9a-f:]+|fe80::42:[0-9a-f:]+|33:33:ff:[0-9a-f:]+"
    )
    return [re.sub(noise, "", line) for line in lab.sh(host, LISTING).splitlines()]


def as_before(lab: Machines, before: dict[str, list[str]]) -> None:
    """Every host as it was, or what is not."""
    found = [line for host in lab.hosts for line in unified_diff(before[host], listing(lab, host), host, host, n=0)]
    assert not found, "\n".join(found)


@pytest.fixture(scope="module")
def before(lab: Machines) -> dict[str, list[str]]:
    """Each host before the overlay. One has a daemon.json of its owner's, with a key of those that we set."""
    lab.sh("trixie", """printf '{ "mtu": 1400,"labels": ["a=b"] }' >/etc/docker/daemon.json""")
    for host in lab.hosts:
        # Docker's rules stand as they do after any restart, and docker0 has had a container: as on a host in use.
        lab.sh(host, f"{RESTART}; docker run --rm overlay-lab sleep 1.5")
        lab.sh(host, "until ip link show docker0 | grep -q NO-CARRIER; do sleep 0.2; done")
    return {host: listing(lab, host) for host in lab.hosts}


def recaps(played: Played) -> dict[str, int]:
    assert played.code == 0, played.output
    return played.changed()


def unchanged(lab: Machines, *args: str) -> None:
    found = lab.play("--check", "--diff", *args)
    assert found.code == 0 and found.diffs == {} and set(found.changed().values()) == {0}, found.output


def started(lab: Machines, host: str, unit: str = "docker") -> int:
    return int(lab.sh(host, f"systemctl show -P ExecMainStartTimestampMonotonic {unit}"))


def test_what_is_missing_is_named_and_prepared_once(lab: Machines, before: dict[str, list[str]]) -> None:
    lab.sh("bookworm", "dpkg --purge --force-depends python3-pyroute2 nftables >/dev/null")
    played = lab.play("--limit", "bookworm")
    assert played.code == 2
    assert "python3-pyroute2" in played.text and "Debian, Ubuntu, Fedora" in played.text
    first = lab.play("--limit", "bookworm", playbook="playbooks/prepare.yml")
    assert recaps(first) == {"bookworm": 1}
    lab.sh("bookworm", "dpkg -s python3-pyroute2 nftables >/dev/null")
    assert set(recaps(lab.play(playbook="playbooks/prepare.yml")).values()) == {0}
    as_before(lab, before)


def test_two_runs_at_once_end_in_one_overlay(lab: Machines, before: dict[str, list[str]]) -> None:
    predicted = lab.play("--check", "--diff")
    assert predicted.code == 0, predicted.output
    as_before(lab, before)
    command = [str(BIN / "ansible-playbook"), "playbooks/overlay.yml", "-i", str(lab.inventory), "--diff"]
    both = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _shell in range(2)
    ]
    played = [
        Played.of(subprocess.CompletedProcess(command, job.wait(), said, "")) for job in both for said in [job.communicate()[0]]
    ]
    assert [one.code for one in played] == [0, 0], played[0].output + played[1].output
    records = yaml.safe_load((lab.inventory / "group_vars/agentless_overlay/leases.yml").read_text())["overlay_lease_records"][
        "demo"
    ]
    assert set(records) == set(lab.hosts) and len(set(records.values())) == 3
    unchanged(lab)
    # Each difference was made once, by one of the two, and was the one predicted. The lease itself is in
    # the check run's difference as well, on the controller.
    for host in lab.hosts:
        made: dict[str, list[str]] = {}
        for one in played:
            for section, lines in one.diffs.get(host, {}).items():
                if section in made and section not in ("docker_bip",):
                    assert made[section] == lines
                made.setdefault(section, lines)
        assert set(made) - {str(lab.inventory / "group_vars/agentless_overlay/leases.yml")} >= {
            "vxlan_link",
            "boot",
            "firewall",
        }


def test_all_pairs_of_the_three_versions(lab: Machines) -> None:
    versions = {host: lab.sh(host, "docker version -f '{{.Server.Version}}'").strip() for host in lab.hosts}
    assert [versions[host].rpartition(".")[0][:5] for host in lab.hosts] == ["20.10", "26.1", "28.5"], versions
    for host in lab.hosts:
        lab.run_container(host)
    assert lab.pairs(seconds=5) == []
    # The far container sees who it is, not a host in between.
    said = lab.sh("forky", f"docker exec c1 ping -c 2 -i 0.2 {lab.address('bookworm')}")
    assert said.count("ttl=62") == 2


def test_it_is_seen_over_ssh(lab: Machines) -> None:
    """As an operator who is not root: the matrix, a way, and a fault that hosts have to listen for."""
    given = ("-e", f"overlay_report_dir={lab.inventory.parent}/report")
    assert lab.play(*given, playbook="playbooks/verify.yml").code == 0
    way = ("-e", "src=bookworm/c1", "-e", f"dst={lab.address('forky')}")
    assert "REACHABLE, both ways." in lab.play(*way, playbook="playbooks/explain.yml").text
    lab.sh("forky", "iptables -I INPUT -p udp --dport 4789 -j DROP")
    told = lab.play(*given, playbook="playbooks/verify.yml")
    broken = lab.play(*way, playbook="playbooks/explain.yml")
    # The chain comes with its first rule, and would stay.
    lab.sh("forky", "iptables -D INPUT -p udp --dport 4789 -j DROP; nft delete chain ip filter INPUT")
    assert told.code == 2 and "arrive at forky and not in vxlan.88: forky drops them" in told.text, told.output
    assert broken.code == 2 and "iptables filter INPUT stops udp" in broken.text, broken.output


def test_a_docker_network_of_its_own_needs_no_restart(lab: Machines) -> None:
    dockers = {host: started(lab, host) for host in lab.hosts}
    files = {host: lab.sh(host, "cat /etc/docker/daemon.json") for host in lab.hosts}
    lab.networks = [*Machines.networks, {"name": "web", "cidr": "10.89.0.0/16", "vni": 89, "attach": {"docker_network": "web"}}]
    lab.write_inventory()
    predicted = lab.converge("--check", "--diff")
    done = lab.converge("--diff")
    ours = {
        host: {name: found for name, found in sections.items() if "leases" not in name} for host, sections in done.diffs.items()
    }
    assert ours == {
        host: {name: found for name, found in sections.items() if "leases" not in name}
        for host, sections in predicted.diffs.items()
    }
    unchanged(lab)
    assert {host: started(lab, host) for host in lab.hosts} == dockers, "Docker was restarted"
    assert {host: lab.sh(host, "cat /etc/docker/daemon.json") for host in lab.hosts} == files
    for host in lab.hosts:
        network = lab.json(host, "docker network inspect web")[0]
        bridge = lab.json(host, "ip -j address show dev br.89")[0]
        assert network["IPAM"]["Config"][0]["Gateway"] == bridge["addr_info"][0]["local"]
        lab.run_container(host, "w1", "web", publish=8082)
    assert lab.pairs("web", "w1", seconds=5) == [] and lab.pairs() == []
    recap = lab.converge()
    assert set(recap.changed().values()) == {0}
    assert "from c1, w1" in recap.text, recap.output
    # In use, it is not made anew: not even a check run hides that.
    lab.networks = [Machines.networks[0], {**lab.networks[1], "mtu": 1400}]
    lab.write_inventory()
    for args in ((), ("--check",)):
        refused = lab.play("--limit", "forky", *args)
        assert refused.code == 2 and "containers use it: w1. Remove them first" in refused.text
    lab.networks = [Machines.networks[0], {**lab.networks[1], "mtu": 1450}]
    lab.write_inventory()
    unchanged(lab)


# Article 4: what Docker does for a container, by hand.

BY_HAND: dict[str, Any] = {
    **{"name": "byhand", "backend": "none", "cidr": "172.16.0.0/16", "gateway": "172.16.1.254", "bridge": "MyDocker0"},
    "containers": [
        {"name": "Container_ns1", "address": "172.16.1.1", "publish": [{"port": 9090, "to": 8080, "by": "proxy"}]},
        {"name": "Container_ns2", "address": "172.16.1.2", "publish": [{"port": 9091, "to": 8080, "by": "dnat"}]},
    ],
}


STRETCHED: dict[str, Any] = {
    **{"name": "stretched", "backend": "l2", "cidr": "172.18.0.0/16", "vni": 200},
    "attach": {"docker_network": "mynetwork"},
}


def by_hand(lab: Machines, host: str) -> None:
    """Everything that the article tries."""
    for inside, far in (("Container_ns1", "172.16.1.2"), ("Container_ns2", "172.16.1.1"), ("Container_ns1", "172.16.1.254")):
        said = lab.sh(host, f"ip netns exec {inside} ping -c 2 -i 0.2 -W 2 {far}")
        assert said.count("ttl=64") == 2, said
    # Out of the host, which takes SNAT.
    other = next(name for name in lab.hosts if name != host)
    assert " 0% packet loss" in lab.sh(host, f"ip netns exec Container_ns1 ping -c 1 -W 2 {lab.hosts[other]['ansible_host']}")
    routes = lab.sh(host, "ip -n Container_ns1 route")
    assert "default via 172.16.1.254 dev eth0" in routes
    assert "172.16.0.0/16 dev eth0 proto kernel scope link src 172.16.1.1" in routes
    serve = "cd /etc; exec python3 -m http.server 8080"
    for name in ("Container_ns1", "Container_ns2"):
        lab.sh(host, f"systemd-run --quiet --unit serve-{name} ip netns exec {name} sh -c '{serve}'")
        lab.sh(host, f"for n in $(seq 50); do ip netns exec {name} ss -ltn | grep -q :8080 && break; sleep 0.1; done")
    # By the proxy and by DNAT, from another machine and from the host itself.
    get = "import urllib.request; print(urllib.request.urlopen('http://{}:{}/hostname', timeout=5).read().decode())"
    for port in (9090, 9091):
        for client in (other, host):
            line = get.format(lab.hosts[host]["ansible_host"], port)
            assert lab.sh(client, f'python3 -c "{line}"').strip() == host, (port, client)
    assert "systemd-socket-proxyd 172.16.1.1:8080" in lab.sh(host, "ps -efww | grep [p]roxyd")
    lab.sh(host, "systemctl stop serve-Container_ns1 serve-Container_ns2")


def test_containers_by_hand_and_one_switch_for_all(lab: Machines) -> None:
    by_hand_there = {**BY_HAND, "members": ["trixie", "forky"]}
    lab.networks = [*Machines.networks, {**lab.networks[1], "mtu": 1450}, by_hand_there, STRETCHED]
    lab.write_inventory()
    predicted = lab.converge("--check", "--diff", "--tags", "converge")
    done = lab.converge("--diff", "--tags", "converge")
    assert predicted.diffs == done.diffs
    assert set(done.diffs["trixie"]) >= {"bridge", "address", "sandbox", "units", "firewall", "boot"}
    unchanged(lab)
    for host in lab.hosts:
        lab.run_container(host, "s1", "mynetwork", publish=8083)
    assert lab.pairs("mynetwork", "s1", seconds=5) == []
    by_hand(lab, "trixie")
    for harm, found in (
        ("ip -n Container_ns1 route del default", {"sandbox"}),
        ("ip -n Container_ns2 address add 172.16.9.9/16 dev eth0", {"sandbox"}),
        ("ip netns del Container_ns1; sleep 0.5", {"sandbox"}),
        ("ip address del 172.16.1.254/16 dev MyDocker0", {"address"}),
        ("ip link del MyDocker0", {"bridge", "address", "sandbox"}),
        ("systemctl stop agentless-overlay-proxy-9090.socket", {"units"}),
        ("echo >>/etc/systemd/system/agentless-overlay-proxy-9090.service", {"units"}),
        ("nft delete chain inet agentless_overlay prerouting", {"firewall"}),
    ):
        lab.sh("trixie", harm)
        predicted = lab.converge("--check", "--diff", "--tags", "converge", "--limit", "trixie")
        assert set(predicted.diffs["trixie"]) == found, (harm, predicted.diffs)
        assert lab.converge("--diff", "--tags", "converge", "--limit", "trixie").diffs == predicted.diffs
    unchanged(lab)
    by_hand(lab, "trixie")


# And off again.


def test_teardown_leaves_the_host_as_it_was(lab: Machines, before: dict[str, list[str]]) -> None:
    leases = (lab.inventory / "group_vars/agentless_overlay/leases.yml").read_text()
    busy = lab.play(playbook="playbooks/teardown.yml")
    assert busy.code == 2 and "Nothing was changed" in busy.text and "c1" in busy.text
    for host in lab.hosts:
        # A bridge without a port takes a moment to say so.
        waiting = "while ip -br link show type bridge | grep -E '^(docker0|br.89)' | grep -q ' UP '; do sleep 0.2; done"
        lab.sh(host, f"docker rm -f $(docker ps -aq); {waiting}")
    during = {host: listing(lab, host) for host in lab.hosts}
    predicted = lab.play("--check", "--diff", playbook="playbooks/teardown.yml")
    assert predicted.code == 0, predicted.output
    as_before(lab, during)
    done = lab.play("--diff", playbook="playbooks/teardown.yml")
    assert done.code == 0, done.output
    for host in lab.hosts:
        # Docker's file takes two steps, with a restart in between that a check run does not make.
        assert any("172.17.0.1/16" in line for line in predicted.diffs[host].pop("docker_bip") if line.startswith("+"))
        done.diffs[host].pop("docker_bip")
        assert done.diffs[host] == predicted.diffs[host]
    as_before(lab, before)
    again = lab.play(playbook="playbooks/teardown.yml")
    assert set(recaps(again).values()) == {0}
    as_before(lab, before)
    # And on again, with the leases on record.
    lab.write_inventory()
    lab.converge()
    for host in lab.hosts:
        assert lab.json(host, "ip -j address show dev vxlan.88")[0]["addr_info"][0]["local"] in leases
        lab.run_container(host)
        lab.run_container(host, "w1", "web", publish=8082)
        lab.run_container(host, "s1", "mynetwork", publish=8083)
    assert lab.pairs(seconds=5) == [] and lab.pairs("web", "w1") == [] and lab.pairs("mynetwork", "s1", seconds=5) == []


@pytest.mark.parametrize("host", ["bookworm", "trixie", "forky"])
def test_a_reboot_with_no_controller_in_reach(lab: Machines, host: str) -> None:
    others = [name for name in lab.hosts if name != host]
    pings = [
        lab.popen(one, "docker", "exec", "c1", "ping", "-i", "0.1", "-w", "12", lab.address(two))
        for one, two in (others, others[::-1])
    ]
    lab.script("stop", host)
    lab.up(host)
    assert lab.pairs(seconds=10) == [] and lab.pairs("web", "w1", seconds=5) == []
    assert lab.pairs("mynetwork", "s1", seconds=5) == []
    for ping in pings:
        said = ping.communicate()[0]
        assert " 0% packet loss" in said, said
    finished = int(lab.sh(host, "systemctl show -P ExecMainExitTimestampMonotonic agentless-overlay"))
    assert 0 < finished < started(lab, host), "the overlay has to be there before the first container starts"
    assert lab.sh(host, "systemctl --failed --no-legend") == ""
    if host == "trixie":
        by_hand(lab, host)
    assert "-P FORWARD DROP" in lab.sh(host, "iptables -S FORWARD"), "turned off, as Docker found forwarding on already"
    unchanged(lab)


# Who may send us vxlan.


def frame(mac: str, source: str, destination: str) -> bytes:
    """An Ethernet frame with a ping, from one address of the overlay to another."""

    def checksum(data: bytes) -> int:
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        total = (total >> 16) + (total & 0xFFFF)
        return ~(total + (total >> 16)) & 0xFFFF

    ping = struct.pack("!BBHHH", 8, 0, 0, 7, 7)
    ping = struct.pack("!BBHHH", 8, 0, checksum(ping), 7, 7)
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 28, 1, 0, 64, 1, 0) + addresses
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return bytes.fromhex(mac.replace(":", "") + "020000000099" + "0800") + header + ping


def send(lab: Machines, namespace: str, host: str, vni: int, payload: bytes) -> None:
    packet = struct.pack("!B3xI", 8, vni << 8) + payload
    script = (
        "import socket, sys; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
        f".sendto(bytes.fromhex('{packet.hex()}'), ('{lab.hosts[host]['ansible_host']}', 4789))"
    )
    run("nsenter", f"--net=/run/netns/{lab.prefix}-{namespace}", "python3", "-c", script)


def test_only_known_vteps_may_send(lab: Machines) -> None:
    def seen() -> tuple[int, int]:
        rules = lab.json("trixie", "nft -j list chain inet agentless_overlay input")["nftables"]
        counters = {
            expression["match"]["right"]: [part["counter"]["packets"] for part in rule["rule"]["expr"] if "counter" in part][0]
            for rule in rules
            if "rule" in rule
            for expression in rule["rule"]["expr"]
            if "match" in expression
            and "payload" in expression["match"]["left"]
            and "base" in expression["match"]["left"]["payload"]
        }
        received = lab.json("trixie", "ip -j -s link show dev vxlan.88")[0]["stats64"]["rx"]["packets"]
        return counters[88], received

    mac = lab.json("trixie", "ip -j link show dev vxlan.88")[0]["address"]
    lease = lab.sh("trixie", "ip -4 -br address show dev vxlan.88").split()[2].partition("/")[0]
    payload = frame(mac, lab.sh("forky", "ip -4 -br address show dev vxlan.88").split()[2].partition("/")[0], lease)
    dropped, received = seen()
    # The underlay's own namespace has an address on it, and is no VTEP.
    send(lab, "underlay", "trixie", 88, payload)
    assert seen() == (dropped + 1, received)
    send(lab, "forky", "trixie", 88, payload)
    assert seen() == (dropped + 1, received + 1)
    # A network of somebody else's on the same port, as a Swarm has, is not ours to filter.
    send(lab, "underlay", "trixie", 4711, payload)
    assert seen() == (dropped + 1, received + 1)


# Other managers.


def test_firewalld_and_docker_restart_and_the_rules_hold(lab: Machines) -> None:
    lab.sh("trixie", f"systemctl start firewalld && {RESTART}")
    try:
        assert lab.pairs(seconds=10) == []
        for command in ("systemctl restart firewalld", "firewall-cmd --reload", RESTART):
            lab.sh("trixie", command)
            assert lab.pairs(seconds=10) == [], command
            rules = lab.sh("trixie", "nft list table inet agentless_overlay; iptables -S DOCKER-USER")
            assert "counter packets" in rules and rules.count("agentless.overlay:") == 6, command
        unchanged(lab)
    finally:
        lab.sh("trixie", f"systemctl stop firewalld; {RESTART}")
    assert lab.pairs(seconds=10) == []


def test_a_firewall_that_is_loaded_anew_takes_nothing_with_it(lab: Machines) -> None:
    """Debian's nftables.service begins with flush ruleset: Docker has to be restarted after it, our rules not."""
    lab.sh("bookworm", "systemctl restart nftables; sleep 0.5")
    assert "counter packets" in lab.sh("bookworm", "nft list table inet agentless_overlay")
    lab.sh("bookworm", f"{RESTART}; systemctl stop nftables; systemctl restart agentless-overlay; {RESTART}")
    assert lab.pairs(seconds=10) == []
    unchanged(lab)


def test_networkd_and_networkmanager_leave_our_device_alone(lab: Machines) -> None:
    # networkd waits for udev unless /sys is read-only, as it is in most containers.
    everything = "[Match]\\nName=eth* vxlan*\\n[Network]\\nDHCP=no\\nLinkLocalAddressing=ipv6\\n"
    lab.sh("bookworm", f"mount -o remount,ro /sys; printf '{everything}' >/etc/systemd/network/99-all.network")
    try:
        routes = lab.sh("bookworm", "ip route show proto 157")
        lab.sh("bookworm", "systemctl start systemd-networkd && sleep 1 && systemctl restart systemd-networkd && sleep 1")
        # Duplicate address detection takes it a second or two.
        lab.sh(
            "bookworm",
            "timeout 20 sh -c 'until networkctl list --no-pager | grep -q \"eth0 .* configured\"; do sleep 0.2; done'",
        )
        links = lab.sh("bookworm", "networkctl list --no-legend --no-pager")
        assert re.search(r"eth0 .* configured", links) and re.search(r"vxlan\.88 .* unmanaged", links)
        assert lab.sh("bookworm", "ip route show proto 157") == routes
        unchanged(lab, "--limit", "bookworm")
    finally:
        lab.sh("bookworm", "systemctl stop systemd-networkd systemd-networkd.socket; rm /etc/systemd/network/99-all.network")
        lab.sh("bookworm", "mount -o remount,rw /sys")
    lab.sh("trixie", "systemctl start NetworkManager && sleep 1")
    try:
        assert re.search(r"vxlan\.88:unmanaged", lab.sh("trixie", "nmcli -t -f DEVICE,STATE device"))
        unchanged(lab, "--limit", "trixie")
    finally:
        lab.sh("trixie", "systemctl stop NetworkManager")


# Harm.

HARM = {
    "iptables -F DOCKER-USER; nft delete table inet agentless_overlay": ("firewall", 22),
    # The line, and that the unit is enabled and has not failed.
    "sed -i s/Before=/After=/ /etc/systemd/system/agentless-overlay.service; systemctl disable agentless-overlay": ("boot", 4),
    "sed -i s/yes/no/ /etc/systemd/network/10-agentless-overlay.network": ("managers", 2),
}


def test_harm_is_found_and_repaired(lab: Machines) -> None:
    for command in HARM:
        lab.sh("bookworm", command)
    found = lab.play("--check", "--diff", "--limit", "bookworm")
    assert {section: len(lines) for section, lines in found.diffs["bookworm"].items()} == dict(HARM.values()), found.output
    # The same for pipelines, of all three; a reload of the unit's file is one of them.
    told = lab.play("-e", f"overlay_report_dir={lab.inventory.parent}/report", playbook="playbooks/drift.yml")
    hosts = json.loads((lab.inventory.parent / "report/drift.json").read_text())["hosts"]
    assert told.code == 2 and {name: host["status"] for name, host in hosts.items()} == {
        **dict.fromkeys(lab.hosts, "same"),
        "bookworm": "drifted",
    }
    assert {item["resource"] for item in hosts["bookworm"]["drift"]} == {section for section, _count in HARM.values()}
    assert any(item["name"].endswith("agentless-overlay.service") for item in hosts["bookworm"]["drift"])
    done = lab.play("--diff", "--limit", "bookworm")
    assert done.diffs == found.diffs and recaps(done) == {"bookworm": 1}
    unchanged(lab, "--limit", "bookworm")
    assert lab.pairs(seconds=5) == []
    assert lab.sh("bookworm", "systemctl is-enabled agentless-overlay").strip() == "enabled"


def test_mitogen_finds_and_repairs_the_same(lab: Machines) -> None:
    """Its strategy runs modules in one lasting process a host: nothing of ours may rely on a process of its own."""
    fast = mitogen()
    assert set(recaps(lab.play(**fast)).values()) == {0}
    lab.sh("trixie", "ip link del vxlan.88")
    lab.sh("forky", "nft flush table inet agentless_overlay")
    folder = f"overlay_report_dir={lab.inventory.parent}/mitogen"
    drift = lab.play("-e", folder, playbook="playbooks/drift.yml", **fast)
    assert drift.code == 2 and "1 of 3 hosts as planned" in drift.text, drift.output
    assert recaps(lab.play(**fast)) == {"bookworm": 0, "trixie": 1, "forky": 1}
    for _run in range(2):
        assert set(recaps(lab.play(**fast)).values()) == {0}
    assert lab.pairs(seconds=5) == []
    unchanged(lab)


def test_a_key_of_ours_is_repaired_and_those_of_others_stay(lab: Machines) -> None:
    host = "forky"
    path = "/etc/docker/daemon.json"
    ours = json.loads(lab.sh(host, f"cat {path}"))
    docker = started(lab, host)

    def put(value: dict[str, Any]) -> str:
        text = json.dumps(value, indent=4)
        lab.exec(host, "sh", "-c", f"printf %s '{text}' >{path}")
        return text

    # Order and foreign keys alone are no drift.
    text = put({**NO_SUCH, **dict(reversed(ours.items()))})
    unchanged(lab, "--limit", host)
    assert lab.sh(host, f"cat {path}") == text
    # One of ours gone.
    put({**NO_SUCH, **{key: value for key, value in reversed(ours.items()) if key != "mtu"}})
    found = lab.play("--check", "--diff", "--limit", host)
    assert [line for line in found.diffs[host]["docker_bip"] if "mtu" in line] == ['+"mtu": 1450']
    done = lab.play("--diff", "--limit", host)
    assert done.diffs == found.diffs and recaps(done) == {host: 1}
    repaired = json.loads(lab.sh(host, f"cat {path}"))
    assert list(repaired) == ["log-level", "labels", "allow-direct-routing", "ip-masq", "bip", "mtu"]
    assert {key: repaired[key] for key in ours} == ours
    assert started(lab, host) == docker, "what is in force already needs no restart"
    unchanged(lab)


def test_a_docker_that_lost_direct_routing_is_found(lab: Machines) -> None:
    """dockerd does not tell this setting; its rules do."""
    lab.sh("forky", f"sed -i /allow-direct/d /etc/docker/daemon.json; {RESTART}")
    assert lab.pairs() != []
    refused = lab.play("--check", "--limit", "forky")
    assert refused.code == 2 and "has to restart (allow-direct-routing is not in force)" in refused.text, refused.output
    found = lab.play("--check", "--diff", "--limit", "forky", "-e", "overlay_docker_restart=always")
    assert found.diffs["forky"]["docker_bip"][-1] == '+"allow-direct-routing": true'
    lab.converge("-e", "overlay_docker_restart=always")
    assert lab.pairs(seconds=5) == []
    unchanged(lab)


# A Docker that does not come back.


def test_a_file_that_dockerd_would_refuse_is_refused_first(lab: Machines) -> None:
    for host in ("bookworm", "forky"):
        lab.sh(host, "cp -p /etc/docker/daemon.json /run/good")
        lab.sh(host, """sed -i -e 's/"mtu": 1450/"mtu": 1400/' -e '0,/{/s//{ "no-such-key": 1,/' /etc/docker/daemon.json""")
    broken = {host: lab.sh(host, "cat /etc/docker/daemon.json") for host in lab.hosts}
    dockers = {host: started(lab, host) for host in lab.hosts}
    for args in (("--check",), ()):
        played = lab.play(*args)
        assert played.code == 2
        assert played.text.count("the following directives don't match any configuration option: no-such-key") >= 2
    assert {host: lab.sh(host, "cat /etc/docker/daemon.json") for host in lab.hosts} == broken
    assert {host: started(lab, host) for host in lab.hosts} == dockers
    for host in ("bookworm", "forky"):
        lab.sh(host, "mv /run/good /etc/docker/daemon.json")
    unchanged(lab)


def test_a_docker_that_does_not_come_back_gets_its_file_back(lab: Machines) -> None:
    """Whatever keeps it from starting, here a unit that looks into its file: then the next host is left as it is."""
    old = '{"labels": ["a=b"]}'
    lab.sh("bookworm", "docker rm -f c1; cp -p /etc/docker/daemon.json /run/good")
    # Without a bip Docker keeps the address that docker0 has.
    for text in ('{"bip": "172.17.0.1/16"}', old):
        lab.exec("bookworm", "sh", "-c", f"printf %s '{text}' >/etc/docker/daemon.json; {RESTART}")
    folder, said = "/run/systemd/system/docker.service.d", "level=fatal msg=not-with-this-one"
    unit = f"[Service]\\nExecStartPre=/bin/sh -c '! grep 10.88 /etc/docker/daemon.json || {{ echo {said}; exit 1; }}'"
    lab.sh("bookworm", f'mkdir -p {folder}; printf "{unit}\\n" >{folder}/no.conf; systemctl daemon-reload')
    # The next batch.
    lab.sh("trixie", 'sed -i \'s/"mtu": 1450/"mtu": 1400/\' /etc/docker/daemon.json; ' + RESTART)
    next_one, next_file = started(lab, "trixie"), lab.sh("trixie", "cat /etc/docker/daemon.json")
    played = lab.play("-e", "overlay_docker_restart=always")
    assert played.code == 2
    assert "The file that was there before is back, and Docker runs." in played.text, played.output
    assert said in played.text
    assert lab.sh("bookworm", "cat /etc/docker/daemon.json") == old
    assert lab.sh("bookworm", "docker info -f '{{.ServerVersion}}'").startswith("20.10")
    assert "undo" not in lab.sh("bookworm", "ls /etc/docker")
    assert started(lab, "trixie") == next_one and lab.sh("trixie", "cat /etc/docker/daemon.json") == next_file
    lab.sh("bookworm", f"mv /run/good /etc/docker/daemon.json; rm -r {folder}; systemctl daemon-reload")
    lab.converge("-e", "overlay_docker_restart=always")
    lab.run_container("bookworm")
    assert started(lab, "trixie") != next_one
    assert lab.pairs(seconds=5) == []
    unchanged(lab)


# Docker with containers running.


def lease(lab: Machines, host: str, subnet: str) -> None:
    lab.hosts[host]["overlay_subnet"] = {"demo": subnet}
    lab.write_inventory()


def test_live_restore_does_not_keep_the_old_lease(lab: Machines) -> None:
    lab.sh("forky", "sed -i '0,/{/s//{ \"live-restore\": true,/' /etc/docker/daemon.json; systemctl reload docker")
    lab.exec("forky", "docker", "run", "--detach", "--name", "c2", "--stop-signal", "KILL", "overlay-lab", "sleep", "1000000")
    assert lab.sh("forky", "docker info -f '{{.LiveRestoreEnabled}}'").strip() == "true"
    lease(lab, "forky", "10.88.7.0/24")
    refused = lab.play("--limit", "forky")
    assert refused.code == 2 and "while containers run: c1, c2" in refused.text
    lab.converge("-e", "overlay_docker_restart=always", "-e", "overlay_allow_renumber=true")
    assert lab.address("forky").startswith("10.88.7.") and lab.address("forky", name="c2").startswith("10.88.7.")
    assert lab.pairs(seconds=5) == [], "with a restart policy or without, what ran before runs again"
    unchanged(lab)


def test_who_restarts_docker_himself(lab: Machines) -> None:
    docker = started(lab, "trixie")
    lease(lab, "trixie", "10.88.8.0/24")
    flags = ("-e", "overlay_docker_restart=never", "-e", "overlay_allow_renumber=true")
    played = lab.converge(*flags)
    assert "Docker on trixie waits for a restart by you: docker0 has" in played.text
    assert started(lab, "trixie") == docker
    lab.sh("trixie", RESTART)
    assert set(lab.converge(*flags).changed().values()) == {0}
    assert lab.pairs(seconds=10) == []
