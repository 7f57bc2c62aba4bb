# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What puts the overlay back after a reboot, before Docker starts. PRIVATE to the collection.

A script, and the systemd unit that runs it. The script is made from the same options as everything else of the transaction,
and needs nothing but iproute2, nft and, as Docker itself, iptables.
"""

from __future__ import annotations

import ipaddress
import os
import shlex
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set, Tuple, Union

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
from ansible_collections.agentless.overlay.plugins.module_utils._resources._addresses import Address, Addresses
from ansible_collections.agentless.overlay.plugins.module_utils._resources._bridges import Bridge, Bridges
from ansible_collections.agentless.overlay.plugins.module_utils._resources._fdb import Fdb, FdbEntry
from ansible_collections.agentless.overlay.plugins.module_utils._resources._files import (
    File,
    Files,
    read_file,
    remove_file,
    write_file,
)
from ansible_collections.agentless.overlay.plugins.module_utils._resources._firewall import Firewall
from ansible_collections.agentless.overlay.plugins.module_utils._resources._links import Links
from ansible_collections.agentless.overlay.plugins.module_utils._resources._neighbours import Neighbour, Neighbours
from ansible_collections.agentless.overlay.plugins.module_utils._resources._nexthops import Nexthops
from ansible_collections.agentless.overlay.plugins.module_utils._resources._ra import OPTIONS
from ansible_collections.agentless.overlay.plugins.module_utils._resources._routes import Route, Routes
from ansible_collections.agentless.overlay.plugins.module_utils._resources._sandboxes import Sandbox, Sandboxes
from ansible_collections.agentless.overlay.plugins.module_utils._resources._sandboxes import script as sandbox_script
from ansible_collections.agentless.overlay.plugins.module_utils._resources._sysctls import Sysctl, Sysctls
from ansible_collections.agentless.overlay.plugins.module_utils._resources._vxlan import Link

SCRIPT = "/etc/agentless-overlay/boot.sh"
UNIT = "agentless-overlay.service"
UNIT_FILE = "/etc/systemd/system/" + UNIT
_SYSTEMD = "/run/systemd/system"
_FORWARDING = "net.ipv4.ip_forward"

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
ipv6() { [ ! -e "/proc/sys/net/ipv6/conf/$1/$2" ] || echo "$3" >"/proc/sys/net/ipv6/conf/$1/$2" || failed=1; }
"""


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


def _words(words: Iterable[str]) -> str:
    """A command line on which the shell changes nothing."""
    return " ".join(shlex.quote(word) for word in words)


def _batch(program: str, commands: Iterable[str]) -> str:
    lines = "".join(command + "\n" for command in commands)
    return "try %s -force -batch - <<'END'\n%sEND\n" % (program, lines) if lines else ""


def _link(link: Link) -> str:
    """Make a device where there is none, and set what a living one takes."""
    words = ["ip", "link", "add", link.name]
    if link.mac is not None:
        # With the device, so that nobody finds it without one and gives it another.
        words += ["address", link.mac]
    words += ["type", "vxlan", "id", str(link.vni)]
    words += [str(word) for option, word in _named(link) for word in (option, *(word if isinstance(word, tuple) else (word,)))]
    for flag in ("learning", "udpcsum", "udp6zerocsumtx", "udp6zerocsumrx", "proxy", "rsc", "l2miss", "l3miss"):
        value = getattr(link, flag)
        if value is not None:
            words.append(flag if value else "no" + flag)
    if link.gbp:
        words.append("gbp")
    script = "ip link show dev %s >/dev/null 2>&1 || try %s\n" % (_words([link.name]), _words(words))
    if link.localbypass is not None:
        script += "try %s\n" % _words(
            ["ip", "link", "set", "dev", link.name, "type", "vxlan", "localbypass" if link.localbypass else "nolocalbypass"]
        )
    settings = []
    if link.alias is not None:
        settings += ["alias", link.alias]
    if link.mtu is not None:
        settings += ["mtu", str(link.mtu)]
    if link.master is not None:
        settings += ["master", link.master]
    script += _up(link, settings, "down" if link.up is False else "up")
    if link.neigh_suppress is not None:
        state = "on" if link.neigh_suppress else "off"
        script += "try %s\n" % _words(["bridge", "link", "set", "dev", link.name, "neigh_suppress", state])
    return script


def _up(entry: Union[Bridge, Link], settings: Sequence[str], state: str) -> str:
    """Settings first, of which the MTU decides whether there is IPv6; then whether it takes router advertisements."""
    change = ["ip", "link", "set", "dev", entry.name]
    given = [(option, getattr(entry, option)) for option in OPTIONS]
    lines = ["ipv6 %s\n" % _words([entry.name, option, str(value)]) for option, value in given if value is not None]
    first = "try %s\n" % _words([*change, *settings]) if settings else ""
    return first + "".join(lines) + "try %s\n" % _words([*change, state])


def _named(link: Link) -> List[Tuple[str, Any]]:
    """iproute2's words for the options of a device that have a value, less those that only say yes or no."""
    remote = "group" if link.remote is not None and ipaddress.ip_address(link.remote).is_multicast else "remote"
    words = {"remote": remote, "port": "dstport"}
    options = ("local", "remote", "dev", "port", "ttl", "tos", "df", "flowlabel", "ageing", "maxaddress", "srcport")
    found = [(words.get(option, option), getattr(link, option)) for option in options]
    if link.ttl_inherit:
        found.append(("ttl", "inherit"))
    # 0 is the number for no limit and no label, and iproute2 takes neither.
    return [(word, value) for word, value in found if value is not None and not (value == 0 and word in ("ttl", "maxaddress"))]


def _bridge(bridge: Bridge) -> str:
    words = ["ip", "link", "add", bridge.name] + (["address", bridge.mac] if bridge.mac else []) + ["type", "bridge"]
    settings = ["alias", bridge.alias] if bridge.alias else []
    settings += ["mtu", str(bridge.mtu)] if bridge.mtu else []
    made = "ip link show dev %s >/dev/null 2>&1 || try %s\n" % (_words([bridge.name]), _words(words))
    return made + _up(bridge, settings, "up")


def _sandbox(entry: Sandbox) -> str:
    """A namespace by hand goes with a reboot as a whole, and comes back as a whole."""
    commands = "".join("  try %s\n" % _words(command) for command in sandbox_script(entry))
    return "if ! ip link show dev %s >/dev/null 2>&1; then\n%sfi\n" % (_words([entry.endpoint]), commands)


def _address(entry: Address) -> str:
    return "address replace %s%s" % (entry, " nodad" if ":" in entry.address else "")


def _neighbour(entry: Neighbour) -> str:
    return "neigh replace %s lladdr %s dev %s nud permanent" % (entry.dst, entry.lladdr, entry.device)


def _fdb(entry: FdbEntry) -> str:
    return "fdb %s %s" % ("append" if entry.replicates else "replace", entry)


def _route(entry: Route) -> str:
    # What the nexthop says already, the route must not say.
    words = replace(entry, gateway=None, device=None, onlink=False) if entry.nexthop else entry
    return "route replace %s" % words


def _write(entry: File) -> str:
    folder = shlex.quote(os.path.dirname(entry.path))
    path = shlex.quote(entry.path)
    return "mkdir -p %s\ncat >%s <<'END'\n%sEND\nchmod %04o %s\n" % (folder, path, entry.content, entry.mode, path)


def _sysctl(entry: Sysctl) -> str:
    setting = "try %s\n" % _words(["sh", "-c", "echo %s >%s" % (_words([entry.value]), _words([entry.path]))])
    if entry.name != _FORWARDING:
        return setting
    return (
        "# Left to Docker, where it does that: its FORWARD policy is DROP only where forwarding was off before.\n"
        "[ -d /run/systemd/system ] && systemctl --quiet is-enabled docker.service 2>/dev/null &&\n"
        "  ! grep -Eqs '\"ip-forward\": *false' /etc/docker/daemon.json ||\n  %s" % setting
    )


def script(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The script that makes what the options ask for, as far as a reboot takes it away. Pure."""

    def entries(resource: Resource[Any]) -> List[Any]:
        return list(resource.parse(sections).present.values())

    bridges: List[Bridge] = entries(Bridges())
    links: List[Link] = entries(Links())
    addresses: List[Address] = entries(Addresses())
    routes: List[Route] = entries(Routes())
    return "".join(
        [
            _HEAD,
            *(_sysctl(entry) for entry in entries(Sysctls())),
            *(line + "\n" for line in Firewall().shell(entries(Firewall()))),
            *(_bridge(bridge) for bridge in bridges),
            *(_link(link) for link in links),
            _batch("ip", (_address(address) for address in addresses)),
            _batch("ip", (_neighbour(entry) for entry in entries(Neighbours()))),
            _batch("bridge", (_fdb(entry) for entry in entries(Fdb()))),
            _batch("ip", ("nexthop replace %s" % entry for entry in Nexthops.of(routes).values())),
            _batch("ip", map(_route, routes)),
            *(_sandbox(entry) for entry in entries(Sandboxes())),
            *(_write(entry) for entry in entries(Files()) if entry.path.startswith("/run/")),
            'exit "$failed"\n',
        ]
    )


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
