# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every backend at once between Docker 20.10 and Docker 28.5, with the articles' own addresses, told as a story in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labs import Lab, Played, run

HOSTS = ("docker1", "docker2")
# Article 1, whose flannel this is; article 2; article 3, its two experiments, and multicast; article 1 once more, dual.
NETWORKS: list[dict[str, Any]] = [
    {"name": "flannel", "cidr": "188.172.0.0/16", "vni": 88, "port": 4789, "device": "flannel.88"},
    {"name": "gw", "backend": "host-gw", "cidr": "10.19.0.0/16", "attach": {"docker_network": "gw"}},
    {"name": "tunnel", "backend": "p2p", "cidr": "10.0.0.0/24", "vni": 1, "device": "vxlan1", "dev": "eth0"},
    {"name": "pair", "backend": "p2p", "cidr": "10.1.0.0/16", "vni": 2, "attach": {"docker_network": "pair"}},
    {
        **{"name": "all", "backend": "multicast", "cidr": "10.2.0.0/16", "vni": 3, "group": "239.1.1.1", "dev": "eth0"},
        "attach": {"docker_network": "all"},
    },
    {
        **{"name": "stretched", "backend": "l2", "cidr": "172.18.0.0/16", "vni": 200, "device": "vxlan_docker"},
        **{"attach": {"docker_network": "mynetwork"}, "neigh_suppress": True, "static": True},
    },
    {
        **{"name": "dual", "cidr": ["10.6.0.0/16", "fd00:6::/48"], "vni": 6, "direct_routing": True},
        "attach": {"docker_network": "dual"},
    },
    {"name": "six", "cidr": "fd00:7::/48", "vni": 7, "underlay": "ipv6", "attach": {"docker_network": "six"}},
]
PINS = {
    "docker1": {"flannel": "188.172.50.0/24", "tunnel": "10.0.0.106/24"},
    "docker2": {"flannel": "188.172.87.0/24", "tunnel": "10.0.0.107/24"},
}
DOCKER_NETWORKS = {"flannel": "bridge", "gw": "gw", "pair": "pair", "all": "all", "stretched": "mynetwork", "dual": "dual"}
MTU = {"flannel": 1450, "gw": 1500, "pair": 1450, "all": 1450, "stretched": 1450, "dual": 1450, "six": 1430}


def other(host: str) -> str:
    return "docker2" if host == "docker1" else "docker1"


class Backends(Lab):
    networks = NETWORKS

    def up(self) -> None:
        """The second host has another root file system, with Docker 28."""
        root = run("bash", "tests/rootfs.sh", "forky").stdout.strip()
        self.hosts = {
            host: {
                "ansible_host": f"192.168.65.{number}",
                "overlay_underlay_ip": [f"192.168.65.{number}/24", f"fd65::{number}/64"],
                "overlay_subnet": PINS[host],
            }
            for number, host in enumerate(HOSTS, 3)
        }
        self.hosts["docker2"]["ansible_python_interpreter"] = "/usr/bin/python3"
        self.script("up", "docker1=192.168.65.3/24", f"docker2=192.168.65.4/24@{root}")
        for number, host in enumerate(HOSTS, 3):
            self.sh(host, f"ip address add fd65::{number}/64 dev eth0 nodad")
        self.write_inventory()

    def address(self, host: str, name: str, network: str, key: str = "IPAddress") -> str:
        template = '{{(index .NetworkSettings.Networks "%s").%s}}' % (network, key)
        return self.exec(host, "docker", "container", "inspect", "-f", template, name).stdout.strip()

    def inside(self, host: str, name: str, command: str, check: bool = True) -> str:
        """Run a program of the host in a container's network namespace."""
        pid = self.sh(host, f"docker container inspect -f '{{{{.State.Pid}}}}' {name}").strip()
        return self.sh(host, f"nsenter -t {pid} -n {command}", check)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    made = Backends(tmp_path_factory.mktemp("inventory"))
    try:
        made.up()
        yield made
    finally:
        made.down()


def containers(lab: Lab) -> None:
    for host, last in zip(HOSTS, (2, 3)):
        for network, docker in DOCKER_NETWORKS.items():
            # The article gives these their addresses by hand; they lie before the ranges of the hosts.
            address = ["--ip", f"172.18.0.{last}"] if network == "stretched" else []
            where = ["--network", docker] if docker != "bridge" else []
            lab.exec(host, "docker", "run", "-d", "--name", network, *where, *address, "overlay-lab", "sleep", "1000000")
        lab.exec(host, "docker", "run", "-d", "--name", "six", "--network", "six", "overlay-lab", "sleep", "1000000")


def unchanged(lab: Lab) -> None:
    for args in (("--check", "--diff"), ("--diff",)):
        played = lab.converge(*args)
        assert set(played.changed().values()) == {0} and not any(played.diffs.values()), played.output


def hosts_diffs(played: Played) -> dict[str, dict[str, list[str]]]:
    """The differences less the leases, which are the controller's."""
    assert played.code == 0, played.output
    return {
        host: {name: found for name, found in sections.items() if "leases" not in name}
        for host, sections in played.diffs.items()
    }


def test_all_backends_at_once(lab: Backends) -> None:
    predicted = hosts_diffs(lab.play("--check", "--diff"))
    done = hosts_diffs(lab.play("--diff"))
    assert predicted == done
    containers(lab)
    # The MACs of the new containers are written into the other host, and nothing else is new.
    played = lab.converge("--diff")
    assert {section for found in played.diffs.values() for section in found} == {"fdb_entry", "neigh_entry"}
    unchanged(lab)


def test_all_of_it_is_seen(lab: Backends, tmp_path: Path) -> None:
    """Nothing drifts, all answer, and every way can be explained, whatever the backend and on both versions of Docker."""
    for playbook in ("drift", "verify"):
        played = lab.play("-e", f"overlay_report_dir={tmp_path}", playbook=f"playbooks/{playbook}.yml")
        assert played.code == 0, played.output
    for name in (*DOCKER_NETWORKS, "six", "tunnel"):
        ends = [f"docker1/{name}", f"docker2/{name}"] if name != "tunnel" else HOSTS
        given = ("-e", f"src={ends[0]}", "-e", f"dst={ends[1]}", "-e", f"network={name}")
        played = lab.play(*given, playbook="playbooks/explain.yml")
        assert played.code == 0 and "REACHABLE, both ways." in played.text, played.output


# What the articles show


def test_the_first_article(lab: Backends) -> None:
    """Flannel's device, neighbour, FDB entry, route and file, as the article prints them."""
    far_mac = {host: lab.json(other(host), "ip -j link show dev flannel.88")[0]["address"] for host in HOSTS}
    for host, mine, theirs, underlay in (
        ("docker1", "188.172.50", "188.172.87.0", "192.168.65.4"),
        ("docker2", "188.172.87", "188.172.50.0", "192.168.65.3"),
    ):
        assert f"{theirs} lladdr {far_mac[host]} PERMANENT" in lab.sh(host, "ip neigh show dev flannel.88")
        assert f"{far_mac[host]} dst {underlay} self permanent" in lab.sh(host, "bridge fdb show dev flannel.88")
        routes = lab.sh(host, "ip route")
        assert f"{theirs}/24 via {theirs} dev flannel.88" in routes
        assert f"{mine}.0/24 dev docker0 proto kernel scope link src {mine}.1" in routes
        assert f"inet {mine}.0/32" in lab.sh(host, "ip -4 address show dev flannel.88")
        assert f"inet {mine}.1/24" in lab.sh(host, "ip -4 address show dev docker0")
        assert "mtu 1450" in lab.sh(host, "ip link show dev flannel.88")
        # Of the article's file only the last line differs: we masquerade, Docker does not. And it says whose it is.
        assert lab.sh(host, "grep -v '^#' /run/flannel/subnet.env") == (
            f"FLANNEL_NETWORK=188.172.0.0/16\nFLANNEL_SUBNET={mine}.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
        )
        assert "UNCONN 0 0 0.0.0.0:4789" in " ".join(lab.sh(host, "ss -lun").split())
    said = lab.sh("docker1", f"docker exec flannel ping -c 3 -i 0.2 {lab.address('docker2', 'flannel', 'bridge')}")
    assert said.count("ttl=62") == 3 and " 0% packet loss" in said


def test_the_second_article(lab: Backends) -> None:
    """The next hop to the other's containers is the other host itself, and the packets are as large as the underlay's."""
    for host, underlay in (("docker1", "192.168.65.4"), ("docker2", "192.168.65.3")):
        lease = lab.json(other(host), "docker network inspect gw")[0]["IPAM"]["Config"][0]["Subnet"]
        assert f"{lease} via {underlay} dev eth0" in lab.sh(host, "ip route")
    assert "mtu 1500" in lab.inside("docker1", "gw", "ip link show dev eth0")


def test_the_third_article_point_to_point(lab: Backends) -> None:
    for host, mine, underlay in (("docker1", 106, "192.168.65.4"), ("docker2", 107, "192.168.65.3")):
        link = lab.json(host, "ip -j -d link show dev vxlan1")[0]
        data = link["linkinfo"]["info_data"]
        assert (data["id"], data["remote"], data["port"], data["link"], link["mtu"]) == (1, underlay, 4789, "eth0", 1450)
        assert f"inet 10.0.0.{mine}/24" in lab.sh(host, "ip -4 address show dev vxlan1")
        assert f"10.0.0.0/24 dev vxlan1 proto kernel scope link src 10.0.0.{mine}" in lab.sh(host, "ip route")
    said = lab.sh("docker1", "ping -c 3 -i 0.2 10.0.0.107")
    assert said.count("ttl=64") == 3 and " 0% packet loss" in said
    assert " 0% packet loss" in lab.sh("docker2", "ping -c 2 -i 0.2 -M do -s 1422 10.0.0.106")


def test_the_third_article_containers_on_one_switch(lab: Backends) -> None:
    for host in HOSTS:
        link = lab.json(host, "ip -j -d link show dev vxlan_docker")[0]
        assert link["master"] == "br.200" and link["linkinfo"]["info_data"]["id"] == 200
        assert link["linkinfo"]["info_slave_data"]["neigh_suppress"] is True
        config = lab.json(host, "docker network inspect mynetwork")[0]["IPAM"]["Config"][0]
        assert config["Subnet"] == "172.18.0.0/16" and config["IPRange"].startswith("172.18.")
    said = lab.sh("docker1", "docker exec stretched ping -c 2 172.18.0.3")
    assert said.count("ttl=64") == 2 and " 0% packet loss" in said
    # Two hosts hand out addresses by themselves, and never the same one.
    for host in HOSTS:
        lab.exec(host, "docker", "run", "-d", "--name", "more", "--network", "mynetwork", "overlay-lab", "sleep", "1000000")
    ranges = {host: lab.json(host, "docker network inspect mynetwork")[0]["IPAM"]["Config"][0]["IPRange"] for host in HOSTS}
    assert len(set(ranges.values())) == 2
    for host in HOSTS:
        assert lab.address(host, "more", "mynetwork").rpartition(".")[0] == ranges[host].rpartition(".")[0]
    assert " 0% packet loss" in lab.sh("docker2", f"docker exec more ping -c 2 {lab.address('docker1', 'more', 'mynetwork')}")
    for host in HOSTS:
        lab.sh(host, "docker rm -f more")


def test_requests_for_known_neighbours_stay_on_the_host(lab: Backends) -> None:
    """The far container's MAC is in the bridge's table, so that no container that looks for it is heard in the tunnel."""
    mac = lab.address("docker2", "stretched", "mynetwork", "MacAddress")
    assert f"172.18.0.3 lladdr {mac} PERMANENT" in lab.sh("docker1", "ip neigh show dev br.200")
    assert f"{mac} dst 192.168.65.4 self permanent" in lab.sh("docker1", "bridge fdb show dev vxlan_docker")
    # The bridge forgets what it has not seen for five minutes.
    assert " 0% packet loss" in lab.sh("docker1", "docker exec stretched ping -c 2 172.18.0.3")
    # Who has just used a neighbour asks it by unicast after five seconds, which is not suppressed: that is not looking for it.
    looks = ("ether", "broadcast", "and", "arp", "dst", "host", "172.18.0.3")

    def look() -> str:
        with lab.hears("docker1", "vxlan_docker", *looks) as heard:
            lab.inside("docker1", "stretched", "ip neigh flush dev eth0")
            assert " 0% packet loss" in lab.sh("docker1", "docker exec stretched ping -c 2 172.18.0.3")
        return "".join(heard)

    said = look()
    assert "who-has 172.18.0.3" not in said, said
    # And it is heard without, or what was just seen says nothing.
    lab.sh("docker1", "bridge link set dev vxlan_docker neigh_suppress off")
    try:
        assert "who-has 172.18.0.3" in look()
    finally:
        lab.sh("docker1", "bridge link set dev vxlan_docker neigh_suppress on")


# What every backend carries


@pytest.mark.parametrize("network", [*DOCKER_NETWORKS, "six", "dual6"])
@pytest.mark.parametrize("host", HOSTS)
def test_full_packets_and_a_hundred_megabytes(lab: Backends, network: str, host: str) -> None:
    name = "dual" if network == "dual6" else network
    docker = DOCKER_NETWORKS.get(name, name)
    key = "GlobalIPv6Address" if network in ("six", "dual6") else "IPAddress"
    far = lab.address(other(host), name, docker, key)
    size = MTU[name] - (48 if ":" in far else 28)
    assert " 0% packet loss" in lab.inside(host, name, f"ping -c 2 -i 0.2 -W 2 {far}")
    assert " 0% packet loss" in lab.inside(host, name, f"ping -c 2 -i 0.2 -W 2 -M do -s {size} {far}")
    assert "message too long" in lab.inside(host, name, f"ping -c 1 -M do -s {size + 1} {far} 2>&1", check=False).lower()
    if host != "docker1":
        return
    # Random, so that no two blocks of it are alike; made once, where it goes with the host.
    lab.sh(host, "[ -e /run/data ] || head -c 100000000 /dev/urandom >/run/data")
    family = "AF_INET6" if ":" in far else "AF_INET"
    take = (
        f"import hashlib, socket; listener = socket.create_server(('', 7000), family=socket.{family}); "
        "print('ready', flush=True); "
        "stream = listener.accept()[0].makefile('rb'); print(hashlib.file_digest(stream, 'sha256').hexdigest())"
    )
    give = f"import socket; socket.create_connection(('{far}', 7000)).sendfile(open('/run/data', 'rb'))"
    pid = lab.sh(other(host), f"docker container inspect -f '{{{{.State.Pid}}}}' {name}").strip()
    taker = lab.popen(other(host), "nsenter", "-t", pid, "-n", "python3", "-c", take)
    assert taker.stdout is not None and taker.stdout.readline() == "ready\n"
    lab.inside(host, name, f'python3 -c "{give}"')
    assert taker.communicate(timeout=120)[0].strip() == lab.sh(host, "sha256sum /run/data").split()[0]


# Drift of each kind

# In groups of which no two show in one place, so that a run finds several at once: what is done on docker1, and what it shows.
DRIFTS: list[dict[str, tuple[str, int]]] = [
    {
        "route_entry": ("ip route del $(ip route | grep -o '10.19.* via 192.168.65.4 dev eth0' | cut -d' ' -f1)", 1),
        "vxlan_link": ("ip link set vxlan1 type vxlan id 1 remote 192.168.65.9 dev eth0", 2),
        "fdb_entry": ("bridge fdb del 00:00:00:00:00:00 dev vxlan_docker dst 192.168.65.4", 1),
        "neigh_entry": ("ip neigh del 172.18.0.3 dev br.200", 1),
        "address": ("ip address del 10.0.0.106/24 dev vxlan1", 1),
        "bridge": ("ip link set br.200 mtu 1400", 2),
        "firewall": ("ip6tables -F DOCKER-USER", 6),
        "sysctl": ("sysctl -q net.ipv6.conf.all.forwarding=0", 2),
    },
    {
        "route_entry": ("ip -6 route del $(ip -6 route | grep -o 'fd00:6.* via fd65::4 dev eth0' | cut -d' ' -f1)", 1),
        "vxlan_link": ("ip link set vxlan_docker nomaster", 2),
        "fdb_entry": ("bridge fdb append 00:00:00:00:00:00 dev vxlan_docker dst 192.168.65.9", 1),
        "neigh_entry": ("ip -6 neigh flush dev vxlan.7 nud permanent", 1),
        "address": ("ip -6 address flush dev vxlan.7 scope global", 1),
        "firewall": ("nft delete element inet agentless_overlay vteps_7_v6 '{ fd65::4 }'", 1),
        "docker_network": ("docker rm -f pair; docker network rm pair", 5),
    },
    {
        "vxlan_link": ("ip link set vxlan.3 type vxlan id 3 group 239.1.1.2 dev eth0", 2),
        "bridge": ("ip link set br.2 down", 2),
        "firewall": ("nft delete table inet agentless_overlay", 0),
        "files": ("rm /run/flannel/subnet.env", 0),
    },
]


@pytest.mark.parametrize("number", range(len(DRIFTS)))
def test_each_kind_of_drift_is_found_and_repaired(lab: Backends, number: int) -> None:
    for harm, _lines in DRIFTS[number].values():
        lab.sh("docker1", harm)
    predicted = lab.converge("--check", "--diff")
    found = predicted.diffs["docker1"]
    assert set(found) == set(DRIFTS[number]), predicted.output
    for section, (harm, count) in DRIFTS[number].items():
        assert len(found[section]) == count or not count and found[section], (harm, found[section])
    assert not predicted.diffs.get("docker2"), predicted.output
    done = lab.converge("--diff")
    assert done.diffs == predicted.diffs
    unchanged(lab)


# A picture of a packet


def test_a_captured_packet_is_shown_with_all_its_layers(lab: Backends) -> None:
    played = lab.play("-e", "src=docker1", "-e", "dst=docker2", "-e", "network=flannel", playbook="playbooks/capture.yml")
    assert played.code == 0, played.output
    macs = {host: lab.json(host, "ip -j link show dev flannel.88")[0]["address"] for host in HOSTS}
    outer = {host: lab.json(host, "ip -j link show dev eth0")[0]["address"] for host in HOSTS}
    for words in (
        rf"outer MAC +{outer['docker1']} +{outer['docker2']}",
        r"outer address +192\.168\.65\.3 +192\.168\.65\.4",
        r"UDP port +\d+ +4789",
        r"VNI +88",
        rf"inner MAC +{macs['docker1']} +{macs['docker2']}",
        rf"inner address +{lab.address('docker1', 'flannel', 'bridge')} +{lab.address('docker2', 'flannel', 'bridge')}",
    ):
        assert len(re.findall(words, played.output)) == 2, f"{words} on both ends\n{played.output}"


# docker0 with both families


def test_docker0_gets_ipv6_as_well(lab: Backends) -> None:
    lab.networks = [{**NETWORKS[0], "cidr": ["188.172.0.0/16", "fd00:88::/48"]}, *NETWORKS[1:]]
    lab.write_inventory()
    told = lab.play("--check", "--diff", "-e", "overlay_docker_restart=always")
    done = lab.play("--diff", "-e", "overlay_docker_restart=always")
    assert done.code == 0 and told.code == 0, done.output
    for host in HOSTS:
        # The containers' new MACs nobody can predict.
        for section in set(done.diffs[host]) | set(told.diffs[host]):
            if "leases" not in section and section not in ("neigh_entry", "fdb_entry"):
                assert done.diffs[host][section] == told.diffs[host][section], section
    keys = {host: lab.json(host, "cat /etc/docker/daemon.json") for host in HOSTS}
    assert keys["docker1"]["ipv6"] and keys["docker1"]["fixed-cidr-v6"].startswith("fd00:88:") and "bip6" not in keys["docker1"]
    assert keys["docker2"]["ipv6"] and keys["docker2"]["bip6"].endswith("::1/64") and "fixed-cidr-v6" not in keys["docker2"]
    for host in HOSTS:
        assert "FLANNEL_IPV6_NETWORK=fd00:88::/48\n" in lab.sh(host, "cat /run/flannel/subnet.env")
        far = lab.address(other(host), "flannel", "bridge", "GlobalIPv6Address")
        assert far.startswith("fd00:88:")
        assert " 0% packet loss" in lab.inside(host, "flannel", f"ping -c 2 -i 0.2 -W 2 -M do -s 1402 {far}")
        listen = "nc -l -p 7001 -e echo hello"
        lab.sh(other(host), f"docker exec -d flannel {listen}; sleep 0.5")
        assert lab.sh(host, f"docker exec flannel nc -w 5 {far} 7001 </dev/null") == "hello\n"
    lab.converge()
    unchanged(lab)


# And off again


def test_teardown_leaves_nothing_of_any_backend(lab: Backends) -> None:
    for host in HOSTS:
        lab.sh(host, "docker rm -f $(docker ps -aq)")
    done = lab.play(playbook="playbooks/teardown.yml")
    assert done.code == 0, done.output
    again = lab.play(playbook="playbooks/teardown.yml")
    assert again.code == 0 and set(again.changed().values()) == {0}, again.output
    for host in HOSTS:
        links = {link["ifname"] for link in lab.json(host, "ip -j link")}
        assert links == {"lo", "eth0", "docker0"}
        assert lab.sh(host, "ip route show proto 157; ip -6 route show proto 157") == ""
        assert "agentless" not in lab.sh(host, "nft list ruleset; iptables-save; ip6tables-save; docker network ls; ls /run")
