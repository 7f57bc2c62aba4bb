# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values of the inventory as what they mean, or what is wrong with them. Pure. PRIVATE to the collection.

What netaddr takes for an address differs from version to version (10.1, 0x0a000001, 010.0.0.1); what is taken here does not.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import abridge, describe_value
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import IPAddress, IPNetwork, Node

JMESPATH_IMPORT_ERROR: ImportError | None = None
try:
    import jmespath
except ImportError as error:
    JMESPATH_IMPORT_ERROR = error

MAX_DEVICE = 15  # IFNAMSIZ, less the byte that ends it
# Devices of the kernel's and of Docker's own, and what has folders or files among those of devices.
_RESERVED_DEVICE = re.compile(r"lo|docker0|docker_gwbridge|br-[0-9a-f]{12}|all|default|bonding_masters")
# What cannot be given to a host or container, and what it is.
_SPECIAL = (
    *(("0.0.0.0/8", "unspecified"), ("127.0.0.0/8", "loopback"), ("169.254.0.0/16", "link-local")),
    *(("224.0.0.0/4", "a multicast group"), ("255.255.255.255/32", "the broadcast address"), ("240.0.0.0/4", "reserved")),
    *(("::/128", "unspecified"), ("::1/128", "loopback"), ("::ffff:0:0/96", "IPv4 in the form of IPv6")),
    *(("::/64", "reserved"), ("fe80::/10", "link-local"), ("ff00::/8", "a multicast group")),
)
# By IP version, as first and last address.
_RANGES: dict[int, list[tuple[int, int, str]]] = {4: [], 6: []}
for _network, _kind in _SPECIAL:
    _parsed = ipaddress.ip_network(_network)
    _RANGES[_parsed.version].append((int(_parsed.network_address), int(_parsed.broadcast_address), _kind))
_FORMS = {4: "10.88.0.0/16", 6: "fd00:88::/48"}
# The usual length of a segment, for remedies.
SEGMENT_LENGTH = {4: 24, 6: 64}


def is_empty(value: Any) -> bool:
    """Whether a value is as if it had been left out: null, or what a template without a value gives."""
    return value is None or isinstance(value, str) and not value


def drop_empty(given: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: value for key, value in given.items() if not is_empty(value)}


def hint_quotes(value: Any) -> str:
    """What a problem with a text goes on with, where YAML took what was written for something else."""
    for kinds, what in (
        (bool, "true or false"),
        ((int, float), "a number"),
        ((datetime.date, datetime.time), "a date"),
    ):
        if isinstance(value, kinds):
            return f"; YAML took it for {what}: quote it"
    return ""


def as_address(value: Any) -> IPAddress | None:
    """An IP address, also in brackets as where a port follows; None where it is none, or one with a zone."""
    text = _strip_address(value)
    if not re.fullmatch(r"[0-9A-Fa-f:.]+", text):
        return None
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return IPAddress(int(found), found.version)


def as_network(value: Any) -> tuple[IPNetwork | None, str]:
    """The network that is meant, where one can be told, and what is wrong with the value, if anything."""
    text, _slash, length = _strip_address(value).partition("/")
    address = as_address(text)
    version = address.version if address is not None else 6 if ":" in text else 4
    form = f"not a network in the form {_FORMS[version]}{hint_quotes(value)}"
    given = as_integer(length)
    prefix = _count_mask(length) if version == 4 and given is None else given
    if address is None or prefix is None or prefix > (32 if version == 4 else 128):
        return None, form
    network = IPNetwork((int(address), prefix), version=version)
    if given is None:
        return network.cidr, f"has a netmask in place of a length; the network is {network.cidr}"
    if network.ip != network.network:
        return network.cidr, f"has host bits; the network is {network.cidr}"
    return network, ""


def _strip_address(value: Any) -> str:
    """Without spaces around, and without the brackets of a URL."""
    text = value.strip() if isinstance(value, str) else ""
    return re.sub(r"^\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]", r"\1", text) if text.startswith("[") else text


def _count_mask(text: str) -> int | None:
    """The length that a netmask such as 255.255.0.0 stands for."""
    mask = as_address(text)
    if mask is None or mask.version != 4:
        return None
    length = f"{int(mask):032b}".count("1")
    return length if int(mask) == (1 << 32) - (1 << 32 - length) else None


def find_special(first: IPAddress, last: IPAddress) -> str:
    """What keeps some of these addresses from being given to hosts and containers; empty where nothing does."""
    start, end = int(first), int(last)
    return next((kind for low, high, kind in _RANGES[first.version] if start <= high and low <= end), "")


def is_unicast(network: IPNetwork) -> bool:
    """Whether its addresses can be given to hosts and containers."""
    return not find_special(IPAddress(network.first, network.version), IPAddress(network.last, network.version))


def find_unusable(network: IPNetwork) -> tuple[int, ...]:
    """Those of its addresses that no host can have: its own, and its broadcast address, which IPv6 has none of."""
    if network.prefixlen >= (31 if network.version == 4 else 127):
        return ()
    return (network.first, network.last) if network.version == 4 else (network.first,)


def as_list(value: Any) -> list[Any]:
    """What may be given once or as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def as_integer(value: Any) -> int | None:
    """Numbers come as text from -e and from ini inventories. One that begins with a zero may be meant to be octal."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"0|[1-9][0-9]{0,19}", value):
        return int(value)
    return None


def is_device(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,%d}" % (MAX_DEVICE - 1), value) is not None


def is_reserved_device(name: str) -> bool:
    """Whether a name is that of a device of the kernel's or of Docker's own, or can be none."""
    return _RESERVED_DEVICE.fullmatch(name) is not None


def find_wrong_underlay_device(value: Any) -> str:
    """What keeps a value from naming the device by which a host reaches the others; empty where nothing does."""
    if not is_device(value):
        return f"not a device name of at most 15 characters{hint_quotes(value)}"
    return "no device by which a host reaches others" if is_reserved_device(value) else ""


def select_nodes(value: Any, nodes: Sequence[Node], groups: Mapping[str, Sequence[str]]) -> tuple[frozenset[str], str]:
    """The nodes that are meant, and what is wrong with the value, if anything.

    @param value: V(all), a group of the inventory, a JMESPath expression over the nodes, or a list of these
    """
    names = frozenset(node.name for node in nodes)
    found: set[str] = set()
    for item in value if isinstance(value, (list, tuple)) else [value]:
        some, problem = _select_by(item, names, nodes, groups)
        if problem:
            return frozenset(found), problem
        found |= some
    return frozenset(found), ""


def _select_by(
    value: Any, names: frozenset[str], nodes: Sequence[Node], groups: Mapping[str, Sequence[str]]
) -> tuple[frozenset[str], str]:
    if not isinstance(value, str) or not value:
        return frozenset(), f"neither a group nor a JMESPath expression{hint_quotes(value)}"
    if value == "all":
        return names, ""
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
    except RecursionError:
        return frozenset(), "not a JMESPath expression: nested too deep"
    # Of what else an expression can run into, jmespath tells some by exceptions of its own, and some by Python's.
    except Exception as error:
        return frozenset(), f"not a JMESPath expression over nodes: {abridge(' '.join(str(error).split()))}"
    chosen = [item.get("name") if isinstance(item, Mapping) else item for item in as_list(result)]
    wrong = [item for item in chosen if not isinstance(item, str) or item not in names]
    if wrong:
        given = "null" if wrong[0] is None else describe_value(wrong[0])
        return frozenset(), f"gives {given}, which is no node; it has to give nodes or their names"
    return frozenset(map(str, chosen)), ""
