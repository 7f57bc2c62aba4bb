# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The molecule scenario of four booted machines, beside the other tests; the one of the lab repeats test_overlay."""

from __future__ import annotations

from labs import BIN, run


def test_four_machines_over_ssh() -> None:
    done = run(str(BIN / "molecule"), "test", "--scenario-name", "machines", check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
