# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ansible-doc shows of a plugin is YAML within Python: a colon within a sentence is enough to lose all of it."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.agentless.overlay.plugins import module_utils
from ansible_collections.agentless.overlay.plugins.filter import lab, plan

PLUGINS = Path(module_utils.__path__[0]).parent
FOLDERS = ("modules", "doc_fragments", "callback", "connection", "filter")
FILES = sorted(file for folder in FOLDERS for file in (PLUGINS / folder).glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_documentation_can_be_read(file: Path) -> None:
    texts = {
        target.id: node.value.value
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.isupper()
    }
    for name, text in texts.items():
        yaml.safe_load(text)  # A fault in it names its line.
        assert text.strip(), name
    if file.parent.name == "modules":
        assert {"DOCUMENTATION", "EXAMPLES", "RETURN"} <= set(texts)


def test_ansible_doc_knows_each_filter_as_it_is_called() -> None:
    filters = {**lab.FilterModule().filters(), **plan.FilterModule().filters()}
    names = [f"agentless.overlay.{name}" for name in filters]
    command = [str(Path(sys.executable).with_name("ansible-doc")), "--type", "filter", "--json", *names]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=PLUGINS.parent).stdout)
    for name, function in filters.items():
        doc = found[f"agentless.overlay.{name}"]["doc"]
        _input, *parameters = inspect.signature(function).parameters
        positional = [one.strip() for one in doc.get("positional", "").split(",") if one]
        assert (positional, set(doc["options"])) == (parameters, {"_input", *parameters}), name
