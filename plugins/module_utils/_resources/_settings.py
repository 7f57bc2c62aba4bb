# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's settings of one device, as files below /proc/sys/net. PRIVATE to the collection.

A new device has the defaults; what others have set on the one before it comes back.
"""

from __future__ import annotations

import os
from typing import Any, Dict, Optional, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import IPV6_MTU

# By their folder and name, with their value.
Settings = Tuple[Tuple[str, str], ...]

_ROOT = "/proc/sys/net"
_FOLDERS = ("ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh", "mpls/conf")
# What is an option of the device, and what the kernel finds itself.
_NOT_HERE = ("ipv6/conf/accept_ra", "ipv6/conf/autoconf", "ipv4/conf/mc_forwarding", "ipv6/conf/mc_forwarding")
# Setting it sets the other one.
_FIRST = ("ipv6/conf/stable_secret",)


def read_device_settings(device: str, mtu: int) -> Settings:
    """Those in which a device is not as the host's defaults are; all of them where it does not show its defaults."""
    found = []
    for folder in _FOLDERS:
        default, own = _read_values(folder, "default"), _read_values(folder, device)
        for name, value in own.items():
            setting = "%s/%s" % (folder, name)
            # The same in other units, and coarser.
            twin = name + "_ms" in own or name + "_bytes" in own
            if twin or not value or setting in _NOT_HERE or default.get(name) == value:
                continue
            if setting == "ipv6/conf/mtu" and value == str(mtu):
                continue
            found.append((setting, value))
    return tuple(sorted(found, key=lambda one: (one[0] not in _FIRST, one[0])))


def write_device_settings(device: str, settings: Settings) -> None:
    """Give a device those that it has otherwise."""
    for setting, value in settings:
        folder, _slash, name = setting.rpartition("/")
        path = os.path.join(_ROOT, folder, device, name)
        if _read_value(path) in (None, value):
            continue
        with open(path, "w", encoding="ascii") as handle:
            handle.write(value)


def read_mtu6(device: str) -> Optional[int]:
    """The MTU that IPv6 has on a device: the device's own, unless somebody gave it another one. None without IPv6."""
    value = read_setting("ipv6/conf", device, "mtu")
    return int(value) if value is not None else None


def keep_mtu6(host: Host, device: str, before: Any, entry: Any) -> None:
    """Give IPv6 back the MTU that somebody gave it alone, where the kernel has set it with the device's.

    @param before: the device as it was when its MTU was changed; C(entry) is it as it is, or in an undo is again
    """
    if before is None or entry.mtu6 is None or entry.mtu6 == (entry.mtu if host.rolling_back else before.mtu):
        return
    if IPV6_MTU <= entry.mtu6 <= (entry.mtu or 0):
        write_device_settings(device, (("ipv6/conf/mtu", str(entry.mtu6)),))


def read_setting(folder: str, device: str, name: str) -> Optional[str]:
    return _read_value(os.path.join(_ROOT, folder, device, name))


def _read_values(folder: str, device: str) -> Dict[str, str]:
    path = os.path.join(_ROOT, folder, device)
    try:
        names = sorted(os.listdir(path))
    except FileNotFoundError:
        return {}
    found = {name: _read_value(os.path.join(path, name)) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _read_value(path: str) -> Optional[str]:
    """None where there is none: not there, or not set, which is an error to the kernel."""
    try:
        with open(path, encoding="ascii") as handle:
            return handle.read().strip()
    except FileNotFoundError:
        return None
    except OSError:
        return "" if path.endswith("/stable_secret") else None
