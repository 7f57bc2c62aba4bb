# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of leases, as a file."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import yaml

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan import leases


def test_what_is_written_is_read_and_is_inventory(tmp_path: Path) -> None:
    path = str(tmp_path / "leases.yml")
    records = {"demo": {"b": "10.88.2.0/24", "a": "10.88.1.0/24"}, "empty": {}}
    leases.write_leases(path, records)
    assert leases.read_leases(path) == {"demo": records["demo"]}
    assert list(yaml.safe_load(Path(path).read_text())) == ["overlay_lease_records"]
    assert Path(path).read_text().startswith("---\n#")
    assert [entry.name for entry in tmp_path.iterdir()] == ["leases.yml"]


def test_no_file_is_no_record(tmp_path: Path) -> None:
    assert leases.read_leases(str(tmp_path / "none.yml")) == {}


@pytest.mark.parametrize("text", ["[", "overlay_lease_records: 7", "overlay_lease_records: {demo: 7}", "- a", "x: y"])
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "leases.yml"
    path.write_text(text)
    with pytest.raises(leases.LeaseFileError, match=r"leases\.yml"):
        leases.read_leases(str(path))


def test_the_lock_keeps_others_out(tmp_path: Path) -> None:
    path = str(tmp_path / "group_vars/agentless_overlay/leases.yml")
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _round in range(5):
            with leases.lock_leases(path):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(leases.LeaseFileError, match="/proc/none/leases.yml: leases cannot be recorded"), leases.lock_leases(
        "/proc/none/leases.yml"
    ):
        pass
