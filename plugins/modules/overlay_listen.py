#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_listen
short_description: Tell which pings pass a host's devices, inside tunnels and outside
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Looks at all devices of the host for some seconds, before any firewall sees what comes in and after all have seen what goes
    out, so that it can be told where a packet is lost.
  - Run it with C(async), and the pings meanwhile.
  - Changes nothing.
extends_documentation_fragment: [agentless.overlay.reading]
options:
  seconds:
    description: How long to look.
    type: float
    default: 8
  ports:
    description: The UDP ports of vxlan tunnels.
    type: list
    elements: int
    default: [4789]
  devices:
    description: The vxlan devices whose FDB to tell.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Look for ten seconds
  agentless.overlay.overlay_listen:
    seconds: 10
  async: 20
  poll: 0
"""

RETURN = r"""
packets:
  description: The pings that were seen, with C(outer) addresses and C(vni) where they were in a tunnel.
  type: list
  elements: dict
  returned: success
  sample:
    - {device: eth0, way: out, source: 10.88.50.0, target: 10.88.87.1, what: request, outer: [192.168.65.3, 192.168.65.4],
       vni: 88, count: 3}
fdb:
  description: By device, where each MAC is sent to.
  type: dict
  returned: success
  sample: {vxlan.88: [["1a:5e:0b:2c:5f:d0", 192.168.65.4]]}
checksum_errors:
  description: How many UDP packets the kernel dropped meanwhile because their checksum was wrong.
  type: int
  returned: success
  sample: 0
"""

from typing import Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import NetlinkError
from ansible_collections.agentless.overlay.plugins.module_utils._looking._listen import count_checksum_errors, listen_for_pings
from ansible_collections.agentless.overlay.plugins.module_utils._resources._fdb import Fdb, FdbSpec


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "seconds": {"type": "float", "default": 8},
            "ports": {"type": "list", "elements": "int", "default": [4789]},
            "devices": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        before = count_checksum_errors()
        packets = listen_for_pings(module.params["seconds"], set(module.params["ports"]))
        fdb = _read_fdb(module.params["devices"])
        module.exit_json(changed=False, packets=packets, fdb=fdb, checksum_errors=count_checksum_errors() - before)
    except (OSError, NetlinkError) as error:
        module.fail_json(msg="the host's devices cannot be listened to: %s" % error)


def _read_fdb(devices: List[str]) -> Dict[str, List[List[Optional[str]]]]:
    host = Host()
    try:
        entries = Fdb().read(host, FdbSpec(), set(devices)).values()
    finally:
        host.session.close()
    return {device: [[entry.mac, entry.dst] for entry in entries if entry.device == device] for device in devices}


if __name__ == "__main__":
    main()
