# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inventories as users write them, and what Ansible reads of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from labs import BIN, Lab, Played, run

NETWORKS = [{"name": "main", "cidr": "10.88.0.0/16", "vni": 88, "attach": "host"}]
FORMER = "group_vars/overlay/leases.yml"
NOW = "group_vars/agentless_overlay/leases.yml"


class Fresh(Lab):
    """An inventory as most are: variables of the group in group_vars/overlay.yml. No host has a pinned lease."""

    networks = NETWORKS

    def __init__(self, inventory: Path) -> None:
        super().__init__(inventory, docker=False)
        self.hosts = {f"web{number}": {"ansible_host": f"192.168.65.{number + 10}"} for number in (1, 2)}
        self.variables = inventory / "group_vars/overlay.yml"

    def write_inventory(self, **variables: Any) -> None:
        values = {"overlay_networks": self.networks, "overlay_docker_restart": "never", **self.connection(), **variables}
        self.write("group_vars/overlay.yml", yaml.safe_dump(values))
        self.write("hosts.yml", yaml.safe_dump({"all": {"children": {"overlay": {"hosts": self.hosts}}}}))

    def write(self, name: str, text: str) -> Path:
        path = self.inventory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def plan(self, *args: str) -> Played:
        """What has no tag plans, and no more."""
        return self.play("--tags", "none", "--diff", *args)

    def planned(self, *args: str) -> Played:
        played = self.plan(*args)
        assert played.code == 0, played.output
        return played

    def seen(self) -> Any:
        """What Ansible reads of a host's variables."""
        said = run(str(BIN / "ansible-inventory"), "-i", str(self.inventory), "--host", "web1").stdout
        return {name: value for name, value in json.loads(said).items() if name != "overlay_lease_records"}

    def link_variables(self, target: str) -> None:
        """Have the folder of the group's variables as a link, and nothing that it hides."""
        self.variables.unlink()
        (self.inventory / "group_vars/overlay").symlink_to(target)

    def files(self) -> dict[str, str]:
        """All but locks."""
        paths = [path for path in self.inventory.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
        return {str(path.relative_to(self.inventory)): path.read_text() for path in paths}

    def leases(self, name: str = NOW) -> dict[str, str]:
        found: dict[str, str] = yaml.safe_load((self.inventory / name).read_text())["overlay_lease_records"]["main"]
        return found


def records(**nodes: str) -> str:
    return yaml.safe_dump({"overlay_lease_records": {"main": nodes}})
