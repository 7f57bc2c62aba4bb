# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A boot script tried before it is needed: in a network namespace of its own, which ends with it. PRIVATE to the collection.

On the host itself little of it would run: what is there already is not made again. In an empty namespace every line runs, so
that a word which this host's iproute2, nft or iptables do not know is found today and not by the next boot. What of the host
lies outside of the script, and is needed by it, is stood in for: underlay devices, and gateways on the underlay.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set

from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Host, Spec
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import quote_words
from ansible_collections.agentless.overlay.plugins.module_utils._resources._ownership import DeviceSpec

# Settings are not iproute2's to refuse, and some are the whole machine's; files below /run are the host's.
LEFT_OUT = ("sysctl", "files")
# Each with a file system of its own below /run, where namespaces have their names and iptables its lock.
_BEGIN = ["mount --make-rprivate / && mount -t tmpfs tmpfs /run || exit", "ip link set dev lo up || exit"]
_BEGUN = "the trial begins"
_TRY = 'try() { "$@" || { echo "(by: $*)" >&2; failed=1; }; }'
# Enough for each layer of tunnels.
_MTU = "65535"


def list_stand_ins(specs: Mapping[str, Spec[Any]]) -> List[str]:
    """The lines that make what the script finds on the host: each device that it names, and a way to each gateway. Pure."""
    entries = [entry for spec in specs.values() for entry in spec.present.values()]
    made = {"lo", *(key[0] for spec in specs.values() if isinstance(spec, DeviceSpec) for key in spec.present)}
    named: Set[str] = {getattr(entry, option, None) or "" for entry in entries for option in ("dev", "device")}
    devices = named - made - {""}
    routes = list(specs["route_entry"].present.values()) if "route_entry" in specs else []
    ways: Dict[str, str] = {}
    for route in routes:
        if route.gateway and not route.onlink and (not route.device or route.device in devices):
            ways[route.gateway] = route.device or _find_free_name(made | devices)
    lines: List[str] = []
    for device in sorted(devices | set(ways.values())):
        lines += ["%s || exit" % quote_words(["ip", "link", "add", device, "type", "bridge"])]
        lines += ["%s || exit" % quote_words(["ip", "link", "set", "dev", device, "mtu", _MTU, "up"])]
    lines += [_make_route_command("route", gateway, device) for gateway, device in sorted(ways.items())]
    return lines + [_make_route_command("address", source, "lo") for source in sorted({route.src for route in routes} - {None})]


def _find_free_name(taken: Set[str]) -> str:
    return next(name for name in ("underlay%d" % number for number in range(len(taken) + 1)) if name not in taken)


def _make_route_command(what: str, address: str, device: str) -> str:
    return "%s || exit" % quote_words(["ip", what, "replace", str(ipaddress.ip_network(address)), "dev", device])


def find_complaints(host: Host, head: Sequence[str], specs: Mapping[str, Spec[Any]], lines: Iterable[str]) -> str:
    """What the host's programs have against the lines of a script; nothing also where it cannot be tried here.

    @param head: what the script begins with
    """
    begin = [*head, *_BEGIN, *list_stand_ins(specs), _TRY, "echo '%s'" % _BEGUN]
    try:
        code, out, err = host.run(["unshare", "-m", "-n", "sh"], "\n".join([*begin, *lines, 'exit "$failed"', ""]))
    except OSError:
        return ""
    return err.strip() or "exit code %d" % code if code and _BEGUN in out else ""
