# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""playbooks/overlay.yml between two real Docker hosts, looked at with programs that are not ours."""

from __future__ import annotations

import re
import time

import pytest
from labs import Lab, Net


def other(host: str) -> str:
    return "docker2" if host == "docker1" else "docker1"


def base(lab: Lab, host: str) -> str:
    return str(lab.hosts[host]["overlay_subnet"]).partition("/")[0]


@pytest.mark.parametrize("host", ["docker1", "docker2"])
def test_the_kernel_has_what_the_article_has(net: Net, host: str) -> None:
    lab, far = net.lab, other(host)
    link = lab.json(host, "ip -j -d link show dev vxlan.88")[0]
    data = link["linkinfo"]["info_data"]
    assert data["id"] == 88 and data["port"] == 4789 and data["learning"] is False
    assert data["local"] == lab.hosts[host]["ansible_host"]
    assert link["mtu"] == 1450 and "UP" in link["flags"]
    assert int(link["address"][:2], 16) & 3 == 2, "the VTEP MAC is locally administered and unicast"
    far_mac = lab.json(far, "ip -j link show dev vxlan.88")[0]["address"]
    neigh = lab.json(host, "ip -j neigh show dev vxlan.88 nud permanent")
    assert [(entry["dst"], entry["lladdr"], entry["state"]) for entry in neigh] == [(base(lab, far), far_mac, ["PERMANENT"])]
    fdb = lab.json(host, "bridge -j fdb show dev vxlan.88")
    assert [(entry["mac"], entry["dst"], entry["flags"], entry["state"]) for entry in fdb] == [
        (far_mac, lab.hosts[far]["ansible_host"], ["self"], "permanent")
    ]
    route = lab.json(host, f"ip -j route show {lab.hosts[far]['overlay_subnet']}")
    assert [(entry["gateway"], entry["dev"], entry["protocol"], entry["flags"]) for entry in route] == [
        (base(lab, far), "vxlan.88", "157", ["onlink"])
    ]
    first = base(lab, host)[:-1] + "1/24"
    assert f"inet {first} " in lab.sh(host, "ip -4 address show dev docker0")
    assert f"inet {base(lab, host)}/32 " in lab.sh(host, "ip -4 address show dev vxlan.88")


def test_subnet_env_is_where_the_article_has_it(net: Net) -> None:
    head, *said = net.lab.sh("docker1", "cat /run/flannel/subnet.env").splitlines()
    # flannel's readers go by the name before the first =, and shells by what is no comment.
    assert head.startswith("# Made by agentless.overlay") and "=" not in head
    assert said == [
        "FLANNEL_NETWORK=10.88.0.0/16",
        "FLANNEL_SUBNET=10.88.50.1/24",
        "FLANNEL_MTU=1450",
        "FLANNEL_IPMASQ=true",
    ]


def test_subnet_env_of_somebody_else_is_neither_replaced_nor_removed(net: Net) -> None:
    path, flannels = "/run/flannel/subnet.env", "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.5.1/24\n"
    ours = net.lab.sh("docker1", f"cat {path}")
    try:
        net.lab.sh("docker1", f"printf '{flannels}' >{path}")
        for args in (("--check",), ()):
            refused = net.lab.play(*args, "--limit", "docker1")
            assert refused.code == 2 and f"{path} is there and is somebody else's" in refused.text
            assert "Nothing was changed" in refused.text
        assert net.lab.sh("docker1", f"cat {path}") == flannels
    finally:
        net.lab.sh("docker1", f"cat >{path} <<'END'\n{ours}END")
    assert set(net.lab.converge("--check").changed().values()) == {0}


@pytest.mark.parametrize("host", ["docker1", "docker2"])
def test_containers_reach_each_other(net: Net, host: str) -> None:
    said = net.lab.sh(host, f"docker exec c1 ping -c 3 -i 0.2 {net.addresses[other(host)]}")
    assert " 0% packet loss" in said
    assert said.count("ttl=62") == 3


def test_the_source_address_is_kept_on_the_overlay(net: Net) -> None:
    with net.lab.hears("docker2", "docker0", "icmp[0] = 8") as heard:
        net.lab.sh("docker1", f"docker exec c1 ping -c 2 {net.addresses['docker2']}")
    assert f"IP {net.addresses['docker1']} > {net.addresses['docker2']}: ICMP echo request" in "".join(heard)


def test_what_leaves_the_overlay_is_masqueraded(net: Net) -> None:
    with net.lab.hears("docker2", "eth0", "icmp[0] = 8") as heard:
        net.lab.sh("docker1", "docker exec c1 ping -c 2 192.168.65.4")
    assert "IP 192.168.65.3 > 192.168.65.4: ICMP echo request" in "".join(heard)


def test_a_host_reaches_far_containers(net: Net) -> None:
    """From the VTEP's address by itself, and from the underlay address, which the far side could not answer by the tunnel."""
    far = net.addresses["docker2"]
    for source in ("", "-I 192.168.65.3"):
        assert " 0% packet loss" in net.lab.sh("docker1", f"ping -c 2 -i 0.2 -W 2 {source} {far}")


@pytest.mark.parametrize("host", ["docker1", "docker2"])
def test_a_full_packet_passes_unfragmented(net: Net, host: str) -> None:
    """1,450 bytes with the headers, from inside the container's namespace; one byte more does not."""
    lab, far = net.lab, net.addresses[other(host)]
    pid = lab.sh(host, "docker container inspect --format '{{.State.Pid}}' c1").strip()
    ping = f"nsenter --target {pid} --net -- ping -c 2 -i 0.2 -W 2 -M do"
    assert " 0% packet loss" in lab.sh(host, f"{ping} -s 1422 {far}")
    assert "message too long, mtu=1450" in lab.exec(host, "sh", "-c", f"{ping} -s 1423 {far} 2>&1", check=False).stdout.lower()


def test_tcp_reaches_an_unpublished_port(net: Net) -> None:
    net.lab.serve("docker2")
    said = net.lab.fetch("docker1", net.addresses["docker2"])
    assert "200 OK" in said and said.endswith("hello\n")


def test_a_second_run_changes_nothing_and_drops_nothing(net: Net) -> None:
    pinging = net.lab.popen("docker1", "docker", "exec", "c1", "ping", "-i", "0.05", net.addresses["docker2"])
    time.sleep(0.5)
    played = net.lab.converge("--diff")
    time.sleep(0.5)
    net.lab.sh("docker1", "docker exec c1 killall -INT ping")
    assert played.changed() == {"docker1": 0, "docker2": 0}
    assert not any(played.diffs.values())
    answered = [int(number) for number in re.findall(r"seq=(\d+) ", pinging.communicate(timeout=30)[0])]
    # No gap; twenty a second over the whole run.
    assert answered == list(range(len(answered))) and len(answered) >= 30
    assert {host: net.lab.state(host) for host in net.lab.hosts} == net.golden


def test_docker_keeps_the_rules_over_a_restart(net: Net) -> None:
    net.lab.sh("docker1", "service docker restart && docker start c1")
    played = net.lab.converge("--diff")
    assert played.changed() == {"docker1": 0, "docker2": 0}
    assert " 0% packet loss" in net.lab.sh("docker2", f"docker exec c1 ping -c 2 {net.lab.container('docker1')}")


def test_stepwise_does_the_same(net: Net) -> None:
    """Both ways of applying show the same diff, and end in the same state."""
    lab = net.lab
    wreck = (
        "ip link del vxlan.88; rm /run/flannel/subnet.env; iptables -F DOCKER-USER; nft delete table inet agentless_overlay; "
        "sysctl -q net.ipv4.ip_forward=0"
    )
    seen = []
    for how in ("transaction", "stepwise"):
        lab.sh("docker1", wreck)
        # One host: the diff of a task with a loop is printed behind the lines that name the hosts.
        options = ("--diff", "--limit", "docker1", "-e", f"overlay_apply={how}")
        predicted = lab.converge("--check", *options)
        done = lab.converge(*options)
        assert predicted.diffs == done.diffs
        assert set(lab.converge(*options).changed().values()) == {0}
        seen.append((done.diffs, lab.state("docker1")))
    assert seen[0] == seen[1]


def test_a_limited_run_sees_the_same_peers(net: Net) -> None:
    lab = net.lab
    for entry in ("ip neigh del 10.88.87.0 dev vxlan.88", "ip route del 10.88.87.0/24"):
        lab.sh("docker1", entry)
    full = lab.converge("--check", "--diff")
    limited = lab.converge("--check", "--diff", "--limit", "docker1")
    assert limited.diffs == full.diffs
    assert set(limited.recap) == {"docker1"}
    assert lab.converge("--limit", "docker1", "--diff").diffs == full.diffs
    assert set(lab.converge().changed().values()) == {0}


def test_an_unchanged_host_with_containers_is_called_twice(net: Net) -> None:
    """Once to look at it, once to ping, as its containers are pinged too; drift.yml looks only."""
    lab = net.lab
    for calls, playbook in ((2, "overlay"), (1, "drift")):
        words = ("-vvv", "-e", f"overlay_report_dir={lab.inventory.parent}/calls")
        said = lab.play(*words, playbook=f"playbooks/{playbook}.yml")
        assert said.code == 0 and set(said.changed().values()) == {0}
        counted = {host: said.output.count(f"<{lab.prefix}-{host}> ENTER") for host in lab.hosts}
        assert counted == dict.fromkeys(lab.hosts, calls), playbook


def test_verify_names_the_pair_that_is_cut(net: Net) -> None:
    """A drop on the way to one container: the hosts still reach each other, and the run fails with that pair."""
    lab, far = net.lab, net.addresses["docker2"]
    assert lab.play("--tags", "verify").code == 0
    lab.sh("docker2", f"iptables -t raw -I PREROUTING -i vxlan.88 -d {far} -j DROP")
    try:
        played = lab.play("--tags", "verify")
        assert played.code == 2 and played.recap["docker1"]["failed"] == 1
        # From host and container, small and full; what docker2's container sends has no answer either.
        assert "No answer to 4 of 8 pings" in played.text
        for source in ("host", "container"):
            assert f"{source} -> docker2/c1 ({far}), 84 bytes: " in played.text
        assert "-> docker2 (10.88.87.1)" not in played.text
        # Of a host outside the run nothing is required.
        assert lab.play("--tags", "verify", "--limit", "docker1").code == 0
    finally:
        lab.sh("docker2", f"iptables -t raw -D PREROUTING -i vxlan.88 -d {far} -j DROP")
    assert lab.play("--tags", "verify").code == 0


def test_a_restart_that_would_hit_containers_is_refused(net: Net) -> None:
    lab = net.lab
    lab.write_inventory(overlay_networks=[{**lab.networks[0], "mtu": 1400}])
    try:
        played = lab.play()
        assert played.code != 0
        assert "has to restart (the default network's mtu is 1450, not 1400)" in played.text
        assert "would stop these containers: c1" in played.text
        left = lab.play("-e", "overlay_docker_restart=never")
        assert left.code == 0 and "waits for a restart by you" in left.text
        assert "Up" in lab.sh("docker1", "docker ps --format '{{.Status}}'")
        alone = lab.converge("-e", "overlay_docker_restart=always", "--check")
        assert alone.output.count("PLAY [Restart Docker") == 2, "one host after the other"
        together = lab.converge("-e", "overlay_docker_restart=always", "-e", "overlay_batch=100%")
        assert together.output.count("PLAY [Restart Docker") == 1
        assert set(lab.converge().changed().values()) == {0}
        assert '"com.docker.network.driver.mtu":"1400"' in lab.sh(
            "docker1", "docker network inspect --format '{{json .Options}}' bridge"
        )
    finally:
        lab.write_inventory()
        lab.converge("-e", "overlay_docker_restart=always")
        for host in lab.hosts:
            lab.container(host)


def test_a_third_host_joins_in_front_and_leaves(net: Net) -> None:
    lab = net.lab
    golden = {host: lab.state(host) for host in lab.hosts}
    two = dict(lab.hosts)
    lab.hosts = {"docker0a": {"ansible_host": "192.168.65.5"}, **two}
    lab.up()
    records = lab.inventory / "group_vars/agentless_overlay/leases.yml"
    predicted = lab.converge("--check", "--diff", "--limit", "docker1,docker2")
    assert not records.exists(), "a check run recorded a lease"
    for host in two:
        # The plan's own diff, of the lease, is shown with the first host.
        found = {section: lines for section, lines in predicted.diffs[host].items() if section != str(records)}
        sizes = {section: len(lines) for section, lines in found.items()}
        assert sizes == {"firewall": 1, "neigh_entry": 1, "fdb_entry": 1, "route_entry": 1, "boot": 4}
        assert all(line.startswith("+") for lines in found.values() for line in lines)
    lab.converge()
    lease = re.search(r"docker0a: (10\.88\.\d+)\.0/24", records.read_text()).group(1)  # type: ignore[union-attr]
    assert "docker1" not in records.read_text()
    for host in two:
        state = lab.state(host)
        assert sorted(set(state["route"]) - set(golden[host]["route"])) == [
            f"{lease}.0/24 via {lease}.0 dev vxlan.88 proto 157 onlink "
        ]
        for key in ("neigh", "fdb"):
            assert len(state[key]) == 2 and set(golden[host][key]) < set(state[key])
        assert (
            "192.168.65.5" in state["nft"]
            and state["nft"].replace("192.168.65.5, ", "").replace(", 192.168.65.5", "") == golden[host]["nft"]
        )
        for key in ("link", "address", "subnet.env", "daemon.json", "docker-user"):
            assert state[key] == golden[host][key], key
    assert " 0% packet loss" in lab.sh("docker0a", f"ping -c 2 -i 0.2 {lab.container('docker1')}")
    assert set(lab.converge().changed().values()) == {0}

    # A recorded lease stays whatever comes before or after the host.
    lab.hosts = {"aaa": {"ansible_host": "192.168.65.77"}, **two, "docker0a": lab.hosts["docker0a"]}
    lab.write_inventory()
    shown = lab.converge("--check", "--diff", "--limit", "docker1")
    assert all(lease not in line for found in shown.diffs["docker1"].values() for line in found)

    lab.hosts = two
    lab.write_inventory()
    predicted = lab.converge("--check", "--diff")
    assert all(line.startswith("-") for host in two for found in predicted.diffs[host].values() for line in found)
    assert lab.converge("--diff").diffs == predicted.diffs
    assert {host: lab.state(host) for host in two} == golden
    assert "docker0a" in records.read_text(), "the lease is kept for the host's return"
    lab.script("down", "docker0a")
