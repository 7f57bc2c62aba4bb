# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ansible-test sanity on the built and installed collection, beside the other tests."""

from __future__ import annotations

from labs import run


def test_sanity() -> None:
    done = run("bash", "tests/sanity.sh", check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
