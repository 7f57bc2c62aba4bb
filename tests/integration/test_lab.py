# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab itself: of any size, made once, removed without a trace."""

from __future__ import annotations

import os
from pathlib import Path

from labs import Lab, run, unique


def mentions(pid: str, word: str) -> bool:
    """Whether a process has a word in its command line or environment."""
    for name in ("cmdline", "environ"):
        try:
            if word.encode() in Path(f"/proc/{pid}/{name}").read_bytes():
                return True
        except OSError:
            continue
    return False


def traces(prefix: str) -> dict[str, str]:
    """What a lab could leave behind on the machine."""
    processes = [pid for pid in os.listdir("/proc") if pid.isdigit() and mentions(pid, prefix)]
    return {
        "namespaces": run("sh", "-c", f"ip netns list | grep {prefix} || true").stdout,
        "mounts": run("sh", "-c", f"grep {prefix} /proc/mounts || true").stdout,
        "devices": run("sh", "-c", f"ip -o link | grep {prefix} || true").stdout,
        "cgroups": run("sh", "-c", f"find /sys/fs/cgroup -name '{prefix}*' | grep . || true").stdout,
        "files": run("sh", "-c", f"ls -d /var/lib/agentless-overlay-lab/{prefix}* 2>/dev/null || true").stdout,
        "processes": " ".join(processes),
    }


def test_it_leaves_nothing_behind(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    links = run("ip", "-o", "link").stdout.count("\n")
    rules = run("iptables-save").stdout
    try:
        lab.up()
        assert lab.script("up", "docker1=192.168.65.3/24").stdout == "", "made once"
        lab.container("docker1")
        assert any(traces(lab.prefix).values())
        assert run("ip", "-o", "link").stdout.count("\n") == links, "no device of the lab is the machine's"
    finally:
        lab.down()
    assert traces(lab.prefix) == dict.fromkeys(traces(lab.prefix), "")
    assert [line for line in run("iptables-save").stdout.splitlines() if line[:1] in "-:*"] == [
        line for line in rules.splitlines() if line[:1] in "-:*"
    ]
    assert lab.script("down").stdout == "", "twice is harmless"


def test_a_lab_of_another_size_comes_with_its_inventory(tmp_path: Path) -> None:
    """Five bare hosts: the playbook that users run makes them, and overlay.yml plans for them."""
    lab = Lab(tmp_path, docker=False)
    prefix = unique("aol")
    options = ["-e", f"lab_prefix={prefix}", "-e", "lab_docker=false"]
    try:
        made = lab.play(*options, "-e", "lab_count=5", "-e", f"lab_inventory={tmp_path}/five", playbook="playbooks/lab.yml")
        assert made.code == 0, made.output
        assert run("ip", "netns", "list").stdout.count(f"{prefix}-docker") == 5
        lab.inventory = tmp_path / "five"
        planned = lab.play("--tags", "none")
        assert planned.code == 0 and sum(planned.changed().values()) == 1
        leases = (tmp_path / "five/group_vars/agentless_overlay/leases.yml").read_text()
        assert [leases.count(f"docker{number}: 10.88.") for number in range(1, 6)] == [1] * 5
        assert sum(lab.play("--tags", "none").changed().values()) == 0
    finally:
        removed = lab.play(*options, "-e", "lab_state=absent", playbook="playbooks/lab.yml")
    assert removed.code == 0 and removed.recap["localhost"]["changed"] == 1
    assert prefix not in run("ip", "netns", "list").stdout
