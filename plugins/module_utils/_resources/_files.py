# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole files that are ours. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import os
import shlex
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Union, cast

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Entry,
    Failure,
    Key,
    Op,
    Options,
    OverlayError,
    Resource,
    Spec,
)
from ansible_collections.agentless.overlay.plugins.module_utils._marks import MARK, SUBNET_ENV


@dataclass(frozen=True)
class File(Entry):
    """A text file with its permission bits."""

    path: str
    content: str
    mode: int = 0o644

    @property
    def marked(self) -> bool:
        """Whether it says that it is ours."""
        return MARK.rstrip(":") in self.content

    @property
    def key(self) -> Key:
        return (self.path,)

    def lines(self) -> List[str]:
        return ["%s mode %04o" % (self.path, self.mode)] + self.content.splitlines()

    def __str__(self) -> str:
        return self.path


def read_file(path: str) -> Optional[File]:
    """A file as it is, also one that is no UTF-8, or None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as handle:
            return File(path, handle.read(), os.fstat(handle.fileno()).st_mode & 0o7777)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OverlayError("%s cannot be read: %s" % (path, error)) from error


# Folders that are there for our files alone, or that no package makes.
_FOLDERS = ("/etc/agentless-overlay", "/etc/systemd/networkd.conf.d", "/run/flannel")


def remove_file(path: str) -> None:
    """Remove a file, and the folder that was made for it."""
    os.unlink(path)
    if os.path.dirname(path) in _FOLDERS:
        try:
            os.rmdir(os.path.dirname(path))
        except OSError:
            return


def write_file(entry: File) -> None:
    """Replace a file in one step: a reader sees the old one or the new one, also after a power failure."""
    # A link stays a link: what it points at is replaced.
    target = os.path.realpath(entry.path)
    folder = os.path.dirname(target)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    # Always the same name: a run that is killed leaves one such file at most. Who writes holds the host's lock.
    temporary = os.path.join(folder, ".%s.overlay-new" % os.path.basename(target))
    if os.path.lexists(temporary):
        os.unlink(temporary)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.write(entry.content)
            stream.flush()
            if os.path.exists(target):
                owner = os.stat(target)
                os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
                _copy_attributes(target, stream.fileno())
            # After the ACL, of which it is the mask.
            os.fchmod(stream.fileno(), entry.mode)
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


# What the kernel computes from the content.
_MEASURED = ("security.ima", "security.evm")


def _copy_attributes(source: str, target: int) -> None:
    """Give an open file the ACL, the label and what else hangs on another one, and nothing that its folder gave it."""
    wanted = {name: os.getxattr(source, name) for name in _list_attributes(source)}
    for name in _list_attributes(target):
        if name not in wanted:
            with contextlib.suppress(OSError):
                os.removexattr(target, name)
    for name, value in wanted.items():
        # A label that only the machine around this one may set is the folder's.
        with contextlib.suppress(*(OSError,) if name.startswith("security.") else ()):
            os.setxattr(target, name, value)


def _list_attributes(file: Union[str, int]) -> List[str]:
    try:
        return [name for name in os.listxattr(file) if name not in _MEASURED]
    except OSError:
        # A file system that has none.
        return []


@dataclass
class FileSpec(Spec[File]):
    """And the paths at which a file of somebody else's may be taken over."""

    adopted: Set[str] = field(default_factory=set)


def is_foreign_file(found: Optional[File], wanted: File) -> bool:
    """Whether a file with the name of one of ours is somebody else's. Pure.

    One of ours from the time when it did not say so yet is known by its text.
    """
    if found is None or found.marked or not wanted.marked:
        return False
    return [line for line in wanted.content.splitlines() if not line.startswith("#")] != found.content.splitlines()


_OPTIONS: Options = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str"},
    "mode": {"type": "str", "default": "0644"},
    "adopt": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


class Files(Resource[File]):
    name = section = "files"
    options = _OPTIONS
    nothing = ({"path": SUBNET_ENV, "state": "absent"},)
    stops = False

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[File]:
        spec = FileSpec()
        for item in sections.get(self.section, ()):
            spec.adopted |= {item["path"]} if item.get("adopt") else set()
            mode = int(str(item.get("mode") or "0644"), 8)
            spec.add(File(item["path"], item.get("content") or "", mode), item.get("state") or "present", self.name)
        return spec

    def read(self, host: Host, spec: Spec[File], devices: Set[str]) -> Dict[Key, File]:
        files = (read_file(key[0]) for key in set(spec.present) | spec.absent)
        return {entry.key: entry for entry in files if entry is not None}

    def obstacles(self, host: Host, spec: Spec[File], found: Mapping[Key, File], wanted: Mapping[Key, File]) -> Iterable[str]:
        for key, entry in spec.present.items():
            if entry.path not in cast(FileSpec, spec).adopted and is_foreign_file(found.get(key), entry):
                yield (
                    "files: %s is there and is somebody else's: it does not say that this collection made it. Remove it, or "
                    "set adopt: true (variable overlay_adopt) to replace it" % entry.path
                )

    def owned(self, entry: File) -> bool:
        return entry.marked

    def extra(self, entry: File, spec: Spec[File]) -> bool:
        return False

    def apply(self, host: Host, ops: Sequence[Op[File]]) -> List[Failure]:
        failures = []
        for op in ops:
            try:
                if op.after is None:
                    remove_file(op.entry.path)
                else:
                    write_file(op.after)
            except OSError as error:
                failures.append(Failure(op, str(error)))
        return failures

    def shell(self, entries: Iterable[File]) -> List[str]:
        lines: List[str] = []
        for entry in entries:
            if not entry.path.startswith("/run/"):
                continue
            folder, path = (shlex.quote(text) for text in (os.path.dirname(entry.path), entry.path))
            # Not as a here-document, which would end at a line of the content, or not at all.
            written = "printf %%s %s >%s" % (shlex.quote(entry.content), path)
            lines += ["try mkdir -p %s" % folder, "%s || failed=1" % written, "try chmod %04o %s" % (entry.mode, path)]
        return lines
