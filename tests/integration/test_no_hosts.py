# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where there is no host to look at, no playbook ends as if all were well."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from labs import Played, run_playbook

NETWORK = {"name": "main", "cidr": "10.88.0.0/16", "vni": 88, "attach": "host"}
HOSTS = {f"web{number}": {"ansible_host": f"192.168.1.1{number}"} for number in (1, 2)}
# Neither this connection nor this Python is there: nobody may ask for them.
OTHERS = {"db1": {"ansible_host": "192.168.1.21", "ansible_connection": "winrm", "ansible_python_interpreter": "/none"}}
PLAYBOOKS = ("drift", "verify", "report", "explain", "capture", "plan", "overlay", "teardown", "prepare", "discover")
EMPTY = "the group overlay of the inventory ({folder}/empty.yml) has no host"
SENTENCES = [
    ("empty.yml", (), EMPTY),
    ("empty.yml", ("--limit", "web1"), EMPTY),
    ("typo.yml", (), "the inventory ({folder}/typo.yml) has no group overlay"),
    ("none.yml", (), "the inventory ({folder}/none.yml) has no group overlay"),
    # With --limit not even localhost is left to say it.
    ("none.yml", ("--limit", "web1"), "the inventory ({folder}/none.yml) has no group overlay"),
    ("web1,", (), "the inventory (web1,) has no group overlay"),
    ("hosts.yml", ("--limit", "db1"), "--limit db1 leaves none of the group overlay"),
    ("hosts.yml", ("--limit", "!web1:!web2"), "--limit !web1:!web2 leaves none of the group overlay"),
    ("hosts.yml", ("--limit", "@{folder}/retry"), "--limit @{folder}/retry leaves none of the group overlay"),
]
ASKED = [
    ((), "src is not set, dst is not set"),
    (("-e", "src=web1"), "src is web1, dst is not set"),
    (("-e", "src=web1", "-e", "dst=db1"), "src is web1, dst is db1"),
    (("-e", "src=web1", "-e", "dst=web2", "--limit", "web1"), "src is web1, dst is web2"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("inventories")
    variables = {"overlay_networks": [NETWORK], "overlay_plan_file": "group_vars/agentless_overlay/plan.json"}

    def write(name: str, **groups: Any) -> None:
        children = {group: {"hosts": hosts} for group, hosts in groups.items()}
        (made / name).write_text(yaml.safe_dump({"all": {"children": children, "vars": variables}}))

    write("hosts.yml", overlay=HOSTS, others=OTHERS)
    write("empty.yml", overlay={})
    write("typo.yml", overlays=HOSTS)
    write("local.yml", overlay={"localhost": {"ansible_host": "192.168.1.10"}, **HOSTS}, others=OTHERS)
    (made / "retry").write_text("db1\n")
    return made


def play(folder: Path, playbook: str, inventory: str, *args: str) -> Played:
    source = inventory if "," in inventory else str(folder / inventory)
    words = [word.format(folder=folder) if word.startswith("@") else word for word in args]
    report = ("-e", f"overlay_report_dir={folder}/report")
    return Played.of(run_playbook(f"playbooks/{playbook}.yml", "-i", source, *report, *words))


def assert_stopped(folder: Path, played: Played, sentence: str) -> None:
    assert played.code == 4, played.output
    assert f"There is no host to look at: {sentence.format(folder=folder)}" in played.text
    assert "a report or plan that there is, is an earlier one" in played.text
    assert len(played.recap) <= 1 and not any(counts["ok"] for counts in played.recap.values())
    assert not (folder / "report").exists() and not (folder / "group_vars").exists()


@pytest.mark.parametrize(("inventory", "args", "sentence"), SENTENCES)
def test_each_way_to_have_no_host(folder: Path, inventory: str, args: tuple[str, ...], sentence: str) -> None:
    assert_stopped(folder, play(folder, "drift", inventory, *args), sentence)


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_no_playbook_goes_on_without_hosts(folder: Path, playbook: str) -> None:
    # Of a playbook that has the tags only, nothing else would run.
    for args in ((), ("--tags", "converge,docker"), ("--check",)):
        assert_stopped(
            folder, play(folder, playbook, "typo.yml", *args), "the inventory ({folder}/typo.yml) has no group overlay"
        )


@pytest.mark.parametrize(("args", "told"), ASKED)
def test_a_capture_takes_two_hosts(folder: Path, args: tuple[str, ...], told: str) -> None:
    sentence = f"{told}; they have to be hosts of the group overlay that --limit does not leave out"
    assert_stopped(folder, play(folder, "capture", "hosts.yml", *args), sentence)


def test_a_limit_that_matches_nothing_is_an_error_of_ansible(folder: Path) -> None:
    assert play(folder, "drift", "hosts.yml", "--limit", "nosuch").code == 1


@pytest.mark.parametrize(
    ("inventory", "args", "recap"),
    [
        ("hosts.yml", (), ["web1"]),
        ("hosts.yml", ("--limit", "web2"), ["web2"]),
        ("hosts.yml", ("--limit", "db1,web2"), ["web2"]),
        ("hosts.yml", ("--limit", ""), ["web1"]),
        ("local.yml", (), ["localhost"]),
        ("local.yml", ("--limit", "!localhost"), ["web1"]),
    ],
)
def test_where_there_is_one_nothing_is_said(folder: Path, inventory: str, args: tuple[str, ...], recap: list[str]) -> None:
    """The plan is of all hosts, whichever of them are left; nobody else comes into the recap."""
    file = folder / "group_vars/agentless_overlay/plan.json"
    try:
        done = play(folder, "plan", inventory, *args)
        assert done.code == 0 and list(done.recap) == recap, done.output
        assert re.search(r"1 networks, \d hosts", done.text) and all(f'"{host}"' in file.read_text() for host in HOSTS)
        assert "There is no host" not in done.text and done.output.count("TASK [Say it") == 0
        again = play(folder, "plan", inventory, *args)
        assert again.changed() == dict.fromkeys(recap, 0)
    finally:
        for path in (file, file.parent / "leases.yml", file.parent / ".leases.yml.lock"):
            path.unlink(missing_ok=True)
        file.parent.rmdir()
        file.parent.parent.rmdir()


def test_a_site_may_go_on_without_hosts(folder: Path, tmp_path: Path) -> None:
    """Where the overlay is one of many parts of a site, and --limit is about another."""
    imported = {"import_playbook": "agentless.overlay.overlay", "vars": {"overlay_need_hosts": False}}
    other = {"hosts": "all", "gather_facts": False, "tasks": [{"debug": {"msg": "the rest of the site"}}]}
    site = tmp_path / "site.yml"
    site.write_text(yaml.safe_dump([imported, other]))
    command = (str(site), "-i", str(folder / "hosts.yml"), "--limit", "db1")
    done = Played.of(run_playbook(*command))
    assert done.code == 0 and "the rest of the site" in done.text, done.output
    assert Played.of(run_playbook(*command, "-e", "overlay_need_hosts=true")).code == 4
