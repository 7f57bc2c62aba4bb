# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pings of all targets, from the host and from one container on each Docker network. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._looking._icmp import (
    SMALL,
    Ping,
    find_ip_version,
    find_largest_sizes,
    run_in_namespace,
    send_pings,
)


@dataclass
class Sources:
    """By Docker network all running containers, and the one that pings with the id of its process."""

    running: Dict[str, List[Dict[str, Any]]] = field(default_factory=dict)
    containers: Dict[str, Dict[str, Any]] = field(default_factory=dict)
    processes: Dict[str, int] = field(default_factory=dict)


def find_sources(networks: Sequence[str], socket: str) -> Sources:
    """Ask Docker what runs on networks; of no network it is not asked."""
    found = Sources()
    running = _docker_api.list_running_containers(socket) if networks else []
    for network in networks:
        some = [one for one in running if network in one.addresses]
        found.running[network] = [
            {"name": one.name, "addresses": one.addresses[network], "mac": one.macs[network]} for one in some
        ]
        pid = _docker_api.find_container_process(some[0].name, socket) if some else None
        if pid:
            found.containers[network] = {"name": some[0].name, "addresses": some[0].addresses[network]}
            found.processes[network] = pid
    return found


def ping_targets(targets: Sequence[Mapping[str, Any]], found: Sources, wait: float = 2, count: int = 0) -> List[Dict[str, Any]]:
    """Ping every target with each of its two sizes, from the host and from the container on its network."""
    probes = _ping_from("host", targets, wait, count)
    for network, pid in found.processes.items():
        some = [one for one in targets if one["network"] == network]
        if some:
            probes += run_in_namespace(pid, lambda: _ping_from("container", some, wait, count))  # noqa: B023
    return probes


def _ping_from(source: str, targets: Sequence[Mapping[str, Any]], wait: float, count: int) -> List[Dict[str, Any]]:
    """Ping each with a small packet and with the largest that fits, all at the same time."""
    jobs = [
        (target, Ping(target["address"], size))
        for target in targets
        for size in (SMALL[find_ip_version(target["address"])], target["mtu"])
    ]
    send_pings([one for _target, one in jobs], count or 3, wait, until_answered=not count)
    limits: Dict[str, int] = {}
    if count:
        answered = {one.address for _target, one in jobs[::2] if one.times}
        blocked = [one for _target, one in jobs[1::2] if not one.times and one.address in answered]
        limits = dict(zip((one.address for one in blocked), find_largest_sizes(blocked, min(1.0, wait))))
    return [
        {
            "source": source,
            "target": target["name"],
            "address": one.address,
            "size": one.size,
            "ok": bool(one.times),
            "said": one.said,
            "sent": one.sent,
            "received": len(one.times),
            "rtt": round(min(one.times), 3) if one.times else None,
            "largest": one.size if one.times else limits.get(one.address, 0),
        }
        for target, one in jobs
    ]
