# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where records lie, what they hide, and how they move."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan import leases, records
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.store import replace_files

ENDINGS = [".yml", ".yaml", ".json"]


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def render_records(**nodes: str) -> str:
    return leases.render_leases({"main": nodes})


@pytest.mark.parametrize(
    ("there", "path", "hidden"),
    [
        ("group_vars/web.yml", "group_vars/web/leases.yml", ["group_vars/web.yml"]),
        ("group_vars/web.yaml", "group_vars/web/deep/leases.yml", ["group_vars/web.yaml"]),
        ("host_vars/web1.example.org.json", "host_vars/web1.example.org/plan.json", ["host_vars/web1.example.org.json"]),
        # A file hides too: the first that there is is read.
        ("group_vars/web.yml", "group_vars/web", ["group_vars/web.yml"]),
        ("group_vars/web.json", "group_vars/web.yml", ["group_vars/web.json"]),
        ("group_vars/web.yml", "group_vars/web.yaml", []),
        ("group_vars/web.yml", "group_vars/agentless_overlay/leases.yml", []),
        ("group_vars/web.yml", "leases.yml", []),
        ("group_vars/web.txt", "group_vars/web/leases.yml", []),
        ("host_vars/web.yml", "group_vars/web/leases.yml", []),
    ],
)
def test_what_a_record_would_hide_is_named(tmp_path: Path, there: str, path: str, hidden: list[str]) -> None:
    write(tmp_path / there)
    found = records.find_hidden(str(tmp_path / path), ENDINGS)
    assert (found.files if found else []) == [str(tmp_path / file) for file in hidden]


def test_endings_are_those_that_ansible_has(tmp_path: Path) -> None:
    write(tmp_path / "group_vars/web.vars")
    path = str(tmp_path / "group_vars/web/leases.yml")
    assert records.find_hidden(path, ENDINGS) is None
    # A setting without the dot is taken, too.
    for ending in ("vars", ".vars"):
        found = records.find_hidden(path, [ending])
        assert found is not None and found.files == [str(tmp_path / "group_vars/web.vars")]


def test_only_our_own_files_in_the_former_folder_are_undone(tmp_path: Path) -> None:
    place = records.choose_default_place(str(tmp_path))
    write(Path(place.former), render_records(a="10.88.1.0/24"))
    write(tmp_path / "group_vars/overlay/.leases.yml.lock")
    assert records.find_hurt(place, ENDINGS) == (None, []), "nothing is hidden"
    write(tmp_path / "group_vars/overlay.yml")
    hidden, others = records.find_hurt(place, ENDINGS)
    assert hidden is not None and hidden.files == [str(tmp_path / "group_vars/overlay.yml")] and others == []
    write(tmp_path / "group_vars/overlay/main.yml")
    assert records.find_hurt(place, ENDINGS)[1] == ["main.yml"]


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("leases.yml", True),
        ("records/leases.yml", True),
        ("group_vars/agentless_overlay/leases.yml", False),
        (".records/leases.yml", False),
        ("leases.orig", False),
        ("../leases.yml", False),
    ],
)
def test_a_file_that_ansible_takes_for_an_inventory_is_known(tmp_path: Path, path: str, taken: bool) -> None:
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    ignored = re.compile(rb"^\.|^host_vars$|^group_vars$|\.orig$")
    full = os.path.abspath(inventory / path)
    sources = ["web1,", str(tmp_path / "hosts.yml"), str(inventory)]
    assert records.find_source(full, sources, ignored) == (str(inventory) if taken else "")


def test_records_of_both_files_count_and_move(tmp_path: Path) -> None:
    place = records.choose_default_place(str(tmp_path))
    write(Path(place.former), render_records(a="10.88.1.0/24", b="10.88.2.0/24"))
    write(Path(place.path), render_records(b="10.88.2.0/24", c="10.88.3.0/24"))
    found = records.read_records(place)
    assert found.records == {"main": {"a": "10.88.1.0/24", "b": "10.88.2.0/24", "c": "10.88.3.0/24"}}
    assert records.list_record_changes(place, found, {"main": {"d": "10.88.4.0/24"}}) == [
        (place.former, ["main a 10.88.1.0/24", "main b 10.88.2.0/24"], ()),
        (place.path, (), ["main a 10.88.1.0/24", "main d 10.88.4.0/24"]),
    ]
    with records.lock_records(place):
        records.write_records(place, found.records)
    assert not (tmp_path / "group_vars/overlay").exists()
    after = records.read_records(place)
    assert after.records == found.records and records.list_record_changes(place, after, {}) == []
    with records.lock_records(place):
        assert not (tmp_path / "group_vars/overlay").exists(), "a lock makes no folder anew"


def test_a_folder_with_other_files_stays(tmp_path: Path) -> None:
    place = records.choose_default_place(str(tmp_path))
    write(Path(place.former), render_records(a="10.88.1.0/24"))
    other = write(tmp_path / "group_vars/overlay/main.yml", "x: y\n")
    with records.lock_records(place):
        records.write_records(place, records.read_records(place).records)
    assert list((tmp_path / "group_vars/overlay").iterdir()) == [other]


def test_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    place = records.choose_default_place(str(tmp_path))
    write(Path(place.former), render_records(a="10.88.1.0/24"))
    write(Path(place.path), render_records(a="10.88.9.0/24"))
    with pytest.raises(leases.LeaseFileError) as told:
        records.read_records(place)
    for words in (place.former, place.path, "a has 10.88.1.0/24 in network main", "10.88.9.0/24 by"):
        assert words in str(told.value)


def test_a_record_that_others_share_by_a_link_stays_shared(tmp_path: Path) -> None:
    place = records.choose_default_place(str(tmp_path / "inventory"))
    shared = write(tmp_path / "shared/real.yml", render_records(a="10.88.1.0/24"))
    Path(place.former).parent.mkdir(parents=True)
    Path(place.former).symlink_to("../../../shared/real.yml")
    with records.lock_records(place):
        records.write_records(place, {"main": {"a": "10.88.1.0/24", "b": "10.88.2.0/24"}})
    assert os.readlink(place.path) == "../../../shared/real.yml"
    assert "b: 10.88.2.0/24" in shared.read_text()
    assert not (tmp_path / "inventory/group_vars/overlay").exists()


def test_other_variables_in_a_record_are_not_lost(tmp_path: Path) -> None:
    path = write(
        tmp_path / "leases.yml", "overlay_reserved_cidrs: []\nz: 1\noverlay_lease_records: {main: {a: 10.88.1.0/24}}\n"
    )
    with pytest.raises(leases.LeaseFileError, match=r"leases\.yml holds overlay_reserved_cidrs, z beside"):
        leases.read_leases(str(path))


def test_a_link_stays_and_mode_and_owner_are_kept(tmp_path: Path) -> None:
    real = write(tmp_path / "shared/real.yml", "old")
    real.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real, 1234, 4321)
    before = real.stat()
    link = tmp_path / "link.yml"
    link.symlink_to("shared/real.yml")
    replace_files({str(link): "new"})
    after = real.stat()
    assert link.is_symlink() and real.read_text() == "new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert [path.name for path in real.parent.iterdir()] == ["real.yml"]
    replace_files({str(tmp_path / "fresh"): "new"})
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o644


def test_two_links_to_one_record_have_one_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_WAIT", 0)
    write(tmp_path / "real.yml")
    for name in ("one", "two"):
        (tmp_path / name).symlink_to("real.yml")
    one, two = (leases.lock_leases(str(tmp_path / name)) for name in ("one", "two"))
    with one, pytest.raises(leases.LeaseFileError, match="another run"), two:
        pass
