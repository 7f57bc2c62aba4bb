# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Quicker imports out of the archive that Ansible sends. PRIVATE to the collection.

Ansible sends a module and what it imports as a zip archive of sources, and Python's zipimport compiles each of them twice: once
to tell the import system its path, and once more to run it (CPython 3.8 to 3.13, spec_from_loader and
zipimporter.get_filename). Here each is compiled once, and what was compiled is kept on the host for the next runs, until it
boots: to compile everything is a quarter of all the work on a host that is as planned.
"""

from __future__ import annotations

import contextlib
import importlib.util
import marshal
import os
import stat
import sys
import tempfile
import zipfile
import zipimport
from importlib.machinery import ModuleSpec
from typing import Any, Dict, List, Optional, Sequence, Tuple

_PACKAGE = __name__.rpartition(".")[0]
# Only root can write there. A namespace of tests that shares it shares code that is the same.
CODE = "/run/agentless-overlay.code"
# What tells one source from another: its checksum and length in the archive.
_Print = Tuple[int, int]


class _Archive:
    """What finds our files in the archive, and runs them."""

    def __init__(self, path: str) -> None:
        with zipfile.ZipFile(path) as opened:
            self.prints: Dict[str, _Print] = {one.filename: (one.CRC, one.file_size) for one in opened.infolist()}
        self.path = path
        self.kept = _read_code()
        self.is_all_kept = True

    def find_spec(self, name: str, path: Optional[Sequence[str]] = None, _target: Any = None) -> Optional[ModuleSpec]:
        """What the import system asks of all finders in turn; None leaves it to the next."""
        if not name.startswith(_PACKAGE + "."):
            return None
        file = name.replace(".", "/")
        package = file + "/__init__.py" in self.prints
        file += "/__init__.py" if package else ".py"
        if file not in self.prints:
            return None
        spec = ModuleSpec(name, self, origin=os.path.join(self.path, file), is_package=package)  # type: ignore[arg-type]
        spec.has_location = True
        if package and spec.origin:
            spec.submodule_search_locations = [os.path.dirname(spec.origin)]
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """A module is made as always."""

    def exec_module(self, module: Any) -> None:
        """Run a module, compiled now or by an earlier run."""
        origin = module.__spec__.origin
        file = os.path.relpath(origin, self.path)
        known, code = self.kept.get(file, (None, ""))
        if known != self.prints[file]:
            code = compile(zipimport.zipimporter(self.path).get_data(origin), origin, "exec", dont_inherit=True)
            self.kept[file] = self.prints[file], code
            self.is_all_kept = False
        exec(code, module.__dict__)

    def get_source(self, name: str) -> str:
        """The text of a module, for tracebacks."""
        return zipimport.zipimporter(self.path).get_data(str(sys.modules[name].__file__)).decode()


def _read_code() -> Dict[str, Tuple[_Print, Any]]:
    """What earlier runs compiled; nothing where it is another Python's, or not root's alone."""
    try:
        with open(os.open(CODE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid or status.st_mode & 0o077:
                return {}
            if file.read(len(importlib.util.MAGIC_NUMBER)) != importlib.util.MAGIC_NUMBER:
                return {}
            return dict(marshal.load(file))
    except (OSError, ValueError, EOFError, TypeError):
        return {}


def compile_once() -> None:
    """Let what is imported of the collection from now on be compiled once; does nothing where it comes from no archive."""
    path = os.path.dirname(__file__)[: -len(_PACKAGE) - 1]
    if os.path.isfile(path):
        sys.meta_path.insert(0, _Archive(path))  # type: ignore[arg-type]


def _find_archives() -> List[_Archive]:
    return [finder for finder in sys.meta_path if isinstance(finder, _Archive)]


def keep_compiled() -> None:
    """Keep what was compiled for the next run, where there is anything new."""
    for archive in _find_archives():
        if not archive.is_all_kept and not os.geteuid():
            with contextlib.suppress(OSError):
                _write_code(importlib.util.MAGIC_NUMBER + marshal.dumps(archive.kept))


def _write_code(code: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=os.path.dirname(CODE), prefix=os.path.basename(CODE) + ".")
    try:
        with open(handle, "wb") as file:
            file.write(code)
        os.replace(name, CODE)
    except OSError:
        os.unlink(name)


def forget_compiled() -> None:
    """Leave nothing of it on the host, where nothing else of ours is wanted there."""
    for archive in _find_archives():
        archive.is_all_kept = True
    with contextlib.suppress(OSError):
        os.unlink(CODE)
