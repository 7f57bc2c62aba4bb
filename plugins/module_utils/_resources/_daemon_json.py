# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our keys in Docker's daemon.json, every other one left as it is. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple, cast

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api, _dockerd, _processes
from ansible_collections.agentless.overlay.plugins.module_utils._docker._daemon_keys import (
    BACKUP_SUFFIX,
    DAEMON_JSON,
    KEPT,
    UNDO_SUFFIX,
    list_own_lines,
)
from ansible_collections.agentless.overlay.plugins.module_utils._docker._decide import (
    DaemonSpec,
    Decision,
    Found,
    decide_daemon_json,
)
from ansible_collections.agentless.overlay.plugins.module_utils._docker._seen import KEY, Dockerd, query_dockerd
from ansible_collections.agentless.overlay.plugins.module_utils._engine import _netlink
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import Message
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Entry,
    Failure,
    Key,
    Op,
    Options,
    OverlayError,
    Resource,
    Spec,
    make_drift_item,
)
from ansible_collections.agentless.overlay.plugins.module_utils._resources._files import File, read_file, write_file

# What only a restart mends, as reports call it.
DAEMON = "docker_daemon"
_TABLE_MAIN = 254
_BRIDGE = "docker0"


class DaemonFile(File):
    """daemon.json, of which a difference shows our keys only."""

    def lines(self) -> List[str]:
        return ["%s mode %04o" % (self.path, self.mode)] + list_own_lines(self.content, self.path)


@dataclass(frozen=True)
class Copy(File):
    """What is kept of the time before; its text is of no interest in a difference."""

    # Which dockerd ran on it, beside it as an extended attribute where the file system has those. No time says so as well: the
    # clock may be set back.
    dockerd: Optional[str] = field(default=None, compare=False)

    def lines(self) -> List[str]:
        return ["%s (as it was)" % self.path]


_OPTIONS: Options = {
    "bip": {"type": "str"},
    "bip6": {"type": "str"},
    "mtu": {"type": "int"},
    "ip_masq": {"type": "bool"},
    "allow_renumber": {"type": "bool", "default": False},
    "defer": {"type": "bool", "default": False},
    "path": {"type": "path", "default": DAEMON_JSON},
    "socket": {"type": "path", "default": _docker_api.SOCKET},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
_RULES = {"required_if": [("state", "present", ["bip"])]}


class DaemonJson(Resource[Entry]):
    name = section = "docker_bip"
    more_names = (DAEMON,)
    options = _OPTIONS
    nothing = ({"state": "absent"},)
    rules = _RULES

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Entry]:
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

    def asked(self, spec: Spec[Entry]) -> bool:
        spec = cast(DaemonSpec, spec)
        # A host that never had Docker has nothing of ours in its file.
        return bool(spec.path) and (
            not spec.remove or _docker_api.is_docker_installed() or os.path.exists(spec.path + BACKUP_SUFFIX)
        )

    def read(self, host: Host, spec: Spec[Entry], devices: Set[str]) -> Dict[Key, Entry]:
        # A link that is removed lets all be read that may hang on it.
        if not self.asked(spec):
            return {}
        spec = cast(DaemonSpec, spec)
        if host.facts.get(_MEANWHILE):
            raise OverlayError("%s is left as somebody else has made it meanwhile" % spec.path)
        there = read_file(spec.path)
        entries: List[Entry] = [DaemonFile(there.path, there.content, there.mode)] if there is not None else []
        copies = [read_file(spec.path + suffix) for suffix in KEPT]
        entries += [
            Copy(copy.path, copy.content, copy.mode, _read_noted_dockerd(copy.path)) for copy in copies if copy is not None
        ]
        # An undo needs nothing of it, and it may be what is broken.
        entries.append(Dockerd() if host.rolling_back else _inspect_host(host, spec))
        return {entry.key: entry for entry in entries}

    def settle(self, found: Mapping[Key, Entry], spec: Spec[Entry]) -> Dict[Key, Entry]:
        wanted = dict(found)
        if KEY not in found:
            return wanted
        spec = cast(DaemonSpec, spec)
        state = _sort_found(found, spec)
        decision = decide_daemon_json(spec, state)
        if decision.problems or spec.defer and decision.reasons:
            return wanted
        there = cast(Optional[File], found.get((spec.path,)))
        mode = there.mode if there is not None else 0o644
        if decision.text != state.text:
            wanted[(spec.path,)] = DaemonFile(spec.path, decision.text, mode)
            if not decision.text:
                del wanted[(spec.path,)]
        for suffix in decision.forget:
            wanted.pop((spec.path + suffix,), None)
        for suffix, content in decision.keep.items():
            ran = state.seen.identity if suffix == UNDO_SUFFIX else None
            wanted[(spec.path + suffix,)] = Copy(spec.path + suffix, content, mode, ran)
        return wanted

    def obstacles(
        self, host: Host, spec: Spec[Entry], found: Mapping[Key, Entry], wanted: Mapping[Key, Entry]
    ) -> Iterable[str]:
        if KEY not in found:
            return []
        spec = cast(DaemonSpec, spec)
        state = _sort_found(found, spec)
        decision = decide_daemon_json(spec, state)
        if state.seen.docker is not None:
            host.facts[self.name] = _make_facts(spec, state.docker, decision)
        if decision.problems or not decision.text or decision.text == state.text and not decision.reasons:
            return decision.problems
        if state.seen.docker is None:
            return []
        said = _dockerd.judge_daemon_json(host, state.docker.release, decision.text, state.seen.pid)
        return [said] if said is not None else []

    def extra(self, entry: Entry, spec: Spec[Entry]) -> bool:
        return False

    def diff(self, found: Mapping[Key, Entry], wanted: Mapping[Key, Entry]) -> List[Op[Entry]]:
        # What a run that is killed leaves is read by the next one: that there is a backup says that all that is kept with
        # it is there, so it comes last of them and goes first. What it is a copy of changes after it, and is back before.
        def step(op: Op[Entry]) -> int:
            place = 2 if not isinstance(op.entry, Copy) else 1 if op.entry.path.endswith(BACKUP_SUFFIX) else 0
            return place if op.after is not None else -place

        return sorted((op for op in super().diff(found, wanted) if op.entry.key != KEY), key=step)

    def show(self, op: Op[Entry]) -> Tuple[List[str], List[str]]:
        before, after = super().show(op)
        # Keys of others, or the manner of writing: that it changes is said, and not how.
        return before, after if before != after else [*after, "%s: text" % op.entry]

    def more_drift(self, host: Host) -> List[Dict[str, Any]]:
        docker = host.facts.get(self.name) or {}
        if not docker.get("restart_required"):
            return []
        planned = ["runs on %s as it is to be" % docker["path"]]
        return [make_drift_item(DAEMON, "dockerd", "wrong", planned, docker["restart_reasons"])]

    def apply(self, host: Host, ops: Sequence[Op[Entry]]) -> List[Failure]:
        done: List[Op[Entry]] = []
        for op in ops:
            path = str(op.entry)
            try:
                if not _is_there(path, op.before):
                    # Others write it too. What they wrote since it was read is theirs, and nothing of ours stays beside it.
                    if isinstance(op.entry, DaemonFile):
                        host.facts[_MEANWHILE] = {"path": path}
                    for one in reversed(done):
                        _put_file(str(one.entry), one.before)
                    return [Failure(op, "%s was changed by somebody else since it was read; run again" % path)]
                _put_file(path, op.after)
                done.append(op)
            except (OSError, OverlayError) as error:
                return [Failure(op, str(error))]
        return []


# Of an undo, that the file is not ours to put back.
_MEANWHILE = "docker_bip_meanwhile"
_RAN = "user.agentless.overlay.dockerd"


def _read_noted_dockerd(path: str) -> Optional[str]:
    try:
        return os.getxattr(path, _RAN).decode(errors="replace")
    except OSError:
        return None


def _is_there(path: str, entry: Optional[Entry]) -> bool:
    """Whether a file is as it was read, or not there as it was not."""
    there = read_file(path)
    return (there.content if there is not None else None) == (entry.content if isinstance(entry, File) else None)


def _put_file(path: str, entry: Optional[Entry]) -> None:
    if isinstance(entry, File):
        write_file(entry)
        if isinstance(entry, Copy) and entry.dockerd is not None:
            with contextlib.suppress(OSError):
                os.setxattr(path, _RAN, entry.dockerd.encode())
    else:
        os.unlink(path)


def _sort_found(found: Mapping[Key, Entry], spec: DaemonSpec) -> Found:
    """What was read, by what it is."""

    def text(path: str) -> Optional[str]:
        entry = cast(Optional[File], found.get((path,)))
        return entry.content if entry is not None else None

    undo = cast(Optional[Copy], found.get((spec.path + UNDO_SUFFIX,)))
    kept = {one: text(spec.path + one) for one in KEPT}
    return Found(text(spec.path) or "", kept, cast(Dockerd, found[KEY]), undo.dockerd if undo is not None else None)


def _inspect_host(host: Host, spec: DaemonSpec) -> Dockerd:
    """Docker, and what of the host concerns it."""
    seen = query_dockerd(host, spec.socket)
    docker = seen.docker
    if docker is None:
        return seen
    raw = None
    if docker.running and docker.understood and docker.release >= (28, 2) and _docker_api.list_guarded_addresses(docker):
        raw = host.run(["iptables", "-w", "-t", "raw", "-S", "PREROUTING"], None)[1]
    return replace(
        seen,
        flags=_processes.read_dockerd_flags(host, seen.pid),
        masked=not docker.running and _processes.is_masked(host),
        unread=frozenset(one for one in ("", UNDO_SUFFIX) if _processes.is_older_than(spec.path + one, seen.pid)),
        raw=raw,
        addresses6=_list_ipv6_addresses(host),
        taken=tuple(_list_taken_subnets(host, docker)) if spec.remove else (),
    )


def _make_facts(spec: DaemonSpec, docker: _docker_api.Docker, decision: Decision) -> Dict[str, Any]:
    # Asked one by one, and only where it matters.
    gone = _docker_api.list_lost_containers(docker.containers, spec.socket) if decision.reasons else []
    return {
        "version": docker.version,
        "restart_required": bool(decision.reasons),
        "restart_reasons": decision.reasons,
        "containers": [one.name for one in docker.containers],
        "returning": [one.name for one in docker.containers if one.name not in gone and not one.task],
        "paused": [one.name for one in docker.containers if one.paused],
        "auto_removed": gone,
        "live_restore": docker.live_restore,
        "remove_bridge": decision.remove_bridge,
        "leaving": spec.remove,
        "stale_addresses": decision.stale,
        "path": spec.path,
    }


def _list_ipv6_addresses(host: Host) -> Tuple[str, ...]:
    """The IPv6 addresses of docker0, less those that the kernel gives every device."""
    index = host.index(_BRIDGE)
    if index is None:
        return ()
    found = []
    fields = {"family": socket.AF_INET6, "index": index}
    for msg in host.session.dump(Message(_netlink.RTM_GETADDR, 0, _netlink.ifaddrmsg, fields)):
        address = ipaddress.IPv6Interface("%s/%d" % (_netlink.read_attributes(msg)["IFA_ADDRESS"], msg["prefixlen"]))
        if msg["index"] == index and not address.is_link_local:
            found.append(str(address))
    return tuple(sorted(found))


def _list_taken_subnets(host: Host, docker: _docker_api.Docker) -> List[Any]:
    """Subnets that are no longer free for docker0: of other Docker networks, and those that the host has a route to."""
    found = [subnet for item in docker.networks if item["Name"] != "bridge" for subnet in _docker_api.list_docker_subnets(item)]
    fields = {"family": socket.AF_INET, "table": _TABLE_MAIN}
    request = Message(_netlink.RTM_GETROUTE, 0, _netlink.rtmsg, fields, [("RTA_TABLE", _TABLE_MAIN)])
    for row in host.session.rows(request, ("RTA_DST", "RTA_OIF")):
        if row["dst_len"] and row.get("RTA_DST") and row.get("RTA_OIF") != host.index(_BRIDGE):
            found.append(ipaddress.ip_network("%s/%d" % (row["RTA_DST"], row["dst_len"])))
    return found
