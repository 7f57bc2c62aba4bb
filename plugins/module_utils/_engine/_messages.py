# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pyroute2's message classes, with what its releases from 0.5.14 on have no name for. PRIVATE to the collection.

What a class has no name for is lost without a word: left out of what is written, and nothing where it is looked for.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import traceback
import types
from typing import Any, Dict, Iterator, Optional, Tuple, Type

__all__ = ["PYROUTE2_IMPORT_ERROR", "ifaddrmsg", "ifinfmsg", "ndmsg", "nhmsg", "rtmsg"]

_Names = Tuple[Tuple[str, str], ...]

# The first number of each, and the names and kinds from there on; linux/if_link.h.
_VXLAN: Tuple[int, _Names] = (30, (("IFLA_VXLAN_VNIFILTER", "uint8"), ("IFLA_VXLAN_LOCALBYPASS", "uint8")))
_BRIDGE_PORT: Tuple[int, _Names] = (
    31,
    (
        ("IFLA_BRPORT_GROUP_FWD_MASK", "uint16"),
        ("IFLA_BRPORT_NEIGH_SUPPRESS", "uint8"),
        ("IFLA_BRPORT_ISOLATED", "uint8"),
        ("IFLA_BRPORT_BACKUP_PORT", "uint32"),
        ("IFLA_BRPORT_MRP_RING_OPEN", "uint8"),
        ("IFLA_BRPORT_MRP_IN_OPEN", "uint8"),
        ("IFLA_BRPORT_MCAST_EHT_HOSTS_LIMIT", "uint32"),
        ("IFLA_BRPORT_MCAST_EHT_HOSTS_CNT", "uint32"),
        ("IFLA_BRPORT_LOCKED", "uint8"),
        ("IFLA_BRPORT_MAB", "uint8"),
        ("IFLA_BRPORT_MCAST_N_GROUPS", "uint32"),
        ("IFLA_BRPORT_MCAST_MAX_GROUPS", "uint32"),
        ("IFLA_BRPORT_NEIGH_VLAN_SUPPRESS", "uint8"),
        ("IFLA_BRPORT_BACKUP_NHID", "uint32"),
    ),
)
# linux/if_addr.h
_ADDRESS: Tuple[int, _Names] = (9, (("IFA_RT_PRIORITY", "uint32"), ("IFA_TARGET_NETNSID", "uint32"), ("IFA_PROTO", "uint8")))
# linux/neighbour.h
_NEIGHBOUR: Tuple[int, _Names] = (
    10,
    (
        ("NDA_LINK_NETNSID", "uint32"),
        ("NDA_SRC_VNI", "uint32"),
        ("NDA_PROTOCOL", "uint8"),
        ("NDA_NH_ID", "uint32"),
        ("NDA_FDB_EXT_ATTRS", "hex"),
        ("NDA_FLAGS_EXT", "uint32"),
        ("NDA_NDM_STATE_MASK", "uint16"),
        ("NDA_NDM_FLAGS_MASK", "uint8"),
    ),
)
# linux/rtnetlink.h
_ROUTE: Tuple[int, _Names] = (
    24,
    (
        *((name, "hex") for name in ("RTA_PAD", "RTA_UID", "RTA_TTL_PROPAGATE", "RTA_IP_PROTO", "RTA_SPORT", "RTA_DPORT")),
        ("RTA_NH_ID", "uint32"),
    ),
)
# linux/if_link.h and linux/rtnetlink.h: what pyroute2 takes for something else than it is to us. The kernel takes this as a
# flag, but tells it as a byte of 0 or 1; of the other, one number of eight is asked for.
_KINDS: Dict[str, str] = {"IFLA_VXLAN_TTL_INHERIT": "cdata", "RTA_CACHEINFO": "cdata", "RTA_METRICS": "cdata"}


def _name_newer() -> None:
    newer: Tuple[Tuple[Type[Any], Tuple[int, _Names]], ...] = (
        (vxlan, _VXLAN),
        (protinfo_bridge, _BRIDGE_PORT),
        (ifaddrmsg, _ADDRESS),
        (ndmsg, _NEIGHBOUR),
        (rtmsg, _ROUTE),
    )
    for cls, (first, names) in newer:
        named = tuple(cls.nla_map) + names[max(0, len(cls.nla_map) - first) :]
        cls.nla_map = tuple((name, _KINDS.get(name, kind)) for name, kind in named)


@contextlib.contextmanager
def _skip_package_start(name: str) -> Iterator[None]:
    """Let modules of a package be imported without the package's own start.

    C(import pyroute2) loads 150 modules, among them asyncio and a database, and takes longer than all else that a call does;
    the message classes need 20 of them.
    """
    spec = importlib.util.find_spec(name) if name not in sys.modules else None
    if spec is None or not spec.submodule_search_locations:
        yield
        return
    package = types.ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = package
    try:
        yield
    finally:
        # Who asks for the package later in this process shall get all of it.
        del sys.modules[name]


PYROUTE2_IMPORT_ERROR: Optional[str] = None
try:
    with _skip_package_start("pyroute2"):
        from pyroute2.netlink import nlmsg
        from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
        from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg, protinfo_bridge
        from pyroute2.netlink.rtnl.ifinfmsg.plugins.vxlan import vxlan
        from pyroute2.netlink.rtnl.ndmsg import ndmsg
        from pyroute2.netlink.rtnl.rtmsg import rtmsg

    _name_newer()

    class nhmsg(nlmsg):  # type: ignore[misc]
        """A nexthop object (linux/nexthop.h), which pyroute2 has no class for (0.9.7)."""

        prefix = "NHA_"
        fields = (("family", "B"), ("scope", "B"), ("protocol", "B"), ("resvd", "B"), ("flags", "I"))
        nla_map = (
            ("NHA_UNSPEC", "none"),
            ("NHA_ID", "uint32"),
            ("NHA_GROUP", "hex"),
            ("NHA_GROUP_TYPE", "uint16"),
            ("NHA_BLACKHOLE", "flag"),
            ("NHA_OIF", "uint32"),
            ("NHA_GATEWAY", "ipaddr"),
            ("NHA_ENCAP_TYPE", "uint16"),
            ("NHA_ENCAP", "hex"),
            ("NHA_GROUPS", "flag"),
            ("NHA_MASTER", "uint32"),
            ("NHA_FDB", "flag"),
        )

except ImportError:
    PYROUTE2_IMPORT_ERROR = traceback.format_exc()
    ifaddrmsg = ifinfmsg = ndmsg = nhmsg = rtmsg = None  # type: ignore[assignment,misc]
