# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our keys in Docker's daemon.json, every other one left as it is. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple, cast

from ansible_collections.agentless.overlay.plugins.module_utils import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._files import File, read_file, write_file
from ansible_collections.agentless.overlay.plugins.module_utils._resource import (
    Failure,
    Host,
    Key,
    Op,
    OverlayError,
    Resource,
    Spec,
)

MANAGED = ("bip", "mtu", "ip-masq", "allow-direct-routing", "ipv6", "fixed-cidr-v6", "bip6")
# The file as it was before we ever changed it: what absent puts back. Empty where there was none.
BACKUP_SUFFIX = ".before-overlay"
# The address that docker0 had then, where the file did not say: Docker keeps the one that it finds there.
BRIDGE_SUFFIX = ".before-overlay-docker0"
# The file that dockerd runs on, until it has restarted on the new one: what a failed restart puts back.
UNDO_SUFFIX = ".overlay-undo"


NO_NFTABLES = (
    "docker: dockerd has its firewall in %s, where a rule of ours cannot let the overlay through. "
    'Set "firewall-backend": "iptables" in daemon.json and restart Docker'
)


# What docker0 has where nobody says otherwise and nothing is in the way.
DOCKERS_BIP = "172.17.0.1/16"
DOCKERS_MTU = 1500


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


def parse_object(text: str, path: str) -> Dict[str, Any]:
    """A daemon.json as a dict in the file's order; refuses what a rewrite would lose."""

    def pairs(items: List[Any]) -> Dict[str, Any]:
        names = [name for name, _value in items]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise OverlayError("docker_bip: %s has the key %s twice; remove one of them" % (path, ", ".join(twice)))
        return dict(items)

    if not text.strip():
        return {}
    try:
        found = json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise OverlayError(
            "docker_bip: %s is not JSON: %s at line %d column %d. Nothing was changed; correct the file and run again"
            % (path, error.msg, error.lineno, error.colno)
        ) from error
    if not isinstance(found, dict):
        raise OverlayError("docker_bip: %s holds no JSON object; nothing was changed" % path)
    return found


def render(text: str, path: str, keys: Mapping[str, Any]) -> str:
    """The file's text with our keys set, or taken out where None; the text itself where it has them already."""
    found = parse_object(text, path)
    result = {name: value for name, value in found.items() if name not in keys or keys[name] is not None}
    result.update({name: value for name, value in keys.items() if value is not None})
    if result == found:
        return text
    indented = re.search(r'\n([ \t]+)"', text)
    indent: Any = indented.group(1) if indented else (2 if "\n" in text.strip() or not found else None)
    rendered = json.dumps(result, indent=indent, ensure_ascii=False)
    return rendered + ("" if text.strip() and not text.endswith("\n") else "\n")


def restore(text: str, path: str, before: str) -> str:
    """The file's text with our keys as they were before us, and every other as it is now; empty for no file.

    @param before: the text of the file before we ever changed it, empty where there was none
    """
    former = parse_object(before, path + BACKUP_SUFFIX)
    rendered = render(text, path, {name: former.get(name) for name in MANAGED})
    # Where nothing else has changed since, the text as well.
    return before if parse_object(rendered, path) == former else rendered


def keys_for(release: Any, options: Mapping[str, Any]) -> Dict[str, Any]:
    """The keys and values that a release of Docker needs, None for a key it does not know."""
    if (28, 0) <= release < (28, 2):
        raise OverlayError(
            "docker_bip: Docker %d.%d drops what comes from the overlay to docker0 before any rule of ours is asked, "
            "and has no setting against it. Upgrade Docker to 28.2 or later" % release
        )
    keys: Dict[str, Any] = {"bip": options["bip"]}
    if options.get("mtu") is not None:
        keys["mtu"] = options["mtu"]
    if options.get("ip_masq") is not None:
        keys["ip-masq"] = options["ip_masq"]
    if options.get("bip6"):
        keys["ipv6"] = True
        # bip6 is new in 28.0; before, docker0 gets the first address of fixed-cidr-v6.
        if release >= (28, 0):
            keys["bip6"] = options["bip6"]
        else:
            keys["fixed-cidr-v6"] = str(ipaddress.IPv6Interface(options["bip6"]).network)
    # Docker ends with "unknown configuration option" where it does not know the key.
    keys["allow-direct-routing"] = True if release >= (28, 2) else None
    return keys


def _inside(text: Any, lease: ipaddress.IPv4Network) -> bool:
    try:
        return ipaddress.IPv4Network(text, strict=False).subnet_of(lease)
    except ValueError:
        return False


def live_differences(docker: _docker_api.Docker, keys: Mapping[str, Any]) -> List[str]:
    """What of the keys the running dockerd does not have in force, in words. Pure."""
    if not docker.running:
        return ["dockerd is not running"]
    reasons = []
    if docker.gateway != keys["bip"]:
        reasons.append("docker0 has %s, not %s" % (docker.gateway, keys["bip"]))
    lease6 = keys.get("bip6") or keys.get("fixed-cidr-v6")
    if lease6:
        ours, found = ipaddress.IPv6Interface(lease6).network, docker.gateway6
        if found is None or ipaddress.IPv6Interface(found).network != ours:
            reasons.append("docker0 has %s, not an address of %s" % (found or "no IPv6", ours))
    # Without a word about it, it is Docker's own.
    if "mtu" in keys and (docker.mtu or str(DOCKERS_MTU)) != str(keys["mtu"]):
        reasons.append("the default network's mtu is %s, not %s" % (docker.mtu, keys["mtu"]))
    if "ip-masq" in keys and docker.masquerade != str(keys["ip-masq"]).lower():
        reasons.append("Docker's own masquerading is %s, not %s" % (docker.masquerade, str(keys["ip-masq"]).lower()))
    return reasons


class DaemonJson(Resource[File]):
    name = section = "docker_bip"

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[File]:
        spec = DaemonSpec()
        for part in sections.get(self.section, ()):
            if spec.path:
                raise OverlayError("docker_bip: a host has one default bridge; it can have one bip only")
            spec.path, spec.socket = part["path"], part["socket"]
            spec.remove = part.get("state") == "absent"
            spec.allow_renumber = bool(part.get("allow_renumber"))
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
        found = read_file(spec.path)
        kept = {suffix: read_file(spec.path + suffix) for suffix in (BACKUP_SUFFIX, BRIDGE_SUFFIX, UNDO_SUFFIX)}
        text = found.content if found is not None else ""
        mode = found.mode if found is not None else 0o644
        docker = _docker_api.inspect(host, spec.socket)
        if spec.remove:
            facts, rendered = self._former(spec, text, kept, docker)
        else:
            facts, rendered = self._ours(host, spec, text, docker)
        changes = rendered != text
        if rendered or found is not None and not changes:
            spec.present[(spec.path,)] = File(spec.path, rendered, mode)
        elif found is not None:
            spec.absent.add((spec.path,))
        if changes and not spec.remove:
            former = {}
            if kept[BACKUP_SUFFIX] is None:
                former[BACKUP_SUFFIX] = text
                former[BRIDGE_SUFFIX] = docker.gateway or ""
            # An older one is what dockerd still runs on, unless it has been started since.
            current = kept[UNDO_SUFFIX] is None or docker.running and not _docker_api.started_before(spec.path)
            if facts["restart_required"] and current:
                former[UNDO_SUFFIX] = text
            for suffix, content in former.items():
                spec.present[(spec.path + suffix,)] = Copy(spec.path + suffix, content, mode)
        if not host.rolling_back:
            host.facts[self.name] = facts
            if rendered and (changes or facts["restart_required"]):
                _docker_api.validate(host, docker.release, rendered)
        entries = [found] if found is not None else []
        entries += [Copy(copy.path, copy.content, copy.mode) for copy in kept.values() if copy is not None]
        return {entry.key: entry for entry in entries}

    def _ours(self, host: Host, spec: DaemonSpec, text: str, docker: _docker_api.Docker) -> Tuple[Dict[str, Any], str]:
        """The facts, and the file with our keys in it."""
        if docker.firewall != "iptables":
            raise OverlayError(NO_NFTABLES % docker.firewall)
        keys = keys_for(docker.release, spec.keys)
        self._refuse(host, spec, parse_object(text, spec.path), docker, keys)
        rendered = render(text, spec.path, keys)
        reasons = live_differences(docker, keys)
        if docker.running and keys.get("allow-direct-routing"):
            reasons += self._direct_routing(host, spec, docker, rendered != text)
        return self._facts(spec, docker, reasons), rendered

    def _former(
        self, spec: DaemonSpec, text: str, kept: Mapping[str, Optional[File]], docker: _docker_api.Docker
    ) -> Tuple[Dict[str, Any], str]:
        """The facts, and the file with the keys that it had before us, in two steps.

        Without a bip Docker keeps the address that it finds on docker0. So it gets the former one as a bip, until it has
        restarted on it; then the file becomes what it was, and what was kept goes.
        """
        backup = kept[BACKUP_SUFFIX]
        if backup is None:
            # We never changed the file, and what is in it is not ours; a run that was killed may have kept something.
            spec.absent |= {(spec.path + suffix,) for suffix in kept}
            return self._facts(spec, docker, []), text
        former = parse_object(backup.content, backup.path)
        recorded = kept[BRIDGE_SUFFIX]
        keys = {
            "bip": former.get("bip") or (recorded.content if recorded is not None else "") or DOCKERS_BIP,
            "mtu": former.get("mtu", DOCKERS_MTU),
            "ip-masq": former.get("ip-masq", True),
        }
        reasons = live_differences(docker, keys)
        rendered = restore(text, spec.path, backup.content)
        if reasons:
            return self._facts(spec, docker, reasons), render(rendered, spec.path, {"bip": keys["bip"]})
        spec.absent |= {(spec.path + suffix,) for suffix in kept}
        return self._facts(spec, docker, []), rendered

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
        given = _docker_api.flags(host)
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
        lease, fixed = ipaddress.IPv4Interface(keys["bip"]).network, before.get("fixed-cidr")
        if fixed and not _inside(fixed, lease):
            raise OverlayError(
                "docker_bip: %s sets fixed-cidr to %s, so that containers would get addresses outside the lease %s, which no "
                "other host has a route to. Remove that key, or choose a range inside the lease" % (spec.path, fixed, lease)
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
    def _direct_routing(host: Host, spec: DaemonSpec, docker: _docker_api.Docker, changes: bool) -> List[str]:
        """Whether allow-direct-routing is in force, which dockerd does not tell."""
        # Its rules do where a container is on docker0; where none is, a restart that turns out to be
        # one too many harms nobody.
        on_bridge = [container for container in docker.containers if container.address]
        if on_bridge:
            raw = host.run(["iptables", "-w", "-t", "raw", "-S", "PREROUTING"], None)[1]
            if any("%s/32 ! -i docker0 -j DROP" % container.address in raw for container in on_bridge):
                return ["allow-direct-routing is not in force"]
        elif changes or _docker_api.started_before(spec.path):
            return ["allow-direct-routing may not be in force"]
        return []

    @staticmethod
    def _facts(spec: DaemonSpec, docker: _docker_api.Docker, reasons: List[str]) -> Dict[str, Any]:
        return {
            "version": docker.version,
            "restart_required": bool(reasons),
            "restart_reasons": reasons,
            "containers": [container.name for container in docker.containers],
            "live_restore": docker.live_restore,
            "path": spec.path,
        }

    def extra(self, entry: File, spec: Spec[File]) -> bool:
        return False

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
