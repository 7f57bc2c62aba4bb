#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_converge
short_description: Make a host what the plan says of it
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Cuts the host's part out of the plan that M(agentless.overlay.overlay_plan) returned, registered as C(overlay_plan), and
    calls M(agentless.overlay.overlay_host) with it. Nothing else of the plan goes to the host.
options:
  check:
    description: Whether only to tell what would be done, as in check mode.
    type: bool
    default: false
  quiet:
    description: Whether to leave out of the result that anything is changed, because a later task changes it.
    type: bool
    default: false
  probe:
    description: Whether to ping the host's peers too where nothing is to be done on it.
    type: bool
    default: false
  allow_renumber:
    description: Whether docker0 may change its address while containers run.
    type: bool
    default: false
  allow_drops:
    description: Whether an operation may drop packets that are on their way.
    type: bool
    default: true
  defer:
    description: Whether C(daemon.json) stays as it is where Docker has to restart, as in M(agentless.overlay.docker_bip).
    type: bool
    default: false
  section:
    description:
      - Do only what this section of M(agentless.overlay.overlay_host) asks for, by the module of that name where there is one.
    type: str
  teardown:
    description: Whether to take all that is ours off the host instead, by its marks; there need be no plan.
    type: bool
    default: false
  nexthops:
    description: When routes use nexthop objects, as with M(agentless.overlay.route_entry).
    type: str
    choices: [auto, always, never]
    default: auto
  adopt:
    description: Whether to take over what is on the host under a name of the plan's and does not carry our mark.
    type: bool
    default: false
  remove:
    description: Networks that are no longer in the plan, and whose devices, rules and files are to go from the host.
    type: list
    elements: str
    default: []
  refuse:
    description:
      - Whether it is an error that something stands in the way, or that something of a network which is neither in the plan nor
        in O(remove) would go. With V(false), in check mode, it is told as a difference.
    type: bool
    default: true
attributes:
  check_mode:
    description: Can run in C(check_mode) and predict changes without making them.
    support: full
  diff_mode:
    description: Shows each entry that differs.
    support: full
notes:
  - This is an action plugin.
"""

EXAMPLES = r"""
- name: Plan the overlay
  agentless.overlay.overlay_plan:
  register: overlay_plan

- name: Look what is to be done
  agentless.overlay.overlay_converge:
    check: true
"""

RETURN = r"""
operations:
  description: And all else that M(agentless.overlay.overlay_host) returns.
  type: list
  elements: str
  returned: success
  sample: ["neigh_entry: add 10.88.87.0 dev vxlan.88 lladdr 02:0a:00:00:00:02 permanent"]
"""
