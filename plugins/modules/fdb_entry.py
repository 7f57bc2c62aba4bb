#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fdb_entry
short_description: Permanent FDB entries of a vxlan device
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Maps the MAC of a peer's VTEP to the outer address that it is reached by.
  - Another destination of a MAC replaces the old one in one step, so that no packet is lost.
  - The all-zero MAC and multicast ones may have several entries, one for each destination.
  - O(purge) removes permanent entries of the devices named that are not listed.

extends_documentation_fragment:
  - agentless.overlay.engine
  - agentless.overlay.engine.bulk
options:
  device: &device
    description: The vxlan device. In O(entries) it may be given for each.
    type: str
  mac: &mac
    description: The MAC of the peer's VTEP.
    type: str
  dst: &dst
    description: The outer address of the peer.
    type: str
  port: &port
    description: The UDP port of the peer, where it is not the device's own.
    type: int
  vni: &vni
    description: The VNI to send with, where it is not the device's own.
    type: int
  keep_unicast:
    description: Whether O(purge) leaves unicast MACs alone, because not all of them are known.
    type: bool
  entries:
    description: Many FDB entries in one call, with one dump and one batch of messages.
    type: list
    elements: dict
    suboptions:
      mac: {<<: *mac, required: true}
      <<: {device: *device, dst: *dst, port: *port, vni: *vni}
      state: {description: Whether the entry shall be there., type: str, choices: [present, absent]}
"""

EXAMPLES = r"""
- name: One peer
  agentless.overlay.fdb_entry:
    device: vxlan.88
    mac: 02:0a:00:00:00:02
    dst: 192.168.65.4

- name: These peers and no others
  agentless.overlay.fdb_entry:
    device: vxlan.88
    purge: true
    entries:
      - {mac: "02:0a:00:00:00:02", dst: 192.168.65.4}
      - {mac: "02:0a:00:00:00:03", dst: 192.168.65.5}
"""

RETURN = r"""
operations: {description: "What was, or in check mode would be, done, in order.", type: list, elements: str, returned: success,
  sample: ["fdb_entry: add 02:0a:00:00:00:02 dev vxlan.88 dst 192.168.65.4 self permanent"]}
impact: {description: Operations that drop packets and until when., type: list, elements: dict, returned: success, sample: []}
counters: {description: "What it cost, by resource: dumps, single look-ups, batches that write, messages in them.", type: dict,
  returned: success, sample: {fdb_entry: {dumps: 1, requests: 0, batches: 1, messages: 1000}}}
"""

from functools import partial

from ansible_collections.agentless.overlay.plugins.module_utils._module import run_resource_module

main = partial(run_resource_module, "fdb_entry")


if __name__ == "__main__":
    main()
