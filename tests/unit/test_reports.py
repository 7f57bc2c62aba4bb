# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reports of large fleets are small, and say what they leave out; no name of a host and nothing that one says is markup."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Sequence
from functools import cache
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from fleets import Fleet, make_fleet
from markdown_it import MarkdownIt

from ansible_collections.agentless.overlay.plugins.plugin_utils._see.drift import write_drift_files
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.page import make_page, render_page
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.verify import write_verify_files

# What GitHub takes as a comment, and Mermaid as a drawing (maxTextSize, maxEdges).
COMMENT, DRAWING, EDGES = 65536, 50000, 500
EDGE = re.compile(r"^  (\w+) -.* (\w+)$", re.MULTILINE)


def names_of(count: int) -> list[str]:
    return [f"host{number:05}" for number in range(count)]


@cache
def usual_fleet(count: int, kind: str) -> Fleet:
    return make_fleet(names_of(count), kind)


@cache
def usual_files(count: int, kind: str) -> dict[str, str]:
    return write_files(usual_fleet(count, kind))


def write_files(fleet: Fleet) -> dict[str, str]:
    """Those of report.yml and drift.yml."""
    files = render_page(make_page(*fleet))
    return {**files, **{f"drift.{end}": text for end, text in write_drift_files(fleet[1]).items()}}


def write_all(fleet: Fleet) -> dict[str, str]:
    return {**write_files(fleet), **{f"verify.{end}": text for end, text in write_verify_files(fleet[2]).items()}}


@pytest.mark.parametrize(
    ("count", "kind"),
    [
        (1000, "hubs"),
        (1000, "drifted"),
        (1000, "limit"),
        (1000, "half-hubs"),
        (300, "p2p"),
        (300, "mesh"),
        (300, "third"),
        (300, "half"),
        (400, "third"),
        (3000, "hubs"),
    ],
)
def test_a_large_fleet_has_a_small_report(count: int, kind: str) -> None:
    files = usual_files(count, kind)
    assert len(files["report.html"].encode()) < 2e6
    assert len(files["topology.svg"].encode()) < 5e5
    assert len(files["topology.mmd"]) < DRAWING
    assert len(EDGE.findall(files["topology.mmd"])) < EDGES
    assert len(files["drift.md"]) < COMMENT


def test_a_drawing_for_mermaid_says_what_it_sums_up() -> None:
    files = usual_files(1000, "limit")
    sums = [int(number) for number in re.findall(r'\["(\d+) more hosts: ', files["topology.mmd"])]
    drawn = len(re.findall(r'^  n\d+\["host', files["topology.mmd"], re.MULTILINE))
    # Those that nobody looked at come before those that are well.
    assert drawn + sum(sums) == 1000 and drawn == files["topology.mmd"].count(":::unknown") - 1
    sentence = f"summed up, as Mermaid refuses a larger drawing: {sum(sums)} hosts;"
    assert re.search(f"^  %% .*{sentence}", files["topology.mmd"], re.MULTILINE) and sentence in files["report.html"]
    small = usual_files(300, "hubs")
    assert "%%" not in small["topology.mmd"] and "summed up" not in small["report.html"]


def squares_of(page: str, key: str, level: str) -> set[tuple[int, int]]:
    """Row and column of what a map shows in a level's colour."""
    text = page[page.index(f'id="map-{key}"') :]
    text = text[: text.index("</svg>")]
    found = re.findall(rf'<rect class="{level}" x="(\d+)" y="(\d+)" width="(\d+)"', text)
    runs = [(int(row), int(start), int(width)) for start, row, width in found]
    for path in re.findall(rf'<path class="{level}" d="([^"]*)"', text):
        runs += [(int(row), int(start), int(width)) for start, row, width in re.findall(r"M(\d+) (\d+)\.5h(\d+)", path)]
    return {(row, start + number) for row, start, width in runs for number in range(width)}


@pytest.mark.parametrize(("count", "step"), [(40, 1), (300, 1), (400, 2)])
def test_each_pair_that_is_bad_is_shown_and_counted(count: int, step: int) -> None:
    matrix = usual_fleet(count, "third")[2]
    bad = {(int(row["from"][4:]), int(row["to"][4:])) for row in matrix["rows"] if not row["ok"]}
    page = usual_files(count, "third")["report.html"]
    shown = {(row // step, column // step) for row, column in bad}
    if step == 1:
        assert squares_of(page, "loss", "bad") == shown
    else:
        # Where most squares have a bad pair, they are the ground.
        side = range(count // step)
        assert '<rect class="bad" width="200" height="200"/>' in page
        assert {(row, column) for row in side for column in side} - squares_of(page, "loss", "good") == shown
        assert f"Each square stands for {step} by {step} hosts" in page
    assert f"{len(bad)} bad, " in page[page.index('id="map-loss"') :]
    links = len({frozenset(pair) for pair in bad})
    assert f"does not pass: {links}</li>" in page and f"not as planned ({links})</summary>" in page


def test_what_was_not_measured_is_no_ground_for_good() -> None:
    """Most pairs of hubs are not pinged: that is the ground, and said to be."""
    plan, drift, matrix = usual_fleet(60, "hubs")
    page = render_page(make_page(plan, drift, matrix))["report.html"]
    assert 'what is not drawn is not measured"' in page and '<rect class="none" width="60" height="60"/>' in page
    pinged = {(int(row["from"][4:]), int(row["to"][4:])) for row in matrix["rows"]}
    assert squares_of(page, "rtt", "good") == pinged


def test_a_link_that_nobody_looked_at_is_not_as_planned() -> None:
    """A run with --limit: of ten hosts one was looked at."""
    plan, drift, matrix = usual_fleet(10, "limit")
    counts = make_page(plan, drift, matrix)["topology"]["counts"]
    assert (counts["ok"], counts["unknown"]) == (9, 36)


def test_what_a_report_leaves_out_it_says() -> None:
    fleet, files = usual_fleet(1000, "drifted"), usual_files(1000, "drifted")
    text, page = files["drift.md"], files["report.html"]
    assert text.startswith("## Overlay: 0 of 1000 hosts as planned; 1000 drifted, 40000 differences\n")
    rows = [line for line in text.splitlines() if line.startswith("| host")]
    left = int(re.findall(r"^(\d+) more rows, which a comment could not hold: see drift.json\.$", text, re.MULTILINE)[0])
    assert len(rows) - 1 + left == 40000 and all(row.count(" |") == 5 for row in rows)
    assert "1000 more details, which" in text and text.endswith("Plan `" + fleet[1]["plan"][:12] + "`, now.\n")
    shown = len(re.findall(r"<summary>host\d+: 40 differences", page))
    assert 10 < shown < 1000 and f"<p>and {1000 - shown} more hosts, counted in the" in page
    row = r'<th scope="row">host\d+</th><td class="state [a-z]+">differs from the plan</td><td>40</td>'
    assert len(re.findall(row, page)) == 1000


HOSTILE = (
    *('"><script>alert(1)</script>', "</title></svg>", "<!--", "-->", "]]>", "<details>", "&lt;&#64;", "'", "%%", ";", "end"),
    *("[x](javascript:alert(1))", "![x](http://evil.example/x)", "<http://e.example>", "https://evil.example/?a=b&c"),
    *("www.evil.example", "@org/team", "#123", "GH-12", "o/r#1", "|", "\\|", "\\", "`", "```", "~~~", "*_~", "- ", "1. "),
    *("\n", "\r\n## ", "\x00\x07\x1b[31m", "\x85\u2028", "\ufeff\ufffe", "\u202egnp.exe", "x" * 200, "ünïcödé", "日本", "🐳"),
    *("{{ 7 * 7 }}", "{% raw %}"),
)


def make_hostile(chance: random.Random) -> str:
    return "".join(chance.choices((*HOSTILE, "a", " ", "7"), k=chance.randint(1, 6)))


class Markup(HTMLParser):
    """Which elements and attributes a page has, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[tuple[str, str]] = set()
        self.links: set[str] = set()
        self.texts: list[str] = []
        self.others: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags |= {(tag, ""), *((tag, name) for name, _value in attrs)}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src", "action")}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    unknown_decl = handle_pi = handle_comment


def show(name: str) -> str:
    """As a reader sees it: what has no sign of its own as an escape."""
    signs = "\x00\x07\x1b\x7f\x85\u200b\u2028\u202e\ufeff\ufffe"
    return re.sub(f"[{signs}]", lambda found: found[0].encode("unicode_escape").decode(), name)


def fit(text: str) -> str:
    return " ".join(text.split())


INLINE = {"text", "text_special", "code_inline", "strong_open", "strong_close", "html_inline", "softbreak"}


def check_markdown(text: str, rows: int) -> None:
    """By a parser that others wrote: a table of so many rows, names as code, and nothing that GitHub makes a link of."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    kinds = [token.type for token in tokens]
    assert kinds.count("tr_open") == rows + bool(rows) and kinds.count("td_open") == 5 * rows, text[:1500]
    assert kinds.count("heading_open") == 1 and set(kinds) <= {
        *("heading_open", "heading_close", "inline", "paragraph_open", "paragraph_close", "fence", "html_block"),
        *("table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close"),
        *("tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close"),
        *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"),
    }
    for token in tokens:
        if token.type == "html_block":
            tags = {tag for tag, _attribute in Markup(token.content).tags}
            assert tags <= {"details", "summary", "code"}, token.content
        code = False
        for part in token.children or ():
            assert part.type in INLINE, token.content
            if part.type == "html_inline":
                assert part.content == ("</code>" if code else "<code>"), token.content
                code = not code
            elif part.type == "text" and not code:
                assert not re.search(r"[@#<>|`\[\]]|://|www\.|GH-\d", part.content), token.content
        assert not code


# Which links are drawn depends on who sorts where, so that the usual page may have none.
LINK = {("line", name) for name in ("", "class", "data-link", "x1", "y1", "x2", "y2")} | {("title", "")}


@pytest.mark.parametrize("number", range(12))
def test_nothing_hostile_is_markup(number: int) -> None:
    seed = int(os.environ.get("OVERLAY_SEED", random.randrange(2**31))) + number
    print(f"OVERLAY_SEED={seed}")
    chance = random.Random(seed)
    count = chance.choice((4, 12, 30))
    kind = chance.choice(("third", "drifted", "half", "limit"))
    # The planner refuses the names of hosts that no file can hold; what hosts say may be anything.
    names = ["".join(filter(str.isprintable, make_hostile(chance))) + f" {one}" for one in range(count)]
    words = [make_hostile(chance) for _ in range(7)]
    hostile = make_fleet(names, kind, words)
    files, usual = write_all(hostile), write_all(usual_fleet(count, kind))
    for name in ("report.html", "topology.svg"):
        markup = Markup(files[name])
        assert markup.tags <= Markup(usual[name]).tags | LINK and not markup.others
        assert all(link.startswith(("#", "data:,")) for link in markup.links)
    svg = ElementTree.fromstring(files["topology.svg"].encode())
    own, others = ({one.tag for one in drawn.iter()} for drawn in (svg, ElementTree.fromstring(usual["topology.svg"])))
    assert own - others <= {"{http://www.w3.org/2000/svg}line"} and others - own <= {"{http://www.w3.org/2000/svg}line"}
    titles = {fit((one.text or "").rpartition(": ")[0]) for one in svg.iter("{http://www.w3.org/2000/svg}title")}
    text = fit(" ".join(Markup(files["report.html"]).texts))
    for host in hostile[1]["fleet"]:
        assert fit(show(host)) in titles and fit(show(host)) in text
    for name in ("drift.xml", "verify.xml"):
        suites = ElementTree.fromstring(files[name].encode())
        assert [fit(suite.get("name", "")) for suite in suites] == [fit(show(host)) for host in sorted(hostile[1]["hosts"])]
    differences = sum(len(host["drift"]) + (host["status"] == "unknown") for host in hostile[1]["hosts"].values())
    if "more row" not in files["drift.md"]:
        check_markdown(files["drift.md"], differences)
    check_markdown(files["verify.md"], 0)
    drawing = files["topology.mmd"].splitlines()
    assert abs(len(drawing) - len(usual["topology.mmd"].splitlines())) < 5
    node, edge = r"  \w+(\[\"[\w .:/#;…-]+\"\]:::\w+|\(\(\"overlay\"\)\))", r"  \w+ -[-. ?\w]+- \w+"
    for line in drawing:
        assert re.fullmatch(f"graph LR|{node}|{edge}|  classDef .*", line), line


def test_text_that_no_file_can_hold(tmp_path: Any) -> None:
    """What a host says may be no Unicode at all."""
    files = write_all(make_fleet(names_of(3), "half", ["\udc80\ud800 no answer"]))
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert "\\udc80\\ud800 no answer" in files["report.html"] and "\\udc80" in files["drift.md"]


def test_a_text_without_end_is_cut() -> None:
    files = write_all(make_fleet(names_of(3), "drifted", ["word " * 50_000]))
    assert all(len(files[name]) < 1e5 for name in ("report.html", "drift.md", "topology.mmd"))
    assert "<details>" in files["drift.md"]
