#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: neigh_entry
short_description: Permanent neighbours of a device
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Maps the inner IP address of a peer to the MAC of its VTEP, so that the kernel never has to ask.
  - Sees permanent entries only; what the kernel learnt by itself is left alone.
  - O(purge) removes permanent entries of the devices named that are not listed.

extends_documentation_fragment:
  - agentless.overlay.engine
  - agentless.overlay.engine.bulk
options:
  device: &device
    description: The device. In O(entries) it may be given for each.
    type: str
  dst: &dst
    description: The inner IP address of the peer.
    type: str
  lladdr: &lladdr
    description: The MAC of the peer's VTEP.
    type: str
  entries:
    description: Many neighbours in one call, with one dump and one batch of messages.
    type: list
    elements: dict
    suboptions:
      dst: {<<: *dst, required: true}
      <<: {device: *device, lladdr: *lladdr}
      state: {description: Whether the entry shall be there., type: str, choices: [present, absent]}
"""

EXAMPLES = r"""
- name: One peer
  agentless.overlay.neigh_entry:
    device: vxlan.88
    dst: 10.88.87.0
    lladdr: 02:0a:00:00:00:02

- name: These peers and no others
  agentless.overlay.neigh_entry:
    device: vxlan.88
    purge: true
    entries:
      - {dst: 10.88.87.0, lladdr: "02:0a:00:00:00:02"}
      - {dst: 10.88.88.0, lladdr: "02:0a:00:00:00:03"}
"""

RETURN = r"""
operations: {description: "What was, or in check mode would be, done, in order.", type: list, elements: str, returned: success,
  sample: ["neigh_entry: add 10.88.87.0 dev vxlan.88 lladdr 02:0a:00:00:00:02 permanent"]}
impact: {description: Operations that drop packets and until when., type: list, elements: dict, returned: success, sample: []}
counters: {description: "What it cost, by resource: dumps, single look-ups, batches that write, messages in them.", type: dict,
  returned: success, sample: {neigh_entry: {dumps: 1, requests: 0, batches: 1, messages: 1000}}}
"""

from functools import partial

from ansible_collections.agentless.overlay.plugins.module_utils._module import run_resource_module

main = partial(run_resource_module, "neigh_entry")


if __name__ == "__main__":
    main()
