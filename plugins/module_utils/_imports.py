# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Quicker imports out of the archive that Ansible sends. PRIVATE to the collection.

Ansible sends a module and what it imports as a zip archive of sources. Python's zipimport compiles each of them twice: once to
tell the import system its path, and once more to run it (CPython 3.8 to 3.13, spec_from_loader and zipimporter.get_filename).
For a host that is as planned that is a tenth of all its work.
"""

from __future__ import annotations

import sys
import zipimport
from importlib.machinery import ModuleSpec
from typing import Any, Optional, Sequence

_PACKAGE = __name__.rpartition(".")[0]


class _Finder:
    """Finds our files in the archive without asking for their paths."""

    def __init__(self, importer: Any) -> None:
        self._importer = importer

    def find_spec(self, name: str, _path: Optional[Sequence[str]] = None, _target: Any = None) -> Optional[ModuleSpec]:
        """What the import system asks of all finders in turn; None leaves it to the next."""
        if name.rpartition(".")[0] != _PACKAGE:
            return None
        try:
            self._importer.get_source(name)
        except ImportError:
            return None
        return ModuleSpec(name, self._importer)


def compile_once() -> None:
    """Let what is imported of the collection from now on be compiled once; does nothing where it comes from no archive."""
    folders = list(getattr(sys.modules.get(_PACKAGE), "__path__", ()))
    importer = sys.path_importer_cache.get(folders[0]) if folders else None
    # Before Python 3.10 such an importer does not run modules by their specification.
    if isinstance(importer, zipimport.zipimporter) and hasattr(importer, "exec_module"):
        sys.meta_path.insert(0, _Finder(importer))  # type: ignore[arg-type]
