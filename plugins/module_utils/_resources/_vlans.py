# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The VLANs of a port, or of a bridge itself. PRIVATE to the collection."""

from __future__ import annotations

import struct
from typing import Dict, List, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _attributes
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import RTM_DELLINK, RTM_GETLINK, Message

_AF_BRIDGE = 7
_RTM_SETLINK = 19
_IFLA_AF_SPEC, _IFLA_EXT_MASK = 26, 29
_BRVLAN_COMPRESSED = 4  # RTEXT_FILTER_BRVLAN_COMPRESSED: of a row of VLANs the first and the last
_FLAGS, _INFO, _TUNNEL = 0, 2, 3  # IFLA_BRIDGE_...
_SELF = 2  # BRIDGE_FLAGS_SELF

# As the kernel tells them: numbers and values of attributes.
Vlans = Tuple[_attributes.Raw, ...]


def read_vlans(host: Host) -> Dict[int, Vlans]:
    """By the index of a port or bridge; nothing where the kernel has no VLANs on bridges."""
    mask = _attributes.pack_attribute(_IFLA_EXT_MASK, struct.pack("=I", _BRVLAN_COMPRESSED))
    request = Message(RTM_GETLINK, 0, None, raw=_attributes.pack_device(0, mask, family=_AF_BRIDGE))
    found: Dict[int, Vlans] = {}
    for raw in host.session.dump_raw(request):
        index = _attributes.IFINFO.unpack_from(raw)[2]
        told = _attributes.map_attributes(raw, _attributes.IFINFO.size).get(_IFLA_AF_SPEC, b"")
        # A bridge, its own and as it is a port of another one, comes twice.
        found[index] = found.get(index, ()) + tuple(
            one for one in _attributes.split_attributes(told) if one[0] in (_INFO, _TUNNEL)
        )
    return found


def put_vlans(host: Host, index: int, vlans: Vlans, is_bridge: bool) -> None:
    """Give a port, or a bridge itself, these VLANs and no others."""
    now = read_vlans(host).get(index, ())
    if now == vlans:
        return
    target = [_attributes.pack_attribute(_FLAGS, struct.pack("=H", _SELF))] if is_bridge else []
    for kind, which in ((RTM_DELLINK, now), (_RTM_SETLINK, vlans)):
        for batch in _split_batches(which):
            spec = _attributes.nest_attributes(_IFLA_AF_SPEC, *target, *(_attributes.pack_attribute(*one) for one in batch))
            host.session.write_one(Message(kind, 0, None, raw=_attributes.pack_device(index, spec, family=_AF_BRIDGE)))


def _split_batches(vlans: Vlans) -> List[Vlans]:
    """The VLANs, and apart what is a tunnel of one, which has to be there."""
    parts = [tuple(one for one in vlans if one[0] == number) for number in (_INFO, _TUNNEL)]
    return [part for part in parts if part]
