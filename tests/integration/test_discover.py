# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Three booted machines of which an inventory knows nothing but where Ansible reaches them, told in order.

One has two interfaces, one an MTU of 1400, one is behind a router that gives it another address (1:1 NAT).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from labs import BIN, Machines, Played, run
from routers import Site

PUBLIC = "192.168.66.105"
FOUND: dict[str, dict[str, Any]] = {
    "bookworm": {"overlay_underlay_ip": "192.168.66.3/24", "overlay_underlay_dev": "eth0"},
    "forky": {"overlay_underlay_ip": "10.9.0.5/24", "overlay_underlay_dev": "eth0", "overlay_public_ip": PUBLIC},
    "trixie": {"overlay_underlay_ip": "192.168.66.4/24", "overlay_underlay_dev": "eth0", "overlay_underlay_mtu": 1400},
}
WRITE = ("-e", "overlay_discover_write=true")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    made = Machines(tmp_path_factory.mktemp("inventory"))
    for host, address in (("bookworm", "192.168.66.3"), ("trixie", "192.168.66.4"), ("forky", "10.9.0.5")):
        made.hosts[host]["ansible_host"] = address
    try:
        made.up()
        site = Site(made, "site", ["10.9.0.1/24"], ["192.168.66.254/24"])
        site.take("forky")
        site.translate({"10.9.0.5": PUBLIC})
        made.hosts["forky"]["ansible_host"] = PUBLIC
        made.sh(
            "bookworm", "ip link add eth1 type veth peer eth1p; ip address add 172.30.0.3/24 dev eth1; ip link set eth1p up"
        )
        made.sh("bookworm", "ip link set eth1 up")
        made.sh("trixie", "ip link set eth0 mtu 1400")
        made.write_inventory()
        yield made
    finally:
        made.down()


def discover(lab: Machines, *args: str) -> Played:
    return lab.play(*args, playbook="playbooks/discover.yml")


def rows(played: Played) -> dict[str, list[str]]:
    """The table's cells by host."""
    found = [line.split() for line in re.findall(r"^ +- +(\S+(?:  +\S+){8})$", played.output, re.M)]
    assert found and found[0][:4] == ["host", "address", "device", "MTU"], played.output
    # Aligned: each column begins at one place.
    lines = re.findall(r"^ +- +\S+(?:  +\S+){8}$", played.output, re.M)
    starts = [[match.start() for match in re.finditer(r"(?<=  )\S", line)] for line in lines]
    assert len({tuple(one) for one in starts}) == 1, played.output
    return {cells[0]: cells[1:] for cells in found[1:]}


def record(lab: Machines) -> Path:
    return lab.inventory / "group_vars/agentless_overlay/discovered.yml"


def variables(lab: Machines) -> Any:
    return json.loads(run(str(BIN / "ansible-inventory"), "-i", str(lab.inventory), "--list").stdout)


def test_the_table_is_right_before_anything_is_installed(lab: Machines) -> None:
    packages = "/usr/lib/python3/dist-packages"
    lab.sh("trixie", f"mv {packages}/pyroute2 /root/")
    lab.sh("bookworm", "docker run --detach --stop-signal KILL --name c1 overlay-lab sleep 1000000")
    played = discover(lab)
    lab.sh("trixie", f"mv /root/pyroute2 {packages}/")
    assert played.code == 0 and set(played.changed().values()) == {0}, played.output
    versions = {host: lab.sh(host, "docker version -f '{{.Server.Version}}'").strip() for host in lab.hosts}
    assert rows(played) == {
        "bookworm": ["192.168.66.3/24", "eth0", "1500", "192.168.66.3", "-", versions["bookworm"], "yes", "1"],
        "forky": ["10.9.0.5/24", "eth0", "1500", PUBLIC, PUBLIC, versions["forky"], "yes", "-"],
        "trixie": ["192.168.66.4/24", "eth0", "1400", "192.168.66.4", "-", versions["trixie"], "?", "-"],
    }
    for text in (
        f"Ansible reaches forky ({PUBLIC}) by an address that the host itself does not have: a NAT (1:1)",
        "MTUs differ: 1400 on trixie (eth0); 1500 on bookworm (eth0), forky (eth0).",
        "bookworm (192.168.66.3, not 172.30.0.3): eth0 is used, and not eth1, as its packets to the other hosts leave by it",
        "Docker has to restart for its address on bookworm, forky.",
        "With containers, which a restart stops and starts: bookworm (c1).",
        "not known on trixie: pyroute2 is missing there; run playbooks/prepare.yml",
        "Nothing was written; -e overlay_discover_write=true records it",
    ):
        assert text in played.text, played.output
    assert not record(lab).exists() and not (lab.inventory / "group_vars/agentless_overlay/leases.yml").exists()


def test_it_is_written_once_and_hides_nothing(lab: Machines) -> None:
    before = variables(lab)
    predicted = discover(lab, *WRITE, "--check", "--diff")
    assert predicted.code == 0 and sum(predicted.changed().values()) == 1 and not record(lab).exists(), predicted.output
    done = discover(lab, *WRITE, "--diff")
    assert done.code == 0 and done.diffs == predicted.diffs and sum(done.changed().values()) == 1, done.output
    assert yaml.safe_load(record(lab).read_text()) == {"overlay_discovered": FOUND}
    assert variables(lab) == before
    text = record(lab).read_text()
    again = discover(lab, *WRITE, "--diff")
    assert again.code == 0 and set(again.changed().values()) == {0} and not again.diffs, again.output
    assert record(lab).read_text() == text


def test_what_the_owner_has_set_goes_before(lab: Machines) -> None:
    lab.hosts["trixie"]["overlay_underlay_mtu"] = 1380
    lab.write_inventory()
    played = discover(lab, *WRITE)
    assert (
        played.code == 0
        and "trixie: overlay_underlay_mtu is 1380 in the inventory, which counts; found was 1400" in played.text
    )
    kept = {key: value for key, value in FOUND["trixie"].items() if key != "overlay_underlay_mtu"}
    assert yaml.safe_load(record(lab).read_text()) == {"overlay_discovered": {**FOUND, "trixie": kept}}
    planned = lab.play("--check", "--diff", "--limit", "trixie", "-e", "overlay_docker_restart=never")
    assert planned.code == 0 and '+"mtu": 1330' in planned.diffs["trixie"]["docker_bip"], planned.output
    del lab.hosts["trixie"]["overlay_underlay_mtu"]
    lab.write_inventory()


def test_who_does_not_answer_keeps_what_there_is(lab: Machines) -> None:
    record(lab).write_text(yaml.safe_dump({"overlay_discovered": {"trixie": FOUND["trixie"]}}))
    lab.hosts["trixie"]["ansible_port"] = 2222
    lab.write_inventory()
    played = discover(lab, *WRITE)
    del lab.hosts["trixie"]["ansible_port"]
    lab.write_inventory()
    assert played.code == 4 and "Nothing is known of trixie" in played.text, played.output
    assert rows(played)["trixie"] == ["?", "?", "?", "192.168.66.4", "?", "?", "?", "?"]
    assert rows(played)["forky"][:5] == ["10.9.0.5/24", "eth0", "1500", PUBLIC, PUBLIC]
    assert yaml.safe_load(record(lab).read_text()) == {"overlay_discovered": FOUND}


def test_an_overlay_made_of_it_works(lab: Machines) -> None:
    allowed = ("overlay_docker_restart=always", "overlay_allow_renumber=true", "overlay_batch=100%")
    done = lab.play(*(word for one in allowed for word in ("-e", one)))
    assert done.code == 0, done.output
    verified = lab.play("-e", f"overlay_report_dir={lab.inventory.parent}/report", playbook="playbooks/verify.yml")
    assert verified.code == 0, verified.output
    for host, local in (("forky", "10.9.0.5"), ("bookworm", "192.168.66.3")):
        link = lab.json(host, "ip -j -d link show dev vxlan.88")[0]
        assert link["linkinfo"]["info_data"]["local"] == local and link["mtu"] == 1350
    fdb = lab.json("bookworm", "bridge -j fdb show dev vxlan.88")
    assert sorted(one["dst"] for one in fdb if "dst" in one) == ["192.168.66.105", "192.168.66.4"]
    address = lab.address("bookworm")
    assert "1 received" in lab.sh("forky", f"ping -c 1 -W 2 -M do -s 1322 {address}")


def test_it_finds_the_same_beside_the_overlay(lab: Machines) -> None:
    played = discover(lab, *WRITE, "--diff")
    assert played.code == 0 and set(played.changed().values()) == {0}, played.output
    assert [cells[6] for cells in rows(played).values()] == ["-", "-", "-"] and "Docker has to restart" not in played.text
    assert yaml.safe_load(record(lab).read_text()) == {"overlay_discovered": FOUND}
