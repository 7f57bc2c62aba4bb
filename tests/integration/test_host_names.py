# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names that people give hosts: an address, capitals and dots, another script, a group's name; and addresses in capitals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from labs import Lab

# By the name in the inventory: the host of the lab, and what the inventory has of it. Its last part is that of its addresses.
NAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "fd65::3": ("h3", {}),
    "Web-2.Example.Org": ("h4", {"ansible_host": "FD65:0:0::4"}),
    "büro": ("h5", {"ansible_host": "fd65::5"}),
    "db": ("h6", {"ansible_host": "fd65::6"}),
}


class Named(Lab):
    networks = [{"name": "main", "cidr": "10.88.0.0/16", "vni": 88, "attach": "host"}]

    def __init__(self, inventory: Path) -> None:
        super().__init__(inventory, docker=False)
        self.hosts = {host: {"ansible_host": f"192.168.65.{host[1:]}"} for host, _values in NAMES.values()}

    def up(self) -> None:
        super().up()
        for host in self.hosts:
            self.sh(host, f"ip address add fd65::{host[1:]}/64 dev eth0 nodad")

    def write_inventory(self, **variables: Any) -> None:
        hosts = {
            name: {**values, **self.connection(), "overlay_netns_name": f"{self.prefix}-{host}"}
            for name, (host, values) in NAMES.items()
        }
        for name, (host, _values) in NAMES.items():
            hosts[name]["overlay_netns_pid_file"] = f"/var/lib/agentless-overlay-lab/{self.prefix}/{host}/pid"
        groups = {"overlay": {"hosts": hosts}, "db": {"hosts": {"db": {}}}}
        self.inventory.mkdir(exist_ok=True)
        text = yaml.safe_dump({"all": {"children": groups, "vars": {"overlay_networks": self.networks}}}, allow_unicode=True)
        (self.inventory / "hosts.yml").write_text(text)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Named]:
    made = Named(tmp_path_factory.mktemp("named") / "inventory")
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_each_is_a_host_like_any_other(named: Named) -> None:
    assert set(named.converge().changed()) == set(NAMES)
    assert set(named.converge().changed().values()) == {0}
    recorded = yaml.safe_load((named.inventory / "group_vars/agentless_overlay/leases.yml").read_text())
    assert set(recorded["overlay_lease_records"]["main"]) == set(NAMES)
    for name, (host, _values) in NAMES.items():
        sent = {entry["dst"] for entry in named.json(host, "bridge -j fdb show dev vxlan.88") if "dst" in entry}
        assert sent == {f"fd65::{other[1:]}" for other in named.hosts if other != host}, name
        for other in named.hosts:
            gateway = named.json(other, "ip -j -4 address show dev vxlan.88")[0]["addr_info"][0]["local"]
            named.sh(host, f"ping -c 1 -W 2 {gateway}")
    report = named.inventory.parent / "report"
    done = named.play("-e", f"overlay_report_dir={report}", playbook="playbooks/drift.yml")
    assert done.code == 0, done.output
    assert set(json.loads((report / "drift.json").read_text())["hosts"]) == set(NAMES)
    done = named.play("-e", "src=büro", "-e", "dst=FD65::3", playbook="playbooks/explain.yml")
    assert done.code == 0 and "REACHABLE" in done.text, done.output
    assert named.play("--limit", "Web-2.Example.Org").code == 0
