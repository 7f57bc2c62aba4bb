# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Quicker imports out of the archive that Ansible sends. PRIVATE to the collection.

Ansible sends a module and what it imports as a zip archive of sources. Python's zipimport compiles each of them twice: once to
tell the import system its path, and once more to run it (CPython 3.8 to 3.13, spec_from_loader and zipimporter.get_filename).
For a host that is as planned that is a tenth of all its work.
"""

from __future__ import annotations

import os
import sys
import zipimport
from importlib.machinery import ModuleSpec
from typing import Any, Optional, Sequence

_PACKAGE = __name__.rpartition(".")[0]


class _Finder:
    """Finds our files in the archive without asking for their paths."""

    def find_spec(self, name: str, path: Optional[Sequence[str]] = None, _target: Any = None) -> Optional[ModuleSpec]:
        """What the import system asks of all finders in turn; None leaves it to the next."""
        if not name.startswith(_PACKAGE + ".") or not path:
            return None
        importer = _make_importer(path[0])
        try:
            package = importer is not None and importer.is_package(name)
        except ImportError:
            return None
        if importer is None:
            return None
        spec = ModuleSpec(name, importer, is_package=package)
        if package:
            spec.submodule_search_locations = [os.path.join(path[0], name.rpartition(".")[2])]
        return spec


def _make_importer(folder: str) -> Any:
    """What reads a folder of an archive; None for any other folder."""
    if folder not in sys.path_importer_cache:
        try:
            sys.path_importer_cache[folder] = zipimport.zipimporter(folder)  # type: ignore[assignment]
        except zipimport.ZipImportError:
            return None
    found = sys.path_importer_cache[folder]
    # Before Python 3.10 such an importer does not run modules by their specification.
    return found if isinstance(found, zipimport.zipimporter) and hasattr(found, "exec_module") else None


def compile_once() -> None:
    """Let what is imported of the collection from now on be compiled once; does nothing where it comes from no archive."""
    folders = list(getattr(sys.modules.get(_PACKAGE), "__path__", ()))
    if folders and _make_importer(folders[0]) is not None:
        sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]
