#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_preview
short_description: Sum up what a run is about to do to the fleet
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Takes what M(agentless.overlay.overlay_host) returned in check mode on each host of the play, registered as
    C(overlay_converged), and tells which hosts it touches, which peers come and go, what is made anew, which daemons restart
    and which containers that hits.
  - Fails where that is more than a limit allows. Hosts of earlier batches of the same play count too.
extends_documentation_fragment: [agentless.overlay.reading]
options:
  plan:
    description: The plan that M(agentless.overlay.overlay_plan) returned.
    type: dict
    required: true
  max_recreate:
    description: How many devices and Docker networks may be made anew.
    type: int
  max_restart:
    description: How many daemons may be restarted.
    type: int
  max_remove:
    description: How many peers any one host may lose. Without a number fewer than half of those that it has, or one.
    type: int
notes:
  - This is an action plugin. It is of all hosts of the play, or with C(serial) of a batch, and is to be run with C(run_once).
    By a strategy that lets no host wait for another it is of the one host.
"""

EXAMPLES = r"""
- name: Sum it up
  agentless.overlay.overlay_preview:
    plan: "{{ overlay_plan.plan }}"
    max_restart: 2
  run_once: true
"""

RETURN = r"""
proven:
  description: Whether nothing is to be done and every host answered every other as it was looked at.
  type: bool
  returned: success
  sample: false
lines:
  description: What the run is about to do, a line each.
  type: list
  elements: str
  returned: always
  sample: ["To be touched: 1 of 2 hosts: docker1.", "Peers added: 1 (docker1: docker3)."]
preview:
  description: The same as data.
  type: dict
  returned: always
  sample: {hosts: 2, touched: [docker1], recreated: [], restarted: [], waiting: [], stopped: [], containers: [],
    auto_removed: [], drops: [], peers_added: ["docker1: docker3"], peers_removed: []}
"""
