# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rooms are as docs/architecture.md says: files and functions are small, imports go downwards, a kind is in one place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Hop, Tunnel, Way
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.hops import CHECKS

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
FILES = sorted(PLUGINS.rglob("*.py"))
PAGE = (ROOT / "docs/architecture.md").read_text()
MOST_LINES, MOST_OF_A_FUNCTION, MOST_WORDS = 400, 50, 20
# Words that say of nothing what it is or does.
EMPTY = {"told", "asked", "said", "looked", "heard", "closer", "plain"}
# A folder, and what it may take from; of the hosts' side the controller takes names only.
IMPORTS = {
    "plugin_utils/_plan": ("_plan", "_marks", "_resources"),
    "plugin_utils/_backends": ("_backends", "_plan", "_marks"),
    "plugin_utils/_see": ("_see", "_plan", "_marks", "_resources"),
    "module_utils/_engine": ("_engine", "_marks", "_errors", "_imports"),
    "module_utils/_resources": ("_resources", "_engine", "_docker", "_marks", "_errors", "_imports"),
    "module_utils/_looking": ("_looking", "_engine", "_docker", "_errors", "_imports"),
}


def functions() -> Iterator[tuple[Path, ast.FunctionDef]]:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield path, node


def test_files_and_functions_are_small() -> None:
    long = [str(path) for path in FILES if len(path.read_text().splitlines()) > MOST_LINES]
    long += [
        f"{path}: {one.name}"
        for path, one in functions()
        if one.end_lineno is not None and one.end_lineno - one.lineno + 1 > MOST_OF_A_FUNCTION
    ]
    assert long == []


def test_functions_are_found_by_name() -> None:
    """A function of a module has a name of its own in the tree, but for that of each program."""
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name != "main":
                places.setdefault(node.name.lstrip("_"), []).append(path.relative_to(ROOT).as_posix())
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
    assert [name for name in places if EMPTY & set(name.split("_"))] == []


@pytest.mark.parametrize("folder", IMPORTS)
def test_imports_go_downwards(folder: str) -> None:
    for path in (PLUGINS / folder).glob("*.py"):
        # What only type checkers read is no way of the data.
        text = re.sub(r"\nif TYPE_CHECKING:\n(    .*\n|\n)+", "\n", path.read_text())
        taken = re.findall(r"overlay\.plugins\.(?:plugin|module)_utils\.(\w+)", text)
        assert set(taken) <= set(IMPORTS[folder]), path


def test_nothing_but_backends_knows_a_kind_by_name() -> None:
    words = r"backend ==|backend in|attach ==|attach in|\.flat\b|isinstance\((?:\w+\.)*(network|attach)\b"
    # On hosts "vxlan" is what the kernel calls a device, and not what we call a network.
    names = "|".join(f'"{name}"' for name in BACKENDS if name != "none")
    for path in FILES:
        if "_backends" not in path.parts:
            pattern = f"{words}|{names}" if path.parent.name in ("_plan", "_see", "action", "filter") else words
            assert [line for line in path.read_text().splitlines() if re.search(pattern, line)] == [], path


def test_each_hop_is_looked_at() -> None:
    assert set(CHECKS) == set(Hop)


@pytest.mark.parametrize("name", BACKENDS)
def test_each_kind_lists_hops_that_its_ways_have(name: str) -> None:
    """Without a tunnel nothing of a tunnel; without Ethernet in it neither neighbours nor an FDB."""
    kind = BACKENDS[name]
    network = kind(name="n", cidrs=("10.0.0.0/16",), mtu=1500, attach=kind.attachments[-1].make_placeholder())
    of_tunnels = {Hop.VTEP, Hop.TUNNEL_OUT, Hop.TUNNEL_IN, Hop.FAR_VTEP}
    of_ethernet = {Hop.NEIGHBOUR, Hop.FDB, Hop.FAR_MAC}
    for ends in ((False, False), (True, False), (False, True), (True, True)):
        assert len(hops := network.list_hops(Way(Tunnel("vx")), *ends)) == len(set(hops))
        if not kind.shared:
            assert not (of_tunnels | of_ethernet) & set(network.list_hops(Way(gateway="192.0.2.1"), *ends))
            assert not of_ethernet & set(network.list_hops(Way(Tunnel("tun", ethernet=False)), *ends))


def test_the_page_names_what_there_is() -> None:
    """Each function of the table of questions, and each file and function on the way of a peer."""
    rows = re.findall(r"^\| [^|]+\? \| `([^`]+)` \| `(\w+)` \|$", PAGE, re.MULTILINE)
    assert len(rows) >= 10
    known = {(path.relative_to(ROOT).as_posix(), one.name) for path, one in functions()}
    assert set(rows) <= known
    names = {one.name for _path, one in functions()}
    way = PAGE[PAGE.index("## The way of one peer") : PAGE.index("## The way of a run")]
    assert set(re.findall(r"│  ([a-z_]+) ", way)) <= names
    for path in re.findall(r"(?:_plan|_backends|_engine|_see|plugins/action|module_utils)/[\w/]+\.py", way):
        assert any(one.as_posix().endswith(path) for one in FILES), path


def test_the_glossary_is_short() -> None:
    words = PAGE[PAGE.index("## Words") : PAGE.index("## To add a resource")]
    assert len(re.findall(r"^\| (?!word|---)", words, re.MULTILINE)) <= MOST_WORDS
