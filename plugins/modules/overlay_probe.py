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
  - Pings every target with a small packet and with the largest that fits the MTU, both with DF set, all at the same time.
  - Sends from the host, and from inside the network namespace of one running container on the target's Docker network,
    where there is one. The container needs no program for it; the host's own C(ping) is used.
  - Changes nothing.
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
    description: How many seconds to wait for an answer; a ping is tried three times.
    type: int
    default: 2
  socket:
    description: Docker's API socket.
    type: path
    default: /var/run/docker.sock
attributes:
  check_mode:
    description: Can run in C(check_mode) and predict changes without making them.
    support: full
  diff_mode:
    description: It changes nothing.
    support: none
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
  description: Every ping.
  type: list
  elements: dict
  returned: success
  sample:
    - {source: host, target: docker2, address: 10.88.87.1, size: 1450, ok: true, said: ""}
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Tuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.agentless.overlay.plugins.module_utils import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._resource import OverlayError

SMALL = {4: 84, 6: 104}  # bytes: what ping sends by itself, headers included
HEADERS = {4: 28, 6: 48}  # bytes: IPv4 20 or IPv6 40, ICMP 8


def main() -> None:
    target = {
        "name": {"type": "str", "required": True},
        "address": {"type": "str", "required": True},
        "network": {"type": "str", "default": "bridge"},
        "mtu": {"type": "int", "default": 1450},
    }
    module = AnsibleModule(
        argument_spec={
            "targets": {"type": "list", "elements": "dict", "default": [], "options": target},
            "networks": {"type": "list", "elements": "str", "default": ["bridge"]},
            "wait": {"type": "int", "default": 2},
            "socket": {"type": "path", "default": _docker_api.SOCKET},
        },
        supports_check_mode=True,
    )
    ping = module.get_bin_path("ping", required=True)
    containers: Dict[str, Dict[str, Any]] = {}
    running: List[_docker_api.Container] = []
    inside: Dict[str, List[str]] = {}
    try:
        running = _docker_api.running_containers(module.params["socket"])
        for network in module.params["networks"]:
            found = next((one for one in running if network in one.addresses), None)
            pid = _docker_api.process_of(found.name, module.params["socket"]) if found else None
            if found and pid:
                containers[network] = {"name": found.name, "addresses": found.addresses[network]}
                inside[network] = ["nsenter", "--target=%s" % pid, "--net", "--"]
    except OverlayError as error:
        module.fail_json(msg=str(error))

    def probe(job: Tuple[str, Dict[str, Any], int]) -> Dict[str, Any]:
        source, target, size = job
        payload = size - HEADERS[6 if ":" in target["address"] else 4]
        args = [ping, "-n", "-q", "-M", "do", "-c", "1", "-W", str(module.params["wait"]), "-s", str(payload)]
        prefix = inside[target["network"]] if source == "container" else []
        for attempt in range(3):
            began = time.monotonic()
            code, out, err = module.run_command(prefix + args + [target["address"]])
            if not code:
                break
            # An error comes at once where the far Docker restarts: it is to have as long as a lost packet.
            if attempt < 2:
                time.sleep(max(0.0, began + module.params["wait"] - time.monotonic()))
        said = "" if not code else (err.strip() or out.strip().splitlines()[-1])
        return dict(source=source, target=target["name"], address=target["address"], size=size, ok=not code, said=said)

    jobs = [
        (source, target, size)
        for target in module.params["targets"]
        for source in (["host", "container"] if target["network"] in inside else ["host"])
        for size in (SMALL[6 if ":" in target["address"] else 4], target["mtu"])
    ]
    with ThreadPoolExecutor(max_workers=64) as pool:
        probes = list(pool.map(probe, jobs))
    everything = {
        network: [
            {"name": one.name, "addresses": one.addresses[network], "mac": one.macs[network]}
            for one in running
            if network in one.addresses
        ]
        for network in module.params["networks"]
    }
    module.exit_json(changed=False, containers=containers, running=everything, probes=probes)


if __name__ == "__main__":
    main()
