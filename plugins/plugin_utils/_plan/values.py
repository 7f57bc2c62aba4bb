# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values of the inventory as what they mean, or what is wrong with them. Pure. PRIVATE to the collection."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import AddrFormatError, IPAddress, IPNetwork, Node

JMESPATH_IMPORT_ERROR: ImportError | None = None
try:
    import jmespath
except ImportError as error:
    JMESPATH_IMPORT_ERROR = error

MAX_DEVICE = 15  # IFNAMSIZ, less the byte that ends it


def as_address(value: Any) -> IPAddress | None:
    """An IP address, or None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        return IPAddress(value)
    except (AddrFormatError, ValueError):
        return None


def as_network(value: Any) -> tuple[IPNetwork | None, str]:
    """The network that is meant, where one can be told, and what is wrong with the value, if anything."""
    form = "not a network in the form 10.88.0.0/16"
    if not isinstance(value, str) or "/" not in value:
        return None, form
    try:
        network = IPNetwork(value)
    except (AddrFormatError, ValueError):
        return None, form
    if network.ip != network.network:
        return network.cidr, f"has host bits; the network is {network.cidr}"
    return network, ""


def as_list(value: Any) -> list[Any]:
    """What may be given once or as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def as_integer(value: Any) -> int | None:
    """Numbers come as text from -e and from ini inventories."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,20}", value):
        return int(value)
    return None


def is_device(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,%d}" % (MAX_DEVICE - 1), value) is not None


def is_unicast(network: IPNetwork) -> bool:
    """Whether its addresses can be given to hosts and containers."""
    address = network.ip
    special = address.is_multicast() or address.is_loopback() or address.value == 0
    # netaddr calls all of IPv6 reserved that is not 2000::/3, fc00::/7 or the like.
    return not (special or address.version == 4 and address.is_reserved() or address.version == 6 and address.is_link_local())


def select_nodes(value: Any, nodes: Sequence[Node], groups: Mapping[str, Sequence[str]]) -> tuple[frozenset[str], str]:
    """The nodes that are meant, and what is wrong with the value, if anything.

    @param value: V(all), a group of the inventory, a JMESPath expression over the nodes, or a list of these
    """
    names = {node.name for node in nodes}
    if isinstance(value, (list, tuple)):
        found: frozenset[str] = frozenset()
        for item in value:
            some, problem = select_nodes(item, nodes, groups)
            if problem:
                return found, problem
            found |= some
        return found, ""
    if not isinstance(value, str) or not value:
        return frozenset(), "neither a group nor a JMESPath expression"
    if value == "all":
        return frozenset(names), ""
    if value in groups:
        return frozenset(groups[value]) & names, ""
    if value in names:
        return frozenset({value}), ""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", value):
        return frozenset(), "there is no such group"
    if JMESPATH_IMPORT_ERROR is not None:
        return frozenset(), "a JMESPath expression, for which the controller needs jmespath (pip: jmespath)"
    shown = [{"name": node.name, "groups": list(node.groups), "labels": node.labels or {}} for node in nodes]
    try:
        result = jmespath.search(value, shown)
    except jmespath.exceptions.JMESPathError as error:
        return frozenset(), f"not a JMESPath expression: {' '.join(str(error).split())}"
    chosen = [item.get("name") if isinstance(item, Mapping) else item for item in as_list(result)]
    wrong = [item for item in chosen if not isinstance(item, str) or item not in names]
    if wrong:
        return frozenset(), f"gives {wrong[0]!r}, which is no node; it has to give nodes or their names"
    return frozenset(str(item) for item in chosen), ""
