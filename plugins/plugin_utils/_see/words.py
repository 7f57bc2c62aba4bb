# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbers, names and what others say, in sentences and tables. Pure. PRIVATE to the collection."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

_MOST_NAMES = 10  # in a line
_MOST_LETTERS = 500  # of what others say, in a line of Markdown
# What has no sign of its own: XML 1.0 forbids some, UTF-8 cannot hold some, and some turn around what follows.
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
# A name or a sentence of which neither Markdown makes a list nor GitHub a link, which it looks for in plain text.
_HARMLESS = re.compile(r"(?!.*(://|www\.|gh-\d)|\d+[.)]( |$))[a-z0-9][a-z0-9 .,:;/()%=+-]*|", re.IGNORECASE | re.ASCII)
_Item = TypeVar("_Item")


def count_noun(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def join_names(names: Iterable[str], shown: int = _MOST_NAMES) -> str:
    """The first of them, and how many more."""
    given = list(names)
    return ", ".join(given[:shown]) + (f" and {len(given) - shown} more" if len(given) > shown else "")


def show_controls(text: str) -> str:
    """What has no sign of its own, as programmers write it."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def quote_text(text: str) -> str:
    """A name, or what others say, within a line of Markdown: nothing in it is a link, markup, mention or reference."""
    line = _make_line(text)
    return line if _HARMLESS.fullmatch(line) else quote_code(line)


def quote_code(text: str) -> str:
    """The same, always as code."""
    line = _make_line(text)
    # In a table a bar is one even in code, and a backtick would end it.
    return (f"`{line}`" if line else "") if not {"`", "|"} & set(line) else quote_html(line)


def quote_html(text: str) -> str:
    """The same where HTML stands between lines of Markdown."""
    line = _make_line(text)
    if _HARMLESS.fullmatch(line):
        return line
    # Not only what HTML needs: within a line Markdown looks for its own signs here, too.
    return "<code>" + re.sub(r"[^\w ]|_", lambda found: f"&#{ord(found[0])};", line) + "</code>"


def _make_line(text: str) -> str:
    return shorten_text(" ".join(show_controls(text).split()))


def shorten_text(text: str, most: int = _MOST_LETTERS) -> str:
    return text if len(text) <= most else text[:most] + "…"


def take_whole(items: Iterable[_Item], sizes: Iterable[int], room: int) -> list[_Item]:
    """The first of them that fit into the room together."""
    taken = []
    for one, size in zip(items, sizes):
        room -= size
        if room < 0:
            break
        taken.append(one)
    return taken


# Two hosts, whichever of them is named first.
Pair = tuple[str, str]


def sort_pair(one: str, other: str) -> Pair:
    """The same pair, by whichever of the two it was found."""
    return (one, other) if one < other else (other, one)
