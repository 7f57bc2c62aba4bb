# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all of it may raise. Imports nothing, so that a module which needs no netlink does not load it. PRIVATE."""

from __future__ import annotations


class OverlayError(Exception):
    """Refused, or failed and undone; the text says what, where and what to do."""
