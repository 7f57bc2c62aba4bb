# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What puts the overlay back after a reboot, before Docker starts. PRIVATE to the collection.

A script, and the systemd unit that runs it. The script is made from the same options as everything else of the transaction,
and needs nothing but iproute2, nft and, as Docker itself, iptables.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Union

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Entry,
    Failure,
    Key,
    Op,
    Options,
    OverlayError,
    Resource,
    Sections,
    Spec,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._transaction import Resources, parse_specs
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _boot_trial
from ansible_collections.agentless.overlay.plugins.module_utils._resources._files import (
    File,
    read_file,
    remove_file,
    write_file,
)
from ansible_collections.agentless.overlay.plugins.module_utils._resources._routes import Route

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
After=network.target %(after)s%(wants)s

[Service]
Type=oneshot
ExecStart=/bin/sh %(script)s
# What the network brings late (a lease, a device) is only late here too. Who is ordered behind this unit, as Docker, waits for
# one attempt and no longer.
TimeoutStartSec=2min
Restart=on-failure
RestartSec=10

[Install]
WantedBy=multi-user.target docker.service %(after)s
"""
_ONLINE = "network-online.target"

_HEAD = """\
#!/bin/sh
# Made by agentless.overlay: the next run of overlay.yml replaces it. Puts this host's part of the
# overlay back after a reboot; may run at any time, and leaves what is there already as it is.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
failed=0
try() { "$@" || failed=1; }
# A device of ours; one that was there without our mark is somebody else's, and is marked so.
make() {
  device=$1 alias=$2
  shift 2
  case "$(ip link show dev "$device" 2>/dev/null)" in
  "") try "$@" ;;
  *"alias agentless.overlay:"*" (adopted)"*) alias="$alias (adopted)" ;;
  *"alias agentless.overlay:"*) ;;
  *) alias="$alias (adopted)" ;;
  esac
  try ip link set dev "$device" alias "$alias"
}
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


# What the script is made from: of each resource that has lines in it, in their order, what the options ask.
Parts = Dict[Resource[Any], Spec[Any]]


def _list_makers() -> Resources:
    """The resources that have lines in the script; this one has not, and its options may have all others' in them."""
    # The whole order imports this file.
    from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER

    return tuple(resource for resource in ORDER if type(resource).shell is not Resource.shell)


def parse_boot_parts(sections: Sections) -> Parts:
    """What the script is made from, of options that are not those of the transaction. Pure."""
    makers = _list_makers()
    specs = parse_specs(makers, sections)
    return {resource: specs[resource.name] for resource in makers}


def _list_boot_lines(parts: Parts, without: Sequence[str] = ()) -> List[str]:
    entries = ((one, spec.present.values()) for one, spec in parts.items() if one.name not in without)
    return [line for resource, present in entries for line in resource.shell(present)]


def _join_boot_script(parts: Parts) -> str:
    return "\n".join([_HEAD, *_list_boot_lines(parts), 'exit "$failed"', ""])


def make_boot_script(sections: Sections) -> str:
    """The script that makes what the options ask for, as far as a reboot takes it away. Pure."""
    return _join_boot_script(parse_boot_parts(sections))


def make_boot_unit(parts: Parts) -> str:
    """The unit that runs it: once the underlay has its addresses, where something of the script needs them. Pure."""
    entries = [entry for spec in parts.values() for entry in spec.present.values()]
    routed = (entry for entry in entries if isinstance(entry, Route))
    needs = any(getattr(entry, "dev", None) for entry in entries) or any(not route.device for route in routed)
    # Docker waits for that target too, and its members give up after a time.
    wants = " %s\nWants=%s" % (_ONLINE, _ONLINE) if needs else ""
    return _UNIT_TEXT % {"after": _FIREWALLS, "wants": wants, "script": SCRIPT}


def find_refusals(host: Host, parts: Parts) -> str:
    """What this host's programs have against the script; nothing where they would carry it out."""
    tried = _list_boot_lines(parts, _boot_trial.LEFT_OUT)
    return _boot_trial.find_complaints(host, _HEAD.splitlines(), {one.name: spec for one, spec in parts.items()}, tried)


@dataclass
class BootSpec(Spec[Union[File, Service]]):
    """And what the script is made from; and its own options, where those are not the transaction's."""

    parts: Parts = field(default_factory=dict)
    sections: Optional[Sections] = None


def _choose_telling_lines(said: str) -> List[str]:
    """The first lines of what programs said, less how to use them."""
    lines = (line.strip() for line in said.splitlines() if line[:1] not in "\t ")
    return [line for line in lines if line and not line.startswith(("Usage:", "Where:"))][:5]


def _read_journal(host: Host) -> str:
    """What the unit said last; nothing where nobody keeps it."""
    try:
        out = host.run(["journalctl", "--unit", UNIT, "--boot", "--lines=5", "--output=cat", "--no-pager"], None)[1]
    except OSError:
        return ""
    return str(out)


_OPTIONS: Options = {"sections": {"type": "dict"}}


class Boot(Resource[Union[File, Service]]):
    name = section = "boot"
    options = _OPTIONS

    def parse(self, sections: Sections) -> BootSpec:
        spec = BootSpec(purge_owned=self.section in sections)
        for part in sections.get(self.section, ()):
            spec.sections = part.get("sections") or {}
            spec.add(File(SCRIPT, ""), "present", self.name)
        return spec

    def derive(self, spec: Spec[Union[File, Service]], specs: Mapping[str, Spec[Any]]) -> None:
        if not isinstance(spec, BootSpec) or spec.sections is None:
            return
        # Parsed already, unless the script is of other options.
        spec.parts = parse_boot_parts(spec.sections) if spec.sections else {one: specs[one.name] for one in _list_makers()}
        made: List[Union[File, Service]] = [File(SCRIPT, _join_boot_script(spec.parts))]
        if os.path.isdir(_SYSTEMD):
            made += [File(UNIT_FILE, make_boot_unit(spec.parts)), Service(UNIT, True, False)]
        spec.present = {entry.key: entry for entry in made}

    def read(self, host: Host, spec: Spec[Union[File, Service]], devices: Set[str]) -> Dict[Key, Union[File, Service]]:
        if not spec.purge_owned:
            return {}
        found: Dict[Key, Union[File, Service]] = {}
        for path in (SCRIPT, UNIT_FILE):
            entry = read_file(path)
            if entry is not None:
                found[entry.key] = entry
        if os.path.isdir(_SYSTEMD):
            out = host.command(["systemctl", "show", "--property=UnitFileState,ActiveState,SubState", UNIT])
            state = dict(line.partition("=")[::2] for line in out.splitlines())
            # One that will be tried again has failed as well.
            failed = state.get("ActiveState") == "failed" or state.get("SubState") == "auto-restart"
            service = Service(UNIT, state.get("UnitFileState") == "enabled", failed)
            if service.enabled:
                found[service.key] = service
        return found

    def obstacles(
        self,
        host: Host,
        spec: Spec[Union[File, Service]],
        found: Mapping[Key, Union[File, Service]],
        wanted: Mapping[Key, Union[File, Service]],
    ) -> List[str]:
        """What stands in the way: a script that the next boot could not use is found out today."""
        if not isinstance(spec, BootSpec) or found.get((SCRIPT,)) == wanted.get((SCRIPT,)) or (SCRIPT,) not in wanted:
            return []
        against = find_refusals(host, spec.parts)
        if not against:
            return []
        return [
            "boot: the programs of this host refuse a part of what the next boot would have to make (%s): %s. Take it out of "
            "the plan, for example what is in link: of a network, or install newer programs (iproute2, nftables, iptables)"
            % (SCRIPT, "; ".join(_choose_telling_lines(against)))
        ]

    def extra(self, entry: Union[File, Service], spec: Spec[Union[File, Service]]) -> bool:
        return spec.purge_owned

    def apply(self, host: Host, ops: Sequence[Op[Union[File, Service]]]) -> List[Failure]:
        fresh = any(op.entry.key == (SCRIPT,) for op in ops)
        for op in sorted(ops, key=lambda op: isinstance(op.entry, Service) == (op.after is not None)):
            try:
                if isinstance(op.entry, File):
                    self._write(host, op)
                else:
                    self._switch(host, op, fresh)
            except (OSError, OverlayError) as error:
                return [Failure(op, str(error))]
        return []

    @staticmethod
    def _write(host: Host, op: Op[Any]) -> None:
        entry = op.entry
        if op.after is None:
            remove_file(entry.path)
        else:
            write_file(entry)
        if entry.path == UNIT_FILE and os.path.isdir(_SYSTEMD):
            host.command(["systemctl", "daemon-reload"])
            if op.before is not None and op.after is not None:
                # For links that follow what the unit says now.
                host.command(["systemctl", "reenable", UNIT])

    @staticmethod
    def _switch(host: Host, op: Op[Any], fresh: bool) -> None:
        """Switch the unit on and run it once, or off.

        @param fresh: whether the script is another one than before
        """
        if op.after is None:
            # Now, for one that would be tried again and again.
            host.command(["systemctl", "disable", "--now", UNIT])
            host.run(["systemctl", "reset-failed", UNIT], None)
            return
        host.command(["systemctl", "enable", UNIT])
        if host.rolling_back:
            # What the script makes is put back without it, or was not there.
            return
        try:
            host.command(["systemctl", "restart", UNIT])
        except OverlayError as error:
            reason = "; ".join([str(error), *_choose_telling_lines(_read_journal(host))])
            # A new script that fails where the last one did not is to blame, and goes. One that failed before this run says
            # nothing against what the run has done for the host: whoever undid that could never mend the host.
            if fresh and not (op.before is not None and op.before.failed):
                raise OverlayError(reason) from error
            host.facts[Boot.name] = {
                "warning": "The host is as planned, but the next boot would not make it so: %s. See what is in its way "
                "(journalctl -u %s), and run this again" % (reason, UNIT)
            }
