# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What puts the overlay back after a reboot, before Docker starts. PRIVATE to the collection.

A script, and the systemd unit that runs it. The script is made from the same options as everything else of the transaction,
and needs nothing but iproute2, nft and, as Docker itself, iptables.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Set, Union

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
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
from ansible_collections.agentless.overlay.plugins.module_utils._resources._files import (
    File,
    read_file,
    remove_file,
    write_file,
)

SCRIPT = "/etc/agentless-overlay/boot.sh"
UNIT = "agentless-overlay.service"
UNIT_FILE = "/etc/systemd/system/" + UNIT
_SYSTEMD = "/run/systemd/system"

# Those whose start may flush a firewall, and ours with it: each pulls the unit in again, after itself.
# Not by PartOf: firewalld conflicts with others of them, and could then not be restarted any more.
_FIREWALLS = "nftables.service iptables.service netfilter-persistent.service firewalld.service ufw.service"
_UNIT_TEXT = """\
[Unit]
Description=Overlay network of containers, as the last run of overlay.yml left it
# Before the first container starts; after those who would take routes or rules away again.
Before=docker.service
After=network.target %(firewalls)s

[Service]
Type=oneshot
ExecStart=/bin/sh %(script)s

[Install]
WantedBy=multi-user.target docker.service %(firewalls)s
""" % {"firewalls": _FIREWALLS, "script": SCRIPT}

_HEAD = """\
#!/bin/sh
# Made by agentless.overlay: the next run of overlay.yml replaces it. Puts this host's part of the
# overlay back after a reboot; may run at any time, and leaves what is there already as it is.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
failed=0
try() { "$@" || failed=1; }
# A setting of a device that has IPv6.
ipv6() { [ ! -e "/proc/sys/net/ipv6/conf/$1/$2" ] || echo "$3" >"/proc/sys/net/ipv6/conf/$1/$2" || failed=1; }"""


@dataclass(frozen=True)
class Service(Entry):
    """Whether the unit is enabled for the next boot, and whether its last run failed."""

    name: str
    enabled: bool
    failed: bool

    @property
    def key(self) -> Key:
        return (self.name,)

    def lines(self) -> List[str]:
        return [
            "%s enabled %s" % (self.name, str(self.enabled).lower()),
            "%s failed %s" % (self.name, str(self.failed).lower()),
        ]

    def __str__(self) -> str:
        return self.name


def script(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The script that makes what the options ask for, as far as a reboot takes it away. Pure."""
    # The whole order imports this file.
    from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER

    lines = [_HEAD]
    for resource in ORDER:
        # Who has no lines need not read its options either: ours have these in them.
        if type(resource).shell is not Resource.shell:
            lines += resource.shell(resource.parse(sections).present.values())
    return "\n".join([*lines, 'exit "$failed"', ""])


_OPTIONS: Options = {"sections": {"type": "dict"}}


class Boot(Resource[Union[File, Service]]):
    name = section = "boot"
    options = _OPTIONS

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Union[File, Service]]:
        spec: Spec[Union[File, Service]] = Spec(purge_owned=self.section in sections)
        for part in sections.get(self.section, ()):
            spec.add(File(SCRIPT, script(part.get("sections") or sections)), "present", self.name)
            if os.path.isdir(_SYSTEMD):
                spec.add(File(UNIT_FILE, _UNIT_TEXT), "present", self.name)
                spec.add(Service(UNIT, True, False), "present", self.name)
        return spec

    def read(self, host: Host, spec: Spec[Union[File, Service]], devices: Set[str]) -> Dict[Key, Union[File, Service]]:
        if not spec.purge_owned:
            return {}
        found: Dict[Key, Union[File, Service]] = {}
        for path in (SCRIPT, UNIT_FILE):
            entry = read_file(path)
            if entry is not None:
                found[entry.key] = entry
        if os.path.isdir(_SYSTEMD):
            out = host.command(["systemctl", "show", "--property=UnitFileState,ActiveState", UNIT])
            state = dict(line.partition("=")[::2] for line in out.splitlines())
            service = Service(UNIT, state.get("UnitFileState") == "enabled", state.get("ActiveState") == "failed")
            if service.enabled:
                found[service.key] = service
        return found

    def extra(self, entry: Union[File, Service], spec: Spec[Union[File, Service]]) -> bool:
        return spec.purge_owned

    def apply(self, host: Host, ops: Sequence[Op[Union[File, Service]]]) -> List[Failure]:
        for op in sorted(ops, key=lambda op: isinstance(op.entry, Service) == (op.after is not None)):
            try:
                self._apply(host, op)
            except (OSError, OverlayError) as error:
                return [Failure(op, str(error))]
        return []

    @staticmethod
    def _apply(host: Host, op: Op[Union[File, Service]]) -> None:
        entry = op.entry
        if isinstance(entry, File):
            if op.after is None:
                remove_file(entry.path)
            else:
                write_file(entry)
            if entry.path == UNIT_FILE and os.path.isdir(_SYSTEMD):
                host.command(["systemctl", "daemon-reload"])
                if op.before is not None and op.after is not None:
                    # For links that follow what the unit says now.
                    host.command(["systemctl", "reenable", UNIT])
        elif op.after is None:
            host.command(["systemctl", "disable", UNIT])
        else:
            # And run once: so that a script which the next boot could not use is found out today.
            host.command(["systemctl", "enable", UNIT])
            host.command(["systemctl", "restart", UNIT])
