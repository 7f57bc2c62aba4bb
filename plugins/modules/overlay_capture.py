#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_capture
short_description: Catch encapsulated packets on the underlay
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Runs C(tcpdump) on the device that leads to the peer, and returns what the packets of one VNI carry, outside and inside.
  - With O(ping), it also sends the packets that are to be caught.
  - Changes nothing.
extends_documentation_fragment: [agentless.overlay.reading]
options:
  peer:
    description: The underlay address of the other host.
    type: str
    required: true
  port:
    description: The UDP port of the network.
    type: int
    default: 4789
  vni:
    description: The VNI of the network.
    type: int
    required: true
  ping:
    description: An address to ping meanwhile.
    type: str
  container:
    description: The container from whose network namespace the ping is sent. Without it, the host sends.
    type: str
  seconds:
    description: How long to look.
    type: int
    default: 6
  socket:
    description: Docker's API socket.
    type: path
    default: /var/run/docker.sock
"""

EXAMPLES = r"""
- name: Look at what docker2 gets from docker1
  agentless.overlay.overlay_capture:
    peer: 192.168.65.3
    vni: 88
"""

RETURN = r"""
device:
  description: The underlay device.
  type: str
  returned: success
  sample: eth0
packets:
  description: The packets, each from the outside in.
  type: list
  elements: dict
  returned: success
  sample:
    - outer_mac: [02:4c:c0:a8:41:03, 02:4c:c0:a8:41:04]
      outer_address: [192.168.65.3, 192.168.65.4]
      udp_port: [36154, 4789]
      vni: 88
      inner_mac: [c6:88:e3:6e:57:75, 1a:5e:0b:2c:5f:d0]
      inner_address: [10.88.50.2, 10.88.87.2]
      what: ICMP echo request, id 7, seq 1, length 64
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError
from ansible_collections.agentless.overlay.plugins.module_utils._looking._capture import make_capture_filter, parse_tcpdump


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "peer": {"type": "str", "required": True},
            "port": {"type": "int", "default": 4789},
            "vni": {"type": "int", "required": True},
            "ping": {"type": "str"},
            "container": {"type": "str"},
            "seconds": {"type": "int", "default": 6},
            "socket": {"type": "path", "default": _docker_api.SOCKET},
        },
        supports_check_mode=True,
    )
    options: Dict[str, Any] = module.params
    tcpdump = module.get_bin_path("tcpdump")
    if tcpdump is None:
        module.fail_json(
            msg="tcpdump is missing on this host; install the package tcpdump (Debian, Fedora, SUSE: the same name)"
        )
    route = module.run_command(["ip", "-o", "route", "get", options["peer"]], check_rc=True)[1].split()
    device = route[route.index("dev") + 1]
    command = ["timeout", str(options["seconds"]), tcpdump, "-i", device, "-n", "-e", "-l", "-c", "20", "-T", "vxlan"]
    command.append(make_capture_filter(options["peer"], options["port"], options["vni"]))
    with ThreadPoolExecutor(max_workers=1) as pool:
        capture = pool.submit(module.run_command, command, environ_update={"LC_ALL": "C", "TZ": "UTC"})
        if options["ping"]:
            _ping_peer(module, options)
        _code, out, err = capture.result()
    packets: List[Dict[str, Any]] = parse_tcpdump(out)
    if not packets and "listening on" not in err:
        module.fail_json(msg="tcpdump: %s" % err.strip())
    module.exit_json(changed=False, device=device, packets=packets)


def _ping_peer(module: AnsibleModule, options: Dict[str, Any]) -> None:
    prefix: List[str] = []
    if options["container"]:
        try:
            pid = _docker_api.find_container_process(options["container"], options["socket"])
        except OverlayError as error:
            module.fail_json(msg=str(error))
        prefix = ["nsenter", "--target=%s" % pid, "--net", "--"]
    # The far end starts to look at about the same time; one of several packets is seen on both ends.
    time.sleep(1)
    count = max(1, (options["seconds"] - 2) * 2)
    module.run_command([*prefix, "ping", "-n", "-q", "-c", str(count), "-i", "0.5", "-W", "1", options["ping"]])


if __name__ == "__main__":
    main()
