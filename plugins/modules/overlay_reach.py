#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_reach
short_description: Ping all that the plan says a host reaches
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Takes the host's peers out of the plan that M(agentless.overlay.overlay_plan) returned, registered as C(overlay_plan), and
    pings them and their containers with M(agentless.overlay.overlay_probe).
  - Fails with those that do not answer. One of a host outside the play is no failure.
extends_documentation_fragment: [agentless.overlay.reading]
options:
  containers:
    description: By host and Docker network, the containers that can be pinged, and ping.
    type: dict
    default: {}
  waiting:
    description: Hosts whose Docker waits for a restart by its owner, so that docker0 does not have the lease yet.
    type: list
    elements: str
    default: []
notes:
  - This is an action plugin.
"""

EXAMPLES = r"""
- name: Plan the overlay
  agentless.overlay.overlay_plan:
  register: overlay_plan

- name: Every other host answers
  agentless.overlay.overlay_reach:
"""

RETURN = r"""
probes:
  description: The pings that hosts of this run did not answer.
  type: list
  elements: dict
  returned: failure
  sample: []
answered:
  description: How many pings were answered.
  type: int
  returned: success
  sample: 4
"""
