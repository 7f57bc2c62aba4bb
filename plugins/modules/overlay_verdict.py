#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_verdict
short_description: Fail a host for what was found on it, or count it as unreachable
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Lets C(ansible-playbook) end with an exit code that pipelines can tell apart. 2 where something was found on a host, 4 where
    a host or the inventory could not be looked at, whatever was found on others, 0 where neither happened.
extends_documentation_fragment: [agentless.overlay.reading]
options:
  found:
    description: What was found; the host fails with it.
    type: str
    default: ""
  unknown:
    description: Why nothing is known; the host counts as unreachable. Goes before O(found).
    type: str
    default: ""
  in_step:
    description:
      - Whether what follows puts together what the hosts of the play say, each having done what comes before. By a strategy
        that lets no host wait for another (V(free), V(host_pinned)) that cannot be, and the host counts as unreachable.
    type: bool
    default: false
notes:
  - This is an action plugin.
"""

EXAMPLES = r"""
- name: Drift is exit code 2
  agentless.overlay.overlay_verdict:
    found: "{{ overlay_drift.verdicts[inventory_hostname] | default('') }}"
"""

RETURN = r"""
msg:
  description: What was found, or why nothing is known.
  type: str
  returned: failure
  sample: "1 difference from the plan: missing route_entry: 10.88.87.0/24"
"""
