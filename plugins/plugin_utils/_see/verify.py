# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a verification: its matrix, and what is wrong. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.reports import Case, make_head, write_junit, write_markdown
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import count_noun, join_names

SCHEMA = "agentless.overlay/verify"
VERSION = 2
_COLUMNS = ("what", "where", "networks", "what was found", "what to do")


def make_verify_report(
    plan: Plan,
    rows: Collection[Mapping[str, Any]],
    problems: Mapping[str, str],
    findings: Collection[Mapping[str, Any]],
    time: str,
) -> dict[str, Any]:
    """The report of a run.

    @param problems: by host that could not be asked, why
    """
    hosts = {}
    for name in sorted({row["from"] for row in rows} | set(problems)):
        bad = [row for row in rows if row["from"] == name and not row["ok"] and row["network"]]
        named = [item for item in findings if name in item["hosts"]]
        status = "unknown" if name in problems else "broken" if bad or named else "ok"
        hosts[name] = {"status": status, "problem": problems.get(name, "")}
    states = [host["status"] for host in hosts.values()]
    overlay = [row for row in rows if row["network"]]
    summary = {
        "hosts": len(hosts),
        "ok": states.count("ok"),
        "broken": states.count("broken"),
        "unknown": states.count("unknown"),
        "probes": len(overlay),
        "answered": sum(row["ok"] for row in overlay),
    }
    head = make_head(SCHEMA, VERSION, plan, time)
    return {**head, "summary": summary, "hosts": hosts, "findings": list(findings), "rows": list(rows)}


def list_verify_verdicts(report: Mapping[str, Any]) -> dict[str, str]:
    """By host that is broken or unknown, what to say of it."""
    verdicts = {}
    for name, host in report["hosts"].items():
        if host["status"] == "unknown":
            verdicts[name] = host["problem"]
        elif host["status"] == "broken":
            lines = [describe_finding(item) for item in report["findings"] if name in item["hosts"]]
            bad = sorted({row["target"] for row in report["rows"] if row["from"] == name and not row["ok"] and row["network"]})
            verdicts[name] = "\n".join(lines or [f"no answer, or none at full size, from {join_names(bad)}"])
    return verdicts


def describe_finding(item: Mapping[str, Any]) -> str:
    return f"{item['text']}. What to do: {item['remedy']}"


def summarize_verify(report: Mapping[str, Any]) -> str:
    """In one sentence."""
    summary = report["summary"]
    answered = f"{summary['answered']} of {summary['probes']} targets answer at full size"
    sentence = f"{answered}, from {count_noun(summary['hosts'], 'host')}"
    return sentence + (f"; {count_noun(summary['unknown'], 'host')} could not be asked" if summary["unknown"] else "")


def write_verify_files(report: dict[str, Any]) -> dict[str, str]:
    """The Markdown and the JUnit of a report, by the ends of their names."""
    rows = [
        (item["fault"], item["where"] or " and ".join(item["hosts"]), ", ".join(item["networks"]), item["text"], item["remedy"])
        for item in report["findings"]
    ]
    unknown = {name: host["problem"] for name, host in report["hosts"].items() if host["status"] == "unknown"}
    more = [f"- {name} could not be asked: {' '.join(problem.split())}" for name, problem in unknown.items()]
    suites = [(name, _list_verify_cases(report, name)) for name in report["hosts"]]
    return {
        "md": write_markdown(report, summarize_verify(report), _COLUMNS, rows, more),
        "xml": write_junit("verify", suites),
    }


def _list_verify_cases(report: Mapping[str, Any], name: str) -> list[Case]:
    """A case for each target of a host that pinged."""
    cases = []
    for row in report["rows"]:
        if row["network"] and row["from"] == name:
            title = f"{row['source']} to {row['target']} {row['address']} on {row['network']}"
            lost = f"passes up to {row['largest']} of {row['size']} bytes" if row["reached"] else row["said"]
            cases.append(Case(title, "" if row["ok"] else lost or "no answer"))
    host = report["hosts"][name]
    return [*cases, Case("host", error=host["problem"] or "unknown")] if host["status"] == "unknown" else cases
