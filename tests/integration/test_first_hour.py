# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The README's first hour, word for word, on booted machines that have nothing of it, and with other inventories than its own.

Where to put variables and how to write an inventory is up to the user. What he wrote is in force after the first run as before
it, a second run changes nothing, and a third host joins. The operator's machine knows how to log in from its ssh_config alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from labs import BIN, ROOT, Machines, Played, environment

SECTION = (ROOT / "README.md").read_text().partition("## The first hour\n")[2].partition("\nFrom then on:")[0]
FIRST, MORE = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", SECTION, re.S))
# What the README runs with the first hosts, and with one more.
RUNS, RUNS_MORE = (
    [re.sub(r" +#.*", "", line).split() for line in re.findall(r"^    (ansible-playbook .*)", part, re.M)]
    for part in SECTION.split("A host more")
)
CONVERGE = ["ansible-playbook", "playbooks/overlay.yml", "-i", "inventory/"]
OVERLAY = FIRST["all"]["children"]["overlay"]
# What a user has beside the networks, and fears to lose: who logs in, what may be done to containers, and something of his own.
SWITCHES = {
    "ansible_user": "deploy",
    "overlay_docker_restart": "when_idle",
    "overlay_max_remove": 1,
    "datacentre": "fra1",
}
ADDRESSES = {"web1": "192.168.1.11", "web2": "192.168.1.12", "db1": "192.168.1.21"}
SUITES = {"web1": "bookworm", "web2": "trixie", "db1": "forky"}
NOT_CHECKED_OUT = shutil.ignore_patterns(".git", ".venv", ".cache", ".*_cache", "__pycache__", "*.tar.gz", "overlay-report")


class Three(Machines):
    """The hosts of the README."""

    def __init__(self, inventory: Path) -> None:
        super().__init__(inventory)
        self.roots = {name: self.roots[suite] for name, suite in SUITES.items()}
        self.hosts = {name: {"ansible_host": address} for name, address in ADDRESSES.items()}

    def write_inventory(self, **_variables: Any) -> None:
        """Each test writes its own."""


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    made = Three(tmp_path_factory.mktemp("home"))
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def ssh_config(machines: Three) -> Path:
    """What every operator has: how to reach his hosts, here over a network that is in a namespace of its own."""
    path = machines.inventory / "ssh_config"
    path.write_text(
        f"""
Host db1.example.org
  HostName {ADDRESSES["db1"]}
Host *
  IdentityFile /var/lib/agentless-overlay-lab/{machines.prefix}/id
  ProxyCommand ip netns exec {machines.prefix}-underlay busybox nc %h %p
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  ControlMaster auto
  ControlPersist 20s
"""
    )
    return path


class Operator:
    """A user with a checkout, or a project that has the collection installed, and nothing else."""

    def __init__(self, home: Path, ssh_config: Path, is_installed: bool = False) -> None:
        self.home, self.project, self.is_installed = home, home / "project", is_installed
        kept = {name: value for name, value in environment().items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
        self.env = {
            **kept,
            "HOME": str(home),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "ANSIBLE_SSH_ARGS": f"-F {ssh_config}",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(home / "cp"),
        }
        if is_installed:
            self.project.mkdir()
            self.run("ansible-galaxy", "collection", "build", str(ROOT), "--output-path", str(home))
            (tarball,) = home.glob("agentless-overlay-*.tar.gz")
            assert f"`ansible-galaxy collection install {tarball.name}`" in SECTION
            self.run("ansible-galaxy", "collection", "install", str(tarball))
        else:
            shutil.copytree(ROOT, self.project, symlinks=True, ignore=NOT_CHECKED_OUT)
            shutil.rmtree(self.project / "inventory")
        self.inventory = self.project / "inventory"
        self.inventory.mkdir()

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=self.project, env=self.env, capture_output=True, text=True, check=False)

    def play(self, command: list[str]) -> Played:
        if self.is_installed:
            command = [re.sub(r"^playbooks/(\w+)\.yml$", r"agentless.overlay.\1", word) for word in command]
        played = Played.of(self.run(*command))
        assert played.code == 0, f"{' '.join(command)}\n{played.output}"
        # Where no ansible.cfg chooses the interpreter, Ansible says which it has found.
        warnings = re.findall(
            r"^\[(?:WARNING|DEPRECATION WARNING)\]: (?!Host '\w+' is using the discovered Python).*", played.output, re.M
        )
        assert not warnings, played.output
        return played

    def write(self, name: str, text: str) -> None:
        path = self.inventory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def variables(self) -> dict[str, dict[str, Any]]:
        """Those of each host by Ansible's own account, but for the record, which is ours."""
        found = json.loads(self.run("ansible-inventory", "-i", "inventory/", "--list").stdout)["_meta"]["hostvars"]
        return {
            host: {name: value for name, value in values.items() if name != "overlay_lease_records"}
            for host, values in found.items()
        }


def as_yaml(operator: Operator, hosts: dict[str, Any], variables: dict[str, Any]) -> None:
    """As the README has it."""
    inventory = {"all": {"children": {"overlay": {"hosts": hosts, "vars": variables}}}}
    operator.write("hosts.yml", yaml.safe_dump(inventory, sort_keys=False))


def as_group_file(operator: Operator, hosts: dict[str, Any], variables: dict[str, Any]) -> None:
    operator.write("hosts.yml", yaml.safe_dump({"all": {"children": {"overlay": {"hosts": hosts}}}}))
    operator.write("group_vars/overlay.yml", yaml.safe_dump(variables))


def as_folder_of_all(operator: Operator, hosts: dict[str, Any], variables: dict[str, Any]) -> None:
    operator.write("hosts.yml", yaml.safe_dump({"all": {"children": {"overlay": {"hosts": hosts}}}}))
    operator.write("group_vars/all/main.yml", yaml.safe_dump(variables))


def as_ini(operator: Operator, hosts: dict[str, Any], variables: dict[str, Any]) -> None:
    lines = [" ".join([host, *(f"{name}={value}" for name, value in values.items())]) for host, values in hosts.items()]
    told = [f"{name}={json.dumps(value) if isinstance(value, list) else value}" for name, value in variables.items()]
    operator.write("hosts", "\n".join(["[overlay]", *lines, "", "[overlay:vars]", *told, ""]))


def as_script(operator: Operator, hosts: dict[str, Any], variables: dict[str, Any]) -> None:
    told = json.dumps({"overlay": {"hosts": list(hosts), "vars": variables}, "_meta": {"hostvars": hosts}})
    operator.write("hosts.sh", f"#!/bin/sh\ncat <<'END'\n{told}\nEND\n")
    (operator.inventory / "hosts.sh").chmod(0o755)


# In a checkout each, and from a project of one's own with the one that most people have.
TRIED = [(write, False) for write in (as_yaml, as_group_file, as_folder_of_all, as_ini, as_script)] + [(as_group_file, True)]


@pytest.mark.parametrize(("write", "is_installed"), TRIED)
def test_first_hour(machines: Three, ssh_config: Path, tmp_path: Path, write: Any, is_installed: bool) -> None:
    operator = Operator(tmp_path, ssh_config, is_installed)
    variables = {**OVERLAY["vars"], **SWITCHES}
    # Every word of the README once, and where inventories differ what may go wrong with them.
    whole = is_installed or write is as_yaml
    write(operator, OVERLAY["hosts"], variables)
    before = operator.variables()
    assert {name: values["datacentre"] for name, values in before.items()} == {"web1": "fra1", "web2": "fra1"}
    runs = [operator.play(command) for command in (RUNS if whole else [CONVERGE, CONVERGE])]
    converged = [run for run, command in zip(runs, RUNS, strict=True) if command == CONVERGE] if whole else runs
    assert set(converged[0].changed()) == {"web1", "web2"} and min(converged[0].changed().values()) > 0
    assert converged[1].changed() == {"web1": 0, "web2": 0}
    assert operator.variables() == before

    write(operator, {**OVERLAY["hosts"], **MORE}, variables)
    more = operator.variables()
    for command in RUNS_MORE if whole else [CONVERGE]:
        operator.play(command)
    assert operator.play(CONVERGE).changed() == dict.fromkeys(ADDRESSES, 0)
    assert operator.variables() == more and {name: more[name] for name in before} == before

    reach_each_other(machines)
    torn = operator.play(["ansible-playbook", "playbooks/teardown.yml", "-i", "inventory/"])
    assert min(torn.changed().values()) > 0


def reach_each_other(machines: Three) -> None:
    for host in ADDRESSES:
        machines.run_container(host)
    try:
        assert machines.pairs(seconds=5) == []
    finally:
        for host in ADDRESSES:
            machines.sh(host, "docker rm --force c1")
