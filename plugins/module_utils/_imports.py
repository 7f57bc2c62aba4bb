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

import binascii
import contextlib
import importlib.util
import marshal
import os
import stat
import struct
import sys
import zipfile
import zipimport
from importlib.machinery import ModuleSpec
from typing import Any, Dict, List, Optional, Sequence, Tuple

_PACKAGE = __name__.rpartition(".")[0]
# Only root can write there. A namespace of tests that shares it shares code that is the same.
CODE = "/run/agentless-overlay.code"
# What the file begins with: whose code it is, and how it is written, which is another number where that is changed.
_HEAD = importlib.util.MAGIC_NUMBER + bytes([1, sys.flags.optimize])
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
        self.is_forgotten = False

    def find_spec(self, name: str, path: Optional[Sequence[str]] = None, _target: Any = None) -> Optional[ModuleSpec]:
        """What the import system asks of all finders in turn; None leaves it to the next."""
        file = self._find_file(name) if name.startswith(_PACKAGE + ".") else ""
        if not file:
            return None
        package = file.endswith("/__init__.py")
        spec = ModuleSpec(name, self, origin=os.path.join(self.path, file), is_package=package)  # type: ignore[arg-type]
        spec.has_location = True
        if package and spec.origin:
            spec.submodule_search_locations = [os.path.dirname(spec.origin)]
        return spec

    def _find_file(self, name: str) -> str:
        """The file of a module in the archive; empty where there is none."""
        path = name.replace(".", "/")
        return next((file for file in (path + "/__init__.py", path + ".py") if file in self.prints), "")

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
        """The text of a module, for tracebacks; of one too that failed to be imported, which is in no list of modules."""
        return zipimport.zipimporter(self.path).get_data(os.path.join(self.path, self._find_file(name))).decode()


def _seal_code(code: bytes) -> bytes:
    """Marked as what this Python compiled, and with what tells whether all of it is there."""
    return _HEAD + struct.pack("=I", binascii.crc32(code)) + code


def _read_code() -> Dict[str, Tuple[_Print, Any]]:
    """What earlier runs compiled; nothing where it is another Python's, or not whole, or not root's alone."""
    try:
        with open(os.open(CODE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid or status.st_mode & 0o077:
                return {}
            sealed = file.read()
    except OSError:
        return {}
    code = sealed[len(_seal_code(b"")) :]
    return dict(marshal.loads(code)) if sealed == _seal_code(code) else {}


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
        if not archive.is_all_kept and not archive.is_forgotten and not os.geteuid():
            with contextlib.suppress(OSError):
                _write_code(_seal_code(marshal.dumps(archive.kept)))


def _name_new() -> str:
    # Always the same, so that what a killed run leaves there is no more than one file, and goes. Of two that write at once
    # one may put the other's in place before all of it is there, which who reads it sees.
    return CODE + ".new"


def _write_code(code: bytes) -> None:
    _forget_file(_name_new())
    try:
        with open(os.open(_name_new(), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(code)
        os.replace(_name_new(), CODE)
    finally:
        _forget_file(_name_new())


def _forget_file(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def forget_compiled() -> None:
    """Leave nothing of it on the host, where nothing else of ours is wanted there."""
    for archive in _find_archives():
        archive.is_forgotten = True
    _forget_file(CODE)
    _forget_file(_name_new())
