# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records of leases: what else Ansible reads stays as it was, and no lease moves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from inventories import FORMER, NETWORKS, NOW, Fresh, records
from labs import BIN, ROOT, Played, run


@pytest.fixture
def fresh(tmp_path: Path) -> Fresh:
    lab = Fresh(tmp_path / "inventory")
    lab.write_inventory()
    return lab


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Fresh]:
    lab = Fresh(tmp_path / "inventory")
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


def test_the_second_run_reads_what_the_first_did(up: Fresh) -> None:
    before = up.seen()
    done = up.converge()
    assert all(done.changed().values()) and set(done.changed()) == set(up.hosts)
    assert up.seen() == before and before["overlay_docker_restart"] == "never"
    assert set(up.converge().changed().values()) == {0}
    assert list(up.leases()) == list(up.hosts)


def test_variables_elsewhere_do_not_make_it_worse(fresh: Fresh) -> None:
    """The networks in hosts.yml, so that nothing else fails where group_vars/overlay.yml is not read."""
    children = {"overlay": {"hosts": fresh.hosts, "vars": {"overlay_networks": NETWORKS}}}
    fresh.write("hosts.yml", yaml.safe_dump({"all": {"children": children}}))
    safety = {"overlay_docker_restart": "never", "overlay_allow_drops": False, "overlay_max_remove": 0, "ansible_user": "me"}
    fresh.variables.write_text(yaml.safe_dump(safety))
    before = fresh.seen()
    fresh.planned()
    assert fresh.seen() == before and {name: before[name] for name in safety} == safety
    assert fresh.planned().changed() == {"web1": 0}


def test_former_records_move_and_no_lease_does(fresh: Fresh) -> None:
    shutil.move(fresh.variables, fresh.write("group_vars/overlay/main.yml", ""))
    text = records(web1="10.88.7.0/24", gone="10.88.9.0/24")
    fresh.write(FORMER, text)
    fresh.write("group_vars/overlay/.leases.yml.lock", "")
    before, files = fresh.seen(), fresh.files()
    looked = fresh.play("-e", f"overlay_report_dir={fresh.inventory.parent}/report", playbook="playbooks/drift.yml")
    assert looked.code == 4 and fresh.files() == files, "there are no such hosts, and nothing moves"
    predicted = fresh.planned("--check")
    assert fresh.files() == files and "The next run that is no check moves the leases" in predicted.text
    done = fresh.planned()
    assert done.diffs == predicted.diffs and done.changed() == predicted.changed() == {"web1": 1}
    assert set(done.diffs["web1"][str(fresh.inventory / FORMER)]) == {"-main web1 10.88.7.0/24", "-main gone 10.88.9.0/24"}
    # Ansible breaks the lines of warnings within a word.
    told = f"The leases were moved from {fresh.inventory / FORMER} to {fresh.inventory / NOW}"
    assert told.replace(" ", "") in done.text.replace(" ", "")
    leases = fresh.leases()
    assert {**leases, "web1": "10.88.7.0/24", "gone": "10.88.9.0/24"} == leases and set(leases) == {"gone", "web1", "web2"}
    assert sorted(path.name for path in (fresh.inventory / "group_vars/overlay").iterdir()) == ["main.yml"]
    again = fresh.planned()
    assert again.changed() == {"web1": 0} and "moved" not in again.text and not any(again.diffs.values())
    assert fresh.leases() == leases and fresh.seen() == before


def test_records_in_both_places(fresh: Fresh) -> None:
    shutil.move(fresh.variables, fresh.write("group_vars/overlay/main.yml", ""))
    fresh.write(FORMER, records(web1="10.88.7.0/24"))
    fresh.write(NOW, records(web1="10.88.8.0/24", web2="10.88.9.0/24"))
    files = fresh.files()
    for args in (("--check",), ()):
        refused = fresh.plan(*args)
        assert refused.code == 2 and fresh.files() == files
        assert f"web1 has 10.88.7.0/24 in network main by {fresh.inventory / FORMER}, and 10.88.8.0/24 by" in refused.text
        assert str(fresh.inventory / NOW) in refused.text and "No host was touched" in refused.text
    fresh.write(NOW, records(web2="10.88.9.0/24"))
    fresh.planned()
    assert fresh.leases() == {"web1": "10.88.7.0/24", "web2": "10.88.9.0/24"}


def test_an_inventory_that_was_hurt_is_mended(fresh: Fresh) -> None:
    """As the second run of an earlier version found it: the folder of its records hides the file of the user's variables."""
    before = fresh.seen()
    fresh.write(FORMER, records(web1="10.88.7.0/24", web2="10.88.8.0/24"))
    fresh.write("group_vars/overlay/.leases.yml.lock", "")
    files = fresh.files()
    told = f"Ansible does not read {fresh.variables} where there is {fresh.inventory}/group_vars/overlay, in which"
    again = f"Run again: the variables in {fresh.variables} were not read in this run. No host was touched."
    check = fresh.plan("--check")
    assert check.code == 2 and told in check.text and again in check.text and "A run that is no check moves" in check.text
    assert fresh.files() == files
    mended = fresh.plan()
    assert mended.code == 2 and told in mended.text and again in mended.text and "the folder is gone" in mended.text
    assert not (fresh.inventory / "group_vars/overlay").exists()
    assert fresh.seen() == before
    assert fresh.planned().changed() == {"web1": 0}
    assert fresh.leases() == {"web1": "10.88.7.0/24", "web2": "10.88.8.0/24"}


def test_an_inventory_that_was_hurt_and_has_more_in_the_folder_is_left_to_the_user(fresh: Fresh) -> None:
    fresh.write(FORMER, records(web1="10.88.7.0/24"))
    fresh.write("group_vars/overlay/more.yml", "overlay_verify: never\n")
    fresh.variables.rename(fresh.variables.with_suffix(".json"))
    files = fresh.files()
    for args in (("--check",), ()):
        refused = fresh.plan(*args)
        assert refused.code == 2 and fresh.files() == files
        assert f"Ansible does not read {fresh.inventory}/group_vars/overlay.json where there is" in refused.text
        assert "which holds more.yml. Move the variables into that folder, or remove one of the two" in refused.text
        assert "No host was touched" in refused.text


@pytest.mark.parametrize(
    ("variable", "path", "hidden"),
    [
        ("overlay_leases", "group_vars/web/leases.yml", "group_vars/web.yaml"),
        ("overlay_plan_file", "host_vars/web1/plan.json", "host_vars/web1.json"),
        ("overlay_leases", "group_vars/overlay/leases.yml", "group_vars/overlay.yml"),
    ],
)
def test_a_place_that_would_hide_variables_is_refused(fresh: Fresh, variable: str, path: str, hidden: str) -> None:
    if hidden != "group_vars/overlay.yml":
        fresh.write(hidden, "{}")
    refused = fresh.plan("-e", f"{variable}={path}")
    assert refused.code == 2 and not (fresh.inventory / path).parent.exists()
    assert f"{variable} = {fresh.inventory / path}: Ansible does not read {fresh.inventory / hidden} where" in refused.text
    assert f"Choose another place, such as group_vars/agentless_overlay/{Path(path).name}" in refused.text


def test_a_group_of_the_name_of_our_folder(fresh: Fresh) -> None:
    fresh.write("more.yml", "agentless_overlay: {hosts: {web1: }}\n")
    refused = fresh.plan()
    assert refused.code == 2 and not (fresh.inventory / NOW).exists()
    assert "has a group agentless_overlay" in refused.text and "Set overlay_leases to another file" in refused.text
    fresh.planned("-e", "overlay_leases=group_vars/other/leases.yml")


def test_other_variables_in_a_record_are_not_lost(fresh: Fresh) -> None:
    for name in (NOW, FORMER):
        text = records(web1="10.88.7.0/24") + "overlay_reserved_cidrs: [10.99.0.0/16]\n"
        path = fresh.write(name, text)
        if name == FORMER:
            shutil.move(fresh.variables, fresh.inventory / "group_vars/overlay/main.yml")
        refused = fresh.plan()
        assert refused.code == 2 and path.read_text() == text
        assert f"{path} holds overlay_reserved_cidrs beside overlay_lease_records" in refused.text
        path.unlink()


def test_a_record_that_is_a_link(fresh: Fresh) -> None:
    real = fresh.write("../shared/real.yml", records(web1="10.88.7.0/24"))
    real.chmod(0o640)
    link = fresh.inventory / NOW
    link.parent.mkdir()
    link.symlink_to("../../../shared/real.yml")
    fresh.planned()
    assert link.is_symlink() and real.stat().st_mode & 0o777 == 0o640
    assert set(yaml.safe_load(real.read_text())["overlay_lease_records"]["main"]) == {"web1", "web2"}


def test_a_record_that_ansible_takes_for_an_inventory_is_not_begun(fresh: Fresh) -> None:
    """As an example of earlier versions had it; one that is there already goes on, with a warning."""
    taken = "this one too. Choose another place, such as group_vars/agentless_overlay/"
    for name, variable in (("leases.yml", "overlay_leases"), ("plan.json", "overlay_plan_file")):
        refused = fresh.play("-e", f"{variable}={name}", playbook="playbooks/plan.yml")
        assert refused.code == 2 and f"{taken}{name}." in refused.text and "o host was touched" in refused.text
        assert not (fresh.inventory / name).exists() and not (fresh.inventory / NOW).exists()
    for path in (NOW, "../leases.yml"):
        assert taken not in fresh.planned("--check", "-e", f"overlay_leases={path}").text
    fresh.write("leases.yml", records(web1="10.88.7.0/24"))
    assert taken.replace(" ", "") in fresh.planned("-e", "overlay_leases=leases.yml").text.replace(" ", "")
    assert set(fresh.leases("leases.yml")) == {"web1", "web2"}


@pytest.mark.parametrize("owned", [False, True])
def test_inventories_that_share_the_former_folder_by_a_link_keep_sharing(fresh: Fresh, owned: bool) -> None:
    """Whether the folder is one of its own, or the other inventory's, which moves the record: no lease does."""
    other = Fresh(fresh.inventory.parent / "other")
    other.write_inventory()
    home = other.inventory / "group_vars/overlay" if owned else fresh.inventory.parent / "shared"
    home.mkdir()
    shutil.copy(fresh.variables, home / "main.yml")
    (home / "leases.yml").write_text(records(web1="10.88.7.0/24", web2="10.88.8.0/24"))
    fresh.link_variables(str(home))
    if owned:
        other.variables.unlink()
    else:
        other.link_variables("../../shared")
    for args in (("--check",), (), ()):
        kept = fresh.planned(*args)
        assert kept.changed() == {"web1": 0} and not any(kept.diffs.values()) and "moved" not in kept.text
    assert (home / "leases.yml").exists() and not (fresh.inventory / NOW).parent.exists()
    other.hosts["web3"] = {"ansible_host": "192.168.65.13"}
    other.write("hosts.yml", yaml.safe_dump({"all": {"children": {"overlay": {"hosts": other.hosts}}}}))
    other.planned()
    leases = other.leases(NOW if owned else FORMER)
    assert {**leases, "web1": "10.88.7.0/24", "web2": "10.88.8.0/24"} == leases and set(leases) == set(other.hosts)
    # What the other recorded is seen through the link, and none is given anew.
    fresh.write("hosts.yml", (other.inventory / "hosts.yml").read_text())
    for args in (("--check",), ()):
        assert fresh.planned(*args).changed() == {"web1": 0}
    assert other.leases(NOW if owned else FORMER) == leases and not (fresh.inventory / NOW).parent.exists()


def test_a_link_to_the_former_folder_and_records_of_its_own(fresh: Fresh) -> None:
    shared = fresh.inventory.parent / "shared"
    shared.mkdir()
    shutil.copy(fresh.variables, shared / "main.yml")
    (shared / "leases.yml").write_text(records(web1="10.88.7.0/24"))
    fresh.link_variables("../../shared")
    fresh.write(NOW, records(web2="10.88.9.0/24"))
    for args in (("--check",), ()):
        refused = fresh.plan(*args)
        assert refused.code == 2 and fresh.leases(FORMER) == {"web1": "10.88.7.0/24"}
        assert f"{fresh.inventory / FORMER} and {fresh.inventory / NOW} both record leases" in refused.text
        assert "No host was touched" in refused.text


@pytest.mark.parametrize("held", [NOW, FORMER])
def test_a_place_without_a_file_does_not_hide_what_is_on_record(fresh: Fresh, held: str) -> None:
    """As with an overlay_leases that stood in the file that was hidden."""
    shutil.move(fresh.variables, fresh.write("group_vars/overlay/main.yml", ""))
    at = fresh.write(held, records(web1="10.88.7.0/24", web2="10.88.8.0/24"))
    files, given = fresh.files(), fresh.inventory / "records/leases.yml"
    for args in (("--check",), ()):
        refused = fresh.plan("-e", "overlay_leases=records/leases.yml", *args)
        assert refused.code == 2 and fresh.files() == files and not given.parent.exists()
        assert f"overlay_leases = {given}: there is no such file, while leases are recorded in {at}. Move" in refused.text
        assert "or take overlay_leases out. No host was touched" in refused.text
    given.parent.mkdir()
    at.rename(given)
    assert fresh.planned("-e", "overlay_leases=records/leases.yml").changed() == {"web1": 0}


def test_a_file_without_records_does_not_keep_from_choosing_a_place(fresh: Fresh) -> None:
    shutil.move(fresh.variables, fresh.write("group_vars/overlay/main.yml", ""))
    fresh.write(NOW, "overlay_lease_records: {main: {}}\n")
    fresh.write(FORMER, "overlay_verify: never\n")
    fresh.planned("-e", "overlay_leases=.records/leases.yml")
    assert set(fresh.leases(".records/leases.yml")) == {"web1", "web2"}


def test_records_in_an_inventory_that_nobody_can_write_are_used(fresh: Fresh) -> None:
    shutil.move(fresh.variables, fresh.write("group_vars/overlay/main.yml", ""))
    fresh.write(FORMER, records(web1="10.88.7.0/24", web2="10.88.8.0/24"))
    files = fresh.files()
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    command = [str(BIN / "ansible-playbook"), "playbooks/overlay.yml", "-i", str(fresh.inventory), "--tags", "none", "--diff"]

    def play(*args: str) -> Played:
        alone = ("unshare", "--mount", "sh", "-c", script, "sh", str(fresh.inventory))
        return Played.of(run(*alone, *command, *args, check=False))

    for args in (("--check",), ()):
        used = play(*args)
        assert used.code == 0 and used.changed() == {"web1": 0} and not any(used.diffs.values()), used.output
        told = f"{fresh.inventory / FORMER} are used and stay there, as {fresh.inventory}/group_vars/overlay cannot be written"
        assert told.replace(" ", "") in used.text.replace(" ", "")
    fresh.hosts["web3"] = {"ansible_host": "192.168.65.13"}
    fresh.write("hosts.yml", yaml.safe_dump({"all": {"children": {"overlay": {"hosts": fresh.hosts}}}}))
    stopped = play()
    assert stopped.code == 2 and "leases cannot be recorded: Read-only file system" in stopped.text
    assert {**fresh.files(), "hosts.yml": files["hosts.yml"]} == files


def test_an_inventory_that_is_no_file_has_no_place_for_records(tmp_path: Path) -> None:
    """A list of hosts: of its folder Ansible says None, in words or not."""
    known = ["192.168.65.11", "192.168.65.12"]
    values = json.dumps({"overlay_networks": NETWORKS, "overlay_underlay_ip": "{{ inventory_hostname }}"})
    playbook = tmp_path / "plan.yml"
    task = {"agentless.overlay.overlay_plan": {"group": "all"}}
    playbook.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    command = [str(BIN / "ansible-playbook"), "-i", ",".join(known), "-e", values, str(playbook)]
    said = run(*command, check=False)
    assert said.returncode == 2 and "there is no place to record new leases" in " ".join(said.stdout.split()), said.stdout
    assert not (ROOT / "None").exists()
    run(*command, "-e", f"overlay_leases={tmp_path}/leases.yml")
    assert set(yaml.safe_load((tmp_path / "leases.yml").read_text())["overlay_lease_records"]["main"]) == set(known)
