# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device that a vxlan device is bound to (dev), which may be one of ours too. PRIVATE to the collection."""

from __future__ import annotations

from typing import Dict, Iterator, List, Mapping, Optional, Sequence

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    read_attributes,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Key, Op
from ansible_collections.agentless.overlay.plugins.module_utils._resources._vxlan import Link, must_recreate

# What the kernel reckons for the outer headers, by whether they are IPv6.
_HEADROOM = {False: 50, True: 70}


def order_links(ops: Sequence[Op[Link]]) -> List[Op[Link]]:
    """A device after the one that it is bound to, and gone before that. Pure."""
    below: Dict[str, Optional[str]] = {op.entry.name: op.entry.dev for op in ops}

    def depth(name: str, most: int) -> int:
        under = below.get(name)
        return 1 + depth(under, most - 1) if under in below and under is not None and most else 0

    turns = {name: depth(name, len(below)) for name in below if below[name] in below}
    if not turns:
        return list(ops)
    return sorted(ops, key=lambda op: turns.get(op.entry.name, 0) * (1 if op.after is not None else -1))


def list_large_mtus(host: Host, found: Mapping[Key, Link], wanted: Mapping[Key, Link]) -> Iterator[str]:
    """MTUs that the device below does not leave: one that is made gets less without a word, one that is there is refused it."""
    for key, link in sorted(wanted.items()):
        there = found.get(key)
        if not link.dev or not link.mtu or there is not None and there.mtu == link.mtu and not must_recreate(there, link):
            continue
        below = _read_device_mtu(host, link.dev) if (link.dev,) not in wanted else wanted[link.dev,].mtu
        most = below - _HEADROOM[link.tunnel[2]] if below else None
        if most is not None and link.mtu > most:
            yield (
                "vxlan_link: %s: mtu %d is more than %s leaves, whose own is %s: at most %d. Lower it, or raise that of %s"
                % (link.name, link.mtu, link.dev, below, most, link.dev)
            )


def _read_device_mtu(host: Host, device: str) -> Optional[int]:
    """None where there is no such device."""
    found = host.link(device)
    return read_attributes(found)["IFLA_MTU"] if found is not None else None
