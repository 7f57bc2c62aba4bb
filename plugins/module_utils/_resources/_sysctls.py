# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kernel settings. PRIVATE to the collection."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set

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
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import attempt_command, quote_words

_FORWARDING = "net.ipv4.ip_forward"
_FORWARDING6 = "net.ipv6.conf.all.forwarding"
_IPV6 = "/proc/sys/net/ipv6"
_TABLE_MAIN = 254
_RTPROT_RA = 9
_UNLESS_DOCKER = [
    "# Left to Docker, where it does that: its FORWARD policy is DROP only where forwarding was off before.",
    "[ -d /run/systemd/system ] && systemctl --quiet is-enabled docker.service 2>/dev/null &&",
    "  ! grep -Eqs '\"ip-forward\": *false' /etc/docker/daemon.json ||",
]


def split_setting_name(name: str) -> List[str]:
    """The folders and the file below /proc/sys that a name means, by the rule of sysctl(8) and sysctl.d(5).

    Its first separator decides: after a slash dots are dots; after a dot a slash stands for a dot, as in
    net.ipv6.conf.eth0/100.accept_ra of a device eth0.100.
    """
    first = next((letter for letter in name if letter in "./"), ".")
    return name.split("/") if first == "/" else [part.replace("/", ".") for part in name.split(".")]


def join_setting_name(parts: Sequence[str]) -> str:
    """The name of a setting, with dots, as people write it."""
    return ".".join(part.replace(".", "/") for part in parts)


@dataclass(frozen=True)
class Sysctl(Entry):
    """A setting below /proc/sys, its name with dots."""

    name: str
    value: str

    @property
    def key(self) -> Key:
        return (self.name,)

    @property
    def path(self) -> str:
        return "/proc/sys/" + "/".join(split_setting_name(self.name))

    def __str__(self) -> str:
        return "%s = %s" % (self.name, self.value)


def _join_fields(value: str) -> str:
    """A value of several numbers, which the kernel tells with tabs between them, as people write it."""
    return " ".join(value.split())


def _read_sysctl(entry: Sysctl) -> Optional[str]:
    try:
        with open(entry.path, encoding="ascii") as handle:
            return _join_fields(handle.read())
    except OSError:
        return None


_OPTIONS: Options = {"name": {"type": "str", "required": True}, "value": {"type": "str", "required": True}}


class Sysctls(Resource[Sysctl]):
    name = section = "sysctl"
    options = _OPTIONS
    # Others may need them.
    nothing = None
    stops = False

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Sysctl]:
        spec: Spec[Sysctl] = Spec()
        for item in sections.get(self.section, ()):
            parts = split_setting_name(item["name"])
            if len(parts) < 2 or not {"", ".", ".."}.isdisjoint(parts):
                raise OverlayError("sysctl: %r is not the name of a setting, such as net.ipv4.ip_forward" % item["name"])
            spec.add(Sysctl(join_setting_name(parts), _join_fields(str(item["value"]))), "present", self.name)
        return spec

    def read(self, host: Host, spec: Spec[Sysctl], devices: Set[str]) -> Dict[Key, Sysctl]:
        values = ((entry.name, _read_sysctl(entry)) for entry in spec.present.values())
        return {(name,): Sysctl(name, value) for name, value in values if value is not None}

    def obstacles(
        self, host: Host, spec: Spec[Sysctl], found: Mapping[Key, Sysctl], wanted: Mapping[Key, Sysctl]
    ) -> Iterator[str]:
        for (name,) in set(spec.present) - set(found):
            off = name.startswith("net.ipv6.") and not os.path.isdir(_IPV6)
            cause = ", as IPv6 is switched off" if off else ""
            yield "sysctl: this host has no setting %s%s. Switch on what has it, or leave it out" % (name, cause)
        if (_FORWARDING6,) in spec.present:
            yield from self._lost_defaults(host)

    @staticmethod
    def _lost_defaults(host: Host) -> Iterator[str]:
        """A host that forwards IPv6 takes no router advertisements any more, unless its device says 2."""
        fields = {"family": socket.AF_INET6, "table": _TABLE_MAIN}
        for msg in host.session.dump(Message(_netlink.RTM_GETROUTE, 0, _netlink.rtmsg, fields, [("RTA_TABLE", _TABLE_MAIN)])):
            index = _netlink.read_attributes(msg).get("RTA_OIF")
            if msg["dst_len"] or msg["proto"] != _RTPROT_RA or index is None:
                continue
            if host.carries_mark(index):
                # From a container: a route that goes with this run.
                continue
            name = join_setting_name(["net", "ipv6", "conf", host.name(index), "accept_ra"])
            if _read_sysctl(Sysctl(name, "")) == "1":
                yield (
                    "sysctl: this host has its IPv6 default route from router advertisements, which forwarding would "
                    "switch off. Set %s to 2, and keep it so in /etc/sysctl.d" % name
                )

    def extra(self, entry: Sysctl, spec: Spec[Sysctl]) -> bool:
        return False

    def apply(self, host: Host, ops: Sequence[Op[Sysctl]]) -> List[Failure]:
        failures = []
        for op in ops:
            try:
                with open(op.entry.path, "w", encoding="ascii") as handle:
                    handle.write(op.entry.value)
            except OSError as error:
                failures.append(Failure(op, str(error)))
        return failures

    def shell(self, entries: Iterable[Sysctl]) -> List[str]:
        lines: List[str] = []
        for entry in entries:
            setting = attempt_command(["sh", "-c", "echo %s >%s" % (quote_words([entry.value]), quote_words([entry.path]))])
            lines += _UNLESS_DOCKER + ["  " + setting] if entry.name == _FORWARDING else [setting]
        return lines
