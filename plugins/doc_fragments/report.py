# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the documentation of the actions that write reports has in common."""

from __future__ import annotations


class ModuleDocFragment:
    """Parts that every action has which writes a report on the controller."""

    DOCUMENTATION = r"""
options:
  directory:
    description: The folder for the report, made where it is missing. A relative path begins at the working directory.
    type: str
attributes:
  check_mode:
    description: Can run in C(check_mode) and predict changes without making them.
    support: none
  diff_mode:
    description: Changes no host.
    support: none
notes:
  - This is an action plugin. It runs once for all hosts of a play, and writes also in check mode.
"""
