#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_tables
short_description: Read the live tables that decide where a packet goes on a host
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Reads devices, addresses, neighbours, FDB, firewall rules and settings with the host's own programs, C(ip), C(bridge),
    C(iptables-save), C(ip6tables-save) and C(nft), asks the kernel for the routes of given packets, and looks into the network
    namespace of a container.
  - Changes nothing, and sends nothing.
extends_documentation_fragment: [agentless.overlay.reading]
options:
  routes:
    description: Packets whose route to ask for.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: How to call it in the result.
        type: str
        required: true
      to:
        description: Where it goes.
        type: str
        required: true
      from:
        description: Where it is from. Without it, the kernel chooses.
        type: str
      device:
        description: The device that it comes in by, of one that is forwarded.
        type: str
      container:
        description: Whether the container sends it, in place of the host.
        type: bool
        default: false
  container:
    description: The container to look into.
    type: str
  socket:
    description: Docker's API socket.
    type: path
    default: /var/run/docker.sock
"""

EXAMPLES = r"""
- name: Where would this host send a packet of its container
  agentless.overlay.overlay_tables:
    container: web
    routes:
      - {name: far, to: 10.88.87.2, from: 10.88.50.2, device: docker0}
"""

RETURN = r"""
tables:
  description: What the programs say, as they say it; C(routes) by name, each with C(error) where there is none.
  type: dict
  returned: success
  sample: {routes: {far: {dst: 10.88.87.2, gateway: 10.88.87.0, dev: vxlan.88}}, links: [], neigh: [], fdb: [], iptables: ""}
"""

import json
import os
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError

_SETTINGS = (
    *("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"),
    *("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"),
)


def main() -> None:
    route = {
        "name": {"type": "str", "required": True},
        "to": {"type": "str", "required": True},
        "from": {"type": "str"},
        "device": {"type": "str"},
        "container": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            "routes": {"type": "list", "elements": "dict", "default": [], "options": route},
            "container": {"type": "str"},
            "socket": {"type": "path", "default": _docker_api.SOCKET},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C", "LANGUAGE": "C"}
    inside: List[str] = []
    if module.params["container"]:
        try:
            pid = _docker_api.find_container_process(module.params["container"], module.params["socket"])
        except OverlayError as error:
            module.fail_json(msg=str(error))
        if pid:
            inside = ["nsenter", "--target=%s" % pid, "--net", "--"]
    tables: Dict[str, Any] = {
        "links": _run_json(module, ["ip", "-j", "-d", "link", "show"]),
        "addresses": _run_json(module, ["ip", "-j", "address", "show"]),
        "neigh": _run_json(module, ["ip", "-j", "neigh", "show"]),
        "fdb": _run_json(module, ["bridge", "-j", "fdb", "show"]),
        "nft": _run_json(module, ["nft", "-j", "list", "ruleset"]),
        "iptables": _run_text(module, ["iptables-save"]),
        "ip6tables": _run_text(module, ["ip6tables-save"]),
        "settings": {name: _read_kernel_setting(name) for name in _SETTINGS},
        "routes": {
            one["name"]: _query_route(module, one, inside) for one in module.params["routes"] if inside or not one["container"]
        },
        "container": {},
    }
    if inside:
        tables["container"] = {
            "links": _run_json(module, [*inside, "ip", "-j", "link", "show"]),
            "addresses": _run_json(module, [*inside, "ip", "-j", "address", "show"]),
        }
    module.exit_json(changed=False, tables=tables)


def _run_json(module: AnsibleModule, command: List[str]) -> Any:
    text = _run_text(module, command)
    return json.loads(text) if text.strip() else []


def _run_text(module: AnsibleModule, command: List[str]) -> str:
    """What a program says; nothing where there is no such program or it knows nothing."""
    try:
        code, out, _err = module.run_command(command, handle_exceptions=False)
    except OSError:
        return ""
    return str(out) if not code else ""


def _read_kernel_setting(name: str) -> str:
    path = os.path.join("/proc/sys", *name.split("."))
    if not os.path.exists(path):
        return ""
    with open(path) as handle:
        return handle.read().strip()


def _query_route(module: AnsibleModule, asked: Dict[str, Any], inside: List[str]) -> Dict[str, Any]:
    command = [*(inside if asked["container"] else []), "ip", "-j", "route", "get", asked["to"]]
    if asked["from"]:
        command += ["from", asked["from"]]
    if asked["device"]:
        command += ["iif", asked["device"]]
    code, out, err = module.run_command(command)
    if code:
        return {"error": (err or out).strip().replace("RTNETLINK answers: ", "")}
    return dict(json.loads(out)[0])


if __name__ == "__main__":
    main()
