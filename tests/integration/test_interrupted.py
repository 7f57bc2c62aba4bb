# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ends a transaction from outside: signals, which undo it, and programs that hang; and what ends a dump before its end."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from labs import Namespace, module_paths, run

MODULE = "ansible_collections.agentless.overlay.plugins.modules.overlay_host"
ALIAS = "agentless.overlay:x"
PEERS = range(2, 40)
LINK = {"name": "vx", "vni": 88, "port": 4789, "local": "10.1.1.1", "mac": "02:00:00:00:00:01", "mtu": 1450, "alias": ALIAS}
NEIGHBOURS = [{"dst": f"10.88.{n}.0", "lladdr": f"02:00:00:00:00:{n:02x}"} for n in PEERS]
WISH: dict[str, Any] = {
    "firewall": [{"network": "x", "cidrs": ["10.88.0.0/16"], "bridge": "br.7"}],
    "bridge": [{"name": "br.7", "mac": "02:00:00:00:00:07", "mtu": 1450, "alias": ALIAS, "addresses": ["10.77.1.1/16"]}],
    "vxlan_link": [{"entries": [{**LINK, "addresses": ["10.88.1.0/32"]}], "purge": True}],
    "neigh_entry": [
        {
            "device": "vx",
            "entries": [{"dst": f"10.88.{n}.0", "lladdr": f"02:00:00:00:00:{n:02x}"} for n in PEERS],
            "purge": True,
        }
    ],
    "route_entry": [
        {
            "entries": [{"dst": f"10.88.{n}.0/24", "gateway": f"10.88.{n}.0", "device": "vx", "onlink": True} for n in PEERS],
            "purge": True,
        }
    ],
}
NOTHING: dict[str, Any] = {
    "firewall": [],
    "bridge": [],
    "vxlan_link": [{"entries": [], "purge": True}],
    "route_entry": [{"entries": [], "purge": True}],
}


def slow(folder: Path, program: str, when: str, seconds: int) -> str:
    """A PATH with a program that says that it was begun, and then takes its time, with some arguments."""
    real = shutil.which(program)
    (folder / program).write_text(
        f'#!/bin/sh\ncase " $* " in *"{when}"*) touch {folder}/begun; exec sleep {seconds};; esac\nexec {real} "$@"\n'
    )
    (folder / program).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def listing(namespace: Namespace) -> list[str]:
    rules = "nft -s list table inet agentless_overlay; iptables -S DOCKER-USER"
    shown = namespace.sh(f"ip -o -4 addr; ip -d -o link; ip -4 route show table all; ip -4 neigh show nud permanent; {rules}")
    # A bridge has timers, and finds out only after a while that it has no port.
    return [re.sub(r"<\S+>|state \w+| linkdown| topology_change.*", "", line) for line in shown.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_undoes_what_was_done(namespace: Namespace, tmp_path: Path, number: signal.Signals) -> None:
    """As where the SSH session is lost while the firewall's program runs, the last of a teardown."""
    namespace.converge("overlay_host", **WISH)
    before = listing(namespace)
    arguments = tmp_path / "arguments.json"
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": NOTHING}))
    env = {**os.environ, "PYTHONPATH": ":".join(module_paths("current")), "PATH": slow(tmp_path, "nft", " -f ", 60)}
    command = ["nsenter", f"--net=/run/netns/{namespace.name}", sys.executable, "-m", MODULE, str(arguments)]
    job = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "begun").exists():
        assert job.poll() is None and time.monotonic() < deadline, job.communicate()
        time.sleep(0.05)
    assert "vx" not in namespace.sh("ip link")
    # From here on the program is itself again, for the undo.
    (tmp_path / "nft").unlink()
    job.send_signal(number)
    # Whoever sends one sends more; they do not end the undo.
    for _time in range(3):
        time.sleep(0.01)
        job.send_signal(signal.SIGTERM)
    out, err = job.communicate(timeout=60)
    answer = json.loads(out)
    assert answer["failed"], err
    assert f"{number.name} came while operations were being carried out" in answer["msg"]
    assert "the host is as it was" in answer["msg"], answer["msg"]
    after = listing(namespace)
    assert [line for line in before if line not in after] == [line for line in after if line not in before] == []
    namespace.converge("overlay_host", **NOTHING)


def test_a_program_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.agentless.overlay.plugins.module_utils._engine import _programs
    from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

    monkeypatch.setattr(_programs, "_LIMIT", 0.2)
    started = time.monotonic()
    with pytest.raises(OverlayError, match="sleep 60: no end after 0 s"):
        _programs.run_program(["sleep", "60"], None)
    assert time.monotonic() - started < 30


# A dump of neighbours whose header the kernel refuses, and one of a table that is not there.
DUMPS = """
from ansible_collections.agentless.overlay.plugins.module_utils._engine import _netlink as n
session = n.Session()
try:
    print(session.rows(n.Message(n.RTM_GETNEIGH, 0, n.ndmsg, {"family": 2, "ifindex": 5, "state": 1}), ()))
except n.NetlinkError as error:
    print(error.code)
print(session.rows(n.Message(n.RTM_GETROUTE, 0, n.rtmsg, {"family": 2, "table": 255}, [("RTA_TABLE", 4242)]), ()))
"""


def test_what_ends_a_dump_is_no_empty_table(namespace: Namespace) -> None:
    enter = ("nsenter", f"--net=/run/netns/{namespace.name}", sys.executable, "-c", DUMPS)
    refused, table = run(*enter, PYTHONPATH=":".join(module_paths("current"))).stdout.splitlines()
    assert (refused, table) == (str(errno.EINVAL), "[]")


def test_a_lock_whose_file_was_removed_hides_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ansible_collections.agentless.overlay.plugins.module_utils._engine import _lock

    path = tmp_path / "lock"
    monkeypatch.setattr(_lock, "_find_lock_file", lambda: str(path))
    with pytest.raises(ValueError, match="the real one"), _lock.hold_host_lock():
        path.unlink()
        raise ValueError("the real one")
    with _lock.hold_host_lock():
        path.unlink()
        # Another one has it by now.
        path.write_text("1\n")
    assert path.exists()
