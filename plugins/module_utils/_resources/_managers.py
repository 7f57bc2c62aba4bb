# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that make other managers of the network leave our devices alone. PRIVATE to the collection.

For every manager that is installed, whether it runs or not: it may be started
tomorrow.
"""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Failure,
    Key,
    Op,
    Options,
    OverlayError,
    Resource,
    Spec,
)
from ansible_collections.agentless.overlay.plugins.module_utils._marks import FILE_HEAD, MADE
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _files
from ansible_collections.agentless.overlay.plugins.module_utils._resources._files import File
from ansible_collections.agentless.overlay.plugins.module_utils._resources._firewall import keep_rules

_XML = '<?xml version="1.0" encoding="utf-8"?>\n<!-- %s -->\n' % MADE
# A protocol, and a port of it or 0.
Flow = Tuple[str, int]
# From the tunnels' devices, all devices of ours, and what tunnels send, to a file's text; empty for no file.
Texts = Dict[str, Callable[[Sequence[str], Sequence[str], Sequence[Flow]], Any]]


@dataclass(frozen=True)
class Manager:
    """Another manager: the programs it is known by, its unit, how it reads its files again, and what they say."""

    programs: Tuple[str, ...]
    unit: str
    reload: Tuple[str, ...]
    texts: Texts
    # What judges its files, whether it runs or not.
    check: Tuple[str, ...] = ()
    # Whether a reload flushes the rules of others: firewalld with its iptables backend empties all of iptables.
    flushes: bool = False


def _write_zone(tunnels: Sequence[str], devices: Sequence[str], flows: Sequence[Flow]) -> str:
    """What comes out of the tunnel is the overlay's own; DOCKER-USER and Docker decide about it."""
    lines = "".join('  <interface name="%s"/>\n' % device for device in tunnels)
    return lines and (_XML + '<zone target="ACCEPT">\n  <short>Overlay network</short>\n%s</zone>\n' % lines)


def _write_policy(tunnels: Sequence[str], devices: Sequence[str], flows: Sequence[Flow]) -> str:
    """Lets tunnels in, in whatever zone the underlay is; from whom, our own nft table decides."""
    matches = [
        'port port="%d" protocol="%s"' % (port, protocol) if port else 'protocol value="%s"' % protocol
        for protocol, port in flows
    ]
    rules = "".join("  <rule><%s/><accept/></rule>\n" % match for match in matches)
    return rules and (
        _XML + '<policy priority="-100" target="CONTINUE">\n'
        "  <short>Overlay network</short>\n"
        '  <ingress-zone name="ANY"/>\n  <egress-zone name="HOST"/>\n%s</policy>\n' % rules
    )


_POLICY = "/etc/firewalld/policies/agentless-vxlan.xml"
# What firewalld has of its own from 0.9, the first that reads policies.
_POLICIES = "/usr/lib/firewalld/policies"
_FIREWALLD = "firewalld.service"

MANAGERS: Tuple[Manager, ...] = (
    Manager(
        ("/usr/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd"),
        "systemd-networkd.service",
        ("networkctl", "reload"),
        {
            # On its next start it would remove every route and next hop that it did not make.
            "/etc/systemd/networkd.conf.d/90-agentless-overlay.conf": lambda tunnels, devices, flows: (
                FILE_HEAD + "[Network]\nManageForeignRoutes=no\nManageForeignNextHops=no\n"
            ),
            "/etc/systemd/network/10-agentless-overlay.network": lambda tunnels, devices, flows: (
                devices and FILE_HEAD + "[Match]\nName=%s\n\n[Link]\nUnmanaged=yes\n" % " ".join(devices)
            ),
        },
    ),
    Manager(
        ("/usr/lib/systemd/systemd-udevd", "/lib/systemd/systemd-udevd"),
        "systemd-udevd.service",
        ("udevadm", "control", "--reload"),
        {
            "/etc/systemd/network/10-agentless-overlay.link": lambda tunnels, devices, flows: (
                devices and FILE_HEAD + "[Match]\nOriginalName=%s\n\n[Link]\nMACAddressPolicy=none\n" % " ".join(devices)
            ),
        },
    ),
    Manager(
        ("/usr/sbin/NetworkManager",),
        "NetworkManager.service",
        ("nmcli", "general", "reload", "conf"),
        {
            "/etc/NetworkManager/conf.d/90-agentless-overlay.conf": lambda tunnels, devices, flows: (
                devices
                and FILE_HEAD
                + "[device-agentless-overlay]\nmatch-device=%s\nmanaged=0\n"
                % ",".join("interface-name:" + device for device in devices)
            ),
        },
    ),
    Manager(
        ("/usr/sbin/firewalld",),
        _FIREWALLD,
        ("firewall-cmd", "--reload"),
        {
            # Names of at most 17 characters; a zone and a policy may not have the same one.
            "/etc/firewalld/zones/agentless-overlay.xml": _write_zone,
            _POLICY: _write_policy,
        },
        # With one bad file it would start with none of its owner's either.
        ("firewall-offline-cmd", "--check-config"),
        flushes=True,
    ),
)


_OPTIONS: Options = {
    "devices": {"type": "list", "elements": "str", "required": True},
    "bridges": {"type": "list", "elements": "str"},
    "flows": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {"protocol": {"type": "str", "default": "udp"}, "port": {"type": "int"}},
    },
}


class Managers(Resource[File]):
    name = section = "managers"
    options = _OPTIONS

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[File]:
        spec: Spec[File] = Spec(purge_owned=self.section in sections)
        for part in sections.get(self.section, ()):
            for manager in MANAGERS:
                if any(os.path.exists(program) for program in manager.programs):
                    devices = [*part["devices"], *(part.get("bridges") or ())]
                    for path, make in manager.texts.items():
                        flows = [(flow["protocol"], flow.get("port") or 0) for flow in part["flows"]]
                        text = make(part["devices"], devices, flows)
                        if text:
                            spec.add(File(path, text), "present", self.name)
        return spec

    def read(self, host: Host, spec: Spec[File], devices: Set[str]) -> Dict[Key, File]:
        if not spec.purge_owned:
            return {}
        files = (_files.read_file(path) for manager in MANAGERS for path in manager.texts)
        return {entry.key: entry for entry in files if entry is not None}

    def obstacles(self, host: Host, spec: Spec[File], found: Mapping[Key, File], wanted: Mapping[Key, File]) -> List[str]:
        """A firewalld that does not read what would let vxlan in. Not another file: those of zones are their owner's."""
        policy = spec.present.get((_POLICY,))
        if policy is None or os.path.isdir(_POLICIES) or not _is_unit_active(host, _FIREWALLD):
            return []
        named = host.run(["firewall-cmd", "--get-active-zones"], None)[1].splitlines()
        zones = [line.split()[0] for line in named if line.strip() and not line[0].isspace()] or ["public"]
        return [
            "managers: firewalld is older than 0.9 here and reads no policies, by which we would let UDP port %s in. Let it in "
            "by the underlay's zone: firewall-cmd --permanent --zone=%s --add-port=%s/udp && firewall-cmd --reload"
            % (port, zones[0], port)
            for port in re.findall(r'port="(\d+)"', policy.content)
            if all(host.run(["firewall-cmd", "--zone=" + zone, "--query-port=%s/udp" % port], None)[0] for zone in zones)
        ]

    def extra(self, entry: File, spec: Spec[File]) -> bool:
        return spec.purge_owned

    def apply(self, host: Host, ops: Sequence[Op[File]]) -> List[Failure]:
        for op in ops:
            try:
                if op.after is None:
                    _files.remove_file(op.entry.path)
                else:
                    _files.write_file(op.after)
            except OSError as error:
                return [Failure(op, str(error))]
        for manager in MANAGERS:
            touched = [op for op in ops if op.entry.path in manager.texts]
            try:
                if touched:
                    self._reload(host, manager)
            except (OSError, OverlayError) as error:
                return [Failure(touched[0], str(error))]
        return []

    @staticmethod
    def _reload(host: Host, manager: Manager) -> None:
        if manager.check:
            host.command(manager.check)
        # One that does not run reads its files when it starts.
        if _is_unit_active(host, manager.unit):
            with keep_rules(host) if manager.flushes else nullcontext():
                host.command(manager.reload)


def _is_unit_active(host: Host, unit: str) -> bool:
    return os.path.isdir("/run/systemd/system") and not host.run(["systemctl", "is-active", "--quiet", unit], None)[0]
