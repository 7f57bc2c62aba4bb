# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a vxlan device. PRIVATE to the collection."""

from __future__ import annotations

from ansible_collections.agentless.overlay.plugins.module_utils._engine._options import STATE, bulk
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Options
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _ra

MAX_NAME = 15  # IFNAMSIZ, less the byte that ends it


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
OPTIONS, RULES = bulk(_LINK, "name", {"mutually_exclusive": [["remote", "group"]], "required_together": [_SRCPORT]})
