# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way of a packet between two hosts or containers, step by step, from the live tables of both hosts. Pure. PRIVATE."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import version_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network, Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.ends import (
    End,
    ExplainError,
    Running,
    check_network,
    find_ends,
    find_hosts,
    list_lookups,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.hops import CHECKS
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.walk import Step, Tables, Walk

Trips = Sequence[tuple[str, Sequence[Step]]]
_PROTOCOLS = ("icmp", "tcp", "udp")
_LAST_PORT = 65535
# As Ansible takes them.
_YES_OR_NO = {"y", "yes", "on", "1", "1.0", "true", "t", "n", "no", "off", "0", "0.0", "false", "f"}


def choose_hosts(
    plan: Plan, src: str, dst: str, options: Mapping[str, Any] | None = None, here: Collection[str] | None = None
) -> dict[str, Any]:
    """C(hosts) to ask, or C(error).

    @param options: what else was asked for: C(network), C(protocol), C(port), C(probe)
    @param here: the hosts of this run
    """
    try:
        _check_options(plan, **(options or {}))
        return {"hosts": find_hosts(plan, str(src), str(dst), here), "error": ""}
    except ExplainError as error:
        return {"hosts": [], "error": str(error)}


def _check_options(plan: Plan, network: Any = "", protocol: Any = _PROTOCOLS[0], port: Any = 0, probe: Any = False) -> None:
    check_network(plan, str(network))
    if protocol not in _PROTOCOLS:
        raise ExplainError(f"protocol is {protocol}, and has to be one of {', '.join(_PROTOCOLS)}")
    if not (str(port).isdecimal() and int(port) <= _LAST_PORT):
        raise ExplainError(f"port is {port}, and has to be a number up to {_LAST_PORT}")
    if str(probe).lower() not in _YES_OR_NO:
        raise ExplainError(f"probe is {probe}, and has to be true or false")


def choose_ends(
    plan: Plan, src: str, dst: str, name: str, running: Running, silent: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Both ends as plain data, each with what to ask its host, or C(error).

    @param silent: by host that could not say what runs on it, why
    """
    silent = silent or {}
    try:
        network, here, there = find_ends(plan, str(src), str(dst), name, running)
    except ExplainError as error:
        # Of one named without its host, somebody may have it who did not answer.
        text = "; ".join([str(error), *itertools.starmap(_describe_silent, silent.items())])
        return {"network": "", "ends": [], "error": text}
    for end in (here, there):
        if end.host in silent:
            return {"network": "", "ends": [], "error": _describe_silent(end.host, silent[end.host])}
    ends = [{**vars(end), "routes": list_lookups(network, end, other)} for end, other in ((here, there), (there, here))]
    return {"network": network.name, "ends": ends, "error": ""}


def _describe_silent(host: str, why: str) -> str:
    return f"{host} could not be asked: {why}"


def explain_answers(
    plan: Plan, chosen: Mapping[str, Any], answers: Sequence[Mapping[str, Any]], protocol: str = "icmp", port: int = 0
) -> dict[str, Any]:
    """What explain_way gives, or C(error) where an end could not be asked.

    @param answers: what overlay_tables returned, of both ends
    """
    for end, answer in zip(chosen["ends"], answers):
        if "tables" not in answer:
            error = _describe_silent(end["host"], find_reason(answer))
            return {"lines": [], "steps": [], "broken": "", "error": error}
    return {**explain_way(plan, chosen, [answer["tables"] for answer in answers], protocol, port), "error": ""}


def find_reason(answer: Mapping[str, Any]) -> str:
    """Why a host did not say what it was asked."""
    return str(answer.get("msg") or "no reason was given").strip()


def explain_way(
    plan: Plan, chosen: Mapping[str, Any], tables: Sequence[Tables], protocol: str = "icmp", port: int = 0
) -> dict[str, Any]:
    """The way in words, as data, and the first broken step in a sentence; empty where none is.

    @param chosen: what choose_ends gave
    @param tables: the tables of both ends
    """
    ends = [End(end["host"], end["address"], end["container"]) for end in chosen["ends"]]
    network = plan.networks[chosen["network"]]
    trips = _walk_both(network, ends, tables, protocol, int(port))
    broken = next((step for _way, steps in trips for step in steps if step.broken), None)
    return {
        "lines": _describe_trips(network.name, ends, trips, broken),
        "steps": [{"way": way, **vars(step)} for way, steps in trips for step in steps],
        "broken": f"{broken.host}: {broken.what}: {broken.broken}. What to do: {broken.remedy}" if broken else "",
    }


def _walk_both(network: Network, ends: Sequence[End], tables: Sequence[Tables], protocol: str, port: int) -> Trips:
    """Both directions, each with its steps up to the first that is broken."""
    here, there = ends
    if version_of(here.address) == 6 and protocol == "icmp":
        protocol = "icmpv6"
    way = Walk(network, here, there, tables[0], tables[1], protocol, port)
    # What answers goes to a port that nobody knows beforehand.
    back = Walk(network, there, here, tables[1], tables[0], protocol, 0, "established")
    _walk_hops(way)
    if way.broken is None:
        _walk_hops(back)
    return [("there", way.steps), ("back", back.steps)]


def _walk_hops(walk: Walk) -> None:
    for hop in walk.network.list_hops(walk.way, bool(walk.here.container), bool(walk.there.container)):
        CHECKS[hop](walk)
        if walk.broken is not None:
            return


def _describe_trips(name: str, ends: Sequence[End], trips: Trips, broken: Step | None) -> list[str]:
    """The whole way in words."""
    lines = [f"{ends[0].title} ({ends[0].address}) to {ends[1].title} ({ends[1].address}) on {name}"]
    for way, steps in trips:
        if steps:
            lines.append("there:" if way == "there" else "and back:")
        lines += [f"  {'!!' if step.broken else 'ok'} {step.host}: {step.what}: {step.broken or step.found}" for step in steps]
    lines.append(f"BROKEN: {broken.host}: {broken.broken}. What to do: {broken.remedy}" if broken else "REACHABLE, both ways.")
    return lines


def list_passed(packets: Sequence[Mapping[str, Any]], addresses: Sequence[str]) -> list[str]:
    """What overlay_listen saw of the pings between two addresses, a line for each device and direction."""
    ends = set(addresses)
    return [
        f"{one['what']} {one['source']} to {one['target']}: {one['way']} by {one['device']}"
        + (f", in a packet {' to '.join(one['outer'])}" if one["outer"] else "")
        + (f" with VNI {one['vni']}" if one["vni"] else "")
        + f", {one['count']} times"
        for one in packets
        if {one["source"], one["target"]} <= ends or one["target"] in ends and one["what"].endswith("request")
    ]
