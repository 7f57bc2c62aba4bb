# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files on the controller, replaced in one step. PRIVATE to the collection."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress


def replace_files(texts: Mapping[str, str]) -> None:
    """Write all of them, or none: each beside its place first, then all are moved into it. Raises OSError.

    A link stays, and what it leads to is replaced. A file keeps its mode, and its owner as far as this user may give it away.
    """
    written: list[tuple[str, str]] = []
    try:
        for link, text in texts.items():
            path = os.path.realpath(link)
            folder, name = os.path.split(path)
            handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
            written.append((temporary, path))
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                _take_over(stream.fileno(), path)
                os.fsync(stream.fileno())
        while written:
            os.replace(*written[0])
            written.pop(0)
    finally:
        for temporary, _path in written:
            os.unlink(temporary)


def _take_over(handle: int, path: str) -> None:
    """Give the file that will take a path's place the owner and mode of what is there."""
    try:
        former = os.stat(path)
    except FileNotFoundError:
        os.fchmod(handle, 0o644)
        return
    for owner in ((-1, former.st_gid), (former.st_uid, -1)):
        with suppress(PermissionError):
            os.fchown(handle, *owner)
    # After the owner, as a change of that clears bits of the mode.
    os.fchmod(handle, stat.S_IMODE(former.st_mode))


def name_reason(error: OSError) -> str:
    """Why, as the system says it, without its number."""
    return error.strerror or str(error)


class ReportError(ValueError):
    """A report that cannot be read, merged or written; the text says which, why, and what to do."""


def report_folder(path: str) -> str:
    """The folder for a report, made where it is missing, and tried."""
    folder = os.path.abspath(os.path.expanduser(path))
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ReportError(f"The report cannot be written into {folder}: {error}. Set overlay_report_dir") from error
    return folder


def write_report(path: str, texts: Mapping[str, str]) -> str:
    """Write the files of a report, by name; gives where to find them."""
    folder = report_folder(path)
    try:
        replace_files({os.path.join(folder, name): text for name, text in texts.items()})
    except OSError as error:
        raise ReportError(f"The report cannot be written into {folder}: {error}. Set overlay_report_dir") from error
    return f"See {os.path.relpath(folder)}/{', '.join(texts)}."
