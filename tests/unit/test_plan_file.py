# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan on file is used by who sees a part of the inventory, and by nobody for whom it is not the plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan import plan_file
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import make_plan

FLEET: dict[str, Any] = {
    "overlay_networks": [{"name": "demo", "cidr": "10.88.0.0/16", "vni": 88, "members": "web"}],
    "overlay_reserved_cidrs": [],
}
RECORDS = {"demo": {"h3": "10.88.33.0/24", "gone": "10.88.99.0/24"}}
NODES = [
    Node(f"h{number}", f"192.168.65.{number}", subnet=f"10.88.{number}.0/24", groups=("overlay", "web", f"rack{number}"))
    for number in (1, 2, 3, 4)
]


@pytest.fixture
def file(tmp_path: Path) -> str:
    groups = {"web": [node.name for node in NODES], "overlay": [node.name for node in NODES]}
    made = make_plan(BACKENDS, FLEET["overlay_networks"], NODES, groups=groups)
    assert made.errors == []
    path = tmp_path / "plan.json"
    marks = plan_file.make_fingerprints(FLEET, NODES, RECORDS)
    plan_file.write_plan(str(path), plan_file.render_plan(made.plan.to_plain(), marks))
    return str(path)


def problems(file: str, nodes: list[Node], **fleet: Any) -> list[str]:
    plan, errors = plan_file.use_plan_file(file, "plan.json", BACKENDS, {**FLEET, **fleet}, nodes, None)
    assert set(plan.networks["demo"].members) == {"h1", "h2", "h3", "h4"}
    return [f"{error.host}: {error.problem}" for error in errors]


def test_a_part_of_the_hosts_uses_the_plan_of_all(file: str) -> None:
    assert problems(file, NODES) == problems(file, NODES[:2]) == problems(file, []) == []


def test_groups_count_that_networks_name(file: str) -> None:
    assert problems(file, [replace(NODES[0], groups=("overlay", "web"))]) == []
    (told,) = problems(file, [replace(NODES[0], groups=("overlay", "rack1"))])
    assert told == "h1: the host's variables are not those that the plan was made from"


@pytest.mark.parametrize(
    "changed",
    [
        {"underlay_ip": "192.168.65.77"},
        {"subnet": "10.88.77.0/24"},
        {"underlay_mtu": 9000},
        {"underlay_subnet": "192.168.65.0/24"},
        {"underlay_dev": "eth1"},
        {"labels": {"zone": "b"}},
    ],
)
def test_each_variable_of_a_host_counts(file: str, changed: dict[str, Any]) -> None:
    assert len(problems(file, [replace(NODES[1], **changed), NODES[2]])) == 1


def test_networks_and_new_hosts_count(file: str) -> None:
    told = problems(file, [NODES[0], Node("h9", "192.168.65.9")], overlay_reserved_cidrs=["10.0.0.0/8"])
    assert len(told) == 2 and "are not those" in told[0] and told[1] == "h9: the plan lacks the host"


def test_what_is_no_plan_is_never_used(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert [error.problem for error in plan_file.use_plan_file(str(path), "plan.json", BACKENDS, FLEET, NODES, None)[1]] == [
        "there is no such file"
    ]
    for text in (
        "{}",
        "[]",
        "no",
        '{"format": 3, "plan": {}, "made_from": {"fleet": 1}}',
        '{"plan": 1, "made_from": {"fleet": 1, "nodes": {}}}',
        # As a version before typed plans wrote it.
        '{"plan": {"networks": {"n": {"backend": "vxlan", "nodes": {}}}}, "made_from": {"fleet": 1, "nodes": {}}}',
        '{"format": 3, "plan": {"networks": {"n": {"backend": "else"}}}, "made_from": {"fleet": 1, "nodes": {}}}',
    ):
        path.write_text(text)
        with pytest.raises(plan_file.PlanFileError, match=r"is not a plan .* Run playbooks/plan.yml"):
            plan_file.use_plan_file(str(path), "plan.json", BACKENDS, FLEET, NODES, None)
    with pytest.raises(plan_file.PlanFileError, match="cannot be written"):
        plan_file.write_plan("/proc/none/plan.json", "x")
