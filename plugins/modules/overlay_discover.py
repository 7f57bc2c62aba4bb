#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_discover
short_description: Ask a host for its addresses and its ways to other hosts
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Tells the host's addresses with their devices and MTUs, by what its packets to other hosts go as its kernel says, and what
    Docker runs on it. Addresses of containers' networks, of Docker and of overlays are left out.
  - Needs the program C(ip) only, so that it can be asked before anything is installed.
  - Changes nothing. Sends pings where O(pings) is given.
extends_documentation_fragment: [agentless.overlay.reading]
options:
  targets:
    description: Addresses of other hosts, to which the ways are told.
    type: list
    elements: str
    default: []
  pings:
    description:
      - Other hosts to ping, small and at full size with DF set. Then it is told who answers, with which MAC on the host's own
        device, and the largest packet that does. Docker is not asked.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: How the host is called.
        type: str
        required: true
      address:
        description: Its address.
        type: str
        required: true
      mtu:
        description: The size of the large packet in bytes, IP header included; at most what this host's device takes.
        type: int
        default: 1500
  wait:
    description: How many seconds to wait for an answer.
    type: float
    default: 1
  socket:
    description: Docker's API socket.
    type: path
    default: /var/run/docker.sock
"""

EXAMPLES = r"""
- name: Ask for the way to another host
  agentless.overlay.overlay_discover:
    targets: [192.168.65.4]
"""

RETURN = r"""
addresses:
  description: The host's own addresses. Those that are C(lasting) have neither been rented nor drawn.
  type: list
  elements: dict
  returned: success
  sample: [{address: 192.168.65.3, prefix: 24, device: eth0, mtu: 1500, mac: "02:4c:c0:a8:41:03", lasting: true}]
ways:
  description: By address by what the host's packets go there; C(mtu) is that of the path, where the kernel has learnt it, or 0.
  type: dict
  returned: success
  sample: {192.168.65.4: {kind: unicast, device: eth0, gateway: "", source: 192.168.65.3, mtu: 0}}
pings:
  description: The same of what was pinged, with what came of it.
  type: dict
  returned: success
  sample:
    192.168.65.4: {kind: unicast, device: eth0, gateway: "", source: 192.168.65.3, mtu: 0, answers: true, largest: 1500,
                   mac: "02:4c:c0:a8:41:04", said: ""}
docker:
  description: Whether Docker is installed, its version where it runs, and its running containers.
  type: dict
  returned: without O(pings)
  sample: {installed: true, version: 28.5.2, containers: [web], networks: [172.17.0.0/16], said: ""}
"""

import ipaddress
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._looking._discover import (
    inspect_engine,
    ping_others,
    query_ways,
    read_own_addresses,
)


def main() -> None:
    ping = {
        "name": {"type": "str", "required": True},
        "address": {"type": "str", "required": True},
        "mtu": {"type": "int", "default": 1500},
    }
    module = AnsibleModule(
        argument_spec={
            "targets": {"type": "list", "elements": "str", "default": []},
            "pings": {"type": "list", "elements": "dict", "default": [], "options": ping},
            "wait": {"type": "float", "default": 1},
            "socket": {"type": "path", "default": _docker_api.SOCKET},
        },
        supports_check_mode=True,
    )
    params = module.params
    if module.get_bin_path("ip") is None:
        module.fail_json(msg="The program ip is missing. Install iproute2 (Fedora: iproute)")

    def run(command: List[str], data: str) -> str:
        return str(module.run_command(command, data=data)[1])

    docker: Dict[str, Any] = {} if params["pings"] else inspect_engine(params["socket"])
    try:
        addresses = read_own_addresses(run, [ipaddress.ip_network(one) for one in docker.get("networks", ())])
        sizes = {one["device"]: one["mtu"] for one in read_own_addresses(run)}
        pings = ping_others(run, params["pings"], sizes, params["wait"]) if params["pings"] else {}
    except OSError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=False,
        addresses=addresses,
        ways=query_ways(run, params["targets"]),
        pings=pings,
        docker=docker,
        # Hundreds of targets need not come back.
        invocation={"module_args": {**params, "targets": len(params["targets"]), "pings": len(params["pings"])}},
    )


if __name__ == "__main__":
    main()
