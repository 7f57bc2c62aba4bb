# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that people write too: nothing of them is lost, and what cannot be right is refused with its place."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan import leases, texts
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.lease_lines import insert_lines


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,\n "b": {"c": 1,\n "c": 2}}', "lines 2 and 3 both give c"),
        ('{"a": 1', "it is not JSON: Expecting ',' delimiter in line 1"),
        ("[" * 100000, "it is not JSON"),
    ],
)
def test_json_that_is_refused(text: str, words: str) -> None:
    with pytest.raises(texts.TextError, match=words):
        texts.parse_json(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\n? [b]\n: 2\n", "line 2 has a key that is no name"),
        ("a: &x [*x]\n", "it is not YAML"),
        ("a: \x01\n", "it is not YAML"),
        ("a: 1\n---\nb: 2\n", "it is not YAML"),
        ("a:\n\t- b\n", "it is not YAML: .* in line 2"),
    ],
)
def test_yaml_that_is_refused(text: str, words: str) -> None:
    with pytest.raises(texts.TextError, match=words):
        texts.parse_yaml(text)


def test_every_value_is_what_was_written() -> None:
    assert texts.parse_yaml("010: 1e3\nno: null\n1_0: 12:30:45\nempty:\n") == {
        "010": "1e3",
        "no": "null",
        "1_0": "12:30:45",
        "empty": "",
    }


@pytest.mark.parametrize("seed", range(40))
def test_lines_are_put_in_and_none_is_lost(seed: int) -> None:
    """Records with comments anywhere, to which leases, networks and second families are added."""
    chance = random.Random(seed)
    wanted: dict[str, dict[str, Any]] = {}
    lines = ["# First.", "overlay_lease_records:"]
    for network in chance.sample(["a", "b", "c", "d"], 3):
        lines += chance.choice([[], ["  # Of a network.", ""]]) + [f"  {network}:" + chance.choice(["", "  # here"])]
        wanted[network] = {}
        for node in chance.sample(["h1", "h2", "h3", "007", "ä"], chance.randint(1, 4)):
            value: Any = chance.choice([f"10.0.{seed}.0/24", [f"10.0.{seed}.0/24", "fd00::/64"]])
            lines += chance.choice([[], ["    # Of a host."], [""]])
            name = f"'{node}'" if node == "007" else node
            lines += (
                [f"    {name}: {value}  # why"] if isinstance(value, str) else [f"    {name}:", *(f"    - {v}" for v in value)]
            )
            wanted[network][node] = value
    lines += chance.choice([[], ["# Last."]])
    before = "\n".join(lines) + chance.choice(["", "\n"])
    for network in ("0", chance.choice("abcd"), "z"):
        wanted.setdefault(network, {}).update(dict.fromkeys(chance.sample(["h0", "h4", "zz"], 2), "10.9.9.0/24"))
    after = leases.render_leases(wanted, before)
    assert texts.parse_yaml(after)["overlay_lease_records"] == wanted
    left = iter(after.splitlines())
    assert all(line in left for line in lines), "in the order that they had"


def test_a_second_family_leaves_the_comment_of_its_line() -> None:
    text = "overlay_lease_records:\n  main:\n    a: 10.88.1.0/24  # rack 1\n    b: 10.88.2.0/24\n"
    wanted = {"main": {"a": ["10.88.1.0/24", "fd00::/64"]}}
    assert insert_lines(text, "overlay_lease_records", wanted) == text.replace(
        "    a: 10.88.1.0/24  # rack 1\n", "    a:  # rack 1\n    - 10.88.1.0/24\n    - fd00::/64\n"
    )
