# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All of a host's network, as iproute2, nft, iptables and /proc tell it: what two looks at it can be compared by.

It runs on the host, where it takes a tenth of a second, and knows nothing of the collection.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

Listing = dict[str, list[str]]

_JSON = {
    "link": "ip -d -j link",
    "address": "ip -d -j address",
    "route": "ip -d -j -4 route show table all",
    "route6": "ip -d -j -6 route show table all",
    "neigh": "ip -d -j neigh show nud all",
    "nexthop": "ip -d -j nexthop",
    "rule": "ip -j -4 rule",
    "rule6": "ip -j -6 rule",
    "port": "bridge -d -j link",
    "fdb": "bridge -d -j fdb",
    "vlan": "bridge -d -j vlan",
    "tunnel": "bridge -d -j vlan tunnelshow",
    "mdb": "bridge -d -j mdb",
    "qdisc": "tc -j qdisc",
}
# Those of which iproute2 tells nothing as JSON, or not all.
_LINES = {
    "proxy": "ip neigh show proxy; ip -6 neigh show proxy",
    "iptables": "iptables -S; iptables -t nat -S",
    "ip6tables": "ip6tables -S",
    "hook": "nft list ruleset | grep -w device",
    "lock": "{ ip -4 route show table all; ip -6 route show table all; } | grep -w lock | sed 's/ linkdown//'",
}
# Counters, clocks and numbers in the order of arrival; what a device hears for itself, and how far its carrier has come.
_VOLATILE = {
    *("no", "designated_port", "operstate", "fdb_n_learned", "mcast_n_groups", "state_text", "port_state", "stats64"),
    *("topology_change", "topology_change_detected", "topology_change_ack", "used", "packets", "bytes", "refcnt"),
    # A bridge keeps those of a port that has gone.
    *("tso_max_size", "tso_max_segs"),
}
_VOLATILE_FLAGS = ("linkdown", "NO-CARRIER", "LOWER_UP", "dead", "offload")
# Counts down: told in steps so long that a test is within one, where whoever set it began at 900 of one.
_STEP = 1000
_COUNTS_DOWN = ("valid_life_time", "preferred_life_time", "expires")
_FOR_EVER = 2**32 - 1
_IPTABLES = {"filter", "nat", "raw", "mangle"}
_SETTINGS = ("ipv4/conf", "ipv6/conf", "ipv4/neigh", "ipv6/neigh")


def _said(commands: dict[str, str]) -> dict[str, str]:
    """What each command says, of one shell."""
    mark = "=-=-="
    script = f"\necho; echo {mark}\n".join(commands.values())
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    return dict(zip(commands, done.stdout.split(f"\n{mark}\n"), strict=True))


def _still(item: Any, name: str = "") -> Any:
    """Without what moves by itself."""
    if isinstance(item, list):
        found = [_still(one) for one in item]
        if name == "flags":
            return sorted(one for one in found if one not in _VOLATILE_FLAGS)
        return sorted(found, key=json.dumps) if name != "metrics" else found
    if isinstance(item, dict):
        if "valid_life_time" in item:
            # How it was added, not how it is: who puts an address back need not look for a duplicate, which takes a second.
            item = {key: one for key, one in item.items() if key != "nodad"}
        # Of a port: its number, in another form.
        mortal = _VOLATILE | {"id"} if "designated_port" in item else _VOLATILE
        return {key: _still(one, key) for key, one in item.items() if key not in mortal and "timer" not in key}
    if name in _COUNTS_DOWN and isinstance(item, (int, float)) and item != _FOR_EVER:
        return item // _STEP
    return item


def _learnt(category: str, entry: dict[str, Any]) -> bool:
    """What the kernel makes, or learns, by itself and forgets so."""
    flags = {name for name in ("proxy", "router", "extern_learn", "managed", "sticky", "offload") if name in entry}
    flags |= set(entry.get("flags", []))
    state = entry.get("state", [])
    states = {one.upper() for one in ([state] if isinstance(state, str) else state)}
    if category == "neigh":
        if entry.get("dev") == "lo" or entry["dst"].startswith(("ff", "224.", "239.", "255.")):
            return True
        return not (states & {"PERMANENT", "NOARP"} or flags & {"extern_learn", "managed"} or "protocol" in entry)
    if category == "fdb":
        if entry["mac"].startswith(("33:33", "01:00:5e")) and "dst" not in entry and "nhid" not in entry:
            return True
        return not (states & {"PERMANENT", "STATIC"} or flags & {"extern_learn", "sticky"})
    if entry.get("type") == "anycast" and entry.get("protocol") == "kernel":
        # With an address, if the device forwards by then.
        return True
    # The kernel makes it from the MAC that the device has when it comes up, and keeps it when that changes.
    own = entry.get("local" if category == "address" else "dst", "")
    return own.startswith("fe80::") and own != "fe80::/64" and len(own) > len("fe80::1234")


def _flat(category: str, found: Any) -> list[Any]:
    """A thing each."""
    if category == "address":
        return [
            {"ifname": link["ifname"], **one}
            for link in found
            for one in link.get("addr_info", [])
            if not _learnt(category, one)
        ]
    if category == "mdb":
        return [one for part in found for one in part.get("mdb", []) if one.get("state") == "permanent"]
    if category == "port":
        # What a port is in, a bridge that has just got it decides a moment later.
        return [{name: value for name, value in one.items() if name != "state"} for one in found]
    if category == "link":
        for link in found:
            link.get("linkinfo", {}).get("info_slave_data", {}).pop("state", None)
    return [one for one in found if not _learnt(category, one)]


def _order(routes: list[Any]) -> list[str]:
    """Where there are several to a place, the kernel takes the first."""
    places: dict[tuple[str, ...], list[str]] = {}
    for route in routes:
        place = tuple(str(route.get(name, "")) for name in ("table", "dst", "tos", "metric"))
        if route["protocol"] not in ("kernel", "ra", "redirect"):
            way = " ".join(str(route.get(name, "")) for name in ("type", "gateway", "dev", "nhid"))
            places.setdefault(place, []).append(way)
    return [f"{' '.join(place)}: {', '.join(ways)}" for place, ways in places.items() if len(ways) > 1]


def _in_order(lines: list[str]) -> list[str]:
    """Rules of iptables; those of others by their place among others in their chain, ours in whatever order."""
    places: Counter[str] = Counter()
    found = []
    for line in lines:
        if line.startswith("-A ") and "agentless" not in line:
            places[line.split()[1]] += 1
            line = f"{places[line.split()[1]]} {line}"
        found.append(line)
    return found


def _nft(said: str) -> list[str]:
    """Rules in their order within a chain; ours accept and drop in whatever order, and their table is made as a whole."""
    found: list[str] = []
    places: Counter[tuple[str, ...]] = Counter()
    for item in json.loads(said)["nftables"]:
        (kind, thing), *_rest = item.items()
        # What iptables makes, iptables tells better.
        known = thing.get("family") in ("ip", "ip6") and _IPTABLES & {thing.get("table"), thing.get("name")}
        if kind == "metainfo" or known:
            continue
        place = [str(thing.get(name, "")) for name in ("family", "table", "chain")]
        thing.pop("handle", None)
        text = json.dumps(_still(thing), sort_keys=True)
        if kind == "rule" and "agentless" not in place[1] and "agentless" not in text:
            places[tuple(place)] += 1
            text = f"{places[tuple(place)]} {text}"
        found.append(f"{kind} {text}")
    return found


def _sysctls() -> list[str]:
    found = []
    for part in _SETTINGS:
        for folder in Path("/proc/sys/net", part).iterdir():
            for path in folder.iterdir():
                try:
                    found.append(f"{part}/{folder.name}/{path.name} = {path.read_text().strip()}")
                except OSError:
                    continue
    for name in ("ipv4/ip_forward", "ipv4/nexthop_compat_mode"):
        found.append(f"{name} = {Path('/proc/sys/net', name).read_text().strip()}")
    return found


def look() -> Listing:
    """Every thing of each kind, as text that can be compared."""
    found: Listing = {}
    said = _said({**_JSON, **_LINES, "nft": "nft -j list ruleset"})
    macs: set[str] = set()
    without: set[str] = set()
    for category in _JSON:
        # The beginning of a list is all that a kernel without VLANs on bridges leaves of it.
        text = said[category].strip()
        things = _flat(category, json.loads(text if text not in ("", "[") else "[]"))
        if category == "link":
            macs = {link["address"] for link in things}
            without = {link["ifname"] for link in things if "NO-CARRIER" in link["flags"]}
        elif category == "fdb":
            # A bridge knows the MACs of its ports and its own, and one that both have as that of either.
            things = [entry for entry in things if entry["mac"] not in macs]
        elif category == "route6":
            # Made when a device first has a carrier, and kept.
            own = ("fe80::/64", "ff00::/8")
            things = [one for one in things if one["dst"] not in own or one.get("dev") not in without]
        found[category] = sorted(json.dumps(_still(thing), sort_keys=True) for thing in things if thing)
        if category.startswith("route"):
            found[f"{category} order"] = sorted(_order(things))
    for category in _LINES:
        lines = [line.strip() for line in said[category].splitlines()]
        found[category] = sorted(_in_order(lines) if category.endswith("tables") else lines)
    found["nft"] = sorted(_nft(said["nft"]))
    found["sysctl"] = sorted(_sysctls())
    return found


def difference(before: Listing, after: Listing) -> dict[str, dict[str, list[str]]]:
    """What is there no more, and what is there that was not."""
    found = {}
    for category, things in before.items():
        was, is_now = Counter(things), Counter(after[category])
        if was != is_now:
            found[category] = {"gone": sorted((was - is_now).elements()), "come": sorted((is_now - was).elements())}
    return found


_NAMES = ("ifname", "dev", "dst", "mac", "local", "id", "table", "family", "grp")


def shown(found: dict[str, dict[str, list[str]]]) -> str:
    """A difference for people: of a thing that is another now, what of it is."""
    lines = []
    for category, sides in found.items():
        come = list(sides["come"])
        for text in sides["gone"]:
            twin = next((one for one in come if _name(one) and _name(one) == _name(text)), None)
            if twin is None:
                lines.append(f"{category}: gone {text}")
                continue
            come.remove(twin)
            was, is_now = _leaves(json.loads(text)), _leaves(json.loads(twin))
            keys = sorted(key for key in was | is_now if was.get(key) != is_now.get(key))
            changes = ", ".join(f"{key} {was.get(key)} -> {is_now.get(key)}" for key in keys)
            lines.append(f"{category}: {_name(text)}: {changes}")
        lines += [f"{category}: come {text}" for text in come]
    return "\n".join(lines)


def _name(text: str) -> str:
    if not text.startswith("{"):
        return ""
    thing = json.loads(text)
    return " ".join(str(thing[name]) for name in _NAMES if name in thing)


def _leaves(item: Any, above: str = "") -> dict[str, Any]:
    if not isinstance(item, dict):
        return {above: item}
    return {key: value for name, one in item.items() for key, value in _leaves(one, f"{above}.{name}".strip(".")).items()}
