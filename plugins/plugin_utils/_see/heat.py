# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Loss, time and size between all hosts, as maps whose colours say where it is bad. Pure. PRIVATE to the collection.

What is drawn must not grow with the square of the hosts: up to 24 hosts a map is a table of values. Beyond, what is commonest
is the ground, of the rest squares side by side are one shape, and of more than 300 hosts several share a row and a column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

_TABLE = 24  # hosts up to which a map is a table of values
_SQUARES = 300  # on a side
_TITLES = 1000  # shapes up to which each says what it is
_MAPS = (("loss", "Loss", "%"), ("rtt", "Round-trip time", "ms"), ("mtu", "Largest packet", "bytes"))
# Of a square that stands for several pairs the last of these counts.
LEVELS = ("none", "good", "fair", "bad")
LEVEL_WORDS = {"good": "well", "fair": "fair", "bad": "bad", "none": "not measured"}
# Of a pair, over all networks and containers: most loss, longest time, smallest share of a full packet, largest packet.
Worst = tuple[float, float, float, int]
# By the places of both hosts.
Pairs = Mapping[tuple[int, int], Worst]


def draw_heat_maps(hosts: Sequence[str], matrix: Mapping[str, Any]) -> dict[str, Any]:
    """Loss, round-trip time and largest packet between all hosts, the worst of all networks and containers."""
    pairs = _find_worst(hosts, matrix["rows"])
    times = sorted(cell[1] for cell in pairs.values() if cell[1])
    usual = times[len(times) // 2] if times else 0.0
    maps = [{"key": key, "title": title, "unit": unit, **_draw_map(key, hosts, pairs, usual)} for key, title, unit in _MAPS]
    step = _find_step(hosts)
    side = -(-len(hosts) // step)
    return {"hosts": list(hosts), "table": len(hosts) <= _TABLE, "maps": maps, "step": step, "side": side, "words": LEVEL_WORDS}


def _find_worst(hosts: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Pairs:
    places = {name: number for number, name in enumerate(hosts)}
    pairs: dict[tuple[int, int], Worst] = {}
    for row in rows:
        one, other = places.get(row["from"]), places.get(row["to"])
        if row["network"] and one is not None and other is not None:
            share = row["largest"] / row["size"] if row["size"] else 1.0
            cell = (row["loss"], row["rtt"] or 0.0, min(1.0, share), row["largest"])
            known = pairs.get((one, other))
            if known is not None:
                cell = (max(known[0], cell[0]), max(known[1], cell[1]), min(known[2], cell[2]), min(known[3], cell[3]))
            pairs[one, other] = cell
    return pairs


def _find_step(hosts: Sequence[str]) -> int:
    """How many hosts, in rows and columns, a square stands for."""
    return max(1, -(-len(hosts) // _SQUARES))


def _draw_map(key: str, hosts: Sequence[str], pairs: Pairs, usual: float) -> dict[str, Any]:
    count, step = len(hosts), _find_step(hosts)
    width = -(-count // step)
    grid = [bytearray(width) for _row in range(width)]
    bad: dict[str, Counter[int]] = {"from": Counter(), "to": Counter()}
    levels = dict.fromkeys(reversed(LEVELS), 0)
    ranks = {level: rank for rank, level in enumerate(LEVELS)}
    for (one, other), cell in pairs.items():
        level = _find_level(key, cell, usual)
        levels[level] += 1
        rank, line, place = ranks[level], grid[one // step], other // step
        if rank > line[place]:
            line[place] = rank
        if level == "bad":
            bad["from"][one] += 1
            bad["to"][other] += 1
    levels["none"] += count * (count - 1) - len(pairs)
    drawn = {} if count <= _TABLE else _draw_squares(key, hosts, pairs, grid)
    return {
        "levels": {level: number for level, number in levels.items() if number},
        "rows": _list_cells(key, hosts, pairs, usual) if count <= _TABLE else [],
        "ground": "none",
        "shapes": [],
        "paths": {},
        "worst": [(way, [(hosts[place], number) for place, number in found.most_common(10)]) for way, found in bad.items()],
        **drawn,
    }


def _list_cells(key: str, hosts: Sequence[str], pairs: Pairs, usual: float) -> list[list[dict[str, str] | None]]:
    """The table's, row by row; nothing from a host to itself."""
    places = range(len(hosts))
    return [[None if one == other else _make_cell(key, pairs.get((one, other)), usual) for other in places] for one in places]


def _make_cell(key: str, cell: Worst | None, usual: float) -> dict[str, str]:
    if cell is None:
        return {"level": "none", "text": "–"}
    return {"level": _find_level(key, cell, usual), "text": _write_value(key, cell)}


def _draw_squares(key: str, hosts: Sequence[str], pairs: Pairs, grid: Sequence[bytearray]) -> dict[str, Any]:
    """The commonest level as the ground, and what is different on it."""
    step = _find_step(hosts)
    counts = Counter(code for line in grid for code in line)
    if step == 1:
        counts[0] -= len(hosts)
    ground = counts.most_common(1)[0][0]
    if step == 1:
        for number, line in enumerate(grid):
            line[number] = ground
    runs = [(number, *run) for number, line in enumerate(grid) for run in _list_runs(line, ground)]
    if len(runs) > _TITLES:
        paths = {
            LEVELS[code]: "".join(f"M{start} {row}.5h{width}" for row, start, width, level in runs if level == code)
            for code in sorted({run[3] for run in runs})
        }
        return {"ground": LEVELS[ground], "paths": paths}
    shapes = []
    for row, start, width, code in runs:
        first, last = hosts[row * step : row * step + step], hosts[start * step : (start + width) * step]
        cell = pairs.get((row, start)) if step == width == 1 else None
        text = _write_value(key, cell) if cell is not None else LEVEL_WORDS[LEVELS[code]]
        title = f"{_name_range(first)} to {_name_range(last)}: {text}"
        shapes.append({"level": LEVELS[code], "x": start, "y": row, "width": width, "title": title})
    return {"ground": LEVELS[ground], "shapes": shapes}


def _list_runs(line: bytearray, ground: int) -> Iterator[tuple[int, int, int]]:
    """Start, width and level of what is not the ground."""
    start = 0
    for code, group in groupby(line):
        width = sum(1 for _square in group)
        if code != ground:
            yield start, width, code
        start += width


def _name_range(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"


def _find_level(key: str, cell: Worst, usual: float) -> str:
    """Good, fair or bad."""
    loss, rtt, share, largest = cell
    if key == "loss":
        return "good" if loss == 0 else "fair" if loss < 0.5 else "bad"
    if key == "rtt":
        return "bad" if not rtt else "good" if rtt <= 3 * usual + 0.5 else "fair" if rtt <= 10 * usual + 2 else "bad"
    return "good" if share >= 1 else "fair" if largest else "bad"


def _write_value(key: str, cell: Worst) -> str:
    loss, rtt, _share, largest = cell
    if key == "loss":
        return f"{loss:.0%}"
    return str(largest) if key == "mtu" else f"{rtt:.2f}" if rtt else "no answer"
