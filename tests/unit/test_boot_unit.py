# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The unit of the boot script: what it waits for, and what its failing means for a run; with a stand-in for systemd."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.module_utils import _module
from ansible_collections.agentless.overlay.plugins.module_utils._engine import _transaction
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Op
from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER, _boot
from ansible_collections.agentless.overlay.plugins.module_utils._resources._sysctls import Sysctls, split_setting_name


class Systemd:
    """What systemctl says of one unit; with works = False what it runs fails."""

    def __init__(self) -> None:
        self.enabled = self.works = True
        self.state, self.substate = "inactive", "dead"
        self.said: list[str] = []

    def __call__(self, args: Sequence[str], _stdin: str | None) -> tuple[int, str, str]:
        self.said.append(" ".join(args))
        if args[0] == "journalctl":
            return 0, "Error: Nexthop has invalid gateway.\n", ""
        if args[1] == "show":
            enabled = "enabled" if self.enabled else "disabled"
            return 0, f"UnitFileState={enabled}\nActiveState={self.state}\nSubState={self.substate}\n", ""
        if args[1] == "restart" and not self.works:
            self.state, self.substate = "activating", "auto-restart"
            return 1, "", "Job for agentless-overlay.service failed."
        if args[1] in ("enable", "disable"):
            self.enabled = args[1] == "enable"
        if args[1] in ("restart", "disable"):
            self.state, self.substate = "inactive", "dead"
        return 0, "", ""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    monkeypatch.setattr(_boot, "_SYSTEMD", str(tmp_path))
    monkeypatch.setattr(_boot, "SCRIPT", str(tmp_path / "boot.sh"))
    monkeypatch.setattr(_boot, "UNIT_FILE", str(tmp_path / "unit"))
    return Systemd()


def sections(**more: Any) -> dict[str, Any]:
    return {"route_entry": [{"entries": [{"dst": "10.88.2.0/24", "gateway": "10.1.1.2", **more}]}], "boot": [{}]}


def boot(systemd: Systemd, wanted: dict[str, Any], undo: bool = False) -> tuple[Host, list[str], list[str]]:
    """One run of this resource: the host, its operations, and what failed."""
    host, resource = Host(run=systemd, rolling_back=undo), _boot.Boot()
    spec = _transaction.parse_specs(ORDER, _module.validate_sections(wanted))[resource.name]
    found = resource.read(host, spec, set())
    ops = resource.diff(found, resource.settle(found, spec))
    failures = [
        failure for way in (True, False) for failure in apply(host, [op for op in ops if (op.after is not None) is way])
    ]
    return host, [str(op) for op in ops], failures


def apply(host: Host, ops: list[Op[Any]]) -> list[str]:
    return [failure.reason for failure in _boot.Boot().apply(host, ops)]


def test_a_new_script_that_fails_is_taken_back(systemd: Systemd) -> None:
    systemd.enabled = systemd.works = False
    host, ops, failures = boot(systemd, sections())
    assert len(ops) == 3 and len(failures) == 1 and "invalid gateway" in failures[0] and not host.facts


def test_a_host_that_booted_badly_can_be_mended(systemd: Systemd) -> None:
    """Whether its script changes with the run or not: what fails is told, and nothing is undone for it."""
    assert boot(systemd, sections())[2] == []
    systemd.works = False
    systemd.state = "failed"
    for wanted in (sections(), sections(metric=7)):
        host, ops, failures = boot(systemd, wanted)
        assert any("agentless-overlay.service" in op for op in ops) and failures == []
        assert "the next boot would not make it so" in host.facts["boot"]["warning"]
        assert "invalid gateway" in host.facts["boot"]["warning"]
        # One that systemd tries again is not well.
        assert systemd.substate == "auto-restart"
    systemd.works = True
    assert boot(systemd, sections(metric=7))[0].facts == {} and boot(systemd, sections(metric=7))[1] == []


def test_a_unit_that_goes_is_not_tried_again(systemd: Systemd) -> None:
    boot(systemd, sections())
    systemd.works, systemd.said = False, []
    assert len(boot(systemd, {"boot": []})[1]) == 3
    assert "systemctl disable --now agentless-overlay.service" in systemd.said


def test_an_undo_runs_no_script(systemd: Systemd) -> None:
    systemd.works = systemd.enabled = False
    assert boot(systemd, sections(), undo=True)[2] == []
    assert "systemctl restart agentless-overlay.service" not in systemd.said


@pytest.mark.parametrize(
    ("wanted", "waits"),
    [
        (sections(), True),
        (sections(device="vx", onlink=True), False),
        ({"vxlan_link": [{"name": "vx", "vni": 88, "dev": "eth0.100"}], "boot": [{}]}, True),
        ({"vxlan_link": [{"name": "vx", "vni": 88}], "boot": [{}]}, False),
    ],
)
def test_the_unit_waits_for_addresses_where_something_needs_them(systemd: Systemd, wanted: dict[str, Any], waits: bool) -> None:
    boot(systemd, wanted)
    text = Path(_boot.UNIT_FILE).read_text()
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    assert ("network-online.target" in lines["After"]) is waits and (lines.get("Wants") == "network-online.target") is waits
    # And not for ever; what comes later still is only late.
    assert lines["Before"] == "docker.service" and lines["Restart"] == "on-failure" and "TimeoutStartSec" in lines


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv6.conf.eth0/100.accept_ra", "net/ipv6/conf/eth0.100/accept_ra"),
        ("net/ipv6/conf/eth0.100/accept_ra", "net/ipv6/conf/eth0.100/accept_ra"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
    ],
)
def test_the_name_of_a_setting(name: str, path: str) -> None:
    assert "/".join(split_setting_name(name)) == path
    (entry,) = Sysctls().parse({"sysctl": [{"name": name, "value": 1}]}).present.values()
    assert entry.path == f"/proc/sys/{path}" and path in "\n".join(Sysctls().shell([entry]))


@pytest.mark.parametrize("name", ["", "net", "net..ipv4", "/etc/passwd", "net/../../etc/passwd", "net.//.etc"])
def test_what_is_no_name_of_a_setting(name: str) -> None:
    with pytest.raises(_module.OverlayError, match="not the name of a setting"):
        Sysctls().parse({"sysctl": [{"name": name, "value": 1}]})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((1, "", "unshare: unshare failed: Operation not permitted"), ""),
        ((0, "the trial begins\n", "a warning"), ""),
        ((1, "the trial begins\n", 'Error: "ttl" is wrong\n'), 'Error: "ttl" is wrong'),
        ((127, "the trial begins\n", ""), "exit code 127"),
    ],
)
def test_a_script_that_cannot_be_tried_is_not_refused(answer: tuple[int, str, str], said: str) -> None:
    parts = _boot.parse_boot_parts(_module.validate_sections(sections()))
    assert _boot.find_refusals(Host(run=lambda _args, _stdin: answer), parts) == said


def test_a_host_without_unshare_refuses_nothing() -> None:
    def run(_args: Sequence[str], _stdin: str | None) -> Any:
        raise FileNotFoundError("unshare")

    assert _boot.find_refusals(Host(run=run), _boot.parse_boot_parts(_module.validate_sections(sections()))) == ""
