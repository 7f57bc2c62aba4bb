# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What discover.yml finds where hosts do not see each other as their addresses say; of hosts in namespaces, without Docker."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from labs import BIN, Lab, Played, run
from routers import Site

HOSTS = {"web1": "192.168.65.3", "web2": "192.168.65.4", "db1": "10.9.0.3", "db2": "10.9.0.4"}
PUBLIC = {"db1": "192.168.65.103", "db2": "192.168.65.104"}
WRITE = ("-e", "overlay_discover_write=true")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("inventory"), docker=False)
    made.networks = [{"name": "demo", "cidr": "10.88.0.0/16", "vni": 88, "attach": "host"}]
    made.hosts = {host: {"ansible_host": address} for host, address in HOSTS.items()}
    try:
        made.up()
        site = Site(made, "site", ["10.9.0.1/24"], ["192.168.65.254/24"])
        site.take("db1", "db2")
        site.translate({HOSTS[host]: public for host, public in PUBLIC.items()})
        yield made
    finally:
        made.down()


def discover(lab: Lab, *args: str, **hosts: dict[str, Any]) -> Played:
    """With other variables of some hosts; db1 and db2 are reached as from outside, unless those say otherwise."""
    lab.hosts = {host: {"ansible_host": PUBLIC.get(host, address), **hosts.get(host, {})} for host, address in HOSTS.items()}
    lab.write_inventory()
    return lab.play(*args, playbook="playbooks/discover.yml")


def said(played: Played) -> str:
    """Without the quotes that YAML needs."""
    return played.text.replace("''", "'")


def found(lab: Lab) -> dict[str, dict[str, Any]]:
    file = lab.inventory / "group_vars/agentless_overlay/discovered.yml"
    values: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())["overlay_discovered"]
    file.unlink()
    return values


def underlay(lab: Lab, command: str) -> None:
    run("nsenter", f"--net=/run/netns/{lab.prefix}-underlay", "sh", "-c", command)


def test_hosts_of_one_subnet_that_do_not_see_each_other_are_named(lab: Lab) -> None:
    underlay(lab, "bridge link set dev web1 isolated on; bridge link set dev web2 isolated on")
    try:
        played = discover(lab, *WRITE)
    finally:
        underlay(lab, "bridge link set dev web1 isolated off; bridge link set dev web2 isolated off")
    assert played.code == 2, played.output
    assert "Two hosts do not answer each other's pings: web1 and web2." in said(played)
    apart = "on one subnet, 192.168.65.0/24, and do not see each other directly: web1 and web2 (not at all)"
    assert apart in said(played), played.output
    values = found(lab)
    assert values["web1"]["overlay_underlay_ip"] == "192.168.65.3" and values["db1"]["overlay_underlay_ip"] == "10.9.0.3/24"


def test_a_firewall_that_drops_pings_is_no_wall_on_one_wire(lab: Lab) -> None:
    lab.sh("web2", "nft 'table inet quiet { chain in { type filter hook input priority 0; icmp type echo-request drop; }; }'")
    played = discover(lab, *WRITE)
    lab.sh("web2", "nft delete table inet quiet")
    # The two behind the NAT are no neighbours of it, and nothing else tells them that it is there.
    assert played.code == 2 and "pairs of hosts do not answer each other's pings: db1 and web2, db2 and web2." in said(played)
    assert "do not see each other directly" not in said(played), played.output
    assert found(lab)["web2"]["overlay_underlay_ip"] == "192.168.65.4/24"


def test_hosts_that_go_by_a_router_to_their_own_subnet_are_named(lab: Lab) -> None:
    for host, far in (("web1", "192.168.65.4"), ("web2", "192.168.65.3")):
        lab.sh(host, f"ip route add {far}/32 via 192.168.65.254")
    played = discover(lab, *WRITE)
    for host, far in (("web1", "192.168.65.4"), ("web2", "192.168.65.3")):
        lab.sh(host, f"ip route del {far}/32 via 192.168.65.254")
    assert played.code == 0 and "do not see each other directly: web1 and web2 (by a router)" in said(played), played.output
    assert found(lab)["web2"]["overlay_underlay_ip"] == "192.168.65.4"


def test_another_site_with_the_same_addresses_is_no_neighbour(lab: Lab) -> None:
    """Somebody else has db1's address where web1 is: web1 reaches that, and not db1."""
    lab.sh("web2", "ip address add 10.9.0.3/24 dev eth0")
    lab.sh("web1", "ip address add 10.9.0.77/24 dev eth0")
    played = discover(lab, *WRITE)
    lab.sh("web2", "ip address del 10.9.0.3/24 dev eth0")
    lab.sh("web1", "ip address del 10.9.0.77/24 dev eth0")
    assert played.code == 0, played.output
    values = found(lab)
    assert values["db1"]["overlay_public_ip"] == PUBLIC["db1"] and values["web2"]["overlay_underlay_ip"] == "192.168.65.4/24"


def test_less_passes_than_the_devices_take(lab: Lab) -> None:
    router = f"{lab.prefix}-site"
    run("ip", "-n", router, "link", "set", "in0", "mtu", "1300")
    underlay(lab, "ip link set site.in0 mtu 1300")
    try:
        played = discover(lab, *WRITE)
        # The pings let the kernel learn of it, which tells it with the way.
        asked = lab.module("web1", "overlay_discover", targets=[PUBLIC["db1"]])
        learnt = lab.json("web1", f"ip -j route get {PUBLIC['db1']}")[0]["metrics"][0]["mtu"]
        assert asked["ways"][PUBLIC["db1"]]["mtu"] == learnt == 1300
    finally:
        run("ip", "-n", router, "link", "set", "in0", "mtu", "1500")
        underlay(lab, "ip link set site.in0 mtu 1500")
    assert played.code == 0 and "Less passes than the devices take, 1300 bytes at the least, between db1 and web1" in said(
        played
    ), played.output
    assert {host: one.get("overlay_underlay_mtu") for host, one in found(lab).items()} == dict.fromkeys(HOSTS, 1300)


def test_a_nat_that_only_the_operator_is_behind_needs_no_public_address(lab: Lab) -> None:
    """All hosts are inside, and reach each other as they are."""
    played = discover(lab, *WRITE, "--limit", "db1,db2")
    assert played.code == 0 and "so that it needs no overlay_public_ip" in said(played), played.output
    assert all("overlay_public_ip" not in one for one in found(lab).values())


def test_some_hosts_alone_do_not_undo_what_all_have_shown(lab: Lab) -> None:
    assert discover(lab, *WRITE).code == 0
    played = discover(lab, *WRITE, "--limit", "db1,db2")
    assert set(played.changed().values()) == {0} and "Not all hosts of the group told something" in said(played), played.output
    assert {host: found_one.get("overlay_public_ip") for host, found_one in found(lab).items() if host in PUBLIC} == PUBLIC


def test_a_jump_host_is_no_public_address(lab: Lab) -> None:
    both = {"ansible_host": PUBLIC["db1"]}
    played = discover(lab, *WRITE, db1=both, db2={**both, "ansible_port": 2222})
    assert "several hosts have that one, as behind a jump host or by ports" in said(played), played.output
    assert all("overlay_public_ip" not in one for one in found(lab).values())


def test_names_are_resolved_once_on_the_controller(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n192.168.65.3 web1.example.org\n")
    lab.hosts = {host: {"ansible_host": PUBLIC.get(host, address)} for host, address in HOSTS.items()}
    lab.hosts["web1"]["ansible_host"], lab.hosts["web2"]["ansible_host"] = "web1.example.org", "web2.example.invalid"
    lab.write_inventory()
    command = f"mount --bind {tmp_path}/hosts /etc/hosts; exec ansible-playbook playbooks/discover.yml -i {lab.inventory} "
    path = f"{BIN}:{os.environ['PATH']}"
    done = run("unshare", "--mount", "sh", "-c", command + " ".join(WRITE), check=False, PATH=path)
    played = Played.of(done)
    assert played.code == 0, played.output
    assert re.search(r"- web1 +192.168.65.3/24 +eth0 +1500 +web1.example.org=192.168.65.3 ", played.output), played.output
    assert re.search(r"- web2 +192.168.65.4/24 +eth0 +1500 +web2.example.invalid ", played.output), played.output
    assert "Not resolved on this machine: web2.example.invalid." in said(played)
    file = lab.inventory / "group_vars/agentless_overlay/discovered.yml"
    assert yaml.safe_load(file.read_text())["overlay_discovered"]["web2"]["overlay_underlay_ip"] == "192.168.65.4/24"
    # What was refused before is planned now, as the record says what the name does not.
    planned = lab.play("--check", "--diff")
    assert planned.code == 0 and "+vxlan.88" in planned.output, planned.output
    file.unlink()
    refused = lab.play("--check")
    problem = "web1: overlay_underlay_ip = web1.example.org: not an IP address"
    assert refused.code == 2 and problem in refused.text.replace("'", ""), refused.output


def test_ipv6_where_all_have_it(lab: Lab) -> None:
    for host, address in (("web1", "fd65::3"), ("web2", "fd65::4")):
        lab.sh(host, f"ip address add {address}/64 dev eth0 nodad")
    played = discover(lab, *WRITE, "--limit", "web1,web2")
    assert played.code == 0, played.output
    assert found(lab)["web1"] == {"overlay_underlay_ip": ["192.168.65.3/24", "fd65::3/64"], "overlay_underlay_dev": "eth0"}
    # Not where some lack it, and all of it where the inventory knows nothing else.
    discover(lab, *WRITE)
    assert found(lab)["web1"]["overlay_underlay_ip"] == "192.168.65.3/24"
    six = {"web1": {"ansible_host": "[FD65::3]"}, "web2": {"ansible_host": "fd65::4"}}
    discover(lab, *WRITE, "--limit", "web1,web2", **six)
    assert found(lab)["web1"]["overlay_underlay_ip"] == ["192.168.65.3/24", "fd65::3/64"]
    for host in ("web1", "web2"):
        lab.sh(host, "ip -6 address flush dev eth0 scope global")


def test_what_cannot_be_written_or_read_is_exit_code_4(lab: Lab) -> None:
    file = lab.inventory / "group_vars/agentless_overlay/discovered.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("overlay_discovered: {web1: {overlay_networks: []}}\n")
    played = discover(lab, *WRITE)
    assert played.code == 4 and "web1: overlay_networks: only overlay_underlay_ip" in said(played), played.output
    refused = lab.play("--check")
    assert refused.code == 2 and "No host was touched" in said(refused) and "run playbooks/discover.yml again" in said(refused)
    file.unlink()
    hosts = ",".join(f"{host}," for host in HOSTS)
    played = Played.of(
        run(str(BIN / "ansible-playbook"), "playbooks/discover.yml", "-i", hosts, *WRITE, check=False, ANSIBLE_TIMEOUT="2")
    )
    assert played.code == 4 and "group overlay" in said(played)
