# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every kind of network, from the inventory to the boot script and the way of a packet, as files that a reviewer reads.

tests/golden/NAME/fleet.yml is what somebody writes; the files beside it are what becomes of it. C(pytest --write-golden) writes
them, and the diff says what a change does to every kind of network at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from as_planned import tables_of

from ansible_collections.agentless.overlay.plugins.module_utils import _module
from ansible_collections.agentless.overlay.plugins.module_utils._resources import BY_SECTION, _boot
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS, restore_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import make_part
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import make_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.explain import choose_ends, explain_way

GOLDEN = Path(__file__).parents[1] / "golden"
# As in every file, for the licence.
_HEAD = "---\n" + "".join(Path(__file__).read_text().splitlines(keepends=True)[:3]) + "\n"
NAMES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


def made_of(name: str) -> dict[str, str]:
    """The files of a fleet by name."""
    fleet = yaml.safe_load((GOLDEN / name / "fleet.yml").read_text())
    nodes = [
        Node(name=host, **{**values, "groups": tuple(values.get("groups", ()))}) for host, values in fleet["hosts"].items()
    ]
    made = make_plan(BACKENDS, fleet["networks"], nodes, groups=fleet.get("groups"))
    assert not made.errors, [str(error) for error in made.errors]
    plan, containers = made.plan, fleet.get("containers", {})
    assert restore_plan(yaml.safe_load(_yaml(plan.to_plain()))) == plan
    sections = {host: make_part(plan, host, containers=_all_of(containers, fleet["hosts"])) for host in fleet["hosts"]}
    first = next(iter(fleet["hosts"]))
    return {
        "plan.yml": _yaml(plan.to_plain()),
        "sections.yml": _yaml({host: _list_filled(some) for host, some in sections.items()}),
        "boot.sh": _boot._join_boot_script(_boot.parse_boot_parts(_boot_sections(sections[first]))),
        "explain.txt": "\n".join(line for ends in fleet["explain"] for line in _explain(plan, fleet, sections, ends)),
    }


def _list_filled(sections: dict[str, Any]) -> dict[str, Any]:
    """Those that ask for more than the absence of all, so that a new kind of thing changes no file of others."""
    return {name: parts for name, parts in sections.items() if parts != list(BY_SECTION[name].nothing or ())}


def _boot_sections(sections: dict[str, Any]) -> Any:
    """What the boot script is made from: the sections, or those that boot has for itself."""
    checked = _module.validate_sections(sections)
    return next((part["sections"] for part in checked["boot"] if part["sections"] is not None), checked)


def _all_of(containers: dict[str, Any], hosts: dict[str, Any]) -> dict[str, Any]:
    return {host: containers.get(host, {}) for host in hosts}


def _yaml(data: Any) -> str:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    Plain.add_representer(tuple, yaml.SafeDumper.represent_list)
    return _HEAD + yaml.dump(data, Dumper=Plain, width=120, default_flow_style=None)


def _explain(plan: Plan, fleet: dict[str, Any], sections: dict[str, Any], ends: list[str]) -> list[str]:
    """The way between two ends, as explain.yml says it of hosts that are as planned."""
    running = fleet.get("containers", {})
    found = choose_ends(plan, *ends, "", running)
    head = f"$ explain {' '.join(ends)}"
    if found["error"]:
        return [head, found["error"], ""]
    network = plan.networks[found["network"]]
    tables = []
    for end in found["ends"]:
        given = fleet["hosts"][end["host"]]["underlay_ip"]
        addresses = [given] if isinstance(given, str) else given
        underlay = [one if "/" in one else f"{one}/{64 if ':' in one else 24}" for one in addresses]
        here = [{**one, "bridge": network.bridge} for one in running.get(end["host"], {}).get(network.docker_name, [])]
        tables.append(tables_of({"underlay": underlay}, sections[end["host"]], here, end))
    return [head, *explain_way(plan, found, tables)["lines"], ""]


@pytest.mark.parametrize("name", NAMES)
def test_each_kind_of_network_is_what_it_was(name: str, request: pytest.FixtureRequest) -> None:
    made = made_of(name)
    if request.config.getoption("--write-golden"):
        for file, text in made.items():
            (GOLDEN / name / file).write_text(text)
    for file, text in made.items():
        assert text == (GOLDEN / name / file).read_text(), f"tests/golden/{name}/{file}: pytest --write-golden writes it"
    # What explain says of hosts that are as planned is that they reach each other, or why nobody plans that they do.
    assert "BROKEN" not in made["explain.txt"] or "no container that runs there" in made["explain.txt"]
