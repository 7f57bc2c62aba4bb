#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_containers
short_description: Start again the containers that ran before Docker was restarted
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Starts those of the given containers that do not run. One that needs another to run (C(--link), C(--network container:NAME))
    is tried again after the others, until no more of them starts.
  - One that cannot be started does not keep the others from it; the answer says why.
attributes:
  check_mode:
    description: Can run in C(check_mode) and predict changes without making them.
    support: full
  diff_mode:
    description: Shows no difference; the answer names the containers.
    support: none
  idempotent:
    description: A second run starts nothing.
    support: full
options:
  names:
    description: The containers, by their own names.
    type: list
    elements: str
    required: true
  paused:
    description: Those of them that are paused again once they run.
    type: list
    elements: str
    default: []
  socket:
    description: The socket of Docker's API.
    type: path
    default: /var/run/docker.sock
"""

EXAMPLES = r"""
- name: Start again what ran before
  agentless.overlay.overlay_containers:
    names: [db, web]
    paused: [db]
"""

RETURN = r"""
started:
  description: The containers that were started, in that order.
  type: list
  elements: str
  returned: success
  sample: [db, web]
paused:
  description: The containers that were paused again.
  type: list
  elements: str
  returned: success
  sample: [db]
failed_containers:
  description: By name, why a container does not run, or is not paused, as before.
  type: dict
  returned: success
  sample: {}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _containers, _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "paused": {"type": "list", "elements": "str", "default": []},
            "socket": {"type": "path", "default": _docker_api.SOCKET},
        },
        supports_check_mode=True,
    )
    asked = module.params
    try:
        found = _containers.start_again(asked["names"], asked["paused"], asked["socket"], module.check_mode)
    except (OverlayError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(found["started"] or found["paused"]),
        started=found["started"],
        paused=found["paused"],
        failed_containers=found["failed"],
    )


if __name__ == "__main__":
    main()
