# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the report shows: plan, drift and matrix brought together. Pure. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Member
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network, Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.heat import draw_heat_maps
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.mermaid import draw_mermaid
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.topology import (
    WORDS,
    draw_topology,
    find_links,
    find_state,
    list_bad_links,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import (
    count_noun,
    shorten_text,
    show_controls,
    take_whole,
)

_SLOTS = 1024  # leases up to which each has a cell of its own
_MOST_LEASES = 4000  # of all networks, which are listed
# What a page can show: of a table so many rows, of a section so many letters, of a host or text in it so much.
_MOST_ROWS, _MOST_SECTION, _MOST_OF_A_HOST, _MOST_LETTERS = 200, 200_000, 10_000, 2000
_TEMPLATES = os.path.join(os.path.dirname(__file__), "..", "..", "..", "roles", "report", "templates")
_CLASSES = ("in place", "atomic", "re-create", "restart")
_ATOMIC = {resource.name for resource in ORDER if resource.atomic}


def make_page(plan: Plan, drift: Mapping[str, Any], matrix: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the template needs.

    @param drift: what overlay_drift reports
    @param matrix: what overlay_verify reports
    """
    hosts = list(drift["fleet"])
    links = find_links(plan, drift, matrix)
    return {
        "time": drift["time"],
        "plan": drift["plan"],
        "networks": [_show_network(network) for network in plan.networks.values()],
        "hosts": [_show_host(name, plan, drift, matrix) for name in hosts],
        "drift": drift,
        "differing": _limit_section(
            [_show_drift(*pair) for pair in drift["hosts"].items() if pair[1]["drift"] or pair[1]["problem"]]
        ),
        "matrix": matrix,
        "topology": draw_topology(hosts, links, drift, matrix),
        "bad_links": list_bad_links(links, _MOST_ROWS),
        "heat": draw_heat_maps(hosts, matrix),
        "leases": _limit_leases([_show_leases(network) for network in plan.networks.values() if network.joins]),
        "changes": _limit_section(list_planned_changes(drift)),
        "words": WORDS,
        "count": count_noun,
        "most_rows": _MOST_ROWS,
    }


def _show_network(network: Network) -> dict[str, Any]:
    tunnel = network.tunnel
    return {
        "name": network.name,
        "backend": network.backend,
        "vni": tunnel.vni if tunnel is not None else 0,
        "port": tunnel.port if tunnel is not None else 0,
        "mtu": network.mtu,
        "cidrs": list(network.cidrs),
        "nodes": len(network.members),
    }


def _show_host(name: str, plan: Plan, drift: Mapping[str, Any], matrix: Mapping[str, Any]) -> dict[str, Any]:
    found = drift["hosts"].get(name, {"status": "unknown", "drift": [], "problem": "not looked at"})
    reach = matrix["hosts"].get(name, {"status": "unknown", "problem": "not asked"})
    networks = plan.list_networks_of(name)
    return {
        "name": name,
        "underlay": " / ".join(_list_underlay(networks[0].members[name])) if networks else "",
        "state": find_state(found, reach),
        "drift": len(found["drift"]),
        "reach": reach["status"],
        "problem": found.get("problem") or reach.get("problem", ""),
    }


def _list_underlay(member: Member) -> list[str]:
    """Its own address, and what it announces in its place."""
    return [one for one in (member.find_underlay_address(), member.public_ip) if one]


def _show_leases(network: Network) -> dict[str, Any]:
    """Who has which lease of a network, and how much is free; of the first family."""
    cidr = ipaddress.ip_network(network.cidrs[0])
    held = {}
    for node, member in sorted(network.members.items()):
        for lease in member.leases:
            subnet = ipaddress.ip_network(lease.subnet)
            if subnet.version == cidr.version:
                held[subnet] = node
    lengths = Counter(subnet.prefixlen for subnet in held)
    length = lengths.most_common(1)[0][0] if lengths else cidr.prefixlen
    total = 2 ** max(0, length - cidr.prefixlen)
    slots = []
    if total <= _SLOTS:
        for number in range(total):
            start = int(cidr.network_address) + (number << cidr.max_prefixlen - length)
            slot = ipaddress.ip_network((start, length))
            slots.append({"subnet": str(slot), "node": held.get(slot, "")})
    return {
        "network": network.name,
        "cidr": str(cidr),
        "held": [{"node": node, "subnet": str(subnet)} for subnet, node in sorted(held.items(), key=lambda pair: pair[1])],
        "total": total,
        "used": len(held),
        "free": max(0, total - len(held)),
        "slots": slots,
    }


def _limit_leases(networks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the first networks, those that there is room for."""
    room, slots = _MOST_LEASES, 2 * _SLOTS
    for network in networks[:_MOST_ROWS]:
        network["left"] = max(0, len(network["held"]) - room)
        network["held"] = network["held"][:room]
        room -= len(network["held"])
        network["slots"] = network["slots"] if len(network["slots"]) <= slots else []
        slots -= len(network["slots"])
    return {"shown": list(networks[:_MOST_ROWS]), "left": max(0, len(networks) - _MOST_ROWS)}


def _limit_section(hosts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first hosts of a section, and how many more there are."""
    shown = take_whole(hosts, (len(repr(host)) for host in hosts), _MOST_SECTION)
    return {"shown": shown, "left": len(hosts) - len(shown)}


def _limit_lines(lines: Sequence[str]) -> list[str]:
    """The first of them, and how many more there are."""
    short = [shorten_text(line, _MOST_LETTERS) for line in lines]
    shown = take_whole(short, map(len, short), 2 * _MOST_LETTERS)
    return [*shown, *([f"... and {count_noun(len(lines) - len(shown), 'more line')}"] if len(shown) < len(lines) else [])]


def _show_drift(name: str, host: Mapping[str, Any]) -> dict[str, Any]:
    """What of a host's differences there is room for."""
    items = [{**item, "found": _limit_lines(item["found"]), "planned": _limit_lines(item["planned"])} for item in host["drift"]]
    shown = take_whole(items, (len(repr(item)) for item in items), _MOST_OF_A_HOST)
    return {
        "name": name,
        "problem": shorten_text(host["problem"], _MOST_LETTERS),
        "count": len(items),
        "items": shown,
        "left": len(items) - len(shown),
    }


def list_planned_changes(drift: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a run of overlay.yml would do, by host, each operation with its class."""
    found = []
    for name, host in drift["hosts"].items():
        by_class: dict[str, list[str]] = defaultdict(list)
        for operation in host["operations"]:
            by_class[_find_class(operation)].append(operation)
        for item in host["drift"]:
            if item["resource"] == "docker_daemon":
                by_class["restart"].append("Docker: " + "; ".join(item["found"]))
        if by_class:
            classes = {key: _limit_lines(by_class[key]) for key in _CLASSES if key in by_class}
            drops = [f"{impact['operation']}: {impact['drops']}, until {impact['until']}" for impact in host["impact"]]
            found.append({"host": name, "classes": classes, "drops": _limit_lines(drops)})
    return found


def _find_class(operation: str) -> str:
    """Whether an operation is done in place, in one step, or by making a thing anew."""
    resource, _colon, rest = operation.partition(": ")
    if rest.startswith("re-create "):
        return "re-create"
    return "atomic" if resource in _ATOMIC else "in place"


def render_page(shown: Mapping[str, Any]) -> dict[str, str]:
    """The files by name."""
    # Not with Ansible's templating: what hosts say is text, and must not become markup.
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_show_planned
    )
    svg = environment.get_template("topology.svg.j2").render(t=shown["topology"], words=shown["words"])
    mermaid, mermaid_left = draw_mermaid(shown["topology"])
    page = environment.get_template("report.html.j2").render(svg=Markup(svg), mermaid_left=mermaid_left, **shown)
    return {"report.html": page, "topology.svg": svg, "topology.mmd": mermaid}


def _show_planned(value: Any) -> Any:
    """What a template is about to write."""
    # Markup that was made safe is a string too, of a class of its own.
    return show_controls(value) if value.__class__ is str else value
