# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What says that a thing on a host is ours. Imports nothing, and the controller knows it too. PRIVATE to the collection."""

from __future__ import annotations

from typing import Optional

# Devices whose alias starts so are ours, rules whose comment does, and files that say so.
MARK = "agentless.overlay:"
# Ends the alias of one that was somebody else's and was taken over: it keeps others' addresses, and a bridge is given up at the
# end and not removed.
ADOPTED = " (adopted)"
# Routes and nexthops that carry this number are ours (rtm_protocol; iproute2 leaves it unnamed).
ROUTE_PROTOCOL = 157
# Where flannel tells other programs its subnet, and we in its place.
SUBNET_ENV = "/run/flannel/subnet.env"
# What a file of ours says, and how one begins that knows comments.
MADE = "Made by agentless.overlay: the next run of overlay.yml replaces it."
FILE_HEAD = "# %s\n" % MADE


def network_of_alias(alias: Optional[str]) -> str:
    """The overlay network that a device's alias names; empty where it is not ours. Pure."""
    if not alias or not alias.startswith(MARK):
        return ""
    name = alias[len(MARK) :]
    return name[: -len(ADOPTED)] if name.endswith(ADOPTED) else name
