# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drift report: what a check of hosts found, as data, as JUnit, as Markdown; slices merged into one. Pure. PRIVATE."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.agentless.overlay.plugins.module_utils._marks import MARK
from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.store import ReportError
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.reports import Case, make_head, write_junit, write_markdown
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import (
    count_noun,
    join_names,
    quote_code,
    quote_html,
    quote_text,
    shorten_text,
    show_controls,
)

SCHEMA = "agentless.overlay/drift"
VERSION = 1
# The resources of a host, in the order in which a run mends them.
RESOURCES = tuple(name for resource in ORDER for name in (resource.name, *resource.more_names))
_MOST_LINES = 40  # of one difference in the Markdown; the JSON has all
_COLUMNS = ("host", "network", "resource", "what", "which")


def make_drift_report(
    plan: Plan, answers: Mapping[str, Mapping[str, Any]], problems: Mapping[str, str], time: str
) -> dict[str, Any]:
    """The report of a run.

    @param answers: by host, what overlay_host returned in check mode
    @param problems: by host that could not be asked, why
    @param time: when, as ISO 8601
    """
    hosts = {name: _make_host(plan, name, answer) for name, answer in answers.items()}
    empty: dict[str, Any] = {"certificate": {}, "drift": [], "impact": [], "operations": []}
    hosts.update({name: {"status": "unknown", "problem": problem, **empty} for name, problem in problems.items()})
    return _add_summary(make_head(SCHEMA, VERSION, plan, time), hosts)


def _add_summary(head: Mapping[str, Any], hosts: Mapping[str, Any]) -> dict[str, Any]:
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


def _make_host(plan: Plan, name: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    words = _list_words(plan, name)
    drift = [{"network": _find_network(words, item), **item} for item in answer["drift"]]
    return {
        "status": "drifted" if drift else "same",
        "problem": "",
        "certificate": answer["certificate"],
        "drift": drift,
        "impact": answer["impact"],
        "operations": answer["operations"],
    }


def _list_words(plan: Plan, node: str) -> dict[str, str]:
    """Words that say of which network something on a node is."""
    words: dict[str, str] = {}
    for name, network in plan.networks.items():
        mine = [*network.list_words(), MARK + name]
        if node in network.members:
            members = [network.members[node], *network.find_peers(node).values()]
            leases = [lease for member in members for lease in member.leases]
            mine += [word for lease in leases for word in (lease.subnet, lease.vtep_ip, lease.gateway)]
        for word in mine:
            words.setdefault(word, name)
    words.pop("", None)
    return words


def _find_network(words: Mapping[str, str], item: Mapping[str, Any]) -> str:
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


def merge_reports(reports: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """One report of several slices of the fleet; of a host in several of them the latest."""
    if not reports:
        raise ReportError("there is no report to merge")
    for name, report in reports:
        check_report(name, report)
    plans = {report["plan"] for _name, report in reports}
    if len(plans) > 1:
        names = ", ".join(f"{name} ({report['plan'][:12]})" for name, report in reports)
        raise ReportError(f"the slices are of different plans: {names}. Run them on one state of the inventory")
    hosts: dict[str, Any] = {}
    for _name, report in sorted(reports, key=lambda pair: str(pair[1]["time"])):
        hosts.update(report["hosts"])
    head = {key: reports[0][1][key] for key in ("schema", "version", "time", "plan", "fleet")}
    head["time"] = max(str(report["time"]) for _name, report in reports)
    return _add_summary(head, hosts)


def check_report(name: str, report: Any) -> None:
    """Refuse what is not a report of ours, or not whole."""
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise ReportError(f"{name} is not a drift report of this collection (no schema {SCHEMA})")
    if report.get("version") != VERSION:
        raise ReportError(f"{name} has version {report.get('version')} of the schema; this collection reads {VERSION}")
    missing = {"time", "plan", "fleet", "summary", "hosts"} - set(report)
    if missing:
        raise ReportError(f"{name} is not whole: {', '.join(sorted(missing))} missing. Run that slice again")


def list_drift_verdicts(report: Mapping[str, Any]) -> dict[str, str]:
    """By host that differs or is unknown, what to say of it."""
    verdicts = {}
    for name, host in report["hosts"].items():
        if host["status"] == "unknown":
            verdicts[name] = host["problem"]
        elif host["drift"]:
            lines = [f"{item['kind']} {item['resource']}: {item['name']}" for item in host["drift"]]
            verdicts[name] = f"{count_noun(len(lines), 'difference')} from the plan\n" + "\n".join(lines)
    return verdicts


def summarize_drift(report: Mapping[str, Any]) -> str:
    """In one sentence."""
    summary = report["summary"]
    parts = [f"{summary['same']} of {count_noun(summary['hosts'], 'host')} as planned"]
    if summary["drifted"]:
        parts.append(f"{summary['drifted']} drifted, {count_noun(summary['differences'], 'difference')}")
    if summary["unknown"]:
        parts.append(f"{summary['unknown']} could not be looked at")
    return "; ".join(parts)


def write_drift_files(report: dict[str, Any]) -> dict[str, str]:
    """The Markdown and the JUnit of a report, by the ends of their names."""
    suites = [(name, _list_drift_cases(host)) for name, host in report["hosts"].items()]
    sentence, rows = summarize_drift(report), _list_rows(report)
    return {
        "md": write_markdown(report, sentence, _COLUMNS, rows, _list_details(report), "drift.json"),
        "xml": write_junit("drift", suites),
    }


def _list_drift_cases(host: Mapping[str, Any]) -> list[Case]:
    """A case for each resource; of a host that nobody could look at one that says why."""
    if host["status"] == "unknown":
        return [Case("host", error=host["problem"] or "unknown")]
    cases = []
    for resource in RESOURCES:
        items = [item for item in host["drift"] if item["resource"] == resource]
        text = "\n".join(line for item in items for line in list_lines(item))
        cases.append(Case(resource, count_noun(len(items), "difference") if items else "", text))
    return cases


def list_lines(item: Mapping[str, Any]) -> list[str]:
    """A difference as one sees it in a diff."""
    return [
        f"{item['kind']} {item['name']}",
        *(f"  - {line}" for line in item["found"]),
        *(f"  + {line}" for line in item["planned"]),
    ]


def _list_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The cells of the table, in Markdown."""
    rows: list[tuple[str, ...]] = []
    for name, host in report["hosts"].items():
        if host["status"] == "unknown":
            rows.append((quote_text(name), "", "", "**not looked at**", quote_text(host["problem"])))
        rows += [
            (quote_text(name), quote_text(item["network"]), item["resource"], item["kind"], quote_code(item["name"]))
            for item in host["drift"]
        ]
    return rows


def _list_details(report: Mapping[str, Any]) -> list[str]:
    """What is below the table, a part for each host."""
    missing = report["summary"]["not_looked_at"]
    parts = [f"Not looked at in this report: {join_names(map(quote_text, missing))}.\n"] if missing else []
    for name, host in report["hosts"].items():
        if host["drift"]:
            shown = [_make_code_line(line) for item in host["drift"] for line in list_lines(item)]
            more = [f"... and {len(shown) - _MOST_LINES} lines more, in drift.json"] if len(shown) > _MOST_LINES else []
            # Longer than any of those within, which would end it.
            fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", "\n".join(shown)))])
            lines = [f"<details><summary>{quote_html(name)}: as found (-) and as planned (+)</summary>", "", f"{fence}diff"]
            parts.append("\n".join([*lines, *shown[:_MOST_LINES], *more, fence, "", "</details>", ""]))
    return parts


def _make_code_line(text: str) -> str:
    return shorten_text(show_controls(text).replace("\r", "\\r").replace("\n", "\\n"))
