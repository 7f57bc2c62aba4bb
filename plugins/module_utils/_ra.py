# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a device takes router advertisements. PRIVATE to the collection.

On a device of ours who sends one is a container or a peer, and would be given this host's IPv6 traffic.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

# Options of a device, named after the files that hold them.
OPTIONS = ("accept_ra", "autoconf")
_FILE = "/proc/sys/net/ipv6/conf/%s/%s"


def read_settings(device: str) -> Dict[str, Any]:
    """The settings of a device; None where it has no IPv6: the kernel has not, or its MTU is too small."""
    found: Dict[str, Optional[int]] = {}
    for option in OPTIONS:
        try:
            with open(_FILE % (device, option), encoding="ascii") as handle:
                found[option] = int(handle.read())
        except FileNotFoundError:
            found[option] = None
    return found


def differs(found: Optional[int], wanted: Optional[int]) -> bool:
    """Whether a setting that is asked for is another one; a device without IPv6 takes none of it. Pure."""
    return wanted is not None and wanted != (found or 0)


def write_settings(device: str, entry: Any, before: Any) -> None:
    """Give a device the settings that its entry has, where it has others; C(before) is it as it was found, or None."""
    found = read_settings(device)
    for option in OPTIONS:
        wanted = getattr(entry, option)
        if not differs(found[option], wanted):
            continue
        if found[option] is None and before is not None and getattr(before, option) == wanted:
            # Nobody asked for it: it went with an MTU that is too small for IPv6.
            continue
        if found[option] is None:
            raise OverlayError("%s has no IPv6, and so no %s: give it an MTU of at least 1280" % (device, option))
        with open(_FILE % (device, option), "w", encoding="ascii") as handle:
            handle.write(str(wanted))
