# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Out of an archive, as Ansible sends one, each file is compiled once, and not again by the next run; from a folder nothing is
different."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.agentless.overlay.plugins import module_utils

PACKAGE = "ansible_collections/agentless/overlay/plugins/module_utils"
PROGRAM = f"""
import collections, sys, traceback

compiled = collections.Counter()

def count(event, arguments):
    if event == "compile" and "{PACKAGE}/_" in str(arguments[1]):
        compiled[arguments[1]] += 1

from {PACKAGE.replace("/", ".")} import _imports
_imports.CODE = sys.argv[1]
sys.addaudithook(count)
if "once" in sys.argv:
    _imports.compile_once()
from {PACKAGE.replace("/", ".")} import _module
finders = [finder for finder in sys.meta_path if type(finder).__module__ == _imports.__name__]
print(len(compiled), *sorted(set(compiled.values())) or "0", len(finders))
assert _module.SPECS and _module.__spec__.name in sys.modules
if "keep" in sys.argv:
    _imports.keep_compiled()
if "forget" in sys.argv:
    _imports.forget_compiled()
    # What a module imports only where it needs it.
    from {PACKAGE.replace("/", ".")}._looking import _probe
    _imports.keep_compiled()
try:
    _module.validate_sections(0)
except TypeError:
    assert "  problems = " in traceback.format_exc(), traceback.format_exc()
"""
IMPORTING = f"""
import traceback

from {PACKAGE.replace("/", ".")} import _imports
_imports.compile_once()
try:
    from {PACKAGE.replace("/", ".")} import _module
except ImportError:
    assert "raise ImportError" in traceback.format_exc()
    print(*traceback.format_exc().splitlines()[-1:])
"""
KILLED = f"""
import os, signal, sys

from {PACKAGE.replace("/", ".")} import _imports
_imports.CODE = sys.argv[1]
_imports.compile_once()
from {PACKAGE.replace("/", ".")} import _marks
os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
_imports.keep_compiled()
"""
ALL, NONE = pytest.approx(75, abs=40), 0


def pack(path: Path, **changed: str) -> str:
    """An archive as Ansible makes it, but for files that say something else."""
    folders = PACKAGE.split("/")
    with zipfile.ZipFile(path, "w") as made:
        for number in range(1, len(folders) + 1):
            made.writestr("/".join([*folders[:number], "__init__.py"]), "")
        folder = Path(module_utils.__path__[0])
        for file in folder.rglob("_*.py"):
            made.writestr(f"{PACKAGE}/{file.relative_to(folder)}", file.read_text() + changed.get(file.stem, ""))
    return str(path)


@pytest.fixture
def archive(tmp_path: Path) -> str:
    return pack(tmp_path / "module.zip")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return tmp_path / "code"


def start(path: str, program: str, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, check=False, env=env)


def run(path: str, code: Path, *args: str) -> list[int]:
    """How many files were compiled, how often, and how many finders of ours there are."""
    done = start(path, PROGRAM, str(code), *args)
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def test_each_file_of_an_archive_is_compiled_once(archive: str, code: Path) -> None:
    assert run(archive, code, "once") == [ALL, 1, 1]
    assert not code.exists()


def test_a_folder_needs_no_finder(code: Path) -> None:
    assert run(str(Path(module_utils.__path__[0]).parents[4]), code, "once", "keep")[-1] == 0
    assert not code.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps what was compiled")
def test_the_next_run_compiles_what_is_new(archive: str, code: Path, tmp_path: Path) -> None:
    run(archive, code, "once", "keep")
    assert code.stat().st_mode & 0o777 == 0o600
    kept = code.read_bytes()
    assert run(archive, code, "once", "keep") == [NONE, 0, 1]
    assert code.read_bytes() == kept
    other = pack(tmp_path / "other.zip", _routes="\nNEW = 1\n")
    assert run(other, code, "once", "keep") == [1, 1, 1]
    assert run(other, code, "once", "forget") == [NONE, 0, 1]
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".zip"] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps what was compiled")
@pytest.mark.parametrize(
    "hurt",
    [
        *("others may write", "somebody else's", "link", "cut", "empty", "folder", "pipe"),
        *("other Python", "optimized", "other form", "turned bit"),
    ],
)
def test_what_cannot_be_trusted_is_not_run(archive: str, code: Path, hurt: str) -> None:
    run(archive, code, "once", "keep")
    kept = code.read_bytes()
    if hurt == "others may write":
        code.chmod(0o620)
    elif hurt == "somebody else's":
        os.chown(code, 1, 0)
    elif hurt == "link":
        code.symlink_to(code.rename(code.with_name("elsewhere")))
    elif hurt == "folder":
        code.unlink()
        code.mkdir()
    elif hurt == "pipe":
        code.unlink()
        os.mkfifo(code, 0o600)
    else:
        other = {
            "cut": kept[:5000],
            "empty": b"",
            "other Python": b"\0\0\r\n" + kept[4:],
            "other form": kept[:4] + b"\xff" + kept[5:],
            "optimized": kept[:5] + b"\2" + kept[6:],
            "turned bit": kept[:-9] + bytes([kept[-9] ^ 1]) + kept[-8:],
        }
        code.write_bytes(other[hurt])
    assert run(archive, code, "once", "keep") == [ALL, 1, 1]
    if hurt != "folder":
        assert run(archive, code, "once") == [NONE, 0, 1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps what was compiled")
def test_what_is_forgotten_is_not_kept_after_all(archive: str, code: Path, tmp_path: Path) -> None:
    assert run(archive, code, "once", "forget") == [ALL, 1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["module.zip"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps what was compiled")
def test_a_run_that_is_killed_while_it_writes_leaves_one_file_at_most(archive: str, code: Path, tmp_path: Path) -> None:
    for _time in range(2):
        assert start(archive, KILLED, str(code)).returncode == -signal.SIGKILL
    assert len([path for path in tmp_path.iterdir() if path.suffix != ".zip"]) == 1
    run(archive, code, "once", "keep")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["code", "module.zip"]
    assert start(archive, KILLED, str(code)).returncode == 0
    start(pack(tmp_path / "other.zip", _marks="\nNEW = 1\n"), KILLED, str(code))
    run(archive, code, "once", "forget")
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".zip"] == []


def test_a_file_that_cannot_be_imported_says_why(tmp_path: Path) -> None:
    broken = pack(tmp_path / "broken.zip", _marks='\nraise ImportError("for a reason")\n')
    done = start(broken, IMPORTING)
    assert done.stdout == "ImportError: for a reason\n", done.stderr
