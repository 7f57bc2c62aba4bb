# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What says that a thing on a host is ours. Imports nothing, and the controller knows it too. PRIVATE to the collection."""

from __future__ import annotations

# Devices whose alias starts so are ours, rules whose comment does, and files that say so.
MARK = "agentless.overlay:"
# Routes and nexthops that carry this number are ours (rtm_protocol; iproute2 leaves it unnamed).
ROUTE_PROTOCOL = 157
# Where flannel tells other programs its subnet, and we in its place.
SUBNET_ENV = "/run/flannel/subnet.env"
# How a file of ours begins that knows comments.
FILE_HEAD = "# Made by agentless.overlay: the next run of overlay.yml replaces it.\n"
