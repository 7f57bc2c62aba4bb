# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What could not be looked at is 4 and a sentence, in no playbook 2, which is what was found, and never a word of Jinja."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labs import Lab, Played

NETWORKS = [
    {"name": "main", "cidr": "10.88.0.0/16", "vni": 88, "attach": {"docker_network": "main"}},
    {"name": "flat", "backend": "host-gw", "cidr": "10.89.0.0/16", "attach": {"docker_network": "flat"}},
]
# Words of the language that nobody has to know.
FOREIGN = ("object of type", "has no attribute", "HostVars", "Traceback", "KeyError", "undefined", "template")


class Nobody(Lab):
    """An inventory whose hosts do not answer."""

    networks = NETWORKS

    def __init__(self, inventory: Path) -> None:
        super().__init__(inventory)
        self.hosts = {f"docker{number}": {"overlay_underlay_ip": f"192.168.65.{number + 2}/24"} for number in (1, 2)}

    def ask(self, playbook: str, *args: str, **extra: Any) -> Played:
        words = ["-e", json.dumps({"overlay_report_dir": f"{self.inventory.parent}/report", **extra})]
        return self.play(*words, *args, playbook=f"playbooks/{playbook}.yml")


@pytest.fixture(scope="module")
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nobody]:
    made = Nobody(tmp_path_factory.mktemp("nobody") / "inventory")
    made.write_inventory()
    yield made
    assert not (made.inventory / "group_vars/agentless_overlay").exists(), "somebody who only looks has recorded leases"


def assert_unknown(played: Played, text: str) -> None:
    assert played.code == 4 and text in played.text, played.output
    assert not any(counts["failed"] for counts in played.recap.values()), played.output
    assert [word for word in FOREIGN if word in played.text] == [], played.output


ENDS = {"src": "docker1", "dst": "docker2"}
EXPLAINED = [
    ({}, "give both ends"),
    ({**ENDS, "port": "abc"}, "port is abc, and has to be a number up to 65535"),
    ({**ENDS, "port": 70000}, "port is 70000, and has to be a number up to 65535"),
    ({**ENDS, "protocol": "zzz"}, "protocol is zzz, and has to be one of icmp, tcp, udp"),
    ({**ENDS, "probe": "maybe"}, "probe is maybe, and has to be true or false"),
    ({**ENDS, "network": "nope"}, "there is no network nope; there are: main, flat"),
    ({"src": "docker1", "dst": "docker9/web"}, "docker9/web: there is no host docker9 on any network"),
    ({"src": 5, "dst": 7}, "could not be asked"),
    ({**ENDS, "overlay_networks": []}, "overlay_networks"),
    (ENDS, "docker1 could not be asked: Task failed: There is no namespace"),
    # A container may be on any host, and none answers.
    ({"src": "docker1", "dst": "web"}, "no container web runs on main"),
    ({**ENDS, "probe": True}, "docker1 could not be asked: Task failed: There is no namespace"),
]


@pytest.mark.parametrize(("extra", "text"), EXPLAINED)
def test_what_cannot_be_explained(nobody: Nobody, extra: dict[str, Any], text: str) -> None:
    assert_unknown(nobody.ask("explain", **extra), text)


def test_an_end_that_a_limit_leaves_out(nobody: Nobody) -> None:
    text = "docker2 is not in this run: let --limit leave neither end out"
    assert_unknown(nobody.ask("explain", "--limit", "docker1", **ENDS), text)


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"dst": "docker1"}, "src and dst are both docker1: nothing leaves the host"),
        ({"network": "nope"}, "there is no network nope; there are: main, flat"),
        ({"network": "flat"}, "network flat has no VNI, by which a capture finds its packets"),
        ({"overlay_networks": []}, "overlay_networks"),
        ({}, "There is no namespace"),
    ],
)
def test_what_cannot_be_captured(nobody: Nobody, extra: dict[str, Any], text: str) -> None:
    assert_unknown(nobody.ask("capture", **{**ENDS, **extra}), text)


@pytest.mark.parametrize("playbook", ["drift", "verify", "report"])
def test_a_wrong_inventory_is_nothing_that_was_found(nobody: Nobody, playbook: str) -> None:
    folder = nobody.inventory.parent / "wrong"
    done = nobody.ask(playbook, overlay_networks=[], overlay_report_dir=str(folder))
    assert_unknown(done, "overlay_networks")
    assert done.output.count("no host was touched") == 1 and not list(folder.glob("*")), done.output


@pytest.mark.parametrize("playbook", ["verify", "report"])
@pytest.mark.parametrize("option", ["overlay_verify_count", "overlay_verify_seconds"])
def test_a_wrong_option_is_nothing_that_was_found(nobody: Nobody, playbook: str, option: str) -> None:
    assert_unknown(nobody.ask(playbook, **{option: "many"}), option)


@pytest.mark.parametrize("playbook", ["drift", "verify"])
def test_hosts_that_do_not_answer(nobody: Nobody, playbook: str) -> None:
    assert_unknown(nobody.ask(playbook), "There is no namespace")


@pytest.mark.parametrize("playbook", ["drift", "explain", "capture", "verify", "report", "plan", "overlay"])
def test_a_misspelt_limit_is_an_error_of_ansible(nobody: Nobody, playbook: str) -> None:
    """Which says so itself, before any playbook of ours begins; docs/see.md has it."""
    done = nobody.ask(playbook, "--limit", "dcoker1", **ENDS)
    assert done.code == 1 and "match" in done.text and not done.recap, done.output
