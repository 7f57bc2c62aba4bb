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

import yaml

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.store import replace_files
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
        raise LeaseFileError(f"{path}: leases cannot be recorded: {error}") from error
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
    data = _load_yaml(path)
    if isinstance(data, dict) and set(data) - {VARIABLE}:
        others = ", ".join(sorted(map(str, set(data) - {VARIABLE})))
        raise LeaseFileError(
            f"{path} holds {others} beside {VARIABLE}, and would lose that where a lease is recorded: "
            "the file is written as a whole. Move it into a file of variables of your own"
        )
    records = data.get(VARIABLE) if isinstance(data, dict) else None
    if data is None or records is None and isinstance(data, dict) and not data:
        return {}
    if not isinstance(records, dict) or not all(isinstance(nodes, dict) for nodes in records.values()):
        raise LeaseFileError(f"{path}: {VARIABLE} is not a mapping of networks to hosts to subnets")
    # Whoever edits it may leave the quotes of a number away.
    return {str(name): {str(node): subnet for node, subnet in nodes.items()} for name, nodes in records.items()}


def has_records(path: str) -> bool:
    """Whether a lease is on record in a file, whatever else it holds: one of another purpose may lie there."""
    data = _load_yaml(path)
    records = data.get(VARIABLE) if isinstance(data, dict) else None
    return isinstance(records, dict) and any(records.values())


def _load_yaml(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as handle:
            return yaml.safe_load(handle)
    except FileNotFoundError:
        return None
    except (OSError, yaml.YAMLError) as error:
        raise LeaseFileError(f"{path}: cannot be read: {error}") from error


def join_subnets(subnet: Any) -> str:
    """A record's subnet, or one of each family, in one line."""
    return " ".join(str(one) for one in as_list(subnet))


def list_lease_lines(records: Records) -> list[str]:
    """A line a lease, as a diff shows it."""
    return sorted(
        f"{network} {node} {join_subnets(subnet)}" for network, nodes in records.items() for node, subnet in nodes.items()
    )


def render_leases(records: Records) -> str:
    kept = {
        str(name): {
            str(node): [str(one) for one in subnet] if isinstance(subnet, list) else str(subnet)
            for node, subnet in sorted(nodes.items())
        }
        for name, nodes in sorted(records.items())
        if nodes
    }
    return _HEADER + yaml.safe_dump({VARIABLE: kept}, default_flow_style=False, sort_keys=False)


def write_leases(path: str, records: Records) -> None:
    """Replace the file in one step."""
    try:
        replace_files({path: render_leases(records)})
    except OSError as error:
        raise LeaseFileError(f"{path}: leases cannot be recorded: {error}") from error
