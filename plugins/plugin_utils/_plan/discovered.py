# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What discover.yml found of hosts, as defaults of their variables: one file beside that of the leases. PRIVATE.

Not in host_vars: a file of ours there would hide one that its owner has for a host, or makes later.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import yaml

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.leases import LeaseFileError, lock_leases
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.store import replace_files
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import as_list

NAME = "discovered.yml"
VARIABLE = "overlay_discovered"
KEYS = ("overlay_underlay_ip", "overlay_underlay_dev", "overlay_underlay_mtu", "overlay_public_ip")
_HEADER = """\
---
# What playbooks/discover.yml found, for you to review; keep it with the inventory. A value counts where
# the host has no variable of that name. discover.yml writes this file anew: what is to be otherwise
# belongs into the host's own variables, and a host's lines may be deleted.
"""
_REMEDY = "Correct it, or remove the file and run playbooks/discover.yml again"

# By host, variables.
Discovered = Mapping[str, Mapping[str, Any]]


def find_discovered_file(leases: str) -> str:
    """Where it is, by where leases are recorded; empty where these have no place."""
    return os.path.join(os.path.dirname(leases), NAME) if leases else ""


def read_discovered(path: str) -> dict[str, dict[str, Any]]:
    """What was found, by host; empty where there is no file."""
    text = read_discovered_text(path)
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        # On one line, and without PyYAML's name for a text that it was given.
        why = " ".join(str(error).replace('in "<unicode string>", ', "in ").split())
        raise LeaseFileError(f"{path}: cannot be read: {why}. {_REMEDY}") from error
    if data is None:
        return {}
    hosts = data.get(VARIABLE) if isinstance(data, dict) and set(data) == {VARIABLE} else None
    if not isinstance(hosts, dict) or not all(isinstance(values, dict) for values in hosts.values()):
        raise LeaseFileError(f"{path} holds something else than {VARIABLE}, a mapping of hosts to their variables. {_REMEDY}")
    for host, values in hosts.items():
        unknown = sorted(set(map(str, values)) - set(KEYS))
        if unknown:
            raise LeaseFileError(f"{path}: {host}: {', '.join(unknown)}: only {', '.join(KEYS)} can be there. {_REMEDY}")
    return {str(host): dict(values) for host, values in hosts.items()}


def read_discovered_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise LeaseFileError(f"{path}: cannot be read: {error}. {_REMEDY}") from error


def record_discovered(path: str, found: Discovered, check: bool, complete: bool = True) -> tuple[str, str]:
    """Take the place of what is there of these hosts, and keep what is there of others; gives the texts before and after.

    @param complete: whether all hosts were asked. Some alone cannot tell who else sees a host and what it has to announce: then
        what is there of one that still has its address stays.
    """
    if check:
        return _merge_discovered(path, found, complete)
    with lock_leases(path):
        before, after = _merge_discovered(path, found, complete)
        if before != after:
            try:
                replace_files({path: after})
            except OSError as error:
                raise LeaseFileError(
                    f"{path}: cannot be written: {error}. Set overlay_leases to a path beside which it can"
                ) from error
    return before, after


def _merge_discovered(path: str, found: Discovered, complete: bool) -> tuple[str, str]:
    before, known = read_discovered_text(path), read_discovered(path)
    merged = {**known, **found}
    if not complete:
        merged.update({name: one for name, one in known.items() if _has_address(one, found.get(name, one))})
    # In one order, whatever somebody who edits it makes of it.
    hosts = {name: {key: one[key] for key in KEYS if key in one} for name, one in sorted(merged.items()) if one}
    if not hosts:
        return before, before and _HEADER + f"{VARIABLE}: {{}}\n"
    return before, _HEADER + yaml.safe_dump({VARIABLE: hosts}, default_flow_style=None, sort_keys=False, allow_unicode=True)


def _has_address(known: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether a host on record has the address that was found of it, or its owner says that himself now."""
    there, here = ([str(one).partition("/")[0] for one in as_list(values.get(KEYS[0]))] for values in (known, found))
    return not here or there == here
