# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts of our playbooks wait for each other, by whatever strategy a user's configuration names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

PLAYBOOKS = sorted((Path(__file__).parents[2] / "playbooks").glob("*.yml"))
WITHOUT_STEP = "(free|host_pinned)$"
STRATEGY = f"{{{{ lookup('ansible.builtin.config', 'DEFAULT_STRATEGY') | regex_replace('{WITHOUT_STEP}', 'linear') }}}}"


@pytest.mark.parametrize("file", PLAYBOOKS, ids=lambda file: file.stem)
def test_each_play_says_so(file: Path) -> None:
    plays = [play for play in yaml.safe_load(file.read_text()) if "hosts" in play]
    assert plays and [play.get("strategy") for play in plays] == [STRATEGY] * len(plays)


@pytest.mark.parametrize(
    ("configured", "used"),
    [
        ("linear", "linear"),
        ("free", "linear"),
        ("host_pinned", "linear"),
        ("ansible.builtin.free", "ansible.builtin.linear"),
        ("mitogen_free", "mitogen_linear"),
        ("mitogen_host_pinned", "mitogen_linear"),
        ("mitogen_linear", "mitogen_linear"),
        ("debug", "debug"),
    ],
)
def test_what_a_configured_strategy_becomes(configured: str, used: str) -> None:
    """By Ansible itself in tests/integration/test_own_plays.py."""
    assert re.sub(WITHOUT_STEP, "linear", configured) == used
