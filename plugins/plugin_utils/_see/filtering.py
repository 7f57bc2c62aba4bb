# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host's firewall would do with one packet, from its rules as they are listed. Pure. PRIVATE to the collection.

A rule with a match that is not understood here is taken as one that does not match.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_FINAL = {"ACCEPT", "DROP", "REJECT"}
_IPTABLES = ("raw", "mangle", "nat", "filter", "security")
_PROTOCOLS = {"icmp": 1, "ipencap": 4, "tcp": 6, "udp": 17, "gre": 47, "icmpv6": 58, "ipv6-icmp": 58}


@dataclass(frozen=True)
class Packet:
    """One packet at one host."""

    source: str
    target: str
    protocol: str
    port: int = 0
    # Devices that it comes in and goes out by; empty where there is none.
    come: str = ""
    go: str = ""
    # Of connection tracking: new, or established for what answers.
    state: str = "new"
    # Of a vxlan packet.
    vni: int = 0
    local: frozenset[str] = field(default_factory=frozenset)

    @property
    def version(self) -> int:
        return 6 if ":" in self.source else 4


@dataclass(frozen=True)
class Verdict:
    """The rule that stops the packet, and what takes it away."""

    where: str
    rule: str
    remedy: str


# Hooks of a packet that is forwarded, that comes in for the host, and that the host sends.
FORWARDED, RECEIVED, SENT = ("prerouting", "forward"), ("prerouting", "input"), ("output",)


def find_stop(tables: Mapping[str, Any], packet: Packet, hooks: Sequence[str]) -> Verdict | None:
    """The first rule that drops or rejects the packet; None where all let it pass."""
    saved = tables["ip6tables" if packet.version == 6 else "iptables"]
    for hook in hooks:
        found = _find_iptables_verdict(saved, packet, hook.upper()) or _find_nft_verdict(tables["nft"] or {}, packet, hook)
        if found:
            return found
    return None


# iptables-save


def _find_iptables_verdict(saved: str, packet: Packet, hook: str) -> Verdict | None:
    program = "ip6tables" if packet.version == 6 else "iptables"
    for table, chains in _parse_saved(saved).items():
        if table == "nat" or hook not in chains:
            continue
        policy, _rules = chains[hook]
        outcome = _walk_iptables_chain(chains, hook, packet, 0)
        if outcome is None and policy == "DROP":
            remedy = f"{program} -t {table} -P {hook} ACCEPT, or a rule that accepts the overlay: run playbooks/overlay.yml"
            return Verdict(f"{program} {table} {hook}", "policy DROP", remedy)
        if outcome and outcome[0] in ("DROP", "REJECT"):
            _target, chain, rule = outcome
            return Verdict(f"{program} {table} {chain}", rule, f"{program} -t {table} -D {chain} {rule}")
    return None


def _parse_saved(saved: str) -> dict[str, dict[str, tuple[str, list[list[str]]]]]:
    tables: dict[str, dict[str, tuple[str, list[list[str]]]]] = {}
    chains: dict[str, tuple[str, list[list[str]]]] = {}
    for line in saved.splitlines():
        if line.startswith("*"):
            chains = tables.setdefault(line[1:].strip(), {})
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chains[name] = (policy, [])
        elif line.startswith("-A "):
            words = shlex.split(line)
            chains.setdefault(words[1], ("-", []))[1].append(words[2:])
    return {name: tables[name] for name in _IPTABLES if name in tables}


def _walk_iptables_chain(chains: Mapping[str, Any], name: str, packet: Packet, depth: int) -> tuple[str, str, str] | None:
    """Target, chain and rule of the rule that decides; None where none does."""
    if depth > 20 or name not in chains:
        return None
    for words in chains[name][1]:
        matches, target, goto = _match_iptables_rule(words, packet)
        if not matches or not target:
            continue
        if target in _FINAL:
            return target, name, shlex.join(words)
        if target == "RETURN":
            return None
        if target in chains:
            outcome = _walk_iptables_chain(chains, target, packet, depth + 1)
            if outcome or goto:
                return outcome
    return None


_IGNORED = {"-m": 1, "--comment": 1, "--reject-with": 1}


def _match_iptables_rule(words: Sequence[str], packet: Packet) -> tuple[bool, str, bool]:
    """Whether a rule matches the packet, its target, and whether it goes there for good."""
    target, goto, negated, position = "", False, False, 0
    matches = True
    while position < len(words):
        word = words[position]
        value = words[position + 1] if position + 1 < len(words) else ""
        position += 2
        if word == "!":
            negated, position = True, position - 1
            continue
        if word in ("-j", "-g"):
            target, goto = value, word == "-g"
            break
        if word in _IGNORED:
            continue
        holds = _match_word(word, value, packet)
        if holds is None or holds is negated:
            matches = False
        negated = False
    return matches, target, goto


def _match_word(word: str, value: str, packet: Packet) -> bool | None:
    """Whether one condition holds; None where it is not understood."""
    if word in ("-s", "-d"):
        return _is_in_network(packet.source if word == "-s" else packet.target, value)
    if word in ("-i", "-o"):
        device = packet.come if word == "-i" else packet.go
        return device.startswith(value[:-1]) if value.endswith("+") else device == value
    if word == "-p":
        return _PROTOCOLS.get(value, value) == _PROTOCOLS.get(packet.protocol) or value == "all"
    if word == "--dport":
        low, _colon, high = value.partition(":")
        return int(low) <= packet.port <= int(high or low) if low.isdigit() else None
    if word == "--dports":
        return str(packet.port) in value.split(",")
    if word in ("--ctstate", "--state"):
        return packet.state.upper() in value.split(",")
    if word == "--dst-type":
        return packet.target in packet.local if value == "LOCAL" else None
    return None


def _is_in_network(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


# nft -j list ruleset


def _find_nft_verdict(ruleset: Any, packet: Packet, hook: str) -> Verdict | None:
    objects = ruleset.get("nftables", []) if isinstance(ruleset, Mapping) else []
    family = "ip6" if packet.version == 6 else "ip"
    rules: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    sets: dict[tuple[str, str, str], list[Any]] = {}
    chains = []
    for item in objects:
        if "rule" in item:
            rule = item["rule"]
            rules.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule)
        elif "set" in item or "map" in item:
            one = item.get("set") or item["map"]
            sets[(one["family"], one["table"], one["name"])] = one.get("elem", [])
        elif "chain" in item and item["chain"].get("hook") == hook and item["chain"].get("type") == "filter":
            chain = item["chain"]
            # What iptables keeps there has been asked of iptables.
            if chain["family"] in ("inet", family) and not (chain["family"] != "inet" and chain["table"] in _IPTABLES):
                chains.append(chain)
    for chain in sorted(chains, key=lambda chain: chain.get("prio", 0)):
        place = (chain["family"], chain["table"], chain["name"])
        outcome = _walk_nft_chain(rules, sets, place, packet, 0)
        where = "nft {} {} {}".format(*place)
        if outcome is None and chain.get("policy") == "drop":
            return Verdict(where, "policy drop", "nft chain {} {} {} '{{ policy accept; }}'".format(*place))
        if outcome and outcome[0] in ("drop", "reject"):
            rule = outcome[1]
            place = (rule["family"], rule["table"], rule["chain"])
            remedy = "nft delete rule {} {} {} handle {}".format(*place, rule["handle"])
            if rule["table"] == "agentless_overlay":
                remedy = "ansible-playbook playbooks/overlay.yml, if that host is one of the network"
            return Verdict("nft {} {} {}".format(*place), f"rule {rule['handle']}: {_shorten_rule(rule)}", remedy)
    return None


def _walk_nft_chain(
    rules: Mapping[Any, Any], sets: Mapping[Any, Any], place: tuple[str, str, str], packet: Packet, depth: int
) -> Any:
    if depth > 20:
        return None
    for rule in rules.get(place, ()):
        for expression in rule.get("expr", ()):
            ((kind, value),) = expression.items()
            if kind == "match":
                if not _match_expression(value, sets, place, packet):
                    break
            elif kind in ("accept", "drop", "reject"):
                return kind, rule
            elif kind == "return":
                return None
            elif kind in ("jump", "goto"):
                outcome = _walk_nft_chain(rules, sets, (place[0], place[1], value["target"]), packet, depth + 1)
                if outcome or kind == "goto":
                    return outcome
            elif kind in ("xt", "vmap"):
                break
    return None


def _match_expression(match: Mapping[str, Any], sets: Mapping[Any, Any], place: tuple[str, str, str], packet: Packet) -> bool:
    have = _read_left(match["left"], packet)
    if have is None:
        return False
    found = _match_set(have, match["right"], sets, place)
    return not found if match["op"] == "!=" else found if match["op"] in ("==", "in") else False


def _read_left(left: Any, packet: Packet) -> Any:
    """What the packet has of it; None where it has none, or it is not understood."""
    if not isinstance(left, Mapping):
        return None
    if "meta" in left:
        values = {
            "iifname": packet.come,
            "oifname": packet.go,
            "iif": packet.come,
            "oif": packet.go,
            "l4proto": packet.protocol,
            "protocol": "ip6" if packet.version == 6 else "ip",
            "nfproto": f"ipv{packet.version}",
        }
        return values.get(left["meta"]["key"])
    if "ct" in left:
        return packet.state if left["ct"].get("key") == "state" else None
    payload = left.get("payload", {})
    if payload.get("base") == "th" and (payload["offset"], payload["len"]) == (96, 24):
        return packet.vni or None
    if payload.get("base") == "nh" and (payload["offset"], payload["len"]) == ((48, 8) if packet.version == 6 else (72, 8)):
        return _PROTOCOLS.get(packet.protocol)
    protocol, wanted = payload.get("protocol"), payload.get("field")
    if protocol in ("ip", "ip6"):
        if (protocol == "ip6") is not (packet.version == 6):
            return None
        return {"saddr": packet.source, "daddr": packet.target, "protocol": packet.protocol, "nexthdr": packet.protocol}.get(
            wanted
        )
    if protocol == "th" or protocol == packet.protocol:
        return packet.port if wanted == "dport" else None
    return None


def _match_set(have: Any, right: Any, sets: Mapping[Any, Any], place: tuple[str, str, str]) -> bool:
    if isinstance(right, str) and right.startswith("@"):
        return any(_match_set(have, element, sets, place) for element in sets.get((place[0], place[1], right[1:]), ()))
    if isinstance(right, list):
        return any(_match_set(have, element, sets, place) for element in right)
    if isinstance(right, Mapping):
        if "set" in right:
            return _match_set(have, right["set"], sets, place)
        if "elem" in right:
            return _match_set(have, right["elem"]["val"], sets, place)
        if "prefix" in right:
            return _is_in_network(str(have), f"{right['prefix']['addr']}/{right['prefix']['len']}")
        if "range" in right:
            low, high = right["range"]
            try:
                return int(ipaddress.ip_address(low)) <= int(ipaddress.ip_address(have)) <= int(ipaddress.ip_address(high))
            except ValueError:
                return bool(low <= have <= high) if isinstance(have, type(low)) else False
        return False
    if isinstance(right, str) and right.endswith("*"):
        return str(have).startswith(right[:-1])
    return str(have) == str(right)


def _shorten_rule(rule: Mapping[str, Any]) -> str:
    """A rule in a few words: what it looks at, and what it does."""
    words = []
    for expression in rule["expr"]:
        ((kind, value),) = expression.items()
        if kind == "match":
            left = value["left"].get("meta", {}).get("key") or value["left"].get("ct", {}).get("key")
            payload = value["left"].get("payload", {})
            left = left or " ".join(str(payload[key]) for key in ("protocol", "field") if key in payload) or "bits"
            right = value["right"]
            right = (
                f"{right['prefix']['addr']}/{right['prefix']['len']}"
                if isinstance(right, Mapping) and "prefix" in right
                else right
            )
            words.append(f"{left} {'' if value['op'] in ('==', 'in') else value['op'] + ' '}{right}")
        elif kind in ("accept", "drop", "reject"):
            words.append(kind)
    return " ".join(words)
