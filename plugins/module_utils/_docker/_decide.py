# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What daemon.json is to be and what is against it, by what was found and is asked for. Pure. PRIVATE to the collection."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple, cast

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._docker._daemon_keys import (
    BACKUP_SUFFIX,
    BRIDGE_SUFFIX,
    DOCKERS_MTU,
    DOCKERS_POOLS,
    IPV6_SUFFIX,
    KEPT,
    KEYS6,
    MANAGED,
    NO_NFTABLES,
    UNDO_SUFFIX,
    choose_keys,
    find_free_address,
    find_remaining_addresses,
    is_pooled,
    list_keys_outside,
    list_live_differences,
    read_ipv6_keys,
    read_ipv6_lease,
    restore_keys,
)
from ansible_collections.agentless.overlay.plugins.module_utils._docker._daemon_text import parse_object, render_daemon_json
from ansible_collections.agentless.overlay.plugins.module_utils._docker._docker_api import Docker
from ansible_collections.agentless.overlay.plugins.module_utils._docker._seen import Dockerd
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Entry, Spec
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

_DIRECT = "allow-direct-routing"
_FLAGS = "dockerd's command line (systemctl cat docker; /etc/default/docker)"


@dataclass
class DaemonSpec(Spec[Entry]):
    """Which keys, and how careful to be."""

    path: str = ""
    socket: str = ""
    keys: Dict[str, Any] = field(default_factory=dict)
    remove: bool = False
    allow_renumber: bool = False
    defer: bool = False


@dataclass
class Found:
    """What is on the host: the file, what is kept beside it by suffix, and dockerd."""

    text: str
    kept: Dict[str, Optional[str]]
    seen: Dockerd
    # Which dockerd ran on what is kept for an undo; empty where none did, and nothing where nobody knows.
    ran: Optional[str] = None

    @property
    def docker(self) -> Docker:
        return cast(Docker, self.seen.docker)

    def former(self, suffix: str) -> str:
        """The text of what is kept; empty where nothing is."""
        return self.kept[suffix] or ""

    @property
    def restarted(self) -> bool:
        """Whether dockerd has been started since what it ran on was kept."""
        if not self.docker.running:
            return False
        if self.ran is None or not self.seen.identity:
            # By the clock, which may have been set since.
            return UNDO_SUFFIX not in self.seen.unread
        return self.ran != self.seen.identity


@dataclass
class Decision:
    """What shall be there, why dockerd has to restart, and what stands in the way."""

    text: str
    reasons: List[str] = field(default_factory=list)
    # Whether docker0 has to go before that, because Docker would keep what it has.
    remove_bridge: bool = False
    # The addresses that docker0 is to lose, and that Docker leaves there, or makes again from a store of its own.
    stale: List[str] = field(default_factory=list)
    # What is kept beside the file, by suffix, and what of it goes.
    keep: Dict[str, str] = field(default_factory=dict)
    forget: Set[str] = field(default_factory=set)
    problems: List[str] = field(default_factory=list)


def decide_daemon_json(spec: DaemonSpec, found: Found) -> Decision:
    """What a host's daemon.json is to be."""
    try:
        decision = _restore_former_file(spec, found) if spec.remove else _set_own_keys(spec, found)
    except OverlayError as error:
        return Decision(found.text, problems=[str(error)])
    seen, docker = found.seen, found.seen.docker
    if decision.reasons and docker is not None and not docker.running and seen.masked:
        decision.problems.append(
            "docker_bip: dockerd does not run, and docker.service is masked, so that nothing can start it. Let it be started "
            "again (systemctl unmask docker.service), or take this host out of the network"
        )
    if spec.defer and decision.reasons:
        # Not before its turn: until then the file is one that Docker is known to start with.
        decision.keep, decision.forget = {}, set()
    elif decision.text != found.text and decision.reasons and (found.kept[UNDO_SUFFIX] is None or found.restarted):
        # An older one is what dockerd still runs on, unless it has been started since.
        decision.keep[UNDO_SUFFIX] = found.text
    return decision


def _set_own_keys(spec: DaemonSpec, found: Found) -> Decision:
    """The file with our keys in it."""
    decision = Decision(found.text, problems=_list_docker_refusals(spec, found))
    if decision.problems:
        return decision
    text, docker, marked = found.text, found.docker, found.kept[IPV6_SUFFIX]
    before = parse_object(text, spec.path)
    keys = choose_keys(docker.release, spec.keys)
    decision.reasons = list_live_differences(docker, keys)
    if not spec.keys.get("bip6") and marked is not None:
        # Those of IPv6 that are ours go, and what its owner had comes back.
        keys.update(read_ipv6_keys(marked, spec.path + IPV6_SUFFIX))
        decision.forget.add(IPV6_SUFFIX)
    decision.text = render_daemon_json(text, spec.path, keys)
    decision.problems = _list_firewall_refusals(docker, before, found.seen.flags) + _list_key_refusals(
        spec, found, before, keys
    )
    if docker.running and keys.get(_DIRECT):
        decision.reasons += _check_direct_routing(spec, found)
    _note_stale_addresses(decision, spec, found, before if marked is not None else {})
    if decision.text != text and found.kept[BACKUP_SUFFIX] is None:
        decision.keep.update({BACKUP_SUFFIX: text, BRIDGE_SUFFIX: docker.gateway or ""})
    if spec.keys.get("bip6") and marked is None:
        backup = found.kept[BACKUP_SUFFIX]
        set_already = backup is not None and all(before.get(name) == keys.get(name, before.get(name)) for name in KEYS6)
        former = read_ipv6_keys(found.former(BACKUP_SUFFIX) if set_already else text, spec.path)
        kept = {name: value for name, value in former.items() if value is not None}
        decision.keep[IPV6_SUFFIX] = json.dumps(kept) + "\n"
    return decision


def _note_stale_addresses(decision: Decision, spec: DaemonSpec, found: Found, before: Mapping[str, Any]) -> None:
    """Where docker0 has an IPv6 address that it is to lose: Docker from 26 leaves it there, and 20.10 leaves its route.

    @param before: the keys that we set and that are in the file
    """
    undo = parse_object(found.former(UNDO_SUFFIX), spec.path + UNDO_SUFFIX)
    # Docker 26 gives it one without the key ipv6 too.
    leases = [read_ipv6_lease({**keys, "ipv6": True}) for keys in (before, undo, parse_object(decision.text, spec.path))]
    gone = {lease for lease in leases[:2] if lease is not None} - {leases[2]}
    left = find_remaining_addresses(gone, [*found.seen.addresses6, *filter(None, [found.docker.gateway6])])
    if left:
        decision.reasons.append("docker0 has %s, which it is not to have any more" % ", ".join(left))
        decision.stale = left


def _list_docker_refusals(spec: DaemonSpec, found: Found) -> List[str]:
    """What is wrong with the Docker of this host itself."""
    if found.seen.docker is None:
        return [found.seen.error]
    docker = found.docker
    return (
        _docker_api.list_foreign_refusals(docker, spec.socket)
        or _docker_api.list_snap_refusals(docker)
        or _docker_api.list_unseen_refusals(docker, spec.socket)
    )


def _list_firewall_refusals(docker: Docker, before: Mapping[str, Any], flags: Mapping[str, str]) -> List[str]:
    """As dockerd has it, and as it will have it after its next start."""
    name = "firewall-backend"
    if not docker.has_iptables:
        return [NO_NFTABLES % docker.firewall]
    given = flags.get("--" + name) or before.get(name)
    return [NO_NFTABLES % given] if given == "nftables" else []


def _list_key_refusals(spec: DaemonSpec, found: Found, before: Mapping[str, Any], keys: Mapping[str, Any]) -> List[str]:
    """What of the owner's does not go with our keys."""
    given, docker = found.seen.flags, found.docker
    problems = []
    # --bip and --bridge exclude each other, wherever each is given.
    both = sorted(({"--" + name for name in MANAGED if keys.get(name) is not None} | {"--bridge"}) & set(given))
    if both:
        problems.append(
            "docker_bip: dockerd is started with %s, and refuses to start where %s sets the same. Remove the flag from "
            "its unit or its defaults file (systemctl cat docker; /etc/default/docker)" % (", ".join(both), spec.path)
        )
    elsewhere = given.get("--config-file", spec.path)
    if os.path.realpath(elsewhere) != os.path.realpath(spec.path):
        problems.append(
            "docker_bip: dockerd reads %s, not %s. Give that as path, or remove --config-file" % (elsewhere, spec.path)
        )
    if before.get("bridge"):
        problems.append("docker_bip: %s sets bridge to %r, which excludes bip. Remove that key" % (spec.path, before["bridge"]))
    problems += list_keys_outside(spec.path, before, keys)
    problems += list_keys_outside(_FLAGS, {name[2:]: value for name, value in given.items()}, keys)
    for lease in (keys["bip"], read_ipv6_lease(keys)):
        taken = _docker_api.list_networks_over(docker, str(lease)) if lease else []
        if taken:
            problems.append(
                "docker_bip: the lease %s lies over Docker network %s, and Docker would not start with it. Remove that "
                "network (docker network rm), or give the host another lease" % (lease, ", ".join(taken))
            )
    renumber = before.get("bip") != keys["bip"] and docker.gateway != keys["bip"]
    # Those on other Docker networks keep their addresses; a restart, which stops them too, has its own question.
    hit = [container.name for container in docker.containers if container.address]
    if renumber and hit and not spec.allow_renumber:
        problems.append(
            "docker_bip: docker0 would change from %s to %s while containers run: %s. They would be stopped and get "
            "new addresses. Stop them first, or set allow_renumber (variable overlay_allow_renumber: true)"
            % (docker.gateway, keys["bip"], ", ".join(hit))
        )
    return problems


def _check_direct_routing(spec: DaemonSpec, found: Found) -> List[str]:
    """Whether allow-direct-routing is in force, which dockerd does not tell; nothing where it is."""
    # Its rules do, of any container that they would keep from others.
    if found.seen.raw is not None:
        addresses = _docker_api.list_guarded_addresses(found.docker)
        dropped = any(re.search(r"-d %s/32 ! -i \S+ .*-j DROP" % re.escape(one), found.seen.raw) for one in addresses)
        return ["%s is not in force" % _DIRECT] if dropped else []
    # Where there is none, by what we wrote, and not by the file's time: whoever touches it need not change this.
    known = parse_object(found.text, spec.path).get(_DIRECT) is True
    if found.kept[UNDO_SUFFIX] is not None and not found.restarted:
        known = known and parse_object(found.former(UNDO_SUFFIX), spec.path + UNDO_SUFFIX).get(_DIRECT) is True
    elif found.kept[BACKUP_SUFFIX] is None and "" in found.seen.unread:
        # Others wrote it, and it may not have been read.
        known = False
    return [] if known else ["%s may not be in force" % _DIRECT]


def _restore_former_file(spec: DaemonSpec, found: Found) -> Decision:
    """The file with the keys that it had before us, in two steps.

    Without a bip Docker keeps the address that it finds on docker0. So it gets the former one as a bip, until it has
    restarted on it; then the file becomes what it was, and what was kept goes.
    """
    text, backup = found.text, found.kept[BACKUP_SUFFIX]
    decision = Decision(text, forget=set(KEPT))
    if backup is None:
        # We never changed the file, and what is in it is not ours; a run that was killed may have kept something.
        return decision
    if not found.seen.installed:
        # Nothing runs on it any more.
        decision.text = restore_keys(text, spec.path, backup, found.kept[IPV6_SUFFIX])
        return decision
    decision.problems = _list_docker_refusals(spec, found)
    if decision.problems:
        return decision
    docker = found.docker
    decision.text = rendered = restore_keys(text, spec.path, backup, found.kept[IPV6_SUFFIX])
    former = parse_object(backup, spec.path + BACKUP_SUFFIX)
    bip, taken = _choose_former_bip(spec, found, former)
    before = parse_object(text, spec.path)
    if not docker.running and not former.get("bip") and before.get("bip") == bip:
        # It is down on that very address, which may be taken by a network that only Docker knows of. Without a bip, without
        # docker0 and after a start that failed it chooses one that is free.
        decision.reasons, decision.remove_bridge, decision.forget = list_live_differences(docker, {}), True, set()
        return decision
    keys = {"bip": bip, "mtu": former.get("mtu", DOCKERS_MTU), "ip-masq": former.get("ip-masq", True)}
    decision.reasons = list_live_differences(docker, keys)
    _note_stale_addresses(decision, spec, found, before)
    if decision.reasons:
        decision.problems = list_keys_outside(spec.path, parse_object(rendered, spec.path), keys)
        decision.text, decision.forget = render_daemon_json(rendered, spec.path, {"bip": bip}), set()
        decision.reasons += taken
    return decision


def _choose_former_bip(spec: DaemonSpec, found: Found, former: Mapping[str, Any]) -> Tuple[str, List[str]]:
    """The address that docker0 gets back, and why it is another one than it had."""
    docker = found.docker
    given = [(pool["base"], pool["size"]) for pool in former.get("default-address-pools") or []]
    pools = docker.pools or given or DOCKERS_POOLS
    bip = former.get("bip") or found.former(BRIDGE_SUFFIX)
    taken = _docker_api.list_networks_over(docker, bip) if bip else []
    said = ["%s, which docker0 had before, lies over Docker network %s" % (bip, ", ".join(taken))] if taken else []
    if bip and not taken:
        return bip, []
    if former.get("bip"):
        raise OverlayError(
            "docker_bip: %s, and Docker would not start with it. Remove that network (docker network rm), and run again"
            % said[0]
        )
    ours = {parse_object(text, spec.path).get("bip") for text in (found.text, found.former(UNDO_SUFFIX))}
    if docker.gateway and docker.gateway not in ours and is_pooled(pools, docker.gateway):
        # It has chosen already.
        return docker.gateway, said
    free = find_free_address(pools, found.seen.taken)
    if free is None:
        raise OverlayError(
            "docker_bip: no subnet of Docker's pools is free for docker0. Remove a Docker network, and run again"
        )
    return free, said
