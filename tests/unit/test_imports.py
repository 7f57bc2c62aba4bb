# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Out of an archive, as Ansible sends one, each file is compiled once; from a folder nothing is different."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.agentless.overlay.plugins import module_utils

PACKAGE = "ansible_collections/agentless/overlay/plugins/module_utils"
CODE = f"""
import collections, sys

compiled = collections.Counter()

def count(event, arguments):
    if event == "compile" and "{PACKAGE}/_" in str(arguments[1]):
        compiled[arguments[1]] += 1

from {PACKAGE.replace("/", ".")} import _imports
sys.addaudithook(count)
if "once" in sys.argv:
    _imports.compile_once()
from {PACKAGE.replace("/", ".")} import _module
finders = [finder for finder in sys.meta_path if type(finder).__module__ == _imports.__name__]
print(len(compiled), *sorted(set(compiled.values())), len(finders))
assert _module.SPECS and _module.__spec__.name in sys.modules
"""


@pytest.fixture
def archive(tmp_path: Path) -> str:
    path = tmp_path / "module.zip"
    folders = PACKAGE.split("/")
    with zipfile.ZipFile(path, "w") as made:
        for number in range(1, len(folders) + 1):
            made.writestr("/".join([*folders[:number], "__init__.py"]), "")
        folder = Path(module_utils.__path__[0])
        for file in folder.rglob("_*.py"):
            made.write(file, f"{PACKAGE}/{file.relative_to(folder)}")
    return str(path)


def run(path: str, *args: str) -> list[int]:
    """How many files were compiled, how often, and how many finders of ours there are."""
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", CODE, *args], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def test_each_file_of_an_archive_is_compiled_once(archive: str) -> None:
    files, often, finders = run(archive, "once")
    assert files > 25 and (often, finders) == (1, 1)


def test_a_folder_needs_no_finder() -> None:
    assert run(str(Path(module_utils.__path__[0]).parents[4]), "once")[-1] == 0
