# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a device takes router advertisements. PRIVATE to the collection.

On a device of ours who sends one is a container or a peer, and would be given this host's IPv6 traffic.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Options
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import quote_words
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

SPEC: Options = {"accept_ra": {"type": "int", "choices": [0, 1, 2]}, "autoconf": {"type": "int", "choices": [0, 1]}}
# Options of a device, named after the files that hold them.
OPTIONS = ("accept_ra", "autoconf")
_FILE = "/proc/sys/net/ipv6/conf/%s/%s"
_NEIGHBOURS = "/proc/sys/net/ipv6/neigh/%s/%s"
# What the kernel begins with (include/net/ndisc.h), in milliseconds; a network namespace does not show its default.
_TIMES = {"base_reachable_time_ms": 30000, "retrans_time_ms": 1000}


def read_ra_settings(device: str) -> Dict[str, Any]:
    """The settings of a device; None where it has no IPv6: the kernel has not, or its MTU is too small."""
    return {option: _read_integer(_FILE % (device, option)) for option in OPTIONS}


def is_ra_different(found: Optional[int], wanted: Optional[int]) -> bool:
    """Whether a setting that is asked for is another one; a device without IPv6 takes none of it. Pure."""
    return wanted is not None and wanted != (found or 0)


def write_ra_settings(device: str, entry: Any, before: Any) -> None:
    """Give a device the settings that its entry has, where it has others; C(before) is it as it was found, or None."""
    found = read_ra_settings(device)
    for option in OPTIONS:
        wanted = getattr(entry, option)
        if not is_ra_different(found[option], wanted):
            continue
        if found[option] is None and before is not None and getattr(before, option) == wanted:
            # Nobody asked for it: it went with an MTU that is too small for IPv6.
            continue
        if found[option] is None:
            raise OverlayError("%s has no IPv6, and so no %s: give it an MTU of at least 1280" % (device, option))
        if option == "accept_ra" and wanted == 0 and before is not None and before.accept_ra:
            _forget_advertised(device, entry.mtu)
        with open(_FILE % (device, option), "w", encoding="ascii") as handle:
            handle.write(str(wanted))


def list_ra_commands(device: str, entry: Any) -> List[str]:
    """The lines of the boot script that do the same. Pure."""
    given = ((option, getattr(entry, option)) for option in OPTIONS)
    return ["ipv6 %s" % quote_words([device, option, str(value)]) for option, value in given if value is not None]


def _forget_advertised(device: str, mtu: Optional[int]) -> None:
    """Give back its own values to what else an advertisement sets: hop limit, MTU, and how long neighbours are believed."""
    values = {_FILE % (device, "hop_limit"): _read_integer(_FILE % ("default", "hop_limit")), _FILE % (device, "mtu"): mtu}
    for name, kernels in _TIMES.items():
        default = _read_integer(_NEIGHBOURS % ("default", name))
        values[_NEIGHBOURS % (device, name)] = kernels if default is None else default
    for path, value in values.items():
        if value is not None and _read_integer(path) not in (None, value):
            with open(path, "w", encoding="ascii") as handle:
                handle.write(str(value))


def _read_integer(path: str) -> Optional[int]:
    try:
        with open(path, encoding="ascii") as handle:
            return int(handle.read())
    except FileNotFoundError:
        return None
