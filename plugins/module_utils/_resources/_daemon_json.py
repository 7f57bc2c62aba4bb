# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our keys in Docker's daemon.json, every other one left as it is. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple, cast

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api, _dockerd
from ansible_collections.agentless.overlay.plugins.module_utils._docker._daemon_keys import (
    BACKUP_SUFFIX,
    BRIDGE_SUFFIX,
    DOCKERS_MTU,
    DOCKERS_POOLS,
    MANAGED,
    NO_NFTABLES,
    UNDO_SUFFIX,
    free_address,
    is_pooled,
    keys_for,
    live_differences,
    own_lines,
    parse_object,
    refuse_outside,
    render,
    restore,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import RTM_GETROUTE, Message, rtmsg
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Failure,
    Key,
    Op,
    Options,
    OverlayError,
    Resource,
    Spec,
    drift_item,
)
from ansible_collections.agentless.overlay.plugins.module_utils._resources._files import File, read_file, write_file

# What only a restart mends, as reports call it.
DAEMON = "docker_daemon"
_DIRECT = "allow-direct-routing"
_TABLE_MAIN = 254


@dataclass(frozen=True)
class DaemonFile(File):
    """daemon.json, of which a difference shows our keys only."""

    def lines(self) -> List[str]:
        return ["%s mode %04o" % (self.path, self.mode)] + own_lines(self.content, self.path)


@dataclass(frozen=True)
class Copy(File):
    """What is kept of the time before; its text is of no interest in a difference."""

    def lines(self) -> List[str]:
        return ["%s (as it was)" % self.path]


@dataclass
class DaemonSpec(Spec[File]):
    """Which keys, None for one that shall not be there, and how careful to be."""

    path: str = ""
    socket: str = ""
    keys: Dict[str, Any] = field(default_factory=dict)
    remove: bool = False
    allow_renumber: bool = False
    defer: bool = False


@dataclass
class _Found:
    """What is on the host: the file, what is kept beside it by suffix, and dockerd."""

    text: str
    kept: Dict[str, Optional[File]]
    docker: _docker_api.Docker

    def former(self, suffix: str) -> str:
        """The text of what is kept; empty where nothing is."""
        kept = self.kept[suffix]
        return kept.content if kept is not None else ""


_OPTIONS: Options = {
    "bip": {"type": "str"},
    "bip6": {"type": "str"},
    "mtu": {"type": "int"},
    "ip_masq": {"type": "bool"},
    "allow_renumber": {"type": "bool", "default": False},
    "defer": {"type": "bool", "default": False},
    "path": {"type": "path", "default": "/etc/docker/daemon.json"},
    "socket": {"type": "path", "default": _docker_api.SOCKET},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
_RULES = {"required_if": [("state", "present", ["bip"])]}


class DaemonJson(Resource[File]):
    name = section = "docker_bip"
    more_names = (DAEMON,)
    options = _OPTIONS
    nothing = ({"state": "absent"},)
    rules = _RULES

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[File]:
        spec = DaemonSpec()
        for part in sections.get(self.section, ()):
            if spec.path:
                raise OverlayError("docker_bip: a host has one default bridge; it can have one bip only")
            spec.path, spec.socket = part["path"], part["socket"]
            spec.remove = part.get("state") == "absent"
            spec.allow_renumber, spec.defer = bool(part.get("allow_renumber")), bool(part.get("defer"))
            if not spec.remove and not part.get("bip"):
                raise OverlayError("docker_bip: bip is required where state is present")
            spec.keys = {} if spec.remove else dict(part)
        return spec

    def asked(self, spec: Spec[File]) -> bool:
        spec = cast(DaemonSpec, spec)
        # A host that never had Docker has nothing of ours in its file.
        return bool(spec.path) and (not spec.remove or _docker_api.installed() or os.path.exists(spec.path + BACKUP_SUFFIX))

    def read(self, host: Host, spec: Spec[File], devices: Set[str]) -> Dict[Key, File]:
        # A link that is removed lets all be read that may hang on it.
        if not self.asked(spec):
            return {}
        spec = cast(DaemonSpec, spec)
        there = read_file(spec.path)
        kept = {suffix: read_file(spec.path + suffix) for suffix in (BACKUP_SUFFIX, BRIDGE_SUFFIX, UNDO_SUFFIX)}
        entries: List[File] = [DaemonFile(there.path, there.content, there.mode)] if there is not None else []
        entries += [Copy(copy.path, copy.content, copy.mode) for copy in kept.values() if copy is not None]
        if not host.rolling_back:
            docker = _docker_api.inspect(host, spec.socket)
            self._settle(host, spec, there, _Found(there.content if there is not None else "", kept, docker))
        return {entry.key: entry for entry in entries}

    def _settle(self, host: Host, spec: DaemonSpec, there: Optional[File], found: _Found) -> None:
        """Work out what shall be there, or refuse."""
        mode = there.mode if there is not None else 0o644
        facts, rendered = self._former(host, spec, found) if spec.remove else self._ours(host, spec, found)
        host.facts[self.name] = facts
        changes = rendered != found.text
        if rendered and (changes or facts["restart_required"]):
            _dockerd.validate(host, found.docker.release, rendered)
        if spec.defer and facts["restart_required"]:
            # Not before its turn: until then the file is one that Docker is known to start with.
            spec.present.clear()
            spec.absent.clear()
            return
        if rendered or there is not None and not changes:
            spec.present[(spec.path,)] = DaemonFile(spec.path, rendered, mode)
        elif there is not None:
            spec.absent.add((spec.path,))
        if not changes:
            return
        former = {}
        if not spec.remove and found.kept[BACKUP_SUFFIX] is None:
            former[BACKUP_SUFFIX] = found.text
            former[BRIDGE_SUFFIX] = found.docker.gateway or ""
        # An older one is what dockerd still runs on, unless it has been started since.
        undo = found.kept[UNDO_SUFFIX]
        current = undo is None or found.docker.running and not _dockerd.started_before(undo.path)
        if facts["restart_required"] and current:
            former[UNDO_SUFFIX] = found.text
        for suffix, content in former.items():
            spec.present[(spec.path + suffix,)] = Copy(spec.path + suffix, content, mode)

    def _ours(self, host: Host, spec: DaemonSpec, found: _Found) -> Tuple[Dict[str, Any], str]:
        """The facts, and the file with our keys in it."""
        docker = found.docker
        _docker_api.refuse_unseen(docker, spec.socket)
        if not docker.has_iptables:
            raise OverlayError(NO_NFTABLES % docker.firewall)
        keys = keys_for(docker.release, spec.keys)
        self._refuse(host, spec, parse_object(found.text, spec.path), docker, keys)
        rendered = render(found.text, spec.path, keys)
        reasons = live_differences(docker, keys)
        if docker.running and keys.get(_DIRECT):
            reasons += self._direct_routing(host, spec, found)
        return self._facts(spec, docker, reasons), rendered

    def _former(self, host: Host, spec: DaemonSpec, found: _Found) -> Tuple[Dict[str, Any], str]:
        """The facts, and the file with the keys that it had before us, in two steps.

        Without a bip Docker keeps the address that it finds on docker0. So it gets the former one as a bip, until it has
        restarted on it; then the file becomes what it was, and what was kept goes.
        """
        text, docker, backup = found.text, found.docker, found.kept[BACKUP_SUFFIX]
        everything = {(spec.path + suffix,) for suffix in found.kept}
        if backup is None:
            # We never changed the file, and what is in it is not ours; a run that was killed may have kept something.
            spec.absent |= everything
            return self._facts(spec, docker, []), text
        _docker_api.refuse_unseen(docker, spec.socket)
        rendered = restore(text, spec.path, backup.content)
        former = parse_object(backup.content, backup.path)
        bip, taken = self._former_bip(host, spec, found, former)
        if not docker.running and not former.get("bip") and parse_object(text, spec.path).get("bip") == bip:
            # It is down on that very address, which may be taken by a network that only Docker knows of. Without a bip, without
            # docker0 and after a start that failed it chooses one that is free.
            return dict(self._facts(spec, docker, live_differences(docker, {})), remove_bridge=True), rendered
        keys = {"bip": bip, "mtu": former.get("mtu", DOCKERS_MTU), "ip-masq": former.get("ip-masq", True)}
        reasons = live_differences(docker, keys)
        if reasons:
            refuse_outside(spec.path, parse_object(rendered, spec.path), keys)
            return self._facts(spec, docker, reasons + taken), render(rendered, spec.path, {"bip": bip})
        spec.absent |= everything
        return self._facts(spec, docker, []), rendered

    @staticmethod
    def _former_bip(host: Host, spec: DaemonSpec, found: _Found, former: Mapping[str, Any]) -> Tuple[str, List[str]]:
        """The address that docker0 gets back, and why it is another one than it had."""
        given = [(pool["base"], pool["size"]) for pool in former.get("default-address-pools") or []]
        pools = found.docker.pools or given or DOCKERS_POOLS
        bip = former.get("bip") or found.former(BRIDGE_SUFFIX)
        taken = _docker_api.networks_over(found.docker, bip) if bip else []
        said = ["%s, which docker0 had before, lies over Docker network %s" % (bip, ", ".join(taken))] if taken else []
        if bip and not taken:
            return bip, []
        if former.get("bip"):
            raise OverlayError(
                "docker_bip: %s, and Docker would not start with it. Remove that network (docker network rm), and run again. "
                "Nothing was changed" % said[0]
            )
        ours = {parse_object(text, spec.path).get("bip") for text in (found.text, found.former(UNDO_SUFFIX))}
        gateway = found.docker.gateway
        if gateway and gateway not in ours and is_pooled(pools, gateway):
            # It has chosen already.
            return gateway, said
        free = free_address(pools, _taken(host, found.docker))
        if free is None:
            raise OverlayError("docker_bip: no subnet of Docker's pools is free for docker0. Nothing was changed")
        return free, said

    def diff(self, actual: Mapping[Key, File], wanted: Mapping[Key, File]) -> List[Op[File]]:
        # What a run that is killed leaves is read by the next one: that there is a backup says that all that is kept with
        # it is there, so it comes last of them and goes first. What it is a copy of changes after it, and is back before.
        def step(op: Op[File]) -> int:
            place = 2 if not isinstance(op.entry, Copy) else 1 if op.entry.path.endswith(BACKUP_SUFFIX) else 0
            return place if op.after is not None else -place

        return sorted(super().diff(actual, wanted), key=step)

    @staticmethod
    def _refuse(
        host: Host, spec: DaemonSpec, before: Mapping[str, Any], docker: _docker_api.Docker, keys: Mapping[str, Any]
    ) -> None:
        given = _dockerd.flags(host)
        # --bip and --bridge exclude each other, wherever each is given.
        ours = {"--" + name for name in MANAGED if keys.get(name) is not None} | {"--bridge"}
        both = sorted(ours & set(given))
        if both:
            raise OverlayError(
                "docker_bip: dockerd is started with %s, and refuses to start where %s sets the same. Remove the flag from "
                "its unit or its defaults file (systemctl cat docker; /etc/default/docker)" % (", ".join(both), spec.path)
            )
        elsewhere = given.get("--config-file", spec.path)
        if os.path.realpath(elsewhere) != os.path.realpath(spec.path):
            raise OverlayError(
                "docker_bip: dockerd reads %s, not %s. Give that as path, or remove --config-file" % (elsewhere, spec.path)
            )
        if before.get("bridge"):
            raise OverlayError(
                "docker_bip: %s sets bridge to %r, which excludes bip. Remove that key" % (spec.path, before["bridge"])
            )
        refuse_outside(spec.path, before, keys)
        for lease in (keys["bip"], keys.get("bip6") or keys.get("fixed-cidr-v6")):
            taken = _docker_api.networks_over(docker, lease) if lease else []
            if taken:
                raise OverlayError(
                    "docker_bip: the lease %s lies over Docker network %s, and Docker would not start with it. Remove that "
                    "network (docker network rm), or give the host another lease. Nothing was changed"
                    % (lease, ", ".join(taken))
                )
        renumber = before.get("bip") != keys["bip"] and docker.gateway != keys["bip"]
        # Those on other Docker networks keep their addresses; a restart, which stops them too, has its own question.
        hit = [container.name for container in docker.containers if container.address]
        if renumber and hit and not spec.allow_renumber:
            raise OverlayError(
                "docker_bip: docker0 would change from %s to %s while containers run: %s. They would be stopped and get "
                "new addresses. Stop them first, or set allow_renumber (variable overlay_allow_renumber: true)"
                % (docker.gateway, keys["bip"], ", ".join(hit))
            )

    @staticmethod
    def _direct_routing(host: Host, spec: DaemonSpec, found: _Found) -> List[str]:
        """Whether allow-direct-routing is in force, which dockerd does not tell; nothing where it is."""
        # Its rules do, of any container that they would keep from others.
        addresses = _docker_api.guarded_addresses(found.docker)
        if addresses:
            raw = host.run(["iptables", "-w", "-t", "raw", "-S", "PREROUTING"], None)[1]
            dropped = any(re.search(r"-d %s/32 ! -i \S+ .*-j DROP" % re.escape(address), raw) for address in addresses)
            return ["%s is not in force" % _DIRECT] if dropped else []
        # Where there is none, by what we wrote, and not by the file's time: whoever touches it need not change this.
        known = parse_object(found.text, spec.path).get(_DIRECT) is True
        undo = found.kept[UNDO_SUFFIX]
        if undo is not None and _dockerd.started_before(undo.path):
            known = known and parse_object(undo.content, undo.path).get(_DIRECT) is True
        elif found.kept[BACKUP_SUFFIX] is None and _dockerd.started_before(spec.path):
            # Others wrote it, and it may not have been read.
            known = False
        return [] if known else ["%s may not be in force" % _DIRECT]

    @staticmethod
    def _facts(spec: DaemonSpec, docker: _docker_api.Docker, reasons: List[str]) -> Dict[str, Any]:
        # Asked one by one, and only where it matters.
        gone = _docker_api.lost_with_a_restart(docker.containers, spec.socket) if reasons else []
        return {
            "version": docker.version,
            "restart_required": bool(reasons),
            "restart_reasons": reasons,
            "containers": [one.name for one in docker.containers],
            "returning": [one.name for one in docker.containers if one.name not in gone and not one.task],
            "paused": [one.name for one in docker.containers if one.paused],
            "auto_removed": gone,
            "live_restore": docker.live_restore,
            "remove_bridge": False,
            "path": spec.path,
        }

    def extra(self, entry: File, spec: Spec[File]) -> bool:
        return False

    def show(self, op: Op[File]) -> Tuple[List[str], List[str]]:
        before, after = super().show(op)
        # Keys of others, or the manner of writing: that it changes is said, and not how.
        return before, after if before != after else [*after, "%s: text" % op.entry.path]

    def more_drift(self, host: Host) -> List[Dict[str, Any]]:
        docker = host.facts.get(self.name) or {}
        if not docker.get("restart_required"):
            return []
        return [
            drift_item(DAEMON, "dockerd", "wrong", ["runs on %s as it is to be" % docker["path"]], docker["restart_reasons"])
        ]

    def apply(self, host: Host, ops: Sequence[Op[File]]) -> List[Failure]:
        for op in ops:
            try:
                if op.after is None:
                    os.unlink(op.entry.path)
                else:
                    write_file(op.after)
            except OSError as error:
                return [Failure(op, str(error))]
        return []


def _taken(host: Host, docker: _docker_api.Docker) -> List[Any]:
    """Subnets that are no longer free for docker0: of other Docker networks, and those that the host has a route to."""
    found = [subnet for item in docker.networks if item["Name"] != "bridge" for subnet in _docker_api.subnets_of(item)]
    fields = {"family": socket.AF_INET, "table": _TABLE_MAIN}
    for row in host.session.rows(Message(RTM_GETROUTE, 0, rtmsg, fields, [("RTA_TABLE", _TABLE_MAIN)]), ("RTA_DST", "RTA_OIF")):
        if row["dst_len"] and row.get("RTA_DST") and row.get("RTA_OIF") != host.index("docker0"):
            found.append(ipaddress.ip_network("%s/%d" % (row["RTA_DST"], row["dst_len"])))
    return found
