# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a verification: its matrix, and what is wrong. Pure. PRIVATE to the collection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.reports import Case, make_head, write_junit, write_markdown
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import count_noun, join_names, quote_text

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
    bad = {row["from"] for row in rows if not row["ok"] and row["network"]}
    bad |= {name for item in findings for name in item["hosts"]}
    hosts = {}
    for name in sorted({row["from"] for row in rows} | set(problems)):
        status = "unknown" if name in problems else "broken" if name in bad else "ok"
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
    more = [f"- {quote_text(name)} could not be asked: {quote_text(problem)}" for name, problem in unknown.items()]
    cells = [tuple(map(quote_text, row)) for row in rows]
    of_hosts: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in report["rows"]:
        of_hosts[row["from"]].append(row)
    suites = [(name, _list_verify_cases(of_hosts[name], host)) for name, host in report["hosts"].items()]
    return {
        "md": write_markdown(report, summarize_verify(report), _COLUMNS, cells, more, "verify.json"),
        "xml": write_junit("verify", suites),
    }


def _list_verify_cases(rows: Collection[Mapping[str, Any]], host: Mapping[str, Any]) -> list[Case]:
    """A case for each target of a host that pinged."""
    cases = []
    for row in rows:
        if row["network"]:
            title = f"{row['source']} to {row['target']} {row['address']} on {row['network']}"
            lost = f"passes up to {row['largest']} of {row['size']} bytes" if row["reached"] else row["said"]
            cases.append(Case(title, "" if row["ok"] else lost or "no answer"))
    return [*cases, Case("host", error=host["problem"] or "unknown")] if host["status"] == "unknown" else cases
