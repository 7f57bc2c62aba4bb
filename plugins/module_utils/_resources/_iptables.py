# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What iptables does with a packet before our rules in DOCKER-USER are asked. Pure. PRIVATE to the collection.

A rule of ours counts only where FORWARD leads to DOCKER-USER, and where nothing on the way takes its packets: a DROP, a REJECT,
or a RETURN, which hands them to Docker's own rules. A rule that says more of a packet than we know of ours (a protocol, a
state, a set) is taken for one that may match; one of other devices or other addresses cannot.
"""

from __future__ import annotations

import ipaddress
import shlex
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._marks import MARK
from ansible_collections.agentless.overlay.plugins.module_utils._resources._rules import CHAIN, Rule

FORWARD = "FORWARD"
# After these, and after a rule that only counts, the next rule is asked. ACCEPT is what we want ourselves.
_HARMLESS = ("", "ACCEPT", "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "SET", "TRACE", "AUDIT")


@dataclass(frozen=True)
class Chain:
    """A chain: its policy, where it is one of the kernel's, and its rules, each as C(iptables -A CHAIN) takes it."""

    policy: str
    rules: List[str]


Chains = Mapping[str, Chain]


def parse_chains(text: str) -> Dict[str, Chain]:
    """The chains of a table as C(iptables -S) tells them."""
    found: Dict[str, Chain] = {}
    for line in text.splitlines():
        kind, _space, rest = line.partition(" ")
        name, _space, rule = rest.partition(" ")
        if kind in ("-P", "-N"):
            found[name] = Chain(rule if kind == "-P" else "", [])
        elif kind == "-A" and name in found:
            found[name].rules.append(rule)
    return found


def has_docker(chains: Chains) -> bool:
    """Whether Docker has its rules in this table."""
    return "DOCKER" in chains


def unquote_comment(rule: str) -> str:
    """A rule as we write it: iptables quotes a comment only where it thinks it must."""
    try:
        return " ".join(shlex.split(rule))
    except ValueError:
        return rule


@dataclass(frozen=True)
class Match:
    """Which packets a rule is for, as far as we know of ours, and what becomes of them."""

    # Option, whether it is negated, and value.
    wants: Tuple[Tuple[str, bool, str], ...] = ()
    # Whether it asks for more than that.
    narrow: bool = False
    target: str = ""
    goes: bool = False

    def of(self, option: str) -> Any:
        return next(((negated, value) for name, negated, value in self.wants if name == option), None)


@lru_cache(maxsize=4096)
def parse_match(rule: str) -> Match:
    """What a rule says."""
    try:
        words = shlex.split(rule)
    except ValueError:
        words = rule.split()
    wants, narrow = [], False
    for before, word, value in zip([""] + words, words, words[1:] + [""]):
        if before == "--comment" or (word, value) in (("-m", "comment"), ("!", value)):
            continue
        if word in ("-s", "-d", "-i", "-o"):
            wants.append((word, before == "!", value))
        elif word in ("-j", "-g"):
            # What comes after it is the target's business.
            return Match(tuple(wants), narrow, value, word == "-g")
        elif before not in ("-s", "-d", "-i", "-o", "-m") and word != "--comment":
            narrow = True
    return Match(tuple(wants), narrow)


def _may_meet(rule: Match, path: Sequence[Match]) -> bool:
    """Whether there may be a packet of ours that a rule is for: one that our rule, and all jumps up to here, are for too."""
    return all(
        _may_overlap(option, rule.of(option), other.of(option))
        for option in ("-s", "-d", "-i", "-o")
        for other in path
        if rule.of(option) and other.of(option)
    )


def _may_overlap(option: str, asked: Tuple[bool, str], given: Tuple[bool, str]) -> bool:
    negated, value = asked
    if given[0]:
        return negated or value != given[1]
    if option in ("-i", "-o"):
        name = given[1]
        same = name.startswith(value[:-1]) if value.endswith("+") else name == value
        return same is not negated
    try:
        one, other = (ipaddress.ip_network(address, strict=False) for address in (value, given[1]))
    except ValueError:
        # A mask with holes.
        return True
    if negated:
        return not other.subnet_of(one)  # type: ignore[arg-type]
    return one.overlaps(other)  # type: ignore[arg-type]


def find_taker(chains: Chains, rules: Sequence[str], path: Sequence[Match], returns: bool = True) -> str:
    """The last of some rules that may take a packet of ours, or nothing.

    @param path: our rule, and the jumps that lead to these rules
    @param returns: whether RETURN takes it too, as it does in a chain whose next rules are Docker's
    """
    found = ""
    for rule in rules:
        match = parse_match(rule)
        if match.target in _HARMLESS or match.target == "RETURN" and not returns or not _may_meet(match, path):
            continue
        chain = chains.get(match.target)
        # From where it goes, no way leads back here.
        lost = match.goes and returns
        if chain is None or lost or find_taker(chains, chain.rules, [*path, match], False):
            found = rule
    return found


_JUMP = Match(target=CHAIN)
_BEFORE = " before " + CHAIN


def find_iptables_stop(chains: Chains, ours: Sequence[Match]) -> str:
    """What keeps packets of ours from DOCKER-USER, in words; nothing where all get there, or pass without it."""
    forward = chains.get(FORWARD)
    if forward is None or not ours:
        return ""
    place = next((number for number, rule in enumerate(forward.rules) if parse_match(rule) == _JUMP), None)
    for match in ours:
        found = find_taker(chains, forward.rules[:place], [match])
        if found:
            return found if place is None else found + _BEFORE
    if place is not None:
        return ""
    if has_docker(chains):
        return "nothing leads to " + CHAIN
    return "" if forward.policy == "ACCEPT" else "policy %s, and nothing leads to %s" % (forward.policy, CHAIN)


def list_own_rules(program: str, chains: Chains) -> List[Rule]:
    """Our rules in DOCKER-USER, each with what stands before it and may take its packets."""
    rules = chains[CHAIN].rules if CHAIN in chains else []
    found: List[Rule] = []
    seen: Dict[str, int] = {}
    for number, rule in enumerate(rules):
        if MARK in rule:
            text = unquote_comment(rule)
            copy = seen[text] = seen.get(text, -1) + 1
            found.append(Rule("%s %s" % (program, CHAIN), text, find_taker(chains, rules[:number], [parse_match(text)]), copy))
    return found


def list_rule_commands(chains: Chains, removed: Sequence[Rule], added: Sequence[Rule]) -> List[str]:
    """What iptables-restore has to do in DOCKER-USER: rules of ours come first, or again behind what was before them."""
    rules = list(chains[CHAIN].rules) if CHAIN in chains else []
    texts = [unquote_comment(rule) for rule in rules]
    lines = []
    for rule in removed:
        if rule.rule in texts:
            place = texts.index(rule.rule)
            del rules[place], texts[place]
            lines.append("-D %s %s" % (CHAIN, rule.rule))
    for rule in added:
        places = [number for number, text in enumerate(rules, 1) if rule.below and text == rule.below]
        place = places[-1] if places else 0
        rules.insert(place, rule.rule)
        lines.append("-I %s %d %s" % (CHAIN, place + 1, rule.rule))
    return lines


def list_jump_commands(chains: Chains, stopped: str) -> List[str]:
    """What iptables-restore has to do in FORWARD: DOCKER-USER is asked first, as Docker puts it at each start.

    @param stopped: what C(stop) says of the state that is to be again
    """
    rules = [rule for rule in chains[FORWARD].rules if parse_match(rule) != _JUMP]
    lines = ["-D %s %s" % (FORWARD, rule) for rule in chains[FORWARD].rules if parse_match(rule) == _JUMP]
    before, _before, asked = stopped.rpartition(_BEFORE)
    if asked:
        return lines
    place = max((number for number, rule in enumerate(rules, 1) if rule == before), default=0)
    return [*lines, "-I %s %d -j %s" % (FORWARD, place + 1, CHAIN)]


def lets_port_in(chains: Chains, port: int, senders: Sequence[str]) -> bool:
    """Whether ufw is not there, drops nothing by default, or has a rule that lets packets of some sender to a UDP port in."""
    names = [name for name in chains if name == "INPUT" or name.startswith("ufw") and name.endswith("-input")]
    if len(names) < 2 or chains["INPUT"].policy == "ACCEPT":
        return True
    rules = [rule for name in names for rule in chains[name].rules]
    return any(_opens_port(rule, port, senders) for rule in rules)


def _opens_port(rule: str, port: int, senders: Sequence[str]) -> bool:
    match, words = parse_match(rule), rule.split()
    following = dict(zip(words, words[1:]))
    if match.target != "ACCEPT" and not match.target.endswith("-accept") or match.of("-i") == (False, "lo"):
        return False
    # Of connections that are there already, and of what comes from a certain port.
    if {"--ctstate", "--state", "--sport", "--icmp-type", "--icmpv6-type"} & set(words):
        return False
    ranges = (following.get("--dport") or following.get("--dports") or "0:65535").split(",")
    fits = any(int(low) <= port <= int(high or low) for low, _colon, high in (one.partition(":") for one in ranges))
    if not fits or following.get("-p", "udp") not in ("udp", "17", "all"):
        return False
    source = match.of("-s")
    return not source or not senders or any(_may_overlap("-s", source, (False, sender)) for sender in senders)
