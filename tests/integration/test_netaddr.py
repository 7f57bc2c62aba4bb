# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The planner with the netaddr that Debian 12 has, the last one with the liberal forms, and the newest: the same each time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from labs import ROOT

TESTS = ("test_values.py", "test_wrong_inventories.py", "test_planner.py", "test_backends.py", "test_golden.py")


@pytest.mark.parametrize("version", ["0.8.0", "0.10.1", "current"])
def test_the_planner_is_the_same(version: str) -> None:
    paths = [str(ROOT / f".cache/netaddr-{version}")] if version != "current" else []
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    shown = [sys.executable, "-c", "import netaddr; print(netaddr.__version__)"]
    found = subprocess.run(shown, env=variables, capture_output=True, text=True, check=True).stdout.strip()
    assert found == version or version == "current" and int(found.partition(".")[0]) >= 1
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", *(f"tests/unit/{name}" for name in TESTS)]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
