# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Six hosts without Docker: how often a run calls each, slices of one run side by side, plans on file, and how far a run is.

One story, told in order.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from labs import BIN, ROOT, Lab, Played, run, run_playbook

NETWORK: dict[str, Any] = {"name": "fleet", "cidr": "10.88.0.0/16", "vni": 88, "attach": "host"}
SLICES = 4


class Fleet(Lab):
    """Their Python counts how often it is started."""

    def __init__(self, inventory: Path) -> None:
        super().__init__(inventory, docker=False)
        self.hosts = {f"h{number}": {"ansible_host": f"192.168.65.{number + 10}"} for number in range(1, 7)}
        self.networks = [NETWORK]
        self.folder = inventory.parent
        for host in self.hosts:
            python = self.folder / f"python-{host}"
            python.write_text(f'#!/bin/sh\necho >>{self.folder}/calls-{host}\nexec {sys.executable} "$@"\n')
            python.chmod(0o755)

    def connection(self) -> dict[str, Any]:
        return {**super().connection(), "ansible_python_interpreter": f"{self.folder}/python-{{{{ inventory_hostname }}}}"}

    def calls(self) -> dict[str, int]:
        """How many modules each host has run since this was asked last."""
        counted = {}
        for host in self.hosts:
            file = self.folder / f"calls-{host}"
            counted[host] = len(file.read_text()) if file.exists() else 0
            file.unlink(missing_ok=True)
        return counted

    def states(self) -> dict[str, dict[str, Any]]:
        return {host: self.state(host) for host in self.hosts}

    def unreached(self) -> list[str]:
        """Who does not reach whom, by ping."""
        gateways = {
            host: self.json(host, "ip -j -4 address show dev vxlan.88")[0]["addr_info"][0]["local"] for host in self.hosts
        }
        jobs = {
            (one, other): self.popen(one, "ping", "-q", "-c", "2", "-i", "0.2", "-W", "2", "-I", gateways[one], gateways[other])
            for one in self.hosts
            for other in self.hosts
            if one != other
        }
        return [f"{one} -> {other}" for (one, other), job in jobs.items() if (job.communicate()[0], job.returncode)[1]]

    def teardown(self) -> None:
        played = self.play(playbook="playbooks/teardown.yml")
        assert played.code == 0, played.output
        assert not any(state["link"] or state["fdb"] or state["neigh"] for state in self.states().values())

    def parts(self) -> list[dict[str, dict[str, Any]]]:
        """The hosts by slice, every fourth in one, as AWX deals them out."""
        names = list(self.hosts)
        return [{name: self.hosts[name] for name in names[number::SLICES]} for number in range(SLICES)]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("fleet") / "inventory")
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def golden(fleet: Fleet) -> dict[str, dict[str, Any]]:
    """The state of all after one run of all."""
    predicted = fleet.converge("--check", "--diff")
    done = fleet.converge("--diff")
    assert predicted.diffs == done.diffs and predicted.changed() == done.changed()
    assert set(done.diffs) >= set(fleet.hosts)
    assert set(fleet.converge().changed().values()) == {0}
    assert fleet.unreached() == []
    return fleet.states()


@pytest.mark.usefixtures("golden")
def test_an_unchanged_host_is_called_once(fleet: Fleet) -> None:
    fleet.calls()
    recap = fleet.converge()
    assert "Nothing is to be done on 6 hosts." in recap.text
    # Pings of each to the five others, small and large, in the same call.
    assert "every host answers every other, small and at full MTU (60 pings)" in recap.text
    assert set(fleet.calls().values()) == {1}
    drift = fleet.play("-e", f"overlay_report_dir={fleet.folder}/report", playbook="playbooks/drift.yml")
    assert drift.code == 0, drift.output
    assert set(fleet.calls().values()) == {1}


@pytest.mark.usefixtures("golden")
def test_an_unchanged_host_keeps_what_was_compiled(fleet: Fleet) -> None:
    """After a boot too, which takes what was kept and leaves nothing to be done; where nothing may change, nothing is kept."""
    look = "stat -c '%Y %i' /run/agentless-overlay.code"
    fleet.sh("h1", "rm -f /run/agentless-overlay.code")
    fleet.converge("--check")
    drift = fleet.play("-e", f"overlay_report_dir={fleet.folder}/report", playbook="playbooks/drift.yml")
    assert drift.code == 0, drift.output
    assert fleet.sh("h1", look, check=False) == ""
    assert set(fleet.converge().changed().values()) == {0}
    kept = fleet.sh("h1", look)
    fleet.converge()
    assert fleet.sh("h1", look) == kept


def test_a_changed_host_alone_is_called_again(fleet: Fleet, golden: dict[str, dict[str, Any]]) -> None:
    fleet.sh("h3", "ip route del $(ip route show proto 157 | head -n 1 | cut -d' ' -f1)")
    fleet.calls()
    done = fleet.converge()
    assert [host for host, changed in done.changed().items() if changed] == ["h3"]
    # The others are looked at and then ping; it is made so too, and asked for its containers.
    assert fleet.calls() == {**dict.fromkeys(fleet.hosts, 2), "h3": 4}
    assert fleet.states() == golden


def sliced(fleet: Fleet, arguments: list[list[str]], tmp_path: Path) -> list[dict[str, Any]]:
    """Runs of overlay.yml at the same time through ansible-runner; the recap of each."""
    jobs = []
    for number, words in enumerate(arguments):
        data = tmp_path / f"runner{number}"
        data.mkdir()
        command = [str(BIN / "ansible-runner"), "run", "--project-dir", str(ROOT), "--playbook", "playbooks/overlay.yml"]
        command += ["--ident", "slice", *words, str(data)]
        jobs.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    for job in jobs:
        said = job.communicate(timeout=300)[0]
        assert job.returncode == 0, said
    recaps = []
    for number in range(len(arguments)):
        folder = tmp_path / f"runner{number}/artifacts/slice/job_events"
        events = [json.loads(path.read_text()) for path in folder.glob("[0-9]*.json")]
        recaps.append(next(event["event_data"] for event in events if event["event"] == "playbook_on_stats"))
    return recaps


def test_four_slices_at_once_end_where_one_run_does(fleet: Fleet, golden: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """By --limit, and with no lease on record: each slice plans all hosts; the first to hold the lock records all leases."""
    fleet.teardown()
    leases = fleet.inventory / "group_vars/agentless_overlay/leases.yml"
    recorded = leases.read_text()
    leases.unlink()
    parts = fleet.parts()
    recaps = sliced(fleet, [["--inventory", str(fleet.inventory), "--limit", ",".join(part)] for part in parts], tmp_path)
    for part, recap in zip(parts, recaps, strict=True):
        assert set(recap["changed"]) == set(part) and not recap["failures"] and not recap["dark"]
    assert leases.read_text() == recorded
    assert fleet.states() == golden
    assert fleet.unreached() == []
    assert set(fleet.converge().changed().values()) == {0}


def write_part(fleet: Fleet, part: dict[str, Any], folder: Path, **variables: Any) -> str:
    """An inventory with the hosts of one slice only, as AWX gives a slice."""
    inventory = {"all": {"children": {"overlay": {"hosts": part}}}}
    (folder / "group_vars").mkdir(parents=True)
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
    values = {"overlay_networks": fleet.networks, **fleet.connection(), **variables}
    (folder / "group_vars/overlay.yml").write_text(yaml.safe_dump(values))
    return str(folder)


def run_part(inventory: str, *args: str, playbook: str = "overlay.yml") -> Played:
    return Played.of(run_playbook(f"playbooks/{playbook}", "-i", inventory, *args))


def test_an_inventory_that_lacks_hosts_does_not_take_the_network_apart(
    fleet: Fleet, golden: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    part = write_part(
        fleet,
        fleet.parts()[0],
        tmp_path / "slice",
        overlay_leases=str(fleet.inventory / "group_vars/agentless_overlay/leases.yml"),
    )
    for args in ((), ("--check",)):
        refused = run_part(part, *args)
        assert refused.code == 2
        assert (
            "The run would take 4 of its 5 peers on fleet from h1, and 1 more host as well. No host was touched."
            in refused.text
        )
        assert "set overlay_plan_file to a plan of them all" in refused.text
    assert fleet.states() == golden


def test_slices_that_see_their_own_hosts_only(fleet: Fleet, golden: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """With a plan on file, as where AWX slices a job."""
    file = tmp_path / "plan.json"
    variables = {"overlay_plan_file": str(file)}
    words = ("-e", f"overlay_plan_file={file}")
    fleet.calls()
    predicted = fleet.play("--check", "--diff", *words, playbook="playbooks/plan.yml")
    assert predicted.code == 0 and not file.exists() and "The plan has changed; 1 networks, 6 hosts" in predicted.text
    done = fleet.play("--diff", *words, playbook="playbooks/plan.yml")
    assert done.diffs == predicted.diffs and file.exists()
    again = fleet.play(*words, playbook="playbooks/plan.yml")
    assert again.code == 0 and set(again.changed().values()) == {0}
    assert set(fleet.calls().values()) == {0}, "a plan contacts no host"

    fleet.teardown()
    parts = [write_part(fleet, part, tmp_path / f"slice{number}", **variables) for number, part in enumerate(fleet.parts())]
    sliced(fleet, [["--inventory", part] for part in parts], tmp_path)
    assert fleet.states() == golden
    assert fleet.unreached() == []
    for part in parts[:2]:
        assert set(run_part(part).changed().values()) == {0}
    drift = run_part(parts[0], "-e", f"overlay_report_dir={tmp_path}/report", playbook="drift.yml")
    assert drift.code == 0, drift.output


def test_each_host_pulls(fleet: Fleet, golden: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """By ansible-pull, all at once, from a repository with the inventory and the plan; nobody reaches any host."""
    site = tmp_path / "site"
    variables = {"overlay_plan_file": "group_vars/agentless_overlay/plan.json", "ansible_connection": "local"}
    inventory = write_part(fleet, fleet.hosts, site / "inventory", **variables)
    (site / "site.yml").write_text("- import_playbook: agentless.overlay.overlay\n")
    run_part(inventory, "-e", f"overlay_leases={fleet.inventory}/group_vars/agentless_overlay/leases.yml", playbook="plan.yml")
    git = ("git", "-C", str(site), "-c", "user.name=test", "-c", "user.email=test@example.com")
    for words in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "--message", "The network")):
        run(*git, *words)
    fleet.teardown()
    jobs = {
        host: fleet.popen(
            host,
            *("env", f"ANSIBLE_CONFIG={tmp_path}/none.cfg", f"ANSIBLE_COLLECTIONS_PATH={ROOT}/.collections"),
            *(str(BIN / "ansible-pull"), "--url", f"file://{site}", "--directory", str(tmp_path / f"pulled-{host}")),
            *("--inventory", "inventory", "--limit", host, "site.yml"),
        )
        for host in fleet.hosts
    }
    for host, job in jobs.items():
        said = job.communicate(timeout=300)[0]
        assert job.returncode == 0, said
        assert Played.of(subprocess.CompletedProcess([], 0, said, "")).changed()[host] > 0, said
    assert fleet.states() == golden
    assert fleet.unreached() == []


def test_a_plan_on_file_that_holds_no_more_is_refused(fleet: Fleet, golden: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    words = ("-e", f"overlay_plan_file={file}")
    assert "there is no such file" in fleet.play(*words).text
    assert fleet.play(*words, playbook="playbooks/plan.yml").code == 0
    part = fleet.parts()[1]
    part["h2"] = {**part["h2"], "overlay_underlay_ip": "192.168.65.99"}
    part["h77"] = {"ansible_host": "192.168.65.77"}
    fleet.networks = [{**NETWORK, "vni": 89}]
    try:
        refused = run_part(write_part(fleet, part, tmp_path / "slice", overlay_plan_file=str(file)))
    finally:
        fleet.networks = [NETWORK]
    assert refused.code == 2 and "The inventory has 3 errors; no host was touched." in refused.text
    for told in (
        "overlay_networks and overlay_reserved_cidrs are not those",
        "h2: overlay_plan_file = ",
        "h77: overlay_plan_file",
    ):
        assert told in refused.text
    assert "the plan lacks the host" in refused.text and "Run playbooks/plan.yml" in refused.text
    file.write_text("{}")
    assert "is not a plan" in fleet.play(*words).text
    assert fleet.states() == golden


@pytest.mark.usefixtures("golden")
def test_wrong_options_of_roles_come_all_at_once(fleet: Fleet) -> None:
    fleet.calls()
    hosts = fleet.hosts
    fleet.hosts = {
        **hosts,
        "h2": {**hosts["h2"], "overlay_nexthops": "maybe"},
        "h5": {**hosts["h5"], "overlay_max_remove": "x"},
    }
    fleet.write_inventory(overlay_verify="sometimes")
    try:
        refused = fleet.play()
    finally:
        fleet.hosts = hosts
        fleet.write_inventory()
    assert refused.code == 2 and "The inventory has 4 errors; no host was touched." in refused.text, refused.output
    for told in (
        "h2: overlay_nexthops = 'maybe': not one of auto, always, never",
        "h5: overlay_max_remove = 'x': not a whole number",
        "h5: overlay_max_remove = 'x': differs from what h1 has",
        "h1, h2 and 4 others: overlay_verify = 'sometimes': not one of always, never",
    ):
        assert told in refused.text
    assert set(fleet.calls().values()) == {0}


@pytest.mark.usefixtures("golden")
def test_nexthop_objects_by_the_inventory(fleet: Fleet) -> None:
    fleet.write_inventory(overlay_nexthops="always")
    done = fleet.converge("--diff")
    assert set(done.changed().values()) == {1} and "nexthop" in done.diffs["h1"]
    assert len(fleet.json("h1", "ip -j nexthop show proto 157")) == 5
    assert fleet.unreached() == []
    boot = fleet.state("h1")["boot"]
    assert boot.count("nexthop replace") == 5
    for how in ("transaction", "stepwise"):
        assert set(fleet.converge("-e", f"overlay_apply={how}").changed().values()) == {0}
    fleet.sh("h1", "ip nexthop flush proto 157")
    fleet.converge("-e", "overlay_apply=stepwise")
    assert len(fleet.json("h1", "ip -j nexthop show proto 157")) == 5
    assert set(fleet.converge().changed().values()) == {0}
    fleet.write_inventory()
    fleet.converge()
    assert fleet.json("h1", "ip -j nexthop show proto 157") == []


def test_how_far_a_run_is(fleet: Fleet, golden: dict[str, dict[str, Any]]) -> None:
    """The callback: a line a task, more while it runs, and who changed or failed; nothing of the hosts that are well."""
    calm = {"ANSIBLE_STDOUT_CALLBACK": "agentless.overlay.progress"}
    said = fleet.play(**calm).output
    assert re.search(r"^Make the host what the plan says: 6 of 6 hosts: 6 unchanged; 0 left; \d+ s$", said, re.M), said
    assert "ok: [h4]" not in said and "Nothing is to be done on 6 hosts." in said
    assert said.rstrip().endswith("6 hosts: 6 unchanged, 0 changed, 0 failed, 0 unreachable")

    fleet.sh("h3", "ip link del vxlan.88")
    often = fleet.play("--forks", "1", OVERLAY_PROGRESS_SECONDS="0", **calm).output
    assert re.search(r"^Make the host what the plan says: 4 of 6 hosts: 4 unchanged; 2 left; \d+ s$", often, re.M), often
    assert often.rstrip().endswith("6 hosts: 5 unchanged, 1 changed, 0 failed, 0 unreachable\nchanged: h3")
    assert fleet.states() == golden

    hosts = fleet.hosts
    fleet.hosts = {**hosts, "h6": {**hosts["h6"], "overlay_netns_name": "no-such"}}
    fleet.write_inventory()
    try:
        lost = fleet.play(**calm)
    finally:
        fleet.hosts = hosts
        fleet.write_inventory()
    assert lost.code != 0 and "fatal: [h6]: UNREACHABLE!" in lost.output
    assert "5 unchanged, 0 changed, 0 failed, 1 unreachable" in lost.output and lost.output.rstrip().endswith("unreachable: h6")
