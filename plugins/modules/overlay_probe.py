#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_probe
short_description: Ping over the overlay, from a host and from one of its containers
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Pings every target with a small packet and with the largest that fits the MTU, both with DF set, all at the same time and
    from one process.
  - Sends from the host, and from inside the network namespace of one running container on the target's Docker network,
    where there is one. The container needs no program for it.
  - Changes nothing.
extends_documentation_fragment: [agentless.overlay.reading]
options:
  targets:
    description: What to ping. With none, the module only tells which containers it would ping from.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: How to call it in the result.
        type: str
        required: true
      address:
        description: Its address.
        type: str
        required: true
      network:
        description: The Docker network whose container pings it as well.
        type: str
        default: bridge
      mtu:
        description: The size of the large packet in bytes, IP header included.
        type: int
        default: 1450
  networks:
    description: The Docker networks on which to look for a container; V(bridge) is the default one.
    type: list
    elements: str
    default: [bridge]
  wait:
    description: How many seconds to wait for an answer.
    type: float
    default: 2
  count:
    description:
      - How many pings of each size to send. Then also the largest size that passes is looked for where the large one does not,
        and the way that packets to each target take is told.
      - Without it, a ping is tried up to three times.
    type: int
  brief:
    description: Whether to leave out of the result the pings that were answered.
    type: bool
    default: false
  socket:
    description: Docker's API socket.
    type: path
    default: /var/run/docker.sock
"""

EXAMPLES = r"""
- name: Reach the other host's bridge
  agentless.overlay.overlay_probe:
    targets:
      - name: docker2
        address: 10.88.87.1
        mtu: 1450
"""

RETURN = r"""
containers:
  description: By Docker network, the container that the module pings from; none where none runs on it.
  type: dict
  returned: success
  sample: {bridge: {name: c1, addresses: [10.88.50.2]}}
running:
  description: By Docker network, all running containers with their addresses and MACs.
  type: dict
  returned: success
  sample: {bridge: [{name: c1, addresses: [10.88.50.2], mac: "02:42:0a:58:32:02"}]}
probes:
  description:
    - Every target with each of the two sizes. C(rtt) is the shortest round trip in milliseconds, C(largest) the largest size in
      bytes that passes, or 0.
  type: list
  elements: dict
  returned: success
  sample:
    - {source: host, target: docker2, address: 10.88.87.1, size: 1450, ok: true, said: "", sent: 3, received: 3, rtt: 0.081,
       largest: 1450}
answered:
  description: How many of the pings were answered.
  type: int
  returned: success
  sample: 4
ways:
  description: By address, how the host's own packets get there; with O(count).
  type: dict
  returned: success
  sample: {10.88.87.1: {device: vxlan.88, gateway: 10.88.87.0, mtu: 1450}}
"""

import fcntl
import socket
import struct
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError
from ansible_collections.agentless.overlay.plugins.module_utils._looking._probe import find_sources, ping_targets
from ansible_collections.agentless.overlay.plugins.module_utils._looking._targets import TARGET
from ansible_collections.agentless.overlay.plugins.module_utils._looking._ways import query_routes

_SIOCGIFMTU = 0x8921  # linux/sockios.h


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "targets": {"type": "list", "elements": "dict", "default": [], "options": TARGET},
            "networks": {"type": "list", "elements": "str", "default": ["bridge"]},
            "wait": {"type": "float", "default": 2},
            "count": {"type": "int"},
            "brief": {"type": "bool", "default": False},
            "socket": {"type": "path", "default": _docker_api.SOCKET},
        },
        supports_check_mode=True,
    )
    params = module.params
    targets: List[Dict[str, Any]] = params["targets"]
    try:
        found = find_sources(params["networks"], params["socket"])
        probes = ping_targets(targets, found, params["wait"], params["count"] or 0)
    except (OverlayError, OSError) as error:
        module.fail_json(msg=str(error))
    answered = sum(1 for one in probes if one["ok"])
    ways: Dict[str, Dict[str, Any]] = {}
    if params["count"]:
        ways = _find_ways(module, sorted({target["address"] for target in targets}))
    module.exit_json(
        changed=False,
        containers=found.containers,
        running=found.running,
        probes=[one for one in probes if not (params["brief"] and one["ok"])],
        answered=answered,
        ways=ways,
        # Thousands of targets need not come back.
        invocation={"module_args": {**params, "targets": len(targets)}},
    )


def _find_ways(module: AnsibleModule, addresses: List[str]) -> Dict[str, Dict[str, Any]]:
    """By address the device and the gateway that the host's own packets to it go by, and the device's MTU."""

    def run(command: List[str], data: str) -> str:
        return str(module.run_command(command, data=data)[1])

    found: Dict[str, Dict[str, Any]] = {address: {"device": "", "gateway": "", "mtu": 0} for address in addresses}
    for address, route in query_routes(run, addresses).items():
        if route.get("type", "unicast") == "unicast":
            device = route.get("dev", "")
            found[address] = {"device": device, "gateway": route.get("gateway", ""), "mtu": _query_mtu(device)}
    return found


def _query_mtu(device: str) -> int:
    """The MTU of a device of this network namespace, which /sys need not show."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16si", device.encode(), 0).ljust(40, b"\0")
        try:
            return int(struct.unpack_from("i", fcntl.ioctl(sock, _SIOCGIFMTU, request), 16)[0])
        except OSError:
            return 0


if __name__ == "__main__":
    main()
