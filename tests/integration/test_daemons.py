# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people do to Docker between two runs, on booted machines with Docker 26.1 and 28.5. Told in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labs import Lab, Machines, Played

RESTART = "{ systemctl reset-failed docker.service docker.socket; systemctl restart docker; }"
MAIN = {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88}
WEB = {"name": "web", "cidr": "10.89.0.0/16", "vni": 89, "attach": {"docker_network": "web"}}
PATH = "/etc/docker/daemon.json"
SLEEP = "--stop-signal KILL overlay-lab sleep 1000000"
PASSWORD = "S3cret-of-the-proxy"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    made = Machines(tmp_path_factory.mktemp("inventory"))
    del made.hosts["bookworm"]
    try:
        made.up()
        yield made
    finally:
        made.down()


def put(lab: Machines, host: str, **keys: Any) -> None:
    """Keys in daemon.json beside those that are there; None takes one out."""
    found = json.loads(lab.sh(host, f"cat {PATH} 2>/dev/null || echo '{{}}'"))
    text = json.dumps({key: value for key, value in {**found, **keys}.items() if value is not None})
    lab.exec(host, "sh", "-c", f"mkdir -p /etc/docker; printf %s '{text}' >{PATH}")


def networks(lab: Machines, *items: dict[str, Any]) -> None:
    lab.networks = list(items)
    gone = {MAIN["name"], WEB["name"]} - {item["name"] for item in items}
    lab.write_inventory(overlay_remove=sorted(gone))


def report(lab: Machines) -> Path:
    return lab.inventory.parent / "report"


def drift(lab: Machines) -> Played:
    return lab.play("-e", f"overlay_report_dir={report(lab)}", playbook="playbooks/drift.yml")


def as_planned(lab: Machines) -> None:
    again = lab.play("--diff")
    assert again.code == 0 and set(again.changed().values()) == {0} and not any(again.diffs.values()), again.output
    told = drift(lab)
    assert told.code == 0 and "2 of 2 hosts as planned" in told.text, told.output


def started(lab: Machines, host: str) -> str:
    """When dockerd and its containers were started."""
    return lab.sh(host, "systemctl show -P ExecMainStartTimestampMonotonic docker; docker inspect -f {{.State.StartedAt}} shop")


# Before the first run.

OUTSIDE: list[tuple[str, dict[str, Any], str]] = [
    ("forky", {"default-gateway": "172.17.0.254"}, "sets default-gateway to 172.17.0.254, outside 10.88."),
    ("trixie", {"default-gateway": "172.17.0.254"}, "sets default-gateway to 172.17.0.254, outside 10.88."),
    ("forky", {"fixed-cidr": "172.17.0.0/24"}, "sets fixed-cidr to 172.17.0.0/24, outside 10.88."),
    ("forky", {"ipv6": True, "fixed-cidr-v6": "fd00:dead::/64"}, "fixed-cidr-v6 to fd00:dead::/64, outside fd00:88:"),
    (
        "trixie",
        {"ipv6": True, "default-gateway-v6": "fd00:dead::1"},
        "default-gateway-v6 to fd00:dead::1, outside fd00:",
    ),
]


@pytest.mark.parametrize(("host", "keys", "words"), OUTSIDE)
def test_an_owners_key_outside_the_lease_is_refused_before_anything_is_touched(
    lab: Machines, host: str, keys: dict[str, Any], words: str
) -> None:
    networks(lab, {**MAIN, "cidr": ["10.88.0.0/16", "fd00:88::/48"]})
    put(lab, host, **keys)
    text = lab.sh(host, f"cat {PATH}")
    try:
        for args in (("--check",), ()):
            refused = lab.play("--limit", host, *args)
            assert refused.code == 2 and words in refused.text, refused.output
            assert lab.sh(host, f"cat {PATH}; ls /etc/docker; ip -br link").count("vxlan") == 0
        assert lab.sh(host, f"cat {PATH}") == text
    finally:
        lab.sh(host, f"rm {PATH}")


def test_before_28_the_ipv6_range_is_ours_to_replace(lab: Machines) -> None:
    networks(lab, {**MAIN, "cidr": ["10.88.0.0/16", "fd00:88::/48"]})
    put(lab, "trixie", ipv6=True, **{"fixed-cidr-v6": "fd00:dead::/64"})
    lab.converge("--limit", "trixie")
    assert json.loads(lab.sh("trixie", f"cat {PATH}"))["fixed-cidr-v6"].startswith("fd00:88:")
    torn = lab.play("--limit", "trixie", playbook="playbooks/teardown.yml")
    assert torn.code == 0 and json.loads(lab.sh("trixie", f"cat {PATH}")) == {"ipv6": True, "fixed-cidr-v6": "fd00:dead::/64"}
    lab.sh("trixie", f"rm {PATH}; {RESTART}")


# Both families, and then one.


def docker0(lab: Lab, host: str) -> list[str]:
    """The IPv6 addresses of docker0, and subnets that the host has a route to there; less the kernel's own and the owner's."""
    addresses = lab.json(host, "ip -j -6 address show dev docker0 scope global")
    found = [one["local"] for item in addresses for one in item.get("addr_info", []) if one]
    routes = lab.json(host, "ip -j -6 route show dev docker0")
    found += [one["dst"] for one in routes]
    return [one for one in found if not one.startswith(("fe80", "fd00:dead"))]


def test_a_network_that_loses_ipv6_takes_it_from_docker0(lab: Machines) -> None:
    """Docker from 26 leaves the address there: the next one to get that lease would share it."""
    networks(lab, {**MAIN, "cidr": ["10.88.0.0/16", "fd00:88::/48"]})
    lab.converge()
    before = {host: docker0(lab, host) for host in lab.hosts}
    assert all(any(one.startswith("fd00:88:") for one in found) for found in before.values()), before
    as_planned(lab)
    networks(lab, MAIN)
    told = drift(lab)
    assert told.code == 2, told.output
    assert "which it is not to have any more" in (report(lab) / "drift.json").read_text()
    predicted = lab.play("--check", "--diff")
    assert {host: docker0(lab, host) for host in lab.hosts} == before
    done = lab.converge("--diff")
    assert predicted.changed() == done.changed()
    for host in lab.hosts:
        keys = json.loads(lab.sh(host, f"cat {PATH}"))
        assert not {"ipv6", "bip6", "fixed-cidr-v6"} & set(keys) and docker0(lab, host) == [], docker0(lab, host)
        assert lab.sh(host, "docker network inspect bridge -f '{{.EnableIPv6}}'").strip() == "false"
    as_planned(lab)


# Options that Docker gives to each network by itself.


def test_default_options_of_networks_are_no_difference(lab: Machines) -> None:
    bridge = "com.docker.network.bridge."
    defaults = {"bridge": {f"{bridge}enable_icc": "true", f"{bridge}gateway_mode_ipv4": "nat", "x.y": "z"}}
    for host in lab.hosts:
        put(lab, host, **{"default-network-opts": defaults})
        lab.sh(host, RESTART)
    networks(lab, MAIN, WEB)
    lab.converge()
    for host in lab.hosts:
        found = lab.json(host, "docker network inspect web")[0]
        assert found["Options"]["x.y"] == "z" and found["Options"][f"{bridge}enable_icc"] == "true"
    made = {host: lab.json(host, "docker network inspect web")[0]["Id"] for host in lab.hosts}
    for host in lab.hosts:
        lab.run_container(host, "w1", "web", publish=8082)
    as_planned(lab)
    assert made == {host: lab.json(host, "docker network inspect web")[0]["Id"] for host in lab.hosts}
    # Theirs come back with a network that is made anew for something of ours, and are no difference then either.
    for host in lab.hosts:
        lab.sh(host, "docker rm -f w1")
        put(lab, host, **{"default-network-opts": None})
        lab.sh(host, RESTART)
    networks(lab, MAIN, {**WEB, "mtu": 1400})
    lab.converge()
    for host in lab.hosts:
        options = lab.json(host, "docker network inspect web")[0]["Options"]
        assert options["com.docker.network.driver.mtu"] == "1400" and options["x.y"] == "z"
    assert set(lab.converge().changed().values()) == {0}
    # What follows begins at the beginning.
    torn = lab.play(playbook="playbooks/teardown.yml")
    assert torn.code == 0, torn.output


def test_firewalld_beside_docker_that_says_so(lab: Machines) -> None:
    """Docker 28.1 and later call it iptables+firewalld, which is the iptables backend."""
    lab.sh("forky", f"systemctl start firewalld && firewall-cmd --add-port 4789/udp && {RESTART}")
    assert lab.sh("forky", "docker info -f '{{.FirewallBackend.Driver}}'").strip() == "iptables+firewalld"
    networks(lab, MAIN, WEB)
    predicted = lab.play("--check", "--diff")
    assert predicted.code == 0, predicted.output
    done = lab.converge("--diff")
    assert predicted.changed() == done.changed()
    for host in lab.hosts:
        sections = {name for name in done.diffs[host] if "leases" not in name}
        assert {"docker_bip", "docker_network", "firewall", "vxlan_link"} <= sections
        assert all(predicted.diffs[host][name] == done.diffs[host][name] for name in sections)
    as_planned(lab)
    for host in lab.hosts:
        lab.run_container(host)
        lab.run_container(host, "w1", "web", publish=8082)
    assert lab.pairs(seconds=10) == [] and lab.pairs("web", "w1", seconds=5) == []
    lab.sh("forky", "firewall-cmd --reload")
    assert lab.pairs(seconds=10) == [] and lab.pairs("web", "w1", seconds=5) == []
    as_planned(lab)
    lab.sh("forky", f"systemctl stop firewalld; {RESTART}")
    assert lab.pairs(seconds=10) == [] and lab.pairs("web", "w1", seconds=5) == []
    as_planned(lab)


# A file that is touched.


def test_a_file_that_is_touched_asks_for_nothing(lab: Machines) -> None:
    lab.sh("forky", f"docker rm -f c1; docker network create app; docker run -d --name shop --network app {SLEEP}")
    before = started(lab, "forky")
    for harm in (
        f"touch {PATH}; systemctl reload docker",
        f"""sed -i '0,/{{/s//{{ "registry-mirrors": ["https:\\/\\/mirror.example"],/' {PATH}; systemctl reload docker""",
    ):
        lab.sh("forky", harm)
        as_planned(lab)
        always = lab.play("-e", "overlay_docker_restart=always")
        assert set(always.changed().values()) == {0} and started(lab, "forky") == before
    assert "mirror.example" in lab.sh("forky", "docker info")
    # The same where no container would show whether it is in force.
    lab.sh("forky", "docker rm -f shop w1; docker network rm app; sleep 1")
    lab.sh("forky", f"touch {PATH}")
    as_planned(lab)


def test_what_is_not_in_force_is_still_found(lab: Machines) -> None:
    """By a container on any network, whatever the file says."""
    lab.sh("forky", f"cp -p {PATH} /run/good")
    put(lab, "forky", **{"allow-direct-routing": None})
    lab.sh("forky", f"{RESTART}; docker network create app; docker run -d --name shop --network app {SLEEP}")
    lab.sh("forky", f"cp -p /run/good {PATH}; touch -d '1 hour ago' {PATH}")
    told = drift(lab)
    assert told.code == 2 and "allow-direct-routing is not in force" in (report(lab) / "drift.json").read_text(), told.output
    lab.converge("-e", "overlay_docker_restart=always")
    as_planned(lab)
    lab.sh("forky", "docker rm -f shop; docker network rm app")


# A Docker that its administrator has stopped.


def test_to_look_starts_no_docker_that_is_stopped(lab: Machines) -> None:
    lab.sh("forky", f"docker run -d --name keeper --restart always {SLEEP}")
    lab.sh("forky", "systemctl stop docker.service")
    assert lab.sh("forky", "systemctl is-active docker.socket").strip() == "active"
    way = ("-e", "src=forky", "-e", "dst=trixie")
    for items in ([MAIN, WEB], [MAIN]):
        networks(lab, *items)
        for playbook, args in (
            ("playbooks/drift.yml", ()),
            ("playbooks/overlay.yml", ("--check",)),
            ("playbooks/verify.yml", ()),
            ("playbooks/report.yml", ()),
            ("playbooks/explain.yml", way),
            ("playbooks/teardown.yml", ("--check",)),
        ):
            given = () if "explain" in playbook else ("--limit", "forky")
            played = lab.play("-e", f"overlay_report_dir={report(lab)}", *given, *args, playbook=playbook)
            state = lab.exec("forky", "systemctl", "is-active", "docker.service", check=False).stdout.strip()
            assert state == "inactive", (playbook, played.output)
            if playbook == "playbooks/drift.yml":
                # What needs Docker to be looked at is in the way; what does not is looked at.
                assert played.code == 2, played.output
                assert "dockerd is not running" in (report(lab) / "drift.json").read_text()
    networks(lab, MAIN, WEB)
    lab.sh("forky", f"{RESTART}; docker rm -f keeper")
    lab.converge()
    as_planned(lab)


# What else is in the file.


def test_what_others_keep_in_the_file_is_shown_to_nobody(lab: Machines) -> None:
    proxies = {"http-proxy": f"http://svc:{PASSWORD}@proxy.example:3128"}
    for host, indent in (("forky", "None"), ("trixie", "4")):
        code = f"import json; p = '{PATH}'; found = json.load(open(p)); found['proxies'] = {proxies}; "
        code += f"open(p, 'w').write(json.dumps(found, indent={indent}))"
        lab.exec(host, "python3", "-c", code)
        lab.sh(host, f"""chmod 600 {PATH}; sed -i 's/"mtu": 1450/"mtu": 1400/' {PATH}""")
    said = [lab.play("--check", "--diff", "-vvv").output]
    told = drift(lab)
    assert told.code == 2 and '"mtu": 1400' in said[0] and '"mtu": 1450' in said[0]
    lab.play("-e", f"overlay_report_dir={report(lab)}", playbook="playbooks/report.yml")
    said += [told.output, *(path.read_text() for path in report(lab).iterdir())]
    assert any("1400" in text for text in said[1:])
    said.append(lab.converge("--diff", "-vvv").output)
    said.append(lab.play("--diff", "-vvv", "--check", playbook="playbooks/teardown.yml").output)
    assert not [text for text in said if PASSWORD in text]
    for host in lab.hosts:
        assert PASSWORD in lab.sh(host, f"cat {PATH}") and lab.sh(host, f"stat -c %a {PATH}").strip() == "600"
    as_planned(lab)
