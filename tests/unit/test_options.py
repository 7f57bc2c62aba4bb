# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables of roles: values that none takes, names that are like one, and what hosts have otherwise than the others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan import options
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import PlanError

ROOT = Path(__file__).parents[2]
FILES = ROOT.glob("roles/*/meta/argument_specs.yml")
SPECS = {path.parts[-3]: yaml.safe_load(path.read_text())["argument_specs"] for path in FILES}
KNOWN = options.list_options(SPECS)


def accepts(name: str, spec: Any, value: Any) -> bool:
    return not ArgumentSpecValidator({name: dict(spec)}).validate({name: value}).error_messages


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("overlay_batch", "lots", "neither a number of hosts from 1 nor a percentage"),
        ("overlay_batch", 0, "neither a number"),
        ("overlay_batch", True, "neither a number"),
        ("overlay_batch", [], "neither a number"),
        ("overlay_batch", [1, "x"], "neither a number"),
        ("overlay_batch", 1.5, "neither a number"),
        ("overlay_batch", "101%", "neither a number"),
        ("overlay_batch", None, "it is empty"),
        ("overlay_max_fail_percentage", "many", "not a percentage from 0 to 100"),
        ("overlay_max_fail_percentage", 101, "not a percentage"),
        ("overlay_max_fail_percentage", -1, "not a percentage"),
        ("overlay_docker_restart", "nver", "not one of when_idle, always, never"),
        ("overlay_docker_restart", None, "it is empty"),
        ("overlay_docker_restart", ["never"], "not one of when_idle, always, never"),
        ("overlay_allow_drops", "perhaps", "neither true nor false"),
        ("overlay_max_remove", -1, "not a whole number from 0"),
        ("overlay_max_remove", "few", "not a whole number"),
        ("overlay_verify_count", 0, "not a whole number from 1"),
        ("overlay_labels", "a", "not a mapping"),
        ("overlay_report_dir", {"a": 1}, "not a text"),
        ("overlay_docker_bip", ["a"], "not a list of mappings"),
    ],
)
def test_what_no_role_takes(name: str, value: Any, problem: str) -> None:
    assert options.check_value(name, KNOWN[name], value, accepts).startswith(problem)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("overlay_batch", value) for value in (1, "3", "25%", "100%", [1, "5", "50%"])),
        *(("overlay_max_fail_percentage", value) for value in (0, 100, 12.5, "30", "30%", "100.0")),
        ("overlay_max_remove", None),
        ("overlay_max_remove", "0"),
        ("overlay_allow_drops", "no"),
        ("overlay_docker_restart", "never"),
        ("overlay_remove", "old"),
    ],
)
def test_what_roles_take(name: str, value: Any) -> None:
    assert options.check_value(name, KNOWN[name], value, accepts) == ""


def test_each_option_names_a_role_that_documents_it() -> None:
    for name, option in KNOWN.items():
        assert any(name in entry.get("options", {}) for entry in SPECS[option.role].values())
    assert KNOWN["overlay_apply"].remedy.endswith("agentless.overlay.converge")
    assert KNOWN["overlay_verify"].remedy.endswith("agentless.overlay.verify")
    assert set(options.FLEET) <= set(KNOWN)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("overlay_underlay_ipp", "overlay_underlay_ip"),
        ("overlay_alow_renumber", "overlay_allow_renumber"),
        ("overlay_allow_drop", "overlay_allow_drops"),
        ("overlay_network", "overlay_networks"),
        ("overlay_docker_restarts", "overlay_docker_restart"),
        ("overlay_batches", "overlay_batch"),
        ("overlay_max_removes", "overlay_max_remove"),
    ],
)
def test_a_name_that_is_like_one_is_an_error(name: str, meant: str) -> None:
    errors, others = options.find_misspelt({"a": [name, "ansible_host"]}, KNOWN, [], lambda host, variable: "x")
    assert [str(error) for error in errors] == [
        f"a: {name} = x: there is no such variable; did you mean {meant}. "
        "Correct the name; list it in overlay_own_variables if it is one of your own."
    ]
    assert not others
    assert options.find_misspelt({"a": [name]}, KNOWN, [name], lambda host, variable: "x") == ([], [])


def test_other_names_are_a_warning() -> None:
    names = ["overlay_colour", "overlay_site", "overlays", "my_overlay_networks", "overlay_plan", "overlay_docker_said"]
    assert options.find_misspelt({"a": names, "b": names}, KNOWN, [], lambda host, variable: "x") == (
        [],
        ["overlay_colour", "overlay_site"],
    )


@pytest.mark.parametrize("value", ["overlay_a, overlay_b ", "overlay_a,overlay_b", ["overlay_a", " overlay_b"]])
def test_own_names_come_with_spaces_too(value: Any) -> None:
    assert options.list_own_names(value) == ["overlay_a", "overlay_b"]


def test_names_that_our_own_parts_leave_on_hosts_are_known() -> None:
    """What is registered, set, or in vars of any playbook and role; and what plugins read."""
    files = [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/vars/*.yml")]
    files += [*ROOT.glob("roles/*/defaults/*.yml"), *ROOT.glob("plugins/connection/*.py")]
    used = {name for file in files for name in re.findall(r"\boverlay_[a-z_0-9]+", file.read_text())}
    assert used - set(KNOWN) - options.INTERNAL == set()
    assert not options.INTERNAL & set(KNOWN)


def test_what_most_hosts_have_is_right() -> None:
    values = {"a": 1, "b": 2, "c": 2, "d": None}
    expected, errors = options.find_differing("overlay_batch", values)
    assert expected == 2
    assert [(error.host, error.value, error.problem) for error in errors] == [
        ("a", "1", "differs from what b has"),
        ("d", "not set", "differs from what b has"),
    ]
    assert options.find_differing("overlay_batch", {}) == (None, [])


def test_an_error_that_many_share_is_told_once() -> None:
    errors = [PlanError(f"h{number}", "v", "x", "p", "r") for number in range(1, 8)]
    assert [str(error) for error in options.join_shared([*errors, PlanError("h9", "v", "y", "p", "r")])] == [
        "h1, h2 and 5 others: v = x: p. r.",
        "h9: v = y: p. r.",
    ]
