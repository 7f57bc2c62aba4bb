#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_drift
short_description: Write the drift report of a run, or merge those of slices
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Takes what M(agentless.overlay.overlay_host) returned in check mode on each host of the play, registered as
    C(overlay_converged), and writes C(drift.json), C(drift.xml) (JUnit) and C(drift.md). The files are replaced all at once.
  - The schema of C(drift.json) is in C(docs/drift.schema.json) of the collection.
  - With neither O(plan) nor O(slices) it only makes sure that the folder can be written.
extends_documentation_fragment:
  - agentless.overlay.report
options:
  directory:
    required: true
  plan:
    description: The plan that M(agentless.overlay.overlay_plan) returned.
    type: dict
  slices:
    description:
      - Reports to merge into one, each a C(drift.json) or the folder that it is in. They have to be of one plan; of a host in
        several of them the latest counts.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Write the report
  agentless.overlay.overlay_drift:
    directory: overlay-report
    plan: "{{ overlay_plan.plan }}"

- name: Make one report of two
  agentless.overlay.overlay_drift:
    directory: overlay-report
    slices: [slice1, slice2]
"""

RETURN = r"""
sentence:
  description: The report in a sentence.
  type: str
  returned: when a report was written
  sample: 2 of 3 hosts as planned; 1 drifted, 1 differences. See overlay-report/drift.md, drift.json, drift.xml.
summary:
  description: How many hosts are as planned, drifted or unknown, how many differences there are, and whom nobody looked at.
  type: dict
  returned: when a report was written
  sample: {hosts: 3, same: 2, drifted: 1, unknown: 0, differences: 1, not_looked_at: []}
verdicts:
  description: By host that is not as planned, what is to be said of it.
  type: dict
  returned: when a report was written
  sample: {docker1: "1 difference from the plan\nmissing route_entry: 10.88.87.0/24"}
report:
  description: What C(drift.json) holds.
  type: dict
  returned: when a report was written
"""
