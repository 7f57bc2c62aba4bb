# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Loss, time and size between all hosts, as maps whose colours say where it is bad. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_TABLE = 24  # hosts up to which a map is a table of values
_MAPS = (("loss", "Loss", "%"), ("rtt", "Round-trip time", "ms"), ("mtu", "Largest packet", "bytes"))


def draw_heat_maps(hosts: Sequence[str], matrix: Mapping[str, Any]) -> dict[str, Any]:
    """Loss, round-trip time and largest packet between all hosts, the worst of all networks and containers."""
    worst: dict[tuple[str, str], dict[str, Any]] = {}
    for row in matrix["rows"]:
        if not row["network"]:
            continue
        cell = worst.setdefault((row["from"], row["to"]), {"loss": 0.0, "rtt": 0.0, "mtu": 1.0, "largest": row["largest"]})
        cell["loss"] = max(cell["loss"], row["loss"])
        cell["rtt"] = max(cell["rtt"], row["rtt"] or 0.0)
        cell["largest"] = min(cell["largest"], row["largest"])
        cell["mtu"] = min(cell["mtu"], row["largest"] / row["size"] if row["size"] else 1.0)
    times = sorted(cell["rtt"] for cell in worst.values() if cell["rtt"])
    usual = times[len(times) // 2] if times else 0.0
    maps = [{"key": key, "title": title, "unit": unit, **_draw_map(key, hosts, worst, usual)} for key, title, unit in _MAPS]
    return {"hosts": list(hosts), "table": len(hosts) <= _TABLE, "maps": maps}


def _draw_map(
    key: str, hosts: Sequence[str], worst: Mapping[tuple[str, str], Mapping[str, Any]], usual: float
) -> dict[str, Any]:
    cells = []
    for number, one in enumerate(hosts):
        for other_number, other in enumerate(hosts):
            if one != other:
                level, text = _find_level(key, worst.get((one, other)), usual)
                cells.append({"row": number, "column": other_number, "from": one, "to": other, "level": level, "text": text})
    table = len(hosts) <= _TABLE
    bad = {way: Counter(cell[way] for cell in cells if cell["level"] == "bad").most_common(10) for way in ("from", "to")}
    return {
        "levels": dict(Counter(cell["level"] for cell in cells)),
        "rows": [[cell for cell in cells if cell["row"] == number] for number in range(len(hosts))] if table else [],
        # In a large fleet what is well is the ground, and only the rest is drawn.
        "cells": [] if table else [cell for cell in cells if cell["level"] != "good"],
        "worst": list(bad.items()),
    }


def _find_level(key: str, cell: Mapping[str, Any] | None, usual: float) -> tuple[str, str]:
    """Good, fair, bad or unknown, and the value in words."""
    if cell is None:
        return "none", "–"
    if key == "loss":
        loss = cell["loss"]
        return ("good" if loss == 0 else "fair" if loss < 0.5 else "bad"), f"{loss:.0%}"
    if key == "rtt":
        if not cell["rtt"]:
            return "bad", "no answer"
        level = "good" if cell["rtt"] <= 3 * usual + 0.5 else "fair" if cell["rtt"] <= 10 * usual + 2 else "bad"
        return level, f"{cell['rtt']:.2f}"
    return ("good" if cell["mtu"] >= 1 else "fair" if cell["largest"] else "bad"), str(cell["largest"])
