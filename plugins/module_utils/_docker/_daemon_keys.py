# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in Docker's daemon.json, ours and others', and what has to. Pure. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
import json
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._docker._daemon_text import parse_object, render_daemon_json
from ansible_collections.agentless.overlay.plugins.module_utils._docker._docker_api import Docker
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

MANAGED = ("bip", "mtu", "ip-masq", "allow-direct-routing", "ipv6", "fixed-cidr-v6", "bip6")
DAEMON_JSON = "/etc/docker/daemon.json"
# The file as it was before we ever changed it: what absent puts back. Empty where there was none.
BACKUP_SUFFIX = ".before-overlay"
# The address that docker0 had then, where the file did not say: Docker keeps the one that it finds there. Empty where it did
# not run then.
BRIDGE_SUFFIX = ".before-overlay-docker0"
# The file that dockerd runs on, until it has restarted on the new one: what a failed restart puts back.
UNDO_SUFFIX = ".overlay-undo"
# The keys of IPv6 as they were before ours: where it is, those in the file are ours.
IPV6_SUFFIX = ".before-overlay-ipv6"
KEPT = (BACKUP_SUFFIX, BRIDGE_SUFFIX, IPV6_SUFFIX, UNDO_SUFFIX)
KEYS6 = ("ipv6", "bip6", "fixed-cidr-v6")

NO_NFTABLES = (
    "docker: dockerd has its firewall in %s, where a rule of ours cannot let the overlay through. "
    'Set "firewall-backend": "iptables" in daemon.json and restart Docker'
)

DOCKERS_MTU = 1500
# Where Docker looks for addresses where daemon.json names no pools (moby, libnetwork/ipamutils).
DOCKERS_POOLS = tuple(("172.%d.0.0/16" % number, 16) for number in range(17, 32)) + (("192.168.0.0/16", 20),)


def restore_keys(text: str, path: str, before: str, before6: Optional[str] = None) -> str:
    """The file's text with our keys as they were before us, and every other as it is now; empty for no file.

    @param before: the text of the file before we ever changed it, empty where there was none
    @param before6: the keys of IPv6 before we set those, where that was later
    """
    former = parse_object(before, path + BACKUP_SUFFIX)
    keys = {name: former.get(name) for name in MANAGED}
    if before6 is not None:
        keys.update(read_ipv6_keys(before6, path + IPV6_SUFFIX))
    rendered = render_daemon_json(text, path, keys)
    # Where nothing else has changed since, the text as well.
    return before if parse_object(rendered, path) == former else rendered


def read_ipv6_keys(text: str, path: str) -> Dict[str, Any]:
    """The keys of IPv6 in a file, None for one that is not there."""
    found = parse_object(text, path)
    return {name: found.get(name) for name in KEYS6}


def read_ipv6_lease(keys: Mapping[str, Any]) -> Optional[ipaddress.IPv6Network]:
    """The IPv6 subnet that docker0 has by the keys of a file."""
    given = (keys.get("bip6") or keys.get("fixed-cidr-v6")) if keys.get("ipv6") else None
    try:
        return ipaddress.IPv6Interface(given).network if given else None
    except ValueError:
        # dockerd says so itself.
        return None


def find_remaining_addresses(gone: Iterable[ipaddress.IPv6Network], addresses: Iterable[str]) -> List[str]:
    """Of addresses with their prefix lengths those of subnets that are to be gone."""
    return sorted({one for one in addresses if ipaddress.IPv6Interface(one).network in set(gone)})


def choose_keys(release: Any, options: Mapping[str, Any]) -> Dict[str, Any]:
    """The keys and values that a release of Docker needs, None for a key it does not know."""
    if (28, 0) <= release < (28, 2):
        raise OverlayError(
            "docker_bip: Docker %d.%d drops what comes from the overlay to docker0 before any rule of ours is asked, "
            "and has no setting against it. Upgrade Docker to 28.2 or later" % release
        )
    keys: Dict[str, Any] = {"bip": options["bip"]}
    if options.get("mtu") is not None:
        keys["mtu"] = options["mtu"]
    if options.get("ip_masq") is not None:
        keys["ip-masq"] = options["ip_masq"]
    if options.get("bip6"):
        keys["ipv6"] = True
        # bip6 is new in 28.0; before, docker0 gets the first address of fixed-cidr-v6.
        if release >= (28, 0):
            keys["bip6"] = options["bip6"]
        else:
            keys["fixed-cidr-v6"] = str(ipaddress.IPv6Interface(options["bip6"]).network)
    # Docker ends with "unknown configuration option" where it does not know the key.
    keys["allow-direct-routing"] = True if release >= (28, 2) else None
    return keys


def list_live_differences(docker: Docker, keys: Mapping[str, Any]) -> List[str]:
    """What of the keys the running dockerd does not have in force, in words. Pure."""
    if not docker.running:
        return ["dockerd is not running"]
    reasons = []
    if docker.gateway != keys["bip"]:
        reasons.append("docker0 has %s, not %s" % (docker.gateway, keys["bip"]))
    ours, found = read_ipv6_lease(keys), docker.gateway6
    if ours is not None and (found is None or ipaddress.IPv6Interface(found).network != ours):
        reasons.append("docker0 has %s, not an address of %s" % (found or "no IPv6", ours))
    # Without a word about it, it is Docker's own.
    if "mtu" in keys and (docker.mtu or str(DOCKERS_MTU)) != str(keys["mtu"]):
        reasons.append("the default network's mtu is %s, not %s" % (docker.mtu, keys["mtu"]))
    if "ip-masq" in keys and docker.masquerade != str(keys["ip-masq"]).lower():
        reasons.append("Docker's own masquerading is %s, not %s" % (docker.masquerade, str(keys["ip-masq"]).lower()))
    return reasons


def list_keys_outside(where: str, before: Mapping[str, Any], keys: Mapping[str, Any]) -> List[str]:
    """Keys of the owner's that lie outside docker0's subnet, in sentences: dockerd takes the file, and then does not start.

    Or it starts, and no container does.

    @param where: what sets them
    @param before: what it sets
    @param keys: what the file is to get
    """
    leases: Dict[int, Any] = {4: ipaddress.ip_interface(keys["bip"]).network}
    lease6 = read_ipv6_lease(keys)
    if lease6 is not None:
        leases[6] = lease6
    problems = [
        "%s to %s, outside %s, which docker0 is to have" % (name, before[name], leases[version])
        for name, version in (("fixed-cidr", 4), ("default-gateway", 4), ("fixed-cidr-v6", 6), ("default-gateway-v6", 6))
        # One that we set ourselves is replaced.
        if before.get(name) and version in leases and keys.get(name) is None and not _is_in_lease(before[name], leases[version])
    ]
    if not problems:
        return []
    return [
        "docker_bip: %s sets %s. Docker would not start with that, or give containers addresses that nobody has a route "
        "to. Remove the key, or choose a value inside" % (where, "; ".join(problems))
    ]


def _is_in_lease(text: Any, lease: Any) -> bool:
    """Whether an address or a range is in the lease."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return bool(found.version == lease.version and found.subnet_of(lease))


def find_free_address(pools: Sequence[Tuple[str, int]], taken: Iterable[Any]) -> Optional[str]:
    """The first address of the first subnet of the pools that nothing of what is taken overlaps; None where there is none."""
    busy = [network for network in taken if network.version == 4]
    for base, length in pools:
        pool = ipaddress.ip_network(base, strict=False)
        if pool.version != 4:
            continue
        for subnet in pool.subnets(new_prefix=length):
            if not any(subnet.overlaps(network) for network in busy):
                return "%s/%d" % (subnet[1], length)
    return None


def is_pooled(pools: Sequence[Tuple[str, int]], address: str) -> bool:
    """Whether an address is of one of the pools."""
    return any(_is_in_lease(address.partition("/")[0], ipaddress.ip_network(base, strict=False)) for base, _length in pools)


def list_own_lines(text: str, path: str) -> List[str]:
    """The keys of ours in a file as a difference shows them. What else stands there is nobody's business: it may be secret."""
    try:
        found = parse_object(text, path)
    except OverlayError:
        return []
    return ['"%s": %s' % (name, json.dumps(found[name])) for name in MANAGED if name in found]
