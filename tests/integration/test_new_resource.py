# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A resource is one file and one line.

Rules of routing, added to a copy of the collection, are checked, made, undone, reported, taken off and back after a reboot as
all others are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labs import ROOT, Namespace, run

FILE = Path(__file__).parent / "new_resource/_ip_rules.py"
PACKAGE = "ansible_collections.agentless.overlay.plugins"
RULES = [{"priority": 1000, "source": "10.88.1.0/24", "table": 100}, {"priority": 1001, "source": "10.88.2.0/24", "table": 101}]


class Extended(Namespace):
    """A namespace, and the modules of a copy of the collection with the resource in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        plugins = folder / "ansible_collections/agentless/overlay/plugins"
        shutil.copytree(ROOT / "plugins", plugins)
        resources = plugins / "module_utils/_resources"
        assert not (resources / FILE.name).exists()
        shutil.copy(FILE, resources)
        text = (resources / "__init__.py").read_text()
        # The line, and Python's import of what it names.
        text = text.replace("\nORDER", f"\nfrom {PACKAGE}.module_utils._resources._ip_rules import Rules\n\nORDER", 1)
        (resources / "__init__.py").write_text(text.replace("    Routes(),\n", "    Routes(),\n    Rules(),\n", 1))

    def call(self, check: bool = False, fails: bool = False, **options: Any) -> dict[str, Any]:
        """What overlay_host answers."""
        arguments = self.folder / "arguments.json"
        arguments.write_text(
            json.dumps({"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": check, "_ansible_diff": True}})
        )
        said = self.python("-m", f"{PACKAGE}.modules.overlay_host", str(arguments), check=False)
        answer: dict[str, Any] = json.loads(said.stdout)
        assert bool(answer.get("failed")) is fails, answer.get("msg")
        return answer

    def python(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run("nsenter", f"--net=/run/netns/{self.name}", sys.executable, *args, check=check, PYTHONPATH=str(self.folder))

    def rules(self) -> list[tuple[int, str, str]]:
        """Those with our protocol number, as iproute2 tells them."""
        rows = self.json("ip -j -d -N rule show")
        return [(row["priority"], row["src"], row["table"]) for row in rows if str(row.get("protocol")) == "157"]


@pytest.fixture
def extended(tmp_path: Path) -> Iterator[Extended]:
    namespace = Extended(tmp_path)
    yield namespace
    namespace.remove()


MADE = [(1000, "10.88.1.0", "100"), (1001, "10.88.2.0", "101")]


def test_it_is_small() -> None:
    assert len(FILE.read_text().splitlines()) <= 150


def test_it_is_checked_made_changed_reported_and_taken_off(extended: Extended) -> None:
    extended.sh("ip rule add pref 77 from 172.16.0.0/16 lookup 7")
    predicted = extended.call(check=True, rule=RULES)
    assert extended.rules() == []
    done = extended.call(rule=RULES)
    for key in ("operations", "diff", "drift"):
        assert predicted[key] == done[key], key
    assert [(item["resource"], item["kind"]) for item in done["drift"]] == [("rule", "missing")] * 2
    assert extended.rules() == MADE
    assert not extended.call(rule=RULES)["changed"]
    changed = extended.call(rule=[{**RULES[0], "table": 200}])
    assert [one.split(" pref")[0] for one in changed["operations"]] == ["rule: change", "rule: remove"]
    assert extended.rules() == [(1000, "10.88.1.0", "200")]
    # As teardown.yml does, by what the resources say is nothing.
    code = (
        f"import json\nfrom {PACKAGE}.module_utils._resources import ORDER\n"
        "print(json.dumps({one.section: list(one.nothing) for one in ORDER if one.options and one.nothing is not None}))"
    )
    nothing = json.loads(extended.python("-c", code).stdout)
    assert nothing["rule"] == []
    extended.call(rule=nothing["rule"])
    assert extended.rules() == [] and "172.16.0.0/16 lookup 7" in extended.sh("ip rule")


def test_it_is_undone_and_refused(extended: Extended) -> None:
    broken = {"files": [{"path": "/proc/nowhere/file", "content": "x"}]}
    answer = extended.call(fails=True, rule=RULES, **broken)
    assert "the host is as it was" in answer["msg"], answer["msg"]
    assert extended.rules() == []
    extended.sh("ip rule add pref 1000 from 172.16.0.0/16 lookup 7")
    for check in (True, False):
        refused = extended.call(check=check, fails=True, rule=RULES)["msg"]
        assert "has the priority of pref 1000" in refused and "Nothing was changed" in refused
    assert extended.rules() == []


def test_it_is_in_the_boot_script_and_in_reports(extended: Extended) -> None:
    code = (
        f"import sys, json\nfrom {PACKAGE}.module_utils._resources._boot import make_boot_script\n"
        f"from {PACKAGE}.plugin_utils._see import drift, page\n"
        "assert 'rule' in drift.RESOURCES\nprint(make_boot_script({'rule': json.load(sys.stdin)}))"
    )
    made = run(sys.executable, "-c", code, stdin=json.dumps(RULES), PYTHONPATH=os.pathsep.join([str(extended.folder)])).stdout
    for _time in range(2):
        extended.shell(made)
        assert extended.rules() == MADE
    assert not extended.call(rule=RULES)["changed"]


def test_the_tuple_is_the_only_list() -> None:
    """What else names all resources takes them from it, or is held to it here."""
    from ansible_collections.agentless.overlay.plugins.module_utils._module import HOST_SPEC, SPECS
    from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER
    from ansible_collections.agentless.overlay.plugins.plugin_utils._see.drift import RESOURCES

    sections = [one.section for one in ORDER if one.options is not None]
    assert list(SPECS) == sections and list(HOST_SPEC)[: len(sections)] == sections
    assert len({one.name for one in ORDER}) == len(ORDER)
    schema = json.loads((ROOT / "docs/drift.schema.json").read_text())
    items = schema["properties"]["hosts"]["additionalProperties"]["properties"]["drift"]["items"]["properties"]
    assert items["resource"]["enum"] == list(RESOURCES)
    # Each resource is in the file of its name's own, and no file of resources is outside of it.
    for path in (ROOT / "plugins/module_utils/_engine").glob("*.py"):
        said = path.read_text()
        assert "module_utils._resources" not in said, path
        assert not [one.name for one in ORDER if f'"{one.name}"' in said], path
