# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the resources' lines of the boot script are made of. PRIVATE to the collection.

The script that they are put into has two functions for them: C(try COMMAND), which remembers that a command failed and goes
on, C(make DEVICE ALIAS COMMAND), and C(ipv6 DEVICE OPTION VALUE), a setting of a device that has IPv6.
"""

from __future__ import annotations

import shlex
from typing import Iterable, List, Optional

from ansible_collections.agentless.overlay.plugins.module_utils._marks import MARK


def quote_words(parts: Iterable[str]) -> str:
    """A command line on which the shell changes nothing."""
    return " ".join(shlex.quote(part) for part in parts)


def attempt_command(parts: Iterable[str]) -> str:
    """A command of which the script tells that it failed, and goes on."""
    return "try " + quote_words(parts)


def list_make_commands(device: str, alias: Optional[str], parts: Iterable[str]) -> List[str]:
    """A command that makes a device where there is none of that name; and its alias, which says whether it was taken over."""
    if alias and alias.startswith(MARK):
        return ["make %s %s" % (quote_words([device, alias]), quote_words(parts))]
    lines = ["ip link show dev %s >/dev/null 2>&1 || %s" % (quote_words([device]), attempt_command(parts))]
    return lines + ([attempt_command(["ip", "link", "set", "dev", device, "alias", alias])] if alias else [])


def batch_commands(program: str, commands: Iterable[str]) -> List[str]:
    """One call of C(ip) or C(bridge) for any number of commands: a process each would be minutes for thousands."""
    commands = list(commands)
    return ["try %s -force -batch - <<'END'" % program, *commands, "END"] if commands else []
