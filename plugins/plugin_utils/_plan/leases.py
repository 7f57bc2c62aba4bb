# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recorded leases: one YAML file that is part of the inventory. PRIVATE to the collection."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.lease_lines import dump_yaml, insert_lines
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.store import name_reason, replace_files
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.texts import TextError, decode_text, parse_yaml
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import as_list

VARIABLE = "overlay_lease_records"
# Network to node to subnet.
Records = Mapping[str, Mapping[str, Any]]
_HEADER = """\
---
# The subnets that hosts got when they joined an overlay network. The plan writes
# this file and obeys it; keep it with the inventory. A host's line may be deleted
# when the host will not return: its subnet is then free for another.
"""
_REMEDY = "Set overlay_leases to a file in a place that can be written"
_WAIT = 60  # seconds


class LeaseFileError(Exception):
    """The record cannot be read, locked or written."""


@contextmanager
def lock_leases(path: str) -> Iterator[None]:
    """Keep other runs that record in the same file from allocating meanwhile."""
    # Beside the file itself: of two inventories that share it each may have a link.
    folder, name = os.path.split(os.path.realpath(path))
    lock = os.path.join(folder, f".{name}.lock")
    try:
        os.makedirs(folder, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LeaseFileError(f"{path}: leases cannot be recorded: {name_reason(error)}. {_REMEDY}") from None
    try:
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LeaseFileError(f"{path}: another run has held {lock} for {_WAIT} s") from None
                time.sleep(0.1)
        yield
    finally:
        os.close(handle)


def read_leases(path: str) -> dict[str, dict[str, Any]]:
    """What is on record; empty where there is no file.

    A file with anything else in it is refused: it is written as a whole, which would lose that.
    """
    data = _parse_record(path, read_record_text(path))
    if data in (None, "") or data == {}:
        return {}
    records = data.get(VARIABLE) if isinstance(data, dict) else None
    if isinstance(data, dict) and set(data) - {VARIABLE}:
        others = ", ".join(sorted(set(data) - {VARIABLE}))
        raise LeaseFileError(
            f"{path} holds {others} beside {VARIABLE}, and would lose that where a lease is recorded: "
            "the file is written as a whole. Move it into a file of variables of your own"
        )
    if isinstance(records, dict):
        # What has no value is the empty text.
        records = {name: nodes or {} for name, nodes in records.items()}
    elif records == "":
        records = {}
    if not isinstance(records, dict) or not all(isinstance(nodes, dict) for nodes in records.values()):
        raise LeaseFileError(f"{path}: {VARIABLE} is not a mapping of networks to hosts to subnets")
    for name, nodes in records.items():
        for node, subnet in nodes.items():
            if not all(isinstance(one, str) for one in as_list(subnet)):
                raise LeaseFileError(
                    f"{path}: what {name}.{node} has is neither a subnet nor a list of them. A later version of the collection "
                    "may have written it: use that, or correct the line"
                )
    return records


def has_records(path: str) -> bool:
    """Whether a lease is on record in a file, whatever else it holds: one of another purpose may lie there."""
    text = _read_bytes(path)
    # What names no record may be anything that a user has.
    data = _parse_record(path, read_record_text(path)) if VARIABLE.encode() in text else None
    records = data.get(VARIABLE) if isinstance(data, dict) else None
    return isinstance(records, dict) and any(records.values())


def read_record_text(path: str) -> str:
    """The text of a record; empty where there is no file."""
    try:
        return decode_text(_read_bytes(path))
    except TextError as error:
        raise LeaseFileError(f"{path}: cannot be read: {error}") from None


def _read_bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise LeaseFileError(f"{path}: cannot be read: {name_reason(error)}") from None


def _parse_record(path: str, text: str) -> Any:
    try:
        return parse_yaml(text)
    except TextError as error:
        raise LeaseFileError(f"{path}: cannot be read: {error}") from None


def join_subnets(subnet: Any) -> str:
    """A record's subnet, or one of each family, in one line."""
    return " ".join(str(one) for one in as_list(subnet))


def list_lease_lines(records: Records) -> list[str]:
    """A line a lease, as a diff shows it."""
    return sorted(
        f"{network} {node} {join_subnets(subnet)}" for network, nodes in records.items() for node, subnet in nodes.items()
    )


def has_comments(text: str) -> bool:
    """Whether somebody wrote a comment into a record, beside those that are ours."""
    return any("#" in line for line in text.splitlines() if line not in _HEADER.splitlines())


def render_leases(records: Records, before: str = "") -> str:
    """The text of a record.

    @param before: what it was; where somebody wrote comments into that, lines are put into it. Raises TextError
    """
    kept = {
        str(name): {
            str(node): [str(one) for one in subnet] if isinstance(subnet, list) else str(subnet)
            for node, subnet in sorted(nodes.items())
        }
        for name, nodes in sorted(records.items())
        if nodes
    }
    if not has_comments(before):
        return _HEADER + dump_yaml({VARIABLE: kept})
    text = insert_lines(before, VARIABLE, kept)
    found = parse_yaml(text)[VARIABLE]
    if {name: nodes for name, nodes in found.items() if nodes} != kept:
        raise TextError("it has comments, and lines cannot be added as it is written. Take the comments out")
    return text


def write_leases(path: str, records: Records, former: str = "") -> None:
    """Replace the file in one step.

    @param former: a file whose comments are taken along where this one is not there yet
    """
    try:
        replace_files({path: render_leases(records, read_record_text(path) or (read_record_text(former) if former else ""))})
    except OSError as error:
        raise LeaseFileError(f"{path}: leases cannot be recorded: {name_reason(error)}. {_REMEDY}") from None
    except TextError as error:
        raise LeaseFileError(f"{path}: leases cannot be recorded: {error}") from None
