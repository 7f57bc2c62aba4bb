# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our nft table: from what C(nft -j) tells of it to rules, and from rules to what C(nft -f) takes. Pure. PRIVATE.

Versions of nft print one and the same rule each in its own way: @th,96,24 88 is the @th,96,24 0x58 of a newer one. Their JSON
has its numbers, and is alike from 0.9.8 to 1.1.7 but for the order of objects and what is said of counters and handles. So a
rule is written down here, once, in the one way in which L(_rules.py) writes it. Only of a rule that cannot be one of ours,
because something is in it that no rule of ours has, the line that nft prints is taken: it has to be shown, and put back where
a transaction is undone.
"""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._resources._rules import TABLE, Rule

# What a listed object says of itself that is no part of what it does.
_NAMES = {"family", "table", "name", "chain", "handle"}
# Where the lines of the table itself are kept, beside those of what is in it, which have a handle.
_OF_THE_TABLE = -1
_PLAIN = {"masquerade", "counter", "drop", "accept"}


class _Strange(Exception):
    """Something that no rule of ours has."""


def parse_nft_rules(text: str, printed: Callable[[], str]) -> List[Rule]:
    """The rules of our table.

    @param text: what C(nft -j -s list table) says
    @param printed: gives what C(nft -a -y -s list table) says; asked only where something strange is in the table
    """
    try:
        objects = json.loads(text)["nftables"]
    except ValueError:
        # nft 1.0.6 takes what lies about in memory for the flags of a table that has some, and often ends there.
        whole = [re.sub(r" # handle \d+$", "", line) for block in _split_blocks(printed()) for line in block]
        return [Rule("nft table", _join_lines(whole))]
    rules: List[Rule] = []
    lines: Optional[Dict[int, str]] = None
    for item in objects:
        ((kind, value),) = item.items()
        if kind == "metainfo":
            continue
        try:
            rules += _KINDS.get(kind, _refuse_strange)(value)
        except _Strange:
            lines = _map_handles(printed()) if lines is None else lines
            where = "nft chain %s" % value["chain"] if kind == "rule" else "nft %s %s" % (kind, value["name"])
            where, handle = ("nft table", _OF_THE_TABLE) if kind == "table" else (where, value["handle"])
            # Else it has gone since it was listed.
            rules += [Rule(where, lines[handle])] if handle in lines else []
    return _number_rules(rules)


def _number_rules(rules: List[Rule]) -> List[Rule]:
    """A rule may be there twice."""
    seen: Dict[Tuple[str, str], int] = {}
    for number, rule in enumerate(rules):
        place = (rule.where, rule.rule)
        copy = seen[place] = seen.get(place, -1) + 1
        if copy:
            rules[number] = Rule(rule.where, rule.rule, copy=copy)
    return rules


def _refuse_strange(value: Mapping[str, Any]) -> List[Rule]:
    raise _Strange


def _read_nft_table(value: Mapping[str, Any]) -> List[Rule]:
    """Nothing, unless it has flags: a dormant table does nothing at all."""
    if set(value) - _NAMES:
        raise _Strange
    return []


def _read_nft_chain(value: Mapping[str, Any]) -> List[Rule]:
    where = "nft chain %s" % value["name"]
    more = set(value) - _NAMES
    if more == {"type", "hook", "prio", "policy"}:
        return [Rule(where, "type %(type)s hook %(hook)s priority %(prio)d; policy %(policy)s;" % value)]
    if more:
        raise _Strange
    return [Rule(where, "")]


def _read_nft_set(value: Mapping[str, Any]) -> List[Rule]:
    if set(value) - _NAMES - {"type", "elem"} or not isinstance(value["type"], str):
        raise _Strange
    where = "nft set %s" % value["name"]
    return [Rule(where, "type %s" % value["type"])] + [Rule(where, _write_element(one)) for one in value.get("elem", ())]


def _write_element(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and set(value) == {"prefix"}:
        return "%(addr)s/%(len)d" % value["prefix"]
    raise _Strange


def _read_nft_rule(value: Mapping[str, Any]) -> List[Rule]:
    if set(value) - _NAMES != {"expr"}:
        raise _Strange
    words = []
    for statement in value["expr"]:
        ((kind, inside),) = statement.items()
        if kind == "match":
            words.append(_write_match(inside))
        elif kind in ("snat", "dnat"):
            words.append(_write_nat(kind, inside))
        elif kind in _PLAIN and (inside is None or kind == "counter" and isinstance(inside, dict)):
            words.append(kind)
        else:
            raise _Strange
    return [Rule("nft chain %s" % value["chain"], " ".join(words))]


def _write_match(value: Mapping[str, Any]) -> str:
    ((kind, left),) = value["left"].items() if isinstance(value["left"], dict) else (("", {}),)
    right: Any = value["right"]
    if kind == "payload" and set(left) == {"protocol", "field"}:
        name = "%(protocol)s %(field)s" % left
    elif kind == "payload" and set(left) == {"base", "offset", "len"} and isinstance(right, int):
        name, right = "@%(base)s,%(offset)d,%(len)d" % left, "0x%x" % right
    elif kind == "meta" and left == {"key": "oifname"}:
        name, right = "oifname", '"%s"' % right
    elif kind == "fib" and left in ({"result": "type", "flags": ["daddr"]}, {"result": "type", "flags": "daddr"}):
        name = "fib daddr type"
    else:
        raise _Strange
    if value["op"] not in ("==", "!="):
        raise _Strange
    words = [name] + (["!="] if value["op"] == "!=" else [])
    return " ".join(words + [str(right) if isinstance(right, (str, int)) else _write_element(right)])


def _write_nat(kind: str, value: Any) -> str:
    if not isinstance(value, dict) or set(value) - {"family", "addr", "port"} or not isinstance(value.get("addr"), str):
        raise _Strange
    address = value["addr"]
    family = value.get("family") or ("ip6" if ":" in address else "ip")
    if "port" in value:
        address = ("[%s]:%s" if ":" in address else "%s:%s") % (address, value["port"])
    return "%s %s to %s" % (kind, family, address)


_KINDS: Dict[str, Callable[[Mapping[str, Any]], List[Rule]]] = {
    "table": _read_nft_table,
    "chain": _read_nft_chain,
    "set": _read_nft_set,
    "rule": _read_nft_rule,
}


# What nft prints of strange things: it reads it back.


def _split_blocks(text: str) -> List[List[str]]:
    """The lines of each object in a listed table, its head first; each line of the table itself is one of its own."""
    found: List[List[str]] = []
    inside = 0
    for line in (line.strip() for line in text.splitlines()[1:]):
        if inside or line != "}":
            found += [] if inside else [[]]
            found[-1].append(line)
            # Elements, too, go over as many lines as nft likes.
            inside += line.count("{") - line.count("}")
    return [[line for line in block if line] for block in found if block != [""]]


def _map_handles(text: str) -> Dict[int, str]:
    """The line of each rule, and of all other objects what is in their braces, by their handles."""
    found: Dict[int, str] = {}
    plain = []
    for block in _split_blocks(text):
        if len(block) == 1:
            plain += block
        for line in block:
            rule, _hash, handle = line.rpartition(" # handle ")
            if handle.isdigit():
                found[int(handle)] = rule if line is not block[0] else _join_body(block)
    found[_OF_THE_TABLE] = _join_lines(plain)
    return found


def _join_body(block: List[str]) -> str:
    # A chain's rules are objects of their own.
    return _join_lines([line for line in block[1:-1] if " # handle " not in line])


def _join_lines(lines: List[str]) -> str:
    """Lines in one, as nft takes it too."""
    text = "; ".join(line.rstrip(";") for line in lines)
    return "{ %s }" % re.sub(r"(?<=[{,]);|;(?= })", "", text) if text else ""


def make_nft_script(rules: Iterable[Rule]) -> str:
    """What makes nft replace our table as a whole, in one transaction of the kernel's."""
    text = "table inet %s\ndelete table inet %s\n" % (TABLE, TABLE)
    blocks: Dict[str, List[Rule]] = {}
    for rule in rules:
        if rule.where.startswith("nft "):
            blocks.setdefault(rule.where[4:], []).append(rule)
    if not blocks:
        return text
    text += "table inet %s {\n" % TABLE
    elements = ""
    # Sets come before the chains that look into them, and the head of each before the rest.
    for where, found in sorted(blocks.items(), reverse=True):
        heads = [rule.rule[2:-2] if rule.rule.startswith("{ ") else rule.rule for rule in found if rule.is_head]
        rest = sorted(rule.rule for rule in found if not rule.is_head)
        if where.startswith("set ") and rest:
            # A line each, so that a difference between two scripts is of the elements that differ.
            elements += "add element inet %s %s {\n%s}\n" % (TABLE, where[4:], "".join(text + ",\n" for text in rest))
            rest = []
        lines = "".join("    %s\n" % line for line in heads + rest if line)
        text += lines.replace("    ", "  ", 1) if where == "table" else "  %s {\n%s  }\n" % (where, lines)
    return text + "}\n" + elements
