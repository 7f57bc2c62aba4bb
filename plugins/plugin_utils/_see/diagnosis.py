# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong between hosts, by its name, from what they pinged and heard. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network, Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.legs import Heard, Stage, collect_legs, find_stage
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.matrix import HOST, UNDERLAY, find_broken_pairs
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.walk import suggest_run

Rows = Collection[Mapping[str, Any]]
Finding = dict[str, Any]

_REMEDIES = {
    "fdb": "ansible-playbook playbooks/overlay.yml --limit {where}",
    "vni": "ansible-playbook playbooks/overlay.yml --limit {where}",
    "checksum": "ethtool -K DEVICE tx-checksum-ip-generic off on {where}: its network card computes them wrong",
    "lost": "Let {flow} pass between them, in whatever is in between: cloud rules, hypervisor, switches",
    "dropped": "Let {flow} in on {where}: nft list ruleset; iptables -S INPUT",
    "not_sent": "ansible-playbook playbooks/explain.yml -e src={where} -e dst={other}",
    "underlay": "Look at the underlay: ip route get {address} on {where}; ping it",
}
# What a stage is called where it is a fault of both directions or of one.
_BLOCKED, _ONE_WAY = "tunnel_blocked", "one_way"


def list_findings(plan: Plan, rows: Rows, pairs: Collection[tuple[str, str, str]], heard: Heard) -> list[Finding]:
    """What is wrong, by its name: which fault, between or on which hosts, in words, with what to do.

    @param pairs: those that listened to each other
    """
    found = [*_find_limits(plan, rows), *_find_detours(rows)]
    legs = collect_legs(plan, heard)
    for one, other, name in pairs:
        network = plan.networks[name]
        ways = ((one, other), (other, one))
        stages = [find_stage(network, legs.get((*way, name)), *way, heard) for way in ways]
        found += _diagnose_pair(network, one, other, stages, _has_underlay(rows, one, other))
    explained = {(item["network"], frozenset(item["pair"])) for item in found}
    for one, other, name in find_broken_pairs(rows):
        if (name, frozenset((one, other))) not in explained:
            text = f"{one} and {other} do not reach each other on {name}; that pair was not looked at more closely"
            remedy = "Look at that pair: playbooks/explain.yml"
            found.append(_make_finding("unreachable", [one, other], name, text, remedy))
    return _gather(found)


def _make_finding(fault: str, pair: list[str], network: str, text: str, remedy: str, where: str = "") -> Finding:
    return {"fault": fault, "pair": pair, "network": network, "where": where, "text": text, "remedy": remedy}


def _find_limits(plan: Plan, rows: Rows) -> Iterable[Finding]:
    """Full-size packets that are lost where small ones pass."""
    small = [row for row in rows if row["network"] and row["reached"] and not row["ok"]]
    devices = {row["from"]: row for row in rows if row["endpoint"] == UNDERLAY and row.get("device_mtu")}
    for one, other, name in sorted({(*sorted((row["from"], row["to"])), row["network"]) for row in small}):
        network = plan.networks[name]
        largest = max(row["largest"] for row in small if {row["from"], row["to"]} == {one, other} and row["network"] == name)
        where, cause, remedy = _find_narrow(network, rows, devices, [one, other], largest)
        text = f"packets of more than {largest} bytes are lost{cause}"
        yield _make_finding("mtu", [one, other], name, text, remedy, where)


def _find_narrow(
    network: Network, rows: Rows, devices: Mapping[str, Mapping[str, Any]], pair: Sequence[str], largest: int
) -> tuple[str, str, str]:
    """The host with a device that is too narrow, if one is, what there is to say, and what to do."""
    room = network.mtu + (network.tunnel.overhead if network.tunnel is not None else 0)
    narrow = {
        row["from"]: row
        for row in rows
        if row["network"] == network.name and row["from"] in pair and 0 < row.get("device_mtu", 0) < network.mtu
    }
    if narrow:
        where, row = min(narrow.items())
        return where, f": {row['device']} of {where} has MTU {row['device_mtu']}, not {network.mtu}", suggest_run(where)
    for where in pair:
        if where in devices and devices[where]["device_mtu"] < room:
            device, mtu = devices[where]["device"], devices[where]["device_mtu"]
            remedy = f"ip link set {device} mtu {room} on {where}, or overlay_underlay_mtu: {mtu} for it"
            return where, f": {device} of {where} has MTU {mtu}, not {room}", remedy
    cause = (
        f" between {' and '.join(pair)}: the underlay between them carries less than the {room} bytes that are needed, and "
        "does not say so"
    )
    return (
        "",
        cause,
        f"Mend the underlay's MTU, or set overlay_underlay_mtu to what it carries ({largest + room - network.mtu})",
    )


def _find_detours(rows: Rows) -> Iterable[Finding]:
    """Packets that take another way than planned, whether they arrive or not."""
    for row in rows:
        if row.get("expected") and row["path"] != row["expected"] and row["endpoint"] == HOST:
            text = f"{row['from']} sends to {row['address']} of {row['to']} {row['path']}; planned is: {row['expected']}"
            pair = [row["from"], row["to"]]
            yield _make_finding("path", pair, row["network"], text, suggest_run(row["from"]), row["from"])


def _has_underlay(rows: Rows, one: str, other: str) -> bool:
    """Whether the underlay itself passes pings between two hosts."""
    return any(row["endpoint"] == UNDERLAY and row["reached"] and {row["from"], row["to"]} == {one, other} for row in rows)


def _diagnose_pair(network: Network, one: str, other: str, stages: Sequence[Stage], underlay: bool) -> list[Finding]:
    """What both directions of a pair say together."""
    flow = network.tunnel.flow if network.tunnel is not None else "what containers send"

    def make(fault: str, stage: Stage, text: str = "", where: str = "") -> Finding:
        place = where or stage.where
        far = other if place == one else one
        address = network.members[one if far == other else other].find_peer_address(network.members[far])
        remedy = _REMEDIES[fault if fault in _REMEDIES else stage.name]
        remedy = remedy.format(where=place, flow=flow, address=address, other=far)
        return _make_finding(fault, [one, other], network.name, text or stage.text, remedy, place)

    names = [stage.name for stage in stages]
    # One that never hears a request sends no answer either: what is wrong is what came first.
    certain = [stage for stage in stages if stage.name not in ("ok", "not_sent")]
    if names == ["lost", "lost"] and not underlay:
        text = f"nothing passes between {one} and {other}, neither the overlay's packets nor pings of their underlay addresses"
        return [make("underlay", stages[0], text, one)]
    if names == ["lost", "lost"]:
        return [make(_BLOCKED, stages[0], f"{flow} is blocked between {one} and {other}, in both directions")]
    if certain:
        passes = "passes" if "ok" in names else "is not heard of"
        more = {_ONE_WAY: f"; the other direction {passes}"}
        faults = [({"lost": _ONE_WAY, "dropped": _BLOCKED}.get(stage.name, stage.name), stage) for stage in certain]
        return [make(fault, stage, stage.text + more.get(fault, "")) for fault, stage in faults]
    if "not_sent" in names:
        return [make("not_sent", stage) for stage in stages if stage.name == "not_sent"]
    text = f"packets pass the tunnel between {one} and {other} both ways; a firewall or a route back on a host loses the pings"
    return [make("not_sent", stages[0], text, one)]


def _gather(found: Iterable[Finding]) -> list[Finding]:
    """What is on one host, or between two, in one sentence, whoever notices it and on however many networks."""
    groups: dict[tuple[str, ...], list[Finding]] = defaultdict(list)
    for item in found:
        groups[(item["fault"], *([item["where"]] if item["where"] else item["pair"]))].append(item)
    return [
        {
            "fault": fault,
            "networks": sorted({item["network"] for item in items}),
            "where": items[0]["where"],
            "hosts": sorted({host for item in items for host in item["pair"]}),
            "text": items[0]["text"],
            "remedy": items[0]["remedy"],
        }
        for (fault, *_rest), items in sorted(groups.items())
    ]
