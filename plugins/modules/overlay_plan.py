#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_plan
short_description: Work out the plan of all overlay networks from the inventory
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Reads C(overlay_networks) and the variables of every host of a group, and works out what must be true on each.
  - Needs the inventory only. It gathers no fact and contacts no host, and a C(--limit) does not change what it finds.
  - Where the inventory has errors, it fails with all of them at once, each with host, variable, value and what to do.
  - Gives each host that has neither a pinned nor a recorded subnet a free one, and records it in the file that
    C(overlay_leases) names, by default C(group_vars/agentless_overlay/leases.yml) beside the inventory. In check mode nothing
    is recorded.
  - What earlier versions recorded in C(group_vars/overlay/leases.yml) counts too where C(overlay_leases) is not set, and is
    moved there; it stays where that folder is a link, which other inventories may share, or where it cannot be written.
  - Takes what C(playbooks/discover.yml) found, recorded in C(discovered.yml) beside the leases, for variables of the underlay
    that a host does not have.
  - Fails where a variable of any role has a value that the role would refuse, where one of the whole fleet is not the same for
    all hosts, and where a name is like that of a variable of this collection; warns of any other that begins with C(overlay_).
  - Fails where C(overlay_leases) names a file that does not exist while leases are recorded in one of the default places.
  - Fails where one of its files would keep Ansible from reading a file of variables, and where a record holds anything else.
options:
  group:
    description: The inventory group whose hosts are the nodes.
    type: str
    default: overlay
  roles:
    description:
      - Roles of this collection whose variables are checked too, of all hosts of the group at once; by default all roles.
    type: list
    elements: str
  plan:
    description: Whether to make a plan. Without it nothing but the variables of O(roles) is checked.
    type: bool
    default: true
  write:
    description:
      - Whether to write the plan into the file that the variable C(overlay_plan_file) names. Without it a plan in that file is
        used in place of working one out, and what has changed since is refused; a host that the run does not see stays a peer.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in C(check_mode) and predict changes without making them.
    support: full
  diff_mode:
    description: Shows the leases that it gives or moves, and what it writes.
    support: full
notes:
  - This is an action plugin. The plan is that of all hosts, so it is to be run with C(run_once).
"""

EXAMPLES = r"""
- name: Plan the overlay
  agentless.overlay.overlay_plan:
  register: overlay_plan
  run_once: true

- name: Show what docker1 will get
  ansible.builtin.debug:
    msg: "{{ overlay_plan.plan | agentless.overlay.host_sections('docker1') }}"
"""

RETURN = r"""
plan:
  description: The plan, by network and node.
  type: dict
  returned: success
  sample:
    networks:
      demo:
        name: demo
        backend: vxlan
        cidrs: [10.88.0.0/16]
        mtu: 1450
        attach: docker0
        tunnels:
          - {device: vxlan.88, protocol: udp, port: 4789, vni: 88, overhead: 50, ethernet: true, version: 4}
        members:
          docker1:
            leases:
              - {subnet: 10.88.50.0/24, vtep_ip: 10.88.50.0, gateway: 10.88.50.1}
            underlay_ip: 192.168.65.3
            macs: ["6a:0b:6d:66:4f:a4"]
static:
  description: The Docker networks whose containers' MACs and addresses are written into each peer.
  type: list
  elements: str
  returned: success
  sample: []
discovered_file:
  description: Where what C(playbooks/discover.yml) finds is recorded; empty where the inventory is not a file.
  type: str
  returned: always
  sample: /etc/overlay/group_vars/agentless_overlay/discovered.yml
new_leases:
  description: The leases that were given in this run, each as network, node and subnet.
  type: list
  elements: str
  returned: success
  sample: [demo docker3 10.88.12.0/24]
"""
