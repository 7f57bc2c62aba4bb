# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ansible-builder would install for the built collection, and that a controller with no more than that works."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import yaml
from labs import BIN, run


def test_what_is_declared_is_enough(tmp_path: Path) -> None:
    path = {"ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections")}
    galaxy = (str(BIN / "ansible-galaxy"), "collection")
    run(*galaxy, "build", "--output-path", str(tmp_path))
    run(
        *galaxy,
        "install",
        "--offline",
        "--collections-path",
        path["ANSIBLE_COLLECTIONS_PATH"],
        *map(str, tmp_path.glob("*.gz")),
        **path,
    )
    found = yaml.safe_load(run(str(BIN / "ansible-builder"), "introspect", path["ANSIBLE_COLLECTIONS_PATH"]).stdout)
    assert [line.split()[0] for line in found["python"]] == ["netaddr>=0.8", "jmespath>=1.0"]
    assert {line.split()[0] for line in found["system"]} == {"openssh-client", "openssh-clients"}

    # An environment of its own with just that.
    python = tmp_path / "venv/bin/python"
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    declared = [line.split()[0] for line in found["python"]]
    run(str(python), "-m", "pip", "install", "--quiet", f"ansible-core=={version('ansible-core')}", *declared)
    inventory = tmp_path / "inventory.yml"
    network = {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88, "members": "[?labels.zone == 'a']"}
    hosts = {
        f"h{number}": {"ansible_host": f"192.168.65.{number}", "overlay_labels": {"zone": zone}}
        for number, zone in enumerate("aab", 1)
    }
    values = {"overlay_networks": [network], "overlay_plan_file": "group_vars/agentless_overlay/plan.json"}
    inventory.write_text(yaml.safe_dump({"overlay": {"hosts": hosts, "vars": values}}))
    playbook = (str(python.parent / "ansible-playbook"), "agentless.overlay.plan", "-i", str(inventory))
    done = run(*playbook, ANSIBLE_CONFIG=str(tmp_path / "none.cfg"), **path)
    assert "1 networks, 3 hosts" in done.stdout
    plan = json.loads((tmp_path / "group_vars/agentless_overlay/plan.json").read_text())["plan"]
    assert list(plan["networks"]["demo"]["members"]) == ["h1", "h2"]
    refused = run(
        *playbook,
        "-e",
        "overlay_plan_file=/proc/none/plan.json",
        check=False,
        ANSIBLE_CONFIG=str(tmp_path / "none.cfg"),
        **path,
    )
    assert (
        refused.returncode == 2 and "the plan cannot be written" in refused.stdout and "Set overlay_plan_file" in refused.stdout
    )
