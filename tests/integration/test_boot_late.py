# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A booted machine whose underlay gets its address late: the overlay is only late too, and Docker does not wait for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labs import Lab, run

from ansible_collections.agentless.overlay.plugins.module_utils import _module
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _boot

HOST = "late"
SECTIONS: dict[str, Any] = {
    "route_entry": [{"entries": [{"dst": "10.88.2.0/24", "gateway": "192.168.66.77"}], "purge": True}],
    "vxlan_link": [{"name": "vxlan.88", "vni": 88, "dev": "eth0.100", "addresses": ["10.88.1.0/32"]}],
}


class Machine(Lab):
    """One machine that boots its own systemd, and Docker by it."""

    boot = "yes"

    def up(self) -> None:
        root = run("bash", "tests/rootfs.sh", "bookworm").stdout.strip()
        self.script("up", f"{HOST}=192.168.66.9/24@{root}")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    try:
        made.up()
        yield made
    finally:
        made.down()


def write(lab: Machine, path: str, text: str) -> None:
    lab.exec(HOST, "sh", "-c", 'mkdir -p "$(dirname "$1")"; printf %s "$2" >"$1"', "sh", path, text)


def state(lab: Machine) -> str:
    return lab.sh(HOST, "systemctl show -P ActiveState -P SubState agentless-overlay").replace("\n", " ").strip()


def eventually(lab: Machine, command: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while lab.exec(HOST, "sh", "-c", command, check=False).returncode:
        assert time.monotonic() < deadline, f"{command}: {state(lab)}\n{lab.sh(HOST, 'journalctl -u agentless-overlay -n 20')}"
        time.sleep(0.5)


def test_a_late_address_only_delays(machine: Machine) -> None:
    sections = _module.validate_sections(SECTIONS)
    write(machine, _boot.SCRIPT, _boot.make_boot_script(sections))
    write(machine, _boot.UNIT_FILE, _boot.make_boot_unit(_boot.parse_boot_parts(sections)))
    machine.sh(HOST, "systemctl daemon-reload; systemctl enable agentless-overlay; systemctl stop docker.socket docker")
    # As before a lease: a device without an address, and no VLAN on it yet.
    machine.sh(HOST, "ip address flush dev eth0")
    began = time.monotonic()
    machine.sh(HOST, "systemctl start docker")
    assert time.monotonic() - began < 30 and state(machine) == "activating auto-restart"
    machine.sh(HOST, "ip address add 192.168.66.9/24 dev eth0; ip link add eth0.100 type bridge; ip link set eth0.100 up")
    eventually(machine, "ip route show 10.88.2.0/24 proto 157 | grep -q 192.168.66.77", 30)
    eventually(machine, "ip -d link show dev vxlan.88 | grep -q 'dev eth0.100'", 5)
    eventually(machine, "[ $(systemctl show -P SubState agentless-overlay) = dead ]", 15)
    assert machine.sh(HOST, "systemctl --failed --no-legend | grep agentless || true") == ""
    assert machine.sh(HOST, "systemctl is-active docker").strip() == "active"
