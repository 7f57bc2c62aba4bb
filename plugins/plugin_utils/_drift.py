# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drift report: what a check of hosts found, as data, as JUnit, as Markdown; slices merged into one. Pure. PRIVATE."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER
from ansible_collections.agentless.overlay.plugins.plugin_utils._preview import count_of, names_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._sections import MARK, peers_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._store import ReportError

SCHEMA = "agentless.overlay/drift"
VERSION = 1
# The resources of a host, in the order in which a run mends them.
RESOURCES = tuple(name for resource in ORDER for name in (resource.name, *resource.more_names))
_LONG = 40  # lines of one difference in the Markdown; the JSON has all


def plan_hash(plan: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def nodes_of(plan: Mapping[str, Any]) -> list[str]:
    return sorted({node for network in plan["networks"].values() for node in network["nodes"]})


def document(
    plan: Mapping[str, Any], looked: Mapping[str, Mapping[str, Any]], problems: Mapping[str, str], time: str
) -> dict[str, Any]:
    """The report of a run.

    @param looked: by host, what overlay_host returned in check mode
    @param problems: by host that could not be asked, why
    @param time: when, as ISO 8601
    """
    hosts = {name: _host(plan, name, found) for name, found in looked.items()}
    empty: dict[str, Any] = {"certificate": {}, "drift": [], "impact": [], "operations": []}
    hosts.update({name: {"status": "unknown", "problem": problem, **empty} for name, problem in problems.items()})
    head = {"schema": SCHEMA, "version": VERSION, "time": time, "plan": plan_hash(plan), "fleet": nodes_of(plan)}
    return _with_summary(head, hosts)


def _with_summary(head: Mapping[str, Any], hosts: Mapping[str, Any]) -> dict[str, Any]:
    states = [host["status"] for host in hosts.values()]
    summary = {
        "hosts": len(states),
        "same": states.count("same"),
        "drifted": states.count("drifted"),
        "unknown": states.count("unknown"),
        "differences": sum(len(host["drift"]) for host in hosts.values()),
        "not_looked_at": sorted(set(head["fleet"]) - set(hosts)),
    }
    return {**head, "summary": summary, "hosts": dict(sorted(hosts.items()))}


def _host(plan: Mapping[str, Any], name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    words = _words(plan, name)
    drift = [{"network": _network(words, item), **item} for item in found["drift"]]
    return {
        "status": "drifted" if drift else "same",
        "problem": "",
        "certificate": found["certificate"],
        "drift": drift,
        "impact": found["impact"],
        "operations": found["operations"],
    }


def _words(plan: Mapping[str, Any], node: str) -> dict[str, str]:
    """Words that say of which network something on a node is."""
    words: dict[str, str] = {}
    for name, network in plan["networks"].items():
        mine = [name, *network["cidrs"], network["docker_network"], network["bridge"], network["device"]]
        mine += [word for item in network["parallel"] for word in (item["device"], f"vteps_{item['vni']}")]
        mine += [f"vteps_{network['vni']}", f"vteps_{network['vni']}_v6", MARK + name]
        mine += [word for item in network["containers"] for word in (item["name"], item["address"])]
        if network["vni"]:
            mine.append(hex(network["vni"]))
        if node in network["nodes"]:
            peers = [network["nodes"][node], *peers_of(network, node).values()]
            mine += [word for peer in peers for lease in peer["leases"] for word in lease.values()]
        for word in mine:
            words.setdefault(str(word), name)
    words.pop("", None)
    return words


def _network(words: Mapping[str, str], item: Mapping[str, Any]) -> str:
    """The network that a difference is of; empty where it is of the host as a whole."""
    if item["resource"] in ("sysctl", "managers", "boot"):
        return ""
    if item["resource"] in ("docker_bip", "docker_daemon", "files"):
        return words.get("docker0", "")
    for text in (item["name"], *item["planned"], *item["found"]):
        for word in re.split(r"[\s,=\"@]+", text):
            if word in words:
                return words[word]
    return ""


def merge(reports: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """One report of several slices of the fleet; of a host in several of them the latest."""
    if not reports:
        raise ReportError("there is no report to merge")
    for name, report in reports:
        check(name, report)
    plans = {report["plan"] for _name, report in reports}
    if len(plans) > 1:
        names = ", ".join(f"{name} ({report['plan'][:12]})" for name, report in reports)
        raise ReportError(f"the slices are of different plans: {names}. Run them on one state of the inventory")
    hosts: dict[str, Any] = {}
    for _name, report in sorted(reports, key=lambda pair: str(pair[1]["time"])):
        hosts.update(report["hosts"])
    head = {key: reports[0][1][key] for key in ("schema", "version", "time", "plan", "fleet")}
    head["time"] = max(str(report["time"]) for _name, report in reports)
    return _with_summary(head, hosts)


def check(name: str, report: Any) -> None:
    """Refuse what is not a report of ours, or not whole."""
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise ReportError(f"{name} is not a drift report of this collection (no schema {SCHEMA})")
    if report.get("version") != VERSION:
        raise ReportError(f"{name} has version {report.get('version')} of the schema; this collection reads {VERSION}")
    missing = {"time", "plan", "fleet", "summary", "hosts"} - set(report)
    if missing:
        raise ReportError(f"{name} is not whole: {', '.join(sorted(missing))} missing. Run that slice again")


def verdicts(report: Mapping[str, Any]) -> dict[str, str]:
    """By host that differs or is unknown, what to say of it."""
    said = {}
    for name, host in report["hosts"].items():
        if host["status"] == "unknown":
            said[name] = host["problem"]
        elif host["drift"]:
            lines = [f"{item['kind']} {item['resource']}: {item['name']}" for item in host["drift"]]
            said[name] = f"{count_of(len(lines), 'difference')} from the plan\n" + "\n".join(lines)
    return said


def junit(report: Mapping[str, Any]) -> str:
    """A test suite per host, a test case per resource; of a host that nobody could look at one that says why."""
    root = ElementTree.Element("testsuites", name="agentless.overlay drift")
    for name, host in report["hosts"].items():
        unknown = host["status"] == "unknown"
        cases = ("host",) if unknown else RESOURCES
        failed = {item["resource"] for item in host["drift"]}
        counts = {"tests": len(cases), "failures": len(failed), "errors": int(unknown)}
        suite = ElementTree.SubElement(root, "testsuite", {"name": name, **{key: str(value) for key, value in counts.items()}})
        for resource in cases:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=resource)
            items = [item for item in host["drift"] if item["resource"] == resource]
            if unknown:
                ElementTree.SubElement(case, "error", message=printable(host["problem"]))
            elif items:
                failure = ElementTree.SubElement(case, "failure", message=count_of(len(items), "difference"))
                failure.text = printable("\n".join(line for item in items for line in lines_of(item)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def printable(text: str) -> str:
    """What XML 1.0 can carry; a program's error message may hold anything."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)


def lines_of(item: Mapping[str, Any]) -> list[str]:
    """A difference as one sees it in a diff."""
    return [
        f"{item['kind']} {item['name']}",
        *(f"  - {line}" for line in item["found"]),
        *(f"  + {line}" for line in item["planned"]),
    ]


def markdown(report: Mapping[str, Any]) -> str:
    """For a merge request: what is wrong first."""
    summary = report["summary"]
    lines = [f"## Overlay: {sentence(report)}", ""]
    if summary["drifted"] or summary["unknown"]:
        lines += ["| host | network | resource | what | which |", "|---|---|---|---|---|"]
        for name, host in report["hosts"].items():
            if host["status"] == "unknown":
                lines.append(f"| {name} | | | **not looked at** | {cell(host['problem'])} |")
            for item in host["drift"]:
                cells = [name, item["network"], item["resource"], item["kind"], f"`{cell(item['name'])}`"]
                lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    for name, host in report["hosts"].items():
        if host["drift"]:
            shown = [line for item in host["drift"] for line in lines_of(item)]
            more = [f"... and {len(shown) - _LONG} lines more, in drift.json"] if len(shown) > _LONG else []
            fence = "```"
            lines += [f"<details><summary>{name}: as found (-) and as planned (+)</summary>", "", f"{fence}diff"]
            lines += [*shown[:_LONG], *more, fence, "", "</details>", ""]
    if summary["not_looked_at"]:
        lines += [f"Not looked at in this report: {names_of(summary['not_looked_at'])}.", ""]
    return "\n".join([*lines, f"Plan `{report['plan'][:12]}`, {report['time']}.", ""])


def sentence(report: Mapping[str, Any]) -> str:
    summary = report["summary"]
    said = [f"{summary['same']} of {count_of(summary['hosts'], 'host')} as planned"]
    if summary["drifted"]:
        said.append(f"{summary['drifted']} drifted, {count_of(summary['differences'], 'difference')}")
    if summary["unknown"]:
        said.append(f"{summary['unknown']} could not be looked at")
    return "; ".join(said)


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
