# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles in plays that users write: in batches, by any strategy, as roles or imported or included; and ours by theirs.

One story, told in order, of two hosts without Docker.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from labs import ROOT, Lab, Played, run_playbook

NETWORK: dict[str, Any] = {"name": "main", "cidr": "10.88.0.0/16", "vni": 88, "port": 4789, "attach": "host"}
ROLES = ("plan", "converge", "verify")


class Own(Lab):
    def __init__(self, inventory: Path) -> None:
        super().__init__(inventory, docker=False)
        self.hosts = {f"h{number}": {"ansible_host": f"192.168.65.{number + 2}"} for number in (1, 2)}
        self.networks = [NETWORK]

    def write_play(self, how: str, roles: tuple[str, ...] = ROLES, **keywords: Any) -> Path:
        """A play of a user's own, and its file."""
        names = [f"agentless.overlay.{role}" for role in roles]
        play: dict[str, Any] = {"hosts": "overlay", "gather_facts": False, **keywords}
        if how == "roles":
            play["roles"] = names
        else:
            play["tasks"] = [{f"ansible.builtin.{how}_role": {"name": name}} for name in names]
        file = self.inventory.parent / "site.yml"
        file.write_text(yaml.safe_dump([play]))
        return file

    def site(self, *args: str) -> Played:
        return Played.of(run_playbook(str(self.inventory.parent / "site.yml"), "-i", str(self.inventory), *args))

    def hurt(self, *hosts: str) -> None:
        """Take from hosts the routes to their peers."""
        for host in hosts or self.hosts:
            self.sh(host, "ip route flush proto 157")

    def states(self) -> dict[str, dict[str, Any]]:
        return {host: self.state(host) for host in self.hosts}

    def drift(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.inventory.parent / "report/drift.json").read_text())
        return report


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    made = Own(tmp_path_factory.mktemp("own") / "inventory")
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def golden(own: Own) -> dict[str, dict[str, Any]]:
    """The state after a first run in batches: a host pings those that are converged, and waits for none that is not."""
    own.write_play("roles", serial=1)
    before = own.states()
    predicted = own.site("--check", "--diff")
    assert predicted.code == 0 and own.states() == before, predicted.output
    done = own.site("--diff")
    assert done.code == 0 and done.text.count("To be touched: 1 of 1 host") == 2, done.output
    # But for leases, which are recorded with the first batch, and by a check with none.
    shown = [
        {host: {"route_entry": found["route_entry"], "boot": found["boot"]} for host, found in one.diffs.items()}
        for one in (predicted, done)
    ]
    assert shown[0] == shown[1]
    assert set(own.site().changed().values()) == {0}
    return own.states()


PLAYS = [
    ("import", {"serial": "30%", "become": True}),
    ("roles", {"strategy": "{{ 'fr' ~ 'ee' }}", "gather_facts": True}),
    ("include", {"strategy": "host_pinned", "serial": 2, "tags": ["net"]}),
]


@pytest.mark.parametrize(("how", "keywords"), PLAYS)
def test_every_play_ends_where_ours_does(
    own: Own, golden: dict[str, dict[str, Any]], how: str, keywords: dict[str, Any]
) -> None:
    own.write_play(how, **keywords)
    own.hurt()
    tags = ("--tags", "net") if "tags" in keywords else ()
    done = own.site(*tags)
    assert done.code == 0 and set(done.changed().values()) == {1}, done.output
    assert own.states() == golden
    assert set(own.site(*tags).changed().values()) == {0}


def test_what_does_not_answer_fails_in_batches_too(own: Own, golden: dict[str, dict[str, Any]]) -> None:
    """The second host pings the first, which was verified; the first pings nobody who is still to be made."""
    own.write_play("roles", serial=1)
    own.hurt()
    chain = "add chain inet own i { type filter hook input priority -5; }"
    own.sh("h2", f"nft 'add table inet own; {chain}; add rule inet own i udp dport 4789 drop'")
    try:
        done = own.site()
        assert done.code == 2 and "host -> h1 (" in done.text and "host -> h2 (" not in done.text, done.output
    finally:
        own.sh("h2", "nft delete table inet own")
    own.hurt()
    done = own.site("--limit", "h2")
    assert done.code == 0 and list(done.recap) == ["h2"], done.output
    assert own.site().code == 0 and own.states() == golden


@pytest.mark.parametrize("keywords", [{"serial": 1}, {"strategy": "free"}, {}])
def test_a_budget_is_of_the_whole_play(own: Own, keywords: dict[str, Any]) -> None:
    """Another UDP port means a new device on each host: one is allowed, and the other host is left alone.

    By free none is the first for certain, so that both may be left alone.
    """
    port = 4790 if "serial" in keywords else 4791 if "strategy" in keywords else 4792
    own.write_play("roles", ("plan", "converge"), **keywords)
    own.write_inventory(overlay_networks=[{**NETWORK, "port": port}])
    done = own.site("-e", "overlay_max_recreate=1")
    assert done.code == 2 and "The run would make anew or remove 2 (h1: vxlan.88, h2: vxlan.88)" in done.text, done.output
    assert "and overlay_max_recreate is 1" in done.text
    ports = [own.json(host, "ip -j -d link show dev vxlan.88")[0]["linkinfo"]["info_data"]["port"] for host in own.hosts]
    assert ports.count(port) in {"": [0], "serial": [1], "strategy": [0, 1]}["".join(keywords)], ports
    assert ("No further host was touched" if keywords else "No host was touched") in done.text


def test_drift_in_batches_is_one_report_at_the_end(own: Own) -> None:
    own.write_inventory()
    own.converge()
    report = ("-e", f"overlay_report_dir={own.inventory.parent}/report")
    own.write_play("roles", ("drift",), serial=1)
    done = own.site(*report)
    assert done.code == 0, done.output
    assert own.drift()["summary"]["same"] == 2 and own.drift()["summary"]["not_looked_at"] == []
    # Ansible ends a play with a batch of which no host is left; those that nobody looked at are no fault.
    own.hurt("h1")
    done = own.site(*report)
    assert done.code == 2, done.output
    found = own.drift()
    assert {name: host["status"] for name, host in found["hosts"].items()} == {"h1": "drifted"}
    assert found["summary"]["not_looked_at"] == ["h2"]


@pytest.mark.parametrize("role", ["drift", "explain", "capture"])
def test_what_is_put_together_of_all_hosts_needs_them_in_step(own: Own, role: str) -> None:
    own.write_play("roles", ("plan", role), strategy="free")
    (own.inventory.parent / "report/drift.json").unlink(missing_ok=True)
    ends = json.dumps({f"overlay_{role}_{end}": host for end, host in (("src", "h1"), ("dst", "h2"))})
    done = own.site("-e", f"overlay_report_dir={own.inventory.parent}/report", "-e", ends)
    assert done.code == 4 and "Set strategy: linear in this play" in done.text, done.output
    assert not (own.inventory.parent / "report/drift.json").exists()


def test_our_playbooks_go_in_step_whatever_is_configured(own: Own) -> None:
    """tests/unit/test_playbooks.py has the other strategies, and that each play says so."""
    own.write_inventory()
    configured = own.inventory.parent / "ansible.cfg"
    text = (ROOT / "ansible.cfg").read_text().replace(".collections", str(ROOT / ".collections"))
    configured.write_text(text.replace("[defaults]", "[defaults]\nstrategy = free"))
    own.hurt()
    report = ("-e", f"overlay_report_dir={own.inventory.parent}/report")
    for playbook, code in (("drift", 2), ("overlay", 0), ("verify", 0)):
        done = own.play(*report, playbook=f"playbooks/{playbook}.yml", ANSIBLE_CONFIG=str(configured))
        assert done.code == code and "[WARNING]" not in done.output, done.output
