# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two hosts behind a router that gives each an address of its own outside, and one outside: one story, told in order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from labs import Lab
from routers import Site

OWN = {"docker1": "10.9.0.3", "docker2": "10.9.0.4", "docker3": "192.168.65.5"}
PUBLIC = {"docker1": "192.168.65.103", "docker2": "192.168.65.104"}
OWN6 = {"docker1": "fd09::3", "docker2": "fd09::4", "docker3": "fd65::5"}
PUBLIC6 = {"docker1": "fd65::103", "docker2": "fd65::104"}


class NatLab(Lab):
    networks = [
        {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88, "attach": {"docker_network": "demo"}},
        {"name": "six", "cidr": "10.90.0.0/16", "vni": 90, "underlay": "ipv6", "attach": "host"},
        {"name": "pair", "backend": "p2p", "cidr": "10.0.0.0/24", "vni": 91, "members": ["docker1", "docker3"]},
    ]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = NatLab(tmp_path_factory.mktemp("inventory"))
    made.hosts = {host: {"ansible_host": address} for host, address in OWN.items()}
    try:
        made.up()
        site = Site(made, "site", ["10.9.0.1/24", "fd09::1/64"], ["192.168.65.254/24", "fd65::254/64"])
        for host, address in OWN6.items():
            made.sh(host, f"ip address add {address}/64 dev eth0 nodad")
        site.take("docker1", "docker2")
        site.translate({OWN[host]: public for host, public in PUBLIC.items()})
        site.translate({OWN6[host]: public for host, public in PUBLIC6.items()})
        yield made
    finally:
        made.down()


def say(lab: Lab, **more: str) -> None:
    """Each host's own addresses, with the subnet that they are in, and what else there is."""
    for host, values in lab.hosts.items():
        values["overlay_underlay_ip"] = [f"{OWN[host]}/24", f"{OWN6[host]}/64"]
    lab.write_inventory(**more)


def container(lab: Lab, host: str) -> str:
    if lab.exec(host, "docker", "container", "inspect", "c1", check=False).returncode:
        lab.sh(host, "docker run --detach --stop-signal KILL --network demo --name c1 overlay-lab sleep 1000000")
    template = '{{(index .NetworkSettings.Networks "demo").IPAddress}}'
    return lab.exec(host, "docker", "container", "inspect", "-f", template, "c1").stdout.strip()


def answers(lab: Lab, host: str, address: str) -> bool:
    return not lab.exec(host, "docker", "exec", "c1", "ping", "-c", "1", "-W", "2", address, check=False).returncode


def test_own_addresses_do_not_reach_through_the_nat(lab: Lab) -> None:
    say(lab, overlay_verify="never")
    assert lab.play().code == 0
    addresses = {host: container(lab, host) for host in lab.hosts}
    assert answers(lab, "docker1", addresses["docker2"])
    assert not answers(lab, "docker1", addresses["docker3"]) and not answers(lab, "docker3", addresses["docker1"])


def test_announced_addresses_do(lab: Lab) -> None:
    for host in PUBLIC:
        lab.hosts[host]["overlay_public_ip"] = [PUBLIC[host], PUBLIC6[host]]
    say(lab)
    predicted = lab.play("--check", "--diff")
    done = lab.converge("--diff")
    assert predicted.diffs == done.diffs and done.changed() == {"docker1": 0, "docker2": 0, "docker3": 1}
    addresses = {host: container(lab, host) for host in lab.hosts}
    for host in lab.hosts:
        for far, address in addresses.items():
            assert host == far or answers(lab, host, address), f"{host} {far}"
    assert set(lab.converge().changed().values()) == {0}


def test_who_is_sent_to_and_who_may_send(lab: Lab) -> None:
    outside = {"demo": list(PUBLIC.values()), "six": list(PUBLIC6.values())}
    inside = {"demo": [OWN["docker2"], OWN["docker3"]], "six": [OWN6["docker2"], OWN6["docker3"]]}
    for host, wanted in (("docker3", outside), ("docker1", inside)):
        for device, network, number in (("vxlan.88", "demo", "vteps_88"), ("vxlan.90", "six", "vteps_90_v6")):
            fdb = lab.json(host, f"bridge -j fdb show dev {device}")
            assert sorted(one["dst"] for one in fdb if "dst" in one) == wanted[network]
            sets = lab.json(host, f"nft -j list set inet agentless_overlay {number}")["nftables"]
            assert sorted(one["set"]["elem"] for one in sets if "set" in one)[0] == wanted[network]
    data = {host: lab.json(host, "ip -j -d link show")[:] for host in lab.hosts}
    local = {
        (host, link["ifname"]): link["linkinfo"]["info_data"]
        for host, links in data.items()
        for link in links
        if link.get("linkinfo", {}).get("info_kind") == "vxlan"
    }
    for host in lab.hosts:
        assert local[host, "vxlan.88"]["local"] == OWN[host] and local[host, "vxlan.90"]["local6"] == OWN6[host]
    assert local["docker3", "vxlan.91"]["remote"] == PUBLIC["docker1"]
    assert local["docker1", "vxlan.91"]["remote"] == OWN["docker3"]


def test_packets_have_the_other_address_on_each_side(lab: Lab) -> None:
    far = container(lab, "docker3")
    udp = "udp dst port 4789 and src host"
    ends = f"{udp} {PUBLIC['docker1']} and dst host {OWN['docker3']}", f"{udp} {OWN['docker3']} and dst host {OWN['docker1']}"
    with lab.hears("docker3", "eth0", ends[0]) as there, lab.hears("docker1", "eth0", ends[1]) as back:
        assert answers(lab, "docker1", far)
    assert "VXLAN" in "".join(there) and "VXLAN" in "".join(back)
    # Those of one site do not go by its router.
    with lab.hears("docker2", "eth0", f"{udp} {OWN['docker1']} and dst host {OWN['docker2']}") as near:
        assert answers(lab, "docker1", container(lab, "docker2"))
    assert "VXLAN" in "".join(near)


def test_those_who_look_know_it(lab: Lab) -> None:
    verified = lab.play("-e", f"overlay_report_dir={lab.inventory.parent}/report", playbook="playbooks/verify.yml")
    assert verified.code == 0, verified.output
    explained = lab.play("-e", "src=docker3/c1", "-e", "dst=docker1/c1", playbook="playbooks/explain.yml")
    assert explained.code == 0 and "REACHABLE, both ways" in explained.text, explained.output
    assert f"{PUBLIC['docker1']} by eth0, which a NAT makes {OWN['docker1']} of docker1" in explained.text
    assert lab.play("-e", f"overlay_report_dir={lab.inventory.parent}/report", playbook="playbooks/drift.yml").code == 0
    captured = lab.play("-e", "src=docker1", "-e", "dst=docker3", "-e", "network=demo", playbook="playbooks/capture.yml")
    assert captured.code == 0 and PUBLIC["docker1"] in captured.text and OWN["docker1"] in captured.text, captured.output


def test_what_goes_wrong_beyond_the_nat_is_named(lab: Lab) -> None:
    rules = "table inet block { chain in { type filter hook input priority -5; ip saddr 192.168.65.5 udp dport 4789 drop; }; }"
    lab.sh("docker1", f"nft '{rules}'")
    folder = f"overlay_report_dir={lab.inventory.parent}/report"
    played = lab.play("-e", folder, "-e", "overlay_verify_seconds=4", playbook="playbooks/verify.yml")
    lab.sh("docker1", "nft delete table inet block")
    assert played.code == 2 and "docker1 drops them" in played.text, played.output
