# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Docker as it was found, beside the entries of a resource. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, Optional, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api, _processes
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Entry, Key
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

# Of the one entry that is no thing of ours, and never differs.
KEY: Key = ("dockerd",)


@dataclass(frozen=True)
class Dockerd(Entry):
    """What dockerd says of itself, and what the host knows of it, for what is pure to go by."""

    # Nothing where there is none, or where it does not answer; then why.
    docker: Optional[_docker_api.Docker] = field(default=None, compare=False)
    error: str = field(default="", compare=False)
    installed: bool = field(default=True, compare=False)
    pid: Optional[int] = field(default=None, compare=False)
    identity: str = field(default="", compare=False)
    flags: Dict[str, str] = field(default_factory=dict, compare=False)
    masked: bool = field(default=False, compare=False)
    # The files that are newer than it, so that it may not have read them.
    unread: FrozenSet[str] = field(default=frozenset(), compare=False)
    # The rules by which Docker from 28.2 keeps containers from others, where there are any to be kept.
    raw: Optional[str] = field(default=None, compare=False)
    # The IPv6 addresses of docker0, which Docker does not take away, and subnets that are not free for it.
    addresses6: Tuple[str, ...] = field(default=(), compare=False)
    taken: Tuple[Any, ...] = field(default=(), compare=False)
    # The device by which the host sends to an address of the underlay; empty where there is none.
    ways: Dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> Key:
        return KEY


def query_dockerd(host: Host, socket_path: str) -> Dockerd:
    """What dockerd says; that it says nothing is an answer too."""
    try:
        docker = _docker_api.inspect_docker(host, socket_path)
    except _docker_api.NotInstalled as error:
        return Dockerd(error=str(error), installed=False)
    except OverlayError as error:
        return Dockerd(error=str(error))
    pid = _processes.find_dockerd(socket_path)
    return Dockerd(docker, pid=pid, identity=_processes.identify_process(pid))
