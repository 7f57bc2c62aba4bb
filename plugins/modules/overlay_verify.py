#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_verify
short_description: Make a matrix of what the hosts of a play reach, and say where the rest is lost
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Takes what M(agentless.overlay.overlay_probe) returned on each host of the play, registered as C(overlay_probed) and,
    for the containers, as C(overlay_verify_own).
  - Without O(directory) it only tells which hosts should listen to each other's pings, because some are lost.
  - With it, it takes what M(agentless.overlay.overlay_listen) returned meanwhile, registered as C(overlay_heard), and writes
    C(verify.json), C(verify.xml) (JUnit) and C(verify.md).
extends_documentation_fragment:
  - agentless.overlay.report
options:
  plan:
    description: The plan that M(agentless.overlay.overlay_plan) returned.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Write the report
  agentless.overlay.overlay_verify:
    directory: overlay-report
    plan: "{{ overlay_plan.plan }}"
"""

RETURN = r"""
partners:
  description: By host that should listen, those whose pings it loses.
  type: dict
  returned: without a directory
  sample: {docker1: [docker2], docker2: [docker1]}
lines:
  description: The report in a sentence, and each thing that is wrong in another.
  type: list
  elements: str
  returned: when a report was written
verdicts:
  description: By host that is not well, what is to be said of it.
  type: dict
  returned: when a report was written
report:
  description: What C(verify.json) holds.
  type: dict
  returned: when a report was written
"""
