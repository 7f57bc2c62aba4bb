# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The molecule scenarios, beside the other tests: the lab, and three booted machines."""

from __future__ import annotations

import pytest
from labs import BIN, run


@pytest.mark.parametrize("scenario", ["default", "machines"])
def test_scenario(scenario: str) -> None:
    done = run(str(BIN / "molecule"), "test", "--scenario-name", scenario, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
