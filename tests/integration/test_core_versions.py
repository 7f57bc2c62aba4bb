# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each release of ansible-core from the oldest that is supported to the newest, from plan to explanation.

tests/core.sh makes their environments, and says of which this machine has no Python. All else is tested by one of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from labs import BIN, ROOT, Lab, Played, run

MAKEFILE = (ROOT / "Makefile").read_text()
RELEASES = re.search(r"^CORES := .*?,([\d. ]+ newest)\)$", MAKEFILE, re.M)[1].split()  # type: ignore[index]
# But for what Ansible says of the name of an option.
OURS = re.compile(r"\[(WARNING|DEPRECATION)(?!.*reserved name:? '?port)")
PROGRESS = {"ANSIBLE_STDOUT_CALLBACK": "agentless.overlay.progress"}


class Hosts(Lab):
    networks = [{"name": "main", "cidr": "10.88.0.0/16", "vni": 88, "attach": "host"}]

    def command(self, core: Path, playbook: str, *args: str, **env: str) -> Played:
        extra = ("-e", f"overlay_report_dir={self.inventory.parent}/report")
        done = Played.of(
            run(str(core / "ansible-playbook"), playbook, "-i", str(self.inventory), *extra, *args, check=False, **env)
        )
        assert list(filter(OURS.search, done.output.splitlines())) == [], done.output
        return done

    def write_plan(self, core: Path) -> Any:
        """The plan, without the mark of what it was made by."""
        file = self.inventory.parent / f"plan-{core.parent.name}.json"
        done = self.command(core, "playbooks/plan.yml", "-e", f"overlay_plan_file={file}")
        assert done.code == 0, done.output
        return json.loads(file.read_text())

    def hurt(self, command: str, *hosts: str) -> None:
        for host in hosts or self.hosts:
            self.sh(host, command)

    def states(self) -> dict[str, dict[str, Any]]:
        return {host: self.state(host) for host in self.hosts}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    made = Hosts(tmp_path_factory.mktemp("cores") / "inventory", docker=False)
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def golden(hosts: Hosts) -> tuple[Any, dict[str, dict[str, Any]]]:
    """The plan and the state of the hosts by the release that all other tests use."""
    plan = hosts.write_plan(BIN)
    hosts.converge()
    return plan, hosts.states()


def find_core(release: str) -> Path:
    """Where the programs of a release are."""
    folder = ROOT / f".cache/core-{release}"
    if (folder / "skipped").exists():
        pytest.skip((folder / "skipped").read_text().strip())
    version = run(str(folder / "bin/ansible"), "--version").stdout.splitlines()[0]
    assert release == "newest" or f"core {release}." in version, version
    return folder / "bin"


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_from_plan_to_explanation(hosts: Hosts, golden: tuple[Any, dict[str, dict[str, Any]]], release: str) -> None:
    core = find_core(release)
    plan, states = golden
    assert hosts.write_plan(core) == plan

    hosts.hurt("ip link delete vxlan.88")
    before = hosts.states()
    predicted = hosts.command(core, "playbooks/overlay.yml", "--check", "--diff")
    assert predicted.code == 0 and hosts.states() == before, predicted.output
    done = hosts.command(core, "playbooks/overlay.yml", "--diff")
    assert done.code == 0 and hosts.states() == states, done.output
    assert predicted.diffs == done.diffs and predicted.changed() == done.changed() == {"docker1": 1, "docker2": 1}
    again = hosts.command(core, "playbooks/overlay.yml", **PROGRESS)
    assert again.code == 0 and "2 hosts: 2 unchanged, 0 changed, 0 failed, 0 unreachable" in again.text, again.output
    assert re.search(r"Make the host what the plan says: 2 of 2 hosts: 2 unchanged; 0 left; \d+ s", again.text)
    # Of the one host is what is said once for all.
    assert "ok: [docker2]" not in again.text and "skipping: [" not in again.text

    hosts.hurt("ip route flush proto 157", "docker1")
    found = hosts.command(core, "playbooks/drift.yml", **PROGRESS)
    assert found.code == 2 and "2 hosts: 1 unchanged, 0 changed, 1 failed, 0 unreachable" in found.text, found.output
    assert "fatal: [docker1]: FAILED!" in found.text and "missing route_entry: 10.88.87.0/24" in found.text, found.output
    assert "Say what differs: 2 of 2 hosts: 1 unchanged, 1 failed; 0 left" in found.text
    # Nor is of what is done once for all.
    assert "1 left" not in found.text + again.text
    assert found.output.rstrip().endswith("failed: docker1"), found.output
    ends = ("-e", "src=docker1", "-e", "dst=docker2")
    said = hosts.command(core, "playbooks/explain.yml", *ends)
    assert said.code == 2 and "BROKEN: docker1: " in said.text, said.output
    said = hosts.command(core, "playbooks/explain.yml", *ends, "-e", "port=abc")
    assert said.code == 4 and "port is abc, and has to be a number up to 65535" in said.text, said.output


@pytest.mark.parametrize("release", ["2.16", "newest"])
def test_the_collection_as_it_is_installed(hosts: Hosts, tmp_path: Path, release: str) -> None:
    """From the tarball, in a project of its own, by the playbooks' names."""
    core = find_core(release)
    project = tmp_path / "project"
    project.mkdir()
    (project / "ansible.cfg").write_text("[defaults]\ncollections_path = collections\n")
    # Nothing of the checkout, which has this collection too.
    env = {"ANSIBLE_CONFIG": str(project / "ansible.cfg")}
    galaxy = (str(core / "ansible-galaxy"), "collection")
    run(*galaxy, "build", str(ROOT), "--output-path", str(tmp_path), **env)
    tarball = next(tmp_path.glob("*.tar.gz"))
    run(*galaxy, "install", str(tarball), "--offline", "--collections-path", str(project / "collections"), **env)
    (project / "hosts.yml").write_text(
        yaml.safe_dump(
            {
                "all": {
                    "vars": {**hosts.connection(), "overlay_networks": hosts.networks},
                    "children": {"overlay": {"hosts": hosts.hosts}},
                }
            }
        )
    )
    hosts.hurt("ip route flush proto 157")

    def play(name: str, *args: str) -> Played:
        command = f"cd {project} && exec {core}/ansible-playbook agentless.overlay.{name} -i hosts.yml {' '.join(args)}"
        done = Played.of(run("sh", "-c", command, check=False, **env))
        assert list(filter(OURS.search, done.output.splitlines())) == [], done.output
        return done

    done = play("overlay")
    assert done.code == 0 and done.changed() == {"docker1": 1, "docker2": 1}, done.output
    assert set(play("overlay").changed().values()) == {0}
    assert play("drift").code == 0 and (project / "overlay-report/drift.json").exists()
    assert play("explain", "-e src=docker1 -e dst=docker2").code == 0
