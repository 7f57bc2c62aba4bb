#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_report
short_description: Write the report of a fleet as one page
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Takes what M(agentless.overlay.overlay_drift) and M(agentless.overlay.overlay_verify) reported, and writes C(report.html),
    one file that needs no other, C(topology.svg), and C(topology.mmd) for Mermaid. The files are replaced all at once.
extends_documentation_fragment:
  - agentless.overlay.report
options:
  directory:
    required: true
  plan:
    description: The plan that M(agentless.overlay.overlay_plan) returned.
    type: dict
    required: true
  drift:
    description: What C(drift.json) holds.
    type: dict
    required: true
  matrix:
    description: What C(verify.json) holds.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Write the page
  agentless.overlay.overlay_report:
    directory: overlay-report
    plan: "{{ overlay_plan.plan }}"
    drift: "{{ overlay_drift.report }}"
    matrix: "{{ overlay_matrix.report }}"
"""

RETURN = r"""
place:
  description: Where it is.
  type: str
  returned: success
  sample: See overlay-report/report.html, topology.svg, topology.mmd.
"""
