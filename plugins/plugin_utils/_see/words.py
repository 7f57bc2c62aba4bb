# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbers, names and what others say, in sentences and tables. Pure. PRIVATE to the collection."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MOST_NAMES = 10  # in a line


def count_noun(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def join_names(names: Iterable[str], shown: int = _MOST_NAMES) -> str:
    """The first of them, and how many more."""
    given = list(names)
    return ", ".join(given[:shown]) + (f" and {len(given) - shown} more" if len(given) > shown else "")


def escape_cell(text: str) -> str:
    """For a table in Markdown."""
    return " ".join(text.split()).replace("|", "\\|")


def escape_xml(text: str) -> str:
    """What XML 1.0 can carry; a program's error message may hold anything."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
