# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of all tests."""

from __future__ import annotations

import signal

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="write tests/golden anew, for the diff to be read")


def pytest_configure() -> None:
    # What stops a run by SIGTERM, as timeout(1) and CI do, is to leave no namespace behind: fixtures end as after an interrupt.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
