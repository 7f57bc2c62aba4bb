# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ansible-lint on the whole checkout, beside the other tests: it takes a minute of one processor."""

from __future__ import annotations

from labs import run


def test_ansible_lint() -> None:
    done = run("ansible-lint", "--nocolor", check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
