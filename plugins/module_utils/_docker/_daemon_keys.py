# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in Docker's daemon.json, ours and others', and what has to. Pure. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

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

NO_NFTABLES = (
    "docker: dockerd has its firewall in %s, where a rule of ours cannot let the overlay through. "
    'Set "firewall-backend": "iptables" in daemon.json and restart Docker'
)

DOCKERS_MTU = 1500
# Where Docker looks for addresses where daemon.json names no pools (moby, libnetwork/ipamutils).
DOCKERS_POOLS = tuple(("172.%d.0.0/16" % number, 16) for number in range(17, 32)) + (("192.168.0.0/16", 20),)


def parse_object(text: str, path: str) -> Dict[str, Any]:
    """A daemon.json as a dict in the file's order; refuses what a rewrite would lose."""

    def pairs(items: List[Any]) -> Dict[str, Any]:
        names = [name for name, _value in items]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise OverlayError("docker_bip: %s has the key %s twice; remove one of them" % (path, ", ".join(twice)))
        return dict(items)

    if not text.strip():
        return {}
    try:
        found = json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise OverlayError(
            "docker_bip: %s is not JSON: %s at line %d column %d. Nothing was changed; correct the file and run again"
            % (path, error.msg, error.lineno, error.colno)
        ) from error
    if not isinstance(found, dict):
        raise OverlayError("docker_bip: %s holds no JSON object; nothing was changed" % path)
    return found


def render(text: str, path: str, keys: Mapping[str, Any]) -> str:
    """The file's text with our keys set, or taken out where None; the text itself where it has them already."""
    found = parse_object(text, path)
    result = {name: value for name, value in found.items() if name not in keys or keys[name] is not None}
    result.update({name: value for name, value in keys.items() if value is not None})
    if result == found:
        return text
    indented = re.search(r'\n([ \t]+)"', text)
    indent: Any = indented.group(1) if indented else (2 if "\n" in text.strip() or not found else None)
    rendered = json.dumps(result, indent=indent, ensure_ascii=False)
    return rendered + ("" if text.strip() and not text.endswith("\n") else "\n")


def restore(text: str, path: str, before: str) -> str:
    """The file's text with our keys as they were before us, and every other as it is now; empty for no file.

    @param before: the text of the file before we ever changed it, empty where there was none
    """
    former = parse_object(before, path + BACKUP_SUFFIX)
    rendered = render(text, path, {name: former.get(name) for name in MANAGED})
    # Where nothing else has changed since, the text as well.
    return before if parse_object(rendered, path) == former else rendered


def keys_for(release: Any, options: Mapping[str, Any]) -> Dict[str, Any]:
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


def live_differences(docker: Docker, keys: Mapping[str, Any]) -> List[str]:
    """What of the keys the running dockerd does not have in force, in words. Pure."""
    if not docker.running:
        return ["dockerd is not running"]
    reasons = []
    if docker.gateway != keys["bip"]:
        reasons.append("docker0 has %s, not %s" % (docker.gateway, keys["bip"]))
    lease6 = keys.get("bip6") or keys.get("fixed-cidr-v6")
    if lease6:
        ours, found = ipaddress.IPv6Interface(lease6).network, docker.gateway6
        if found is None or ipaddress.IPv6Interface(found).network != ours:
            reasons.append("docker0 has %s, not an address of %s" % (found or "no IPv6", ours))
    # Without a word about it, it is Docker's own.
    if "mtu" in keys and (docker.mtu or str(DOCKERS_MTU)) != str(keys["mtu"]):
        reasons.append("the default network's mtu is %s, not %s" % (docker.mtu, keys["mtu"]))
    if "ip-masq" in keys and docker.masquerade != str(keys["ip-masq"]).lower():
        reasons.append("Docker's own masquerading is %s, not %s" % (docker.masquerade, str(keys["ip-masq"]).lower()))
    return reasons


def refuse_outside(path: str, before: Mapping[str, Any], keys: Mapping[str, Any]) -> None:
    """Refuse keys of the owner's that lie outside docker0's subnet: dockerd takes the file, and then does not start.

    Or it starts, and no container does.

    @param before: the file as it is
    @param keys: what it is to get
    """
    leases = {4: ipaddress.ip_interface(keys["bip"]).network}
    lease6 = keys.get("bip6") or keys.get("fixed-cidr-v6")
    if lease6:
        leases[6] = ipaddress.ip_interface(lease6).network
    problems = [
        "%s to %s, outside %s, which docker0 is to have" % (name, before[name], leases[version])
        for name, version in (("fixed-cidr", 4), ("default-gateway", 4), ("fixed-cidr-v6", 6), ("default-gateway-v6", 6))
        # One that we set ourselves is replaced.
        if before.get(name) and version in leases and keys.get(name) is None and not _inside(before[name], leases[version])
    ]
    if problems:
        raise OverlayError(
            "docker_bip: %s sets %s. Docker would not start with that, or give containers addresses that nobody has a route "
            "to. Remove the key, or choose a value inside. Nothing was changed" % (path, "; ".join(problems))
        )


def _inside(text: Any, lease: Any) -> bool:
    """Whether an address or a range is in the lease."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return bool(found.version == lease.version and found.subnet_of(lease))


def free_address(pools: Sequence[Tuple[str, int]], taken: Iterable[Any]) -> Optional[str]:
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
    return any(_inside(address.partition("/")[0], ipaddress.ip_network(base, strict=False)) for base, _length in pools)


def own_lines(text: str, path: str) -> List[str]:
    """The keys of ours in a file as a difference shows them. What else stands there is nobody's business: it may be secret."""
    try:
        found = parse_object(text, path)
    except OverlayError:
        return []
    return ['"%s": %s' % (name, json.dumps(found[name])) for name in MANAGED if name in found]
