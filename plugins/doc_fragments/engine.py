# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the documentation of the modules has in common."""

from __future__ import annotations


class ModuleDocFragment:
    """Parts that every module of the engine has."""

    DOCUMENTATION = r"""
requirements:
  - pyroute2 >= 0.5.14 on the managed host (Debian, Ubuntu and Fedora package python3-pyroute2)
attributes:
  check_mode:
    description: Can run in C(check_mode) and predict changes without making them.
    support: full
    details: [It predicts the very operations that a run would carry out, in the same order.]
  diff_mode:
    description: Shows what is different, one line for each entry.
    support: full
  idempotent:
    description: A second run changes nothing and writes nothing.
    support: full
"""

    BULK = r"""
options:
  state:
    description:
      - Whether the entry shall be there.
      - Beside O(entries), the state of those that give none. Without it, V(present).
    type: str
    choices: [present, absent]
  purge:
    description:
      - Whether what is ours and not listed in O(entries) is removed. What belongs to others is never touched.
    type: bool
"""
