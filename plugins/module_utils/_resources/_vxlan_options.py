# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a vxlan device. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
from typing import Any, Mapping

from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import Bounds, require_range
from ansible_collections.agentless.overlay.plugins.module_utils._engine._options import STATE, make_bulk_spec
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Options, OverlayError
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _ra

_NAME = "vxlan_link"
_U32 = (1 << 32) - 1
_BOUNDS: Bounds = {
    "vni": (1, (1 << 24) - 1),
    "port": (1, 65535),
    "ttl": (0, 255),
    "tos": (0, 255),
    "flowlabel": (0, (1 << 20) - 1),
    "mtu": (68, 65535),
    "ageing": (0, _U32),
    "maxaddress": (0, _U32),
    "srcport_min": (0, 65535),
    "srcport_max": (0, 65535),
}

_LINK: Options = {
    "name": {"type": "str"},
    "vni": {"type": "int"},
    "port": {"type": "int"},
    "local": {"type": "str"},
    "remote": {"type": "str"},
    "group": {"type": "str"},
    "dev": {"type": "str"},
    "learning": {"type": "bool"},
    "ttl": {"type": "int"},
    "ttl_inherit": {"type": "bool"},
    "tos": {"type": "int"},
    "df": {"type": "str", "choices": ["unset", "set", "inherit"]},
    "flowlabel": {"type": "int"},
    "ageing": {"type": "int"},
    "maxaddress": {"type": "int"},
    "srcport_min": {"type": "int"},
    "srcport_max": {"type": "int"},
    "udpcsum": {"type": "bool"},
    "udp6zerocsumtx": {"type": "bool"},
    "udp6zerocsumrx": {"type": "bool"},
    "gbp": {"type": "bool"},
    "proxy": {"type": "bool"},
    "rsc": {"type": "bool"},
    "l2miss": {"type": "bool"},
    "l3miss": {"type": "bool"},
    "localbypass": {"type": "bool"},
    "mac": {"type": "str"},
    "mtu": {"type": "int"},
    "alias": {"type": "str"},
    "master": {"type": "str"},
    "neigh_suppress": {"type": "bool"},
    "up": {"type": "bool"},
    **_ra.SPEC,
    "addresses": {"type": "list", "elements": "str"},
    "adopt": {"type": "bool"},
    **STATE,
}
_SRCPORT = ["srcport_min", "srcport_max"]
OPTIONS, RULES = make_bulk_spec(_LINK, "name", {"mutually_exclusive": [["remote", "group"]], "required_together": [_SRCPORT]})


def check_link_options(item: Mapping[str, Any]) -> None:
    """Refuse what no kernel takes, of the options of one device whose addresses are valid. Pure."""
    require_range(_NAME, item, "name", _BOUNDS)
    low, high = item.get("srcport_min"), item.get("srcport_max")
    if low is not None and high is not None and low > high:
        raise _make_option_error(item, "srcport_min", "is larger than srcport_max, %d" % high)
    local, remote, group = (item.get(option) and ipaddress.ip_address(item[option]) for option in ("local", "remote", "group"))
    if local and (local.is_multicast or local.is_unspecified):
        raise _make_option_error(item, "local", "is not the address of one host")
    if remote and remote.is_multicast:
        raise _make_option_error(item, "remote", "is a multicast group: give it as group, with dev")
    if group and not group.is_multicast:
        raise _make_option_error(item, "group", "is not from 224.0.0.0/4 or ff00::/8, the multicast groups")


def _make_option_error(item: Mapping[str, Any], option: str, why: str) -> OverlayError:
    return OverlayError("%s: %s: %s %s %s" % (_NAME, item["name"], option, item[option], why))
