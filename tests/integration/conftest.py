# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the integration tests share: a lab of their own, a bare namespace, and ways to run what users run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from labs import Lab, Namespace, Net


def pytest_sessionstart(session: pytest.Session) -> None:
    if os.geteuid() != 0:
        pytest.exit("The integration tests need root: they make network namespaces and start dockerd in them.", returncode=1)


# The longest first, by the clock: a worker takes a file at a time, and the last one should be a short one.
LONGEST = (
    "test_restart",
    "test_machines",
    "test_backends",
    "test_first_hour",
    "test_daemons",
    "test_overlay",
    "test_core_versions",
    "test_verify",
    "test_inventories",
    "test_fleet",
    "test_changes",
    "test_explain",
    "test_drift",
    "test_drift_report",
    "test_discover",
    "test_survey",
    "test_fuzz_inventory",
    "test_sanity",
    "test_firewall",
    "test_molecule",
    "test_put_back_devices",
    "test_round_trip",
    "test_lint",
    "test_killed",
    "test_own_plays",
    "test_docker_bip",
    "test_nexthops",
    "test_report",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)

    items.sort(key=place)


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two Docker hosts, docker1 and docker2, and an inventory for them."""
    made = Lab(tmp_path_factory.mktemp("inventory"))
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def net(lab: Lab) -> Net:
    """The lab after its first run, with a container on each host."""
    before = {host: lab.state(host) for host in lab.hosts}
    predicted = lab.converge("--check", "--diff")
    assert {host: lab.state(host) for host in lab.hosts} == before, "a check run changed something"
    done = lab.converge("--diff")
    assert predicted.diffs == done.diffs
    assert predicted.changed() == done.changed() == {"docker1": 3, "docker2": 3}
    made = Net(lab, {host: lab.container(host) for host in lab.hosts})
    assert set(lab.converge().changed().values()) == {0}
    made.golden = {host: lab.state(host) for host in lab.hosts}
    return made


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A bare network namespace."""
    made = Namespace()
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(params=["current", "0.5.14"])
def pyroute2(request: pytest.FixtureRequest) -> str:
    """Each version of pyroute2 that is supported at an end of its range."""
    return str(request.param)
