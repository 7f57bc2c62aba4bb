#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_survey
short_description: Sum up what hosts told of the network that joins them
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Says what to ask the hosts of a play with M(agentless.overlay.overlay_discover), and makes of the answers a table, sentences
    and host variables.
options:
  stage:
    description:
      - V(targets) reads the inventory, and resolves host names on the controller.
      - V(pings) takes the answers registered as C(overlay_discover_answered), and chooses an address of each host.
      - V(record) takes those registered as C(overlay_discover_pinged) too, and writes host variables into O(file).
      - V(show) makes the table.
    type: str
    required: true
    choices: [targets, pings, record, show]
  contacts:
    description: What V(targets) returned.
    type: list
    elements: dict
    default: []
  file:
    description: Where to write. What is there of hosts that did not answer stays.
    type: str
    default: ""
attributes:
  check_mode:
    description: Can run in C(check_mode) and predict changes without making them.
    support: full
  diff_mode:
    description: Shows the file before and after.
    support: full
notes:
  - This is an action plugin. It runs once for all hosts of a play.
"""

EXAMPLES = r"""
- name: See where the hosts are, as far as the inventory tells
  agentless.overlay.overlay_survey:
    stage: targets
  register: overlay_discover_asked
"""

RETURN = r"""
contacts:
  description: The hosts as the inventory has them.
  type: list
  elements: dict
  returned: with V(targets)
targets:
  description: The addresses to which each host is asked for its ways.
  type: list
  elements: str
  returned: with V(targets)
  sample: [192.168.65.3, 192.168.65.4]
pings:
  description: What the hosts are to ping.
  type: list
  elements: dict
  returned: with V(pings)
  sample: [{name: docker1, address: 192.168.65.3, mtu: 1500}]
file:
  description: Where it was, or would be, written.
  type: str
  returned: with V(record)
table:
  description: A line a host.
  type: list
  elements: str
  returned: with V(show)
sentences:
  description: What is not as on all.
  type: list
  elements: str
  returned: with V(show)
values:
  description: By host that answered, the variables that follow.
  type: dict
  returned: with V(show)
  sample: {docker1: {overlay_underlay_ip: 192.168.65.3/24, overlay_underlay_dev: eth0}}
lost:
  description: Hosts that do not answer another one, or get no answer from it.
  type: list
  elements: str
  returned: with V(show)
problems:
  description: By host that did not answer, why.
  type: dict
  returned: with V(show)
"""
