# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""report.yml: the page, opened in a real Chromium: no request, no error, and what has drifted is seen."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fleets import make_fleet
from labs import Lab
from playwright.sync_api import Browser, Page, sync_playwright

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import make_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.drift import make_drift_report
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.page import make_page, render_page
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.verify import make_verify_report


@dataclass
class Opened:
    """A page, and what it asked for and complained of."""

    page: Page
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # The machine's own, and as root, who has no sandbox.
        made = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield made
        made.close()


def opened(browser: Browser, path: Path, width: int, **context: Any) -> Opened:
    made = Opened(browser.new_context(viewport={"width": width, "height": 900}, **context).new_page())
    made.page.on("request", lambda request: made.asked.append(request.url))
    made.page.on("console", lambda message: made.said.append(message.text))
    made.page.on("pageerror", lambda error: made.said.append(str(error)))
    made.page.on("dialog", lambda dialog: (made.said.append(dialog.message), dialog.dismiss()))
    made.page.goto(path.as_uri())
    return made


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fleet of three with a link that has drifted and one that does not pass."""
    folder = tmp_path_factory.mktemp("report")
    lab = Lab(folder / "inventory")
    lab.hosts = {f"docker{number}": {"ansible_host": f"192.168.65.{number + 2}"} for number in (1, 2, 3)}
    try:
        lab.up()
        lab.converge("--skip-tags", "verify")
        # Not on the way of any packet: other entries lead there as well.
        entry = next(one for one in lab.json("docker1", "ip -j neigh show dev vxlan.88") if "PERMANENT" in one["state"])
        lab.sh("docker1", f"ip neigh add 10.250.0.1 dev vxlan.88 lladdr {entry['lladdr']}")
        lab.sh("docker3", "ip link set vxlan.88 mtu 1300")
        before = {host: lab.state(host) for host in lab.hosts}
        played = lab.play("-e", f"overlay_report_dir={folder}", playbook="playbooks/report.yml")
        assert played.code == 0, played.output
        assert {host: lab.state(host) for host in lab.hosts} == before
        wrong = lab.play("-e", "overlay_report_dir=/proc/nowhere", playbook="playbooks/report.yml")
        assert wrong.code == 4 and "cannot be written" in wrong.text
        yield folder
    finally:
        lab.down()


@pytest.mark.parametrize("width", [360, 1440])
def test_the_page(browser: Browser, report: Path, width: int) -> None:
    made = opened(browser, report / "report.html", width)
    page = made.page
    # An icon that is written in the page is no request out.
    assert [url for url in made.asked if not url.startswith("data:")] == [(report / "report.html").as_uri()]
    assert made.said == []
    assert page.locator("h1").inner_text() == "Overlay: 1 of 3 hosts as planned"
    # Nothing is wider than the screen; what must be scrolls by itself.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = {
        pair: page.locator(f"section svg [data-link='{pair}']").evaluate("line => getComputedStyle(line).stroke")
        for pair in ("docker1 docker2", "docker1 docker3", "docker2 docker3")
    }
    assert colours["docker1 docker3"] == colours["docker2 docker3"] != colours["docker1 docker2"], colours
    assert page.locator("#map-loss table").is_visible() and not page.locator("#map-mtu table").is_visible()
    assert page.locator("#map-mtu td.fair, #map-mtu td.bad").count() > 0
    assert "vxlan.88 mtu 1300" in page.locator("main").inner_text()
    # With a keyboard: to the tabs, and along them.
    page.locator("#tab-loss").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator("#map-mtu table").is_visible() and not page.locator("#map-loss table").is_visible()
    page.screenshot(path=report / f"{width}.png", full_page=True)
    assert (report / f"{width}.png").stat().st_size > 20000
    # What a screen reader goes by.
    assert page.locator("h1").count() == 1 and page.locator("main").count() == 1
    assert page.locator("section svg.topology[role=img] > title").count() == 1
    assert page.locator("th:not([scope])").count() == 0
    page.emulate_media(media="print")
    assert page.locator("#map-loss table").is_visible() and page.locator("#map-rtt table").is_visible()
    assert not page.locator("nav").is_visible()


def contrast(page: Page) -> list[str]:
    """Texts whose contrast with what is behind them is below 4.5 (WCAG 2, 1.4.3)."""
    return page.evaluate(  # type: ignore[no-any-return]
        """() => {
          const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
          const light = ([r, g, b]) => {
            const part = [r, g, b].map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
            return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
          };
          const bad = [];
          for (const node of document.querySelectorAll('main *, header *')) {
            if (node.closest('svg') || !node.checkVisibility()) continue;
            if (![...node.childNodes].some(child => child.nodeType === 3 && child.data.trim())) continue;
            let back = node;
            while (back && (parse(getComputedStyle(back).backgroundColor)[3] === 0)) back = back.parentElement;
            const one = light(parse(getComputedStyle(node).color));
            const other = light(parse(getComputedStyle(back || document.body).backgroundColor));
            const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
            if (ratio < 4.5) bad.push(node.textContent.trim().slice(0, 40) + ' ' + ratio.toFixed(2));
          }
          return bad;
        }"""
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read(browser: Browser, report: Path, scheme: str) -> None:
    page = opened(browser, report / "report.html", 1440, color_scheme=scheme).page
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
    assert dark is (scheme == "dark")
    assert contrast(page) == []


def test_the_drawing_and_the_text_for_markdown(browser: Browser, report: Path) -> None:
    made = opened(browser, report / "topology.svg", 800)
    assert made.page.locator("[data-link]").count() == 3 and made.said == []
    text = (report / "topology.mmd").read_text()
    assert text.startswith("graph LR\n") and 'n0["docker1"]' in text and text.count("n0 ") + text.count(" n0") >= 2


def test_three_hundred_hosts(browser: Browser, tmp_path: Path) -> None:
    """The page alone, of data that no lab of this size is needed for."""
    chance = random.Random(7)
    nodes = [Node(f"web{number:03}", f"10.0.{number // 250}.{number % 250 + 1}") for number in range(300)]
    plan = make_plan(BACKENDS, [{"name": "main", "cidr": "10.88.0.0/15", "vni": 88}], nodes).plan
    names = plan.list_nodes()
    leases = {name: member.leases[0].subnet for name, member in plan.networks["main"].members.items()}
    gone = {"resource": "route_entry", "name": leases["web200"], "kind": "missing", "planned": ["x"], "found": []}
    looked = {
        name: {"drift": [gone] if name == "web100" else [], "certificate": {}, "impact": [], "operations": []} for name in names
    }
    problem = "<script>alert('no')</script> & \"more\""
    answers = {name: answer for name, answer in looked.items() if name != "web007"}
    drift = make_drift_report(plan, answers, {"web007": problem}, "now")
    rows = [
        {
            **{
                "from": one,
                "to": other,
                "network": "main",
                "source": "host",
                "endpoint": "host",
                "target": other,
                "address": "",
            },
            **{
                "size": 1450,
                "said": "",
                "rtt": 0.2 + chance.random() / 10,
                "loss": 0.0,
                "largest": 1450,
                "ok": True,
                "reached": True,
            },
            **({"loss": 1.0, "rtt": None, "largest": 0, "ok": False, "reached": False} if "web050" in (one, other) else {}),
        }
        for one in names
        for other in names
        if one != other
    ]
    shown = make_page(plan, drift, make_verify_report(plan, rows, {}, [], "now"))
    path = tmp_path / "report.html"
    path.write_text(render_page(shown)["report.html"])
    assert path.stat().st_size < 3e6
    for width in (360, 1440):
        made = opened(browser, path, width)
        assert made.said == [] and len([url for url in made.asked if not url.startswith("data:")]) == 1
        assert made.page.evaluate("document.documentElement.scrollWidth") <= width
        assert made.page.locator("section svg.topology text").count() == 300
        # One that is cut off from all is one line, not 299.
        assert made.page.locator("section svg.topology [data-link]").count() == 1
        assert made.page.locator("[data-link='web100 web200'].drifted").count() == 1
        # Squares side by side are one shape.
        shapes = made.page.locator("#map-loss svg rect.bad")
        assert shapes.evaluate_all("shapes => shapes.reduce((sum, one) => sum + one.width.baseVal.value, 0)") == 2 * 299
        assert made.page.locator("script").count() == 0 and problem in made.page.locator("#drift ~ details").first.inner_text()
    assert json.dumps(shown["leases"]["shown"][0]["free"]) == "212"


@pytest.mark.parametrize("kind", ["hubs", "drifted", "limit", "half-hubs"])
def test_a_thousand_hosts(browser: Browser, tmp_path: Path, kind: str) -> None:
    """The page is there, says the same as the data, and can be used."""
    plan, drift, matrix = make_fleet([f"web{number:04}" for number in range(1000)], kind)
    for name, text in render_page(make_page(plan, drift, matrix)).items():
        (tmp_path / name).write_text(text)
    for width in (360, 1440):
        made = opened(browser, tmp_path / "report.html", width)
        page = made.page
        assert made.said == [] and len([url for url in made.asked if not url.startswith("data:")]) == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("h1").inner_text() == f"Overlay: {drift['summary']['same']} of 1000 hosts as planned"
        assert page.locator("section[aria-labelledby=hosts] tbody tr").count() == 1000
        assert page.locator("section svg.topology circle title").count() == 1000 + (20 if kind == "drifted" else 0)
        # Names on the circle do not lie upon each other.
        assert page.locator("section svg.topology text").count() <= 360
        page.locator("#tab-loss").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#map-rtt svg").is_visible() and not page.locator("#map-loss svg").is_visible()
        assert page.locator("#map-rtt").inner_text().count("not measured") == 1
        assert page.locator("main").inner_text().count("Each square stands for 4 by 4 hosts") == 1
    for scheme in ("light", "dark"):
        assert contrast(opened(browser, tmp_path / "report.html", 1440, color_scheme=scheme).page) == []


def test_no_name_is_a_script(browser: Browser, tmp_path: Path) -> None:
    hostile = ['"><script>alert(1)</script>', "</title></svg><img src=x onerror=alert(1)>", "\u202egnp.exe", "x" * 200]
    hostile += ["-->", "]]>", "' onload=alert(1) '", "\x00\x07", "ünï", "javascript:alert(1)"]
    for count in (10, 40):
        names = [f"{hostile[number % 10]} {number}" for number in range(count)]
        for kind in ("drifted", "half", "third"):
            files = render_page(make_page(*make_fleet(names, kind, hostile)))
            for name in ("report.html", "topology.svg"):
                (tmp_path / name).write_text(files[name])
                made = opened(browser, tmp_path / name, 360)
                assert made.said == [] and made.page.locator("script, img").count() == 0
                assert made.page.locator("[onload], [onerror]").count() == 0
                if name == "report.html":
                    assert made.page.evaluate("document.documentElement.scrollWidth") <= 360
                    assert '"><script>alert(1)</script> 0' in made.page.locator("section[aria-labelledby=hosts]").inner_text()
