# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fleets of any size, good and bad, as drift.yml and verify.yml would find them: what reports are made of, without a lab."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import make_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.drift import make_drift_report
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.verify import make_verify_report

# What a kind is like: how many hubs; the shares of pings that are lost, of hosts that are looked at, of those that answer.
KINDS: dict[str, dict[str, float]] = {
    "mesh": {},
    "hubs": {"hubs": 2},
    "third": {"lost": 1 / 3},
    "drifted": {"hubs": 2, "drifted": 1},
    "limit": {"looked": 0.1},
    "half": {"answer": 0.5},
    "half-hubs": {"answer": 0.5, "hubs": 2},
    "p2p": {"p2p": 1},
}
# What hosts say, where nothing else is asked for.
WORDS = ["Failed to connect to the host via ssh: Connection timed out"]
Fleet = tuple[Plan, dict[str, Any], dict[str, Any]]


def count_pings(count: int, kind: str) -> int:
    """How many pairs of a fleet are pinged, nearly."""
    like = KINDS[kind]
    return round(count * like.get("looked", 1) * like.get("answer", 1) * (4 if "hubs" in like or "p2p" in like else count))


def make_fleet(names: Sequence[str], kind: str, words: Sequence[str] = WORDS) -> Fleet:
    """Plan, drift and matrix.

    @param words: what hosts say, in turn
    """
    like = KINDS[kind]
    nodes = [Node(name, f"172.16.{number >> 8}.{number & 255}") for number, name in enumerate(names)]
    groups = {"hubs": names[:2], **{f"pair{number}": names[number : number + 2] for number in range(0, len(names) - 1, 2)}}
    items: list[dict[str, Any]] = [{"name": "main", "cidr": "10.64.0.0/10", "vni": 88}]
    if "hubs" in like:
        items[0]["peers"] = "hubs"
    if "p2p" in like:
        pairs = range(0, len(names) - 1, 2)
        items = [{"name": f"p{number}", "cidr": f"10.{number >> 8}.{number & 255}.0/24", "vni": number + 1} for number in pairs]
        for number, item in zip(pairs, items):
            item.update(backend="p2p", attach="host", members=f"pair{number}")
    made = make_plan(BACKENDS, items, nodes, groups=groups)
    assert not made.errors, made.errors[:3]
    return made.plan, *_look_at(made.plan, names, like, words)


def _look_at(
    plan: Plan, names: Sequence[str], like: dict[str, float], words: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    chance = random.Random(7)
    looked = names[: max(1, round(len(names) * like.get("looked", 1)))]
    silent = set(looked[::2] if "answer" in like else ())
    answers = {
        name: {
            "certificate": {},
            "impact": [],
            "drift": list(_drift(words)) if "drifted" in like else [],
            "operations": [f"sysctl: change {word}" for word in words] if "drifted" in like else [],
        }
        for name in looked
        if name not in silent
    }
    problems = {name: words[number % len(words)] for number, name in enumerate(sorted(silent))}
    rows = [
        row
        for name in answers
        for network in plan.list_networks_of(name)
        for row in _ping(network.name, name, network.find_peers(name), silent, chance, like.get("lost", 0))
    ]
    return make_drift_report(plan, answers, problems, "now"), make_verify_report(plan, rows, problems, [], "now")


def _drift(words: Sequence[str]) -> Iterator[dict[str, Any]]:
    for number in range(20):
        route, word = f"10.99.{number}.0/24", words[number % len(words)]
        yield {"resource": "route_entry", "kind": "missing", "name": route, "planned": [f"{route} by vxlan.88"], "found": []}
        yield {"resource": "files", "kind": "wrong", "name": word, "planned": [word], "found": [f"not {word}"]}


def _ping(
    network: str, name: str, peers: Iterable[str], silent: set[str], chance: random.Random, lost: float
) -> Iterator[dict[str, Any]]:
    for peer in peers:
        ok = peer not in silent and chance.random() >= lost
        yield {
            **{"from": name, "to": peer, "network": network, "source": "host", "endpoint": "host", "target": peer},
            **{"address": "10.64.0.1", "size": 1450, "largest": 1450 if ok else 0, "said": "" if ok else "no answer"},
            **{"rtt": 0.2 if ok else None, "loss": 0.0 if ok else 1.0, "ok": ok, "reached": ok},
        }
