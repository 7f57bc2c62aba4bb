#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: route_entry
short_description: Routes to the subnets of peers
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Makes routes that carry the protocol number 157, by which they are known as ours.
  - A route of somebody else to a wanted destination is refused, unless O(adopt) says that it may be replaced; one that the
    kernel made for an own network, and one with several next hops, is refused in any case.
  - O(state=absent) and O(purge) remove routes of our protocol only, and of those no others than what this module makes, that is
    unicast, with one next hop, in the tables that are named and in main. O(purge) with O(device) looks at that device's,
    without it at those of all devices.

extends_documentation_fragment:
  - agentless.overlay.engine
  - agentless.overlay.engine.bulk
options:
  device: &device
    description: The device. In O(entries) it may be given for each.
    type: str
  dst: &dst
    description: The subnet of the peer.
    type: str
  gateway: &gateway
    description: The next hop, of the IP family of the network.
    type: str
  onlink: &onlink
    description: Whether the next hop counts as reachable by the device without a route to it.
    type: bool
  src: &src
    description: The preferred source address.
    type: str
  metric: &metric
    description: The metric; without it 0.
    type: int
  table: &table
    description: The routing table; without it 254, main.
    type: int
  adopt: &adopt
    description: Whether a route of somebody else in the place of a wanted one may be replaced, or goes first. In O(entries) it
      may be given for each.
    type: bool
  nexthops:
    description:
      - Whether routes with a gateway name a nexthop object of the kernel (5.3 and later) in place of carrying the gateway
        themselves, which makes thousands of them much faster. With V(auto), the default, where there are 500 or more on a
        device.
      - Routes change from one to the other without a packet lost.
    type: str
    choices: [auto, always, never]
  entries:
    description: Many routes in one call, with one dump and one batch of messages.
    type: list
    elements: dict
    suboptions:
      dst: {<<: *dst, required: true}
      <<: {device: *device, gateway: *gateway, onlink: *onlink, src: *src, metric: *metric, table: *table, adopt: *adopt}
      state: {description: Whether the entry shall be there., type: str, choices: [present, absent]}
"""

EXAMPLES = r"""
- name: One peer
  agentless.overlay.route_entry:
    dst: 10.88.87.0/24
    gateway: 10.88.87.0
    device: vxlan.88
    onlink: true

- name: These peers and no others
  agentless.overlay.route_entry:
    device: vxlan.88
    purge: true
    entries:
      - {dst: 10.88.87.0/24, gateway: 10.88.87.0, onlink: true}
      - {dst: 10.88.88.0/24, gateway: 10.88.88.0, onlink: true}
"""

RETURN = r"""
operations: {description: "What was, or in check mode would be, done, in order.", type: list, elements: str, returned: success,
  sample: ["route_entry: add 10.88.87.0/24 via 10.88.87.0 dev vxlan.88 proto 157 onlink"]}
impact: {description: Operations that drop packets and until when., type: list, elements: dict, returned: success, sample: []}
counters: {description: "What it cost, by resource: dumps, single look-ups, batches that write, messages in them.", type: dict,
  returned: success, sample: {route_entry: {dumps: 1, requests: 0, batches: 1, messages: 1000}}}
"""

from functools import partial

from ansible_collections.agentless.overlay.plugins.module_utils._module import run_resource_module

main = partial(run_resource_module, "route_entry")


if __name__ == "__main__":
    main()
