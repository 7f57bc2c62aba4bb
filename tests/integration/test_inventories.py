# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every kind of inventory has a place for its records, and what Ansible reads of it is the same before and after."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from inventories import NETWORKS, NOW, Fresh, records
from labs import BIN, ROOT, Played, run, run_playbook

VALUES = {"overlay_networks": NETWORKS, "overlay_docker_restart": "never", "overlay_max_remove": 0, "ansible_user": "deploy"}
HOSTS = {"web1": {"ansible_host": "192.168.65.11"}, "web2": {"ansible_host": "192.168.65.12"}}
HEAD = "overlay_lease_records:\n  main:\n"
INI = "[overlay]\nweb1 ansible_host=192.168.65.11\nweb2 ansible_host=192.168.65.12\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def group(hosts: dict[str, Any], **variables: Any) -> str:
    return yaml.safe_dump({"overlay": {"hosts": hosts, "vars": variables}})


@dataclass
class Used:
    """An inventory, as C(-i) and settings name it."""

    args: list[str]
    env: dict[str, str]

    def read(self) -> tuple[Any, Any]:
        """All that Ansible reads of it: groups, hosts and variables; and of one host alone."""
        found = []
        for what in (("--list",), ("--host", "web1")):
            said = run(str(BIN / "ansible-inventory"), *self.args, *what, **self.env)
            assert "WARNING" not in said.stderr, said.stderr
            found.append(json.loads(said.stdout))
        return found[0], found[1]

    def plan(self, *args: str) -> Played:
        return Played.of(run_playbook("playbooks/overlay.yml", *self.args, "--tags", "none", *args, **self.env))


def use(*sources: Path | str) -> Used:
    return Used([part for source in sources for part in ("-i", str(source))], {})


def write_folder(base: Path) -> Used:
    write(base / "inv/hosts.yml", group(HOSTS))
    write(base / "inv/group_vars/overlay.yml", yaml.safe_dump(VALUES))
    return use(base / "inv")


def write_file(base: Path) -> Used:
    write_folder(base)
    return use(base / "inv/hosts.yml")


def write_ini(base: Path) -> Used:
    write(base / "inv/hosts.ini", INI)
    write(base / "inv/group_vars/all/main.yml", yaml.safe_dump(VALUES))
    return use(base / "inv/hosts.ini")


def write_files(base: Path) -> Used:
    """Two beside each other, each with a host."""
    write(base / "inv/one.yml", group({"web1": HOSTS["web1"]}, **VALUES))
    write(base / "inv/two.yml", group({"web2": HOSTS["web2"]}))
    return use(base / "inv/one.yml", base / "inv/two.yml")


def write_parts(base: Path) -> Used:
    """A folder whose hosts are in folders of its own."""
    write(base / "inv/one/hosts.yml", group({"web1": HOSTS["web1"]}))
    write(base / "inv/two/hosts.yml", group({"web2": HOSTS["web2"]}))
    write(base / "inv/group_vars/overlay.yml", yaml.safe_dump(VALUES))
    return use(base / "inv")


def write_folder_and_file(base: Path) -> Used:
    """Variables come from a file elsewhere, and hosts from a folder."""
    common = write(base / "common.yml", yaml.safe_dump({"all": {"vars": VALUES}}))
    write(base / "inv/hosts.yml", group(HOSTS))
    return use(base / "inv", common)


def write_script(base: Path) -> Used:
    said = json.dumps({"overlay": {"hosts": list(HOSTS)}, "_meta": {"hostvars": HOSTS}})
    write(base / "inv/hosts.sh", f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n").chmod(0o755)
    write(base / "inv/group_vars/overlay.yml", yaml.safe_dump(VALUES))
    return use(base / "inv/hosts.sh")


def write_generator(base: Path) -> Used:
    """A plugin makes the hosts, as those of clouds do."""
    made = {"name": "web{{ number }}", "parents": [{"name": "overlay"}]}
    config = {"plugin": "ansible.builtin.generator", "hosts": made, "layers": {"number": [1, 2]}}
    write(base / "inv/cloud.yml", yaml.safe_dump(config))
    own = "192.168.65.1{{ inventory_hostname[-1] }}"
    write(base / "inv/group_vars/overlay.yml", yaml.safe_dump({**VALUES, "overlay_underlay_ip": own}))
    return use(base / "inv/cloud.yml")


def write_plugin(base: Path) -> Used:
    """The group is made by a plugin, whose configuration lies beside the hosts."""
    write(base / "inv/hosts.ini", INI.replace("overlay", "docker"))
    write(
        base / "inv/constructed.yml",
        yaml.safe_dump({"plugin": "ansible.builtin.constructed", "groups": {"overlay": "'docker' in group_names"}}),
    )
    write(base / "inv/group_vars/overlay.yml", yaml.safe_dump(VALUES))
    return use(base / "inv/hosts.ini", base / "inv/constructed.yml")


def write_plugin_in_folder(base: Path) -> Used:
    write_plugin(base)
    # In a folder former versions of Ansible pass over what ends in .ini, and the order is that of names.
    (base / "inv/hosts.ini").rename(base / "inv/hosts")
    (base / "inv/constructed.yml").rename(base / "inv/zz_constructed.yml")
    return use(base / "inv")


def write_configured(base: Path) -> Used:
    """No C(-i) at all."""
    write_folder(base)
    text = (ROOT / "ansible.cfg").read_text().replace("= .collections", f"= {ROOT}/.collections")
    config = write(base / "ansible.cfg", text.replace("[defaults]", f"[defaults]\ninventory = {base}/inv"))
    return Used([], {"ANSIBLE_CONFIG": str(config)})


KINDS: list[Callable[[Path], Used]] = [
    write_folder,
    write_file,
    write_ini,
    write_files,
    write_parts,
    write_folder_and_file,
    write_script,
    write_generator,
    write_plugin,
    write_plugin_in_folder,
    write_configured,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_has_a_place_and_is_read_as_before(tmp_path: Path, kind: Callable[[Path], Used]) -> None:
    used = kind(tmp_path)
    before = used.read()
    assert before[1]["overlay_docker_restart"] == "never" and before[1]["ansible_user"] == "deploy"
    first = used.plan()
    assert first.code == 0 and first.changed() == {"web1": 1}, first.output
    kept = yaml.safe_load((tmp_path / "inv" / NOW).read_text())
    assert list(kept["overlay_lease_records"]["main"]) == ["web1", "web2"]
    assert used.read() == before
    again = used.plan()
    assert again.code == 0 and again.changed() == {"web1": 0}, again.output
    assert used.read() == before
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*leases*")}
    assert found == {f"inv/{NOW}", "inv/group_vars/agentless_overlay/.leases.yml.lock"}


def test_a_list_of_hosts_has_no_place_but_that_which_is_given(tmp_path: Path) -> None:
    groups = {"plugin": "ansible.builtin.constructed", "groups": {"overlay": True}}
    write(tmp_path / "constructed.yml", yaml.safe_dump({**groups, "compose": {"overlay_underlay_ip": "inventory_hostname"}}))
    used = use("192.168.65.11,192.168.65.12", tmp_path / "constructed.yml")
    values = json.dumps({"overlay_networks": NETWORKS})
    refused = used.plan("-e", values)
    assert refused.code == 2 and "there is no place to record new leases: the inventory is not a file" in refused.text
    assert not list(tmp_path.rglob("*leases*"))
    given = used.plan("-e", values, "-e", f"overlay_leases={tmp_path}/leases.yml")
    assert given.code == 0, given.output
    assert len(yaml.safe_load((tmp_path / "leases.yml").read_text())["overlay_lease_records"]["main"]) == 2


def test_localhost_alone_is_no_inventory() -> None:
    refused = use("localhost,").plan()
    assert refused.code == 4 and "has no group overlay" in refused.text


def test_hosts_of_several_inventories_need_one_place(tmp_path: Path) -> None:
    for number, (name, values) in enumerate(HOSTS.items(), 1):
        write(tmp_path / f"inv{number}/hosts.yml", group({name: values}, **VALUES))
    used = use(tmp_path / "inv1", tmp_path / "inv2")
    refused = used.plan()
    assert refused.code == 2 and not list(tmp_path.rglob("*leases*"))
    assert f"The hosts come from several inventories ({tmp_path}/inv1, {tmp_path}/inv2). Set overlay_leases" in refused.text
    before = used.read()
    assert used.plan("-e", f"overlay_leases={tmp_path}/leases.yml").code == 0
    assert used.read() == before


def test_the_order_of_inventories_moves_no_lease(tmp_path: Path) -> None:
    """A host is of the inventory that names it first, and its variables come from both."""
    for name in ("one", "two"):
        write(tmp_path / name / "hosts.yml", group(HOSTS, **VALUES))
    assert use(tmp_path / "one", tmp_path / "two").plan().code == 0
    kept = (tmp_path / "one" / NOW).read_text()
    for args in (("--check",), ()):
        refused = use(tmp_path / "two", tmp_path / "one").plan(*args)
        assert refused.code == 2 and not (tmp_path / "two/group_vars").exists()
        assert f"Leases are recorded in {tmp_path}/one/{NOW}, and this run would record them in {tmp_path}/two" in refused.text
    assert (tmp_path / "one" / NOW).read_text() == kept


WRITTEN = ["overlay", "overlay.yml", "overlay.yaml", "overlay.json", "overlay/main.yml"]
WRITTEN += ["all", "all.yml", "all/one.yml", "all/sub/two.yml"]


@pytest.mark.parametrize("name", WRITTEN)
def test_variables_wherever_users_write_them(tmp_path: Path, name: str) -> None:
    text = json.dumps(VALUES) if name.endswith(".json") else yaml.safe_dump(VALUES)
    written = write(tmp_path / "inv/group_vars" / name, text)
    write(tmp_path / "inv/hosts.yml", group(HOSTS))
    write(tmp_path / "inv/host_vars/web1.yml", "overlay_underlay_mtu: 1400\n")
    used = use(tmp_path / "inv")
    before = used.read()
    assert before[1]["ansible_user"] == "deploy"
    for changed in (1, 0):
        planned = used.plan()
        assert planned.code == 0 and planned.changed() == {"web1": changed}, planned.output
        assert used.read() == before
    assert written.read_text() == text


def test_a_folder_of_inventories_with_a_network_called_hosts(tmp_path: Path) -> None:
    """Its record, taken for an inventory, would be one that Ansible cannot read."""
    write(tmp_path / "inv/hosts.yml", group(HOSTS, **{**VALUES, "overlay_networks": [{**NETWORKS[0], "name": "hosts"}]}))
    used = use(tmp_path / "inv")
    before = used.read()
    refused = used.plan("-e", "overlay_leases=leases.yml")
    assert refused.code == 2 and "for an inventory, and this one too" in refused.text
    assert used.plan().code == 0 and used.plan("-e", f"overlay_leases={NOW}").code == 0
    assert used.read() == before


@pytest.fixture
def fresh(tmp_path: Path) -> Fresh:
    lab = Fresh(tmp_path / "inventory")
    lab.write_inventory()
    return lab


def test_comments_in_a_record_are_kept(fresh: Fresh) -> None:
    text = """\
---
# Ours, agreed with the network team.
overlay_lease_records:
  main:
    # The first rack.
    web1: 10.88.7.0/24  # moved in May
    # The second.
    web9: 10.88.9.0/24
# Nothing below.
"""
    path = fresh.write(NOW, text)
    assert fresh.planned().diffs["web1"][str(path)] == [f"+main web2 {fresh.leases()['web2']}"]
    lines = path.read_text().splitlines()
    assert [line for line in lines if "web2" not in line] == text.splitlines()
    assert lines[5:8] == ["    web1: 10.88.7.0/24  # moved in May", f"    web2: {fresh.leases()['web2']}", "    # The second."]
    path.write_text("# Ours.\noverlay_lease_records: {main: {web1: 10.88.7.0/24}}\n")
    refused = fresh.plan()
    assert refused.code == 2 and "it has comments, and is not written so that lines can be added" in refused.text


def test_a_record_as_people_write_it(fresh: Fresh) -> None:
    fresh.hosts = {name: {"ansible_host": f"192.168.65.{n}"} for n, name in enumerate(("101", "010", "1e3", "fünf", "no"), 11)}
    fresh.write_inventory()
    lines = ["101: 10.88.7.0/24", "010: 10.88.8.0/24", "1e3: 10.88.9.0/24", "no: 10.88.6.0/24"]
    path = fresh.write(NOW, HEAD + "".join(f"    {line}\n" for line in lines))
    fresh.planned()
    found = fresh.leases()
    assert [f"{name}: {found[name]}" for name in ("101", "010", "1e3", "no")] == lines
    assert "\n    fünf: 10.88." in path.read_text()
    assert set(fresh.planned().changed().values()) == {0}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (records(web1="10.88.7.0/24") + "    web1: 10.88.8.0/24\n", "lines 3 and 4 both give web1"),
        (HEAD + "    101: 10.88.7.0/24\n    '101': 10.88.8.0/24\n", "lines 3 and 4 both give 101"),
        (records(web1="10.88.7.0/24").encode() + b"# caf\xe9\n", "line 4 is not in UTF-8"),
        ("$ANSIBLE_VAULT;1.1;AES256\n6133\n", "it is encrypted by ansible-vault"),
        (
            HEAD + "    web1: !vault |\n      $ANSIBLE_VAULT;1.1;AES256\n",
            "line 3 has an encrypted value",
        ),
        (
            HEAD + "    web1: {subnet: 10.88.7.0/24}\n",
            "A later version of the collection may have written",
        ),
        ("overlay_lease_records:\n  main: [\n", "it is not YAML"),
    ],
)
def test_a_record_that_cannot_be_right_is_refused(fresh: Fresh, data: str | bytes, words: str) -> None:
    path = fresh.write(NOW, "")
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    for args in (("--check",), ()):
        refused = fresh.plan(*args)
        assert refused.code == 2 and f"{path}: " in refused.text and words in refused.text, refused.output
        assert "No host was touched" in refused.text and "Traceback" not in refused.text
    assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)


def test_places_that_differ_between_hosts_are_refused(fresh: Fresh) -> None:
    for variable in ("overlay_leases", "overlay_plan_file"):
        for number, values in enumerate(fresh.hosts.values(), 1):
            values[variable] = f"../records{number}.yml"
        fresh.write_inventory()
        refused = fresh.plan()
        assert refused.code == 2 and "differs from what web1 has" in refused.text
        assert f"web2: {variable} = " in refused.text
        assert not list(fresh.inventory.parent.glob("records*"))
        for values in fresh.hosts.values():
            del values[variable]


def test_a_plan_on_file_yields_to_the_record(fresh: Fresh) -> None:
    fresh.write_inventory(overlay_plan_file="group_vars/agentless_overlay/plan.json")
    made = fresh.play("-e", "overlay_leases=" + NOW, playbook="playbooks/plan.yml")
    assert made.code == 0, made.output
    fresh.planned()
    before = fresh.leases()["web1"]
    path = fresh.inventory / NOW
    path.write_text(path.read_text().replace(before, "10.88.200.0/24"))
    stale = fresh.plan("--check")
    assert stale.code == 2 and "no host was touched" in stale.text
    assert "web1: overlay_plan_file = " in stale.text
    assert "the host's leases on record are not those that the plan was made from. Run playbooks/plan.yml" in stale.text
    assert fresh.play(playbook="playbooks/plan.yml").code == 0
    fresh.planned()
    plan = fresh.inventory / "group_vars/agentless_overlay/plan.json"
    whole = plan.read_text()
    plan.write_text(whole.replace('"format": 3', '"format": 2'))
    former = fresh.plan()
    assert former.code == 2 and "was written by another version of the collection (format 2; this one has 3)" in former.text
    plan.write_text(whole.replace(' "format": 3', ' "format": 3,\n "format": 3'))
    assert "lines 2 and 3 both give format" in fresh.plan().text
