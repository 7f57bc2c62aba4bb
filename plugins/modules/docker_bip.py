#!/usr/bin/python
# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_bip
short_description: The lease in the configuration of Docker
version_added: 1.0.0
author: The agentless.overlay contributors (@agentless-overlay)
description:
  - Sets C(bip), C(mtu) and C(ip-masq) in C(daemon.json), and what the version of Docker needs beside them
    (C(allow-direct-routing) from 28.2). Keeps every other key, and the order of all.
  - Replaces the file in one step, after dockerd itself has judged the new one. Keeps beside it the file as it was before
    the first change (C(.before-overlay)), and until Docker has restarted the one it runs on (C(.overlay-undo)).
  - Takes the keys of IPv6 that it has set out again where O(bip6) is not given any more; what was there before comes back.
  - Leaves all else in the file letter by letter. Fails, and changes nothing, where somebody has changed it since it was read.
  - Refuses what answers in place of Docker (podman), Docker from a snap, and a rootless one.
  - Refuses a file that is not JSON or that dockerd would not start with, and a key that is also a command-line flag of dockerd.
  - Refuses C(fixed-cidr), C(fixed-cidr-v6), C(default-gateway) and C(default-gateway-v6) outside the lease, and another Docker
    network that has addresses of it.
  - Refuses Docker 28.0 and 28.1 (which drop what comes from the overlay, with no setting against it), Docker with its nftables
    backend, a dockerd that runs and does not listen on O(socket), and a new C(bip) while containers run, unless
    O(allow_renumber).
  - Shows in differences our keys only; what else is in the file may be secret.
  - Does not restart Docker, and starts none that is stopped. It tells whether a restart is needed, by comparing with what
    dockerd has in force.

extends_documentation_fragment:
  - agentless.overlay.engine
options:
  bip:
    description: The address of docker0 with the prefix length of the lease. Required where O(state=present).
    type: str
  bip6:
    description: The IPv6 address of docker0 with the prefix length of the lease, where containers shall have IPv6 as well.
    type: str
  mtu:
    description: The MTU of the default bridge in bytes.
    type: int
  ip_masq:
    description: Whether Docker masquerades; V(false) keeps the source address on the overlay.
    type: bool
  allow_renumber:
    description: Whether O(bip) may change while containers run.
    type: bool
    default: false
  defer:
    description:
      - Whether the file stays as it is where Docker has to restart for it. The answer tells so (C(restart_required)), and
        whoever restarts Docker calls again without O(defer), right before. So no host is left with a file that its Docker has
        never started on.
    type: bool
    default: false
  path:
    description: The configuration file of dockerd.
    type: path
    default: /etc/docker/daemon.json
  socket:
    description: The socket of Docker's API.
    type: path
    default: /var/run/docker.sock
  state:
    description:
      - Whether our keys shall be in the file. V(absent) puts back what they were before the first change, and does nothing
        where there never was one.
      - That takes two calls with a restart of Docker in between, where the file had no C(bip). Docker keeps the address that
        it finds on docker0, so that the first call gives it the former one, or one that is free where another Docker network
        has that by now. Where dockerd does not run nobody knows what is free. Then docker0 has to go (C(remove_bridge)) before
        it starts, so that it chooses itself.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: The lease for docker0
  agentless.overlay.docker_bip:
    bip: 10.88.50.1/24
    mtu: 1450
    ip_masq: false
"""

RETURN = r"""
operations:
  description: What was, or in check mode would be, done, in order.
  type: list
  elements: str
  returned: success
  sample: ["docker_bip: change /etc/docker/daemon.json"]
impact:
  description: The operations that drop packets, with which packets and until when.
  type: list
  elements: dict
  returned: success
  sample: []
counters:
  description: What it cost, by resource; whole dumps, single look-ups, batches of messages that write, and messages in them.
  type: dict
  returned: success
  sample: {}
docker_bip:
  description:
    - What Docker says of itself. C(containers) are those that run. Of them C(returning) are to be started again after a
      restart, C(auto_removed) are gone with it (C(--rm)) or in the network of one that is, and C(paused) were paused.
    - C(stale_addresses) are the IPv6 addresses that docker0 is to lose. Docker leaves them there, so that whoever restarts it
      removes them afterwards.
  type: dict
  returned: success
  sample:
    version: 28.5.2
    restart_required: true
    restart_reasons: ["docker0 has 172.17.0.1/16, not 10.88.50.1/24"]
    containers: [web, job]
    returning: [web]
    paused: []
    auto_removed: [job]
    live_restore: false
    remove_bridge: false
    stale_addresses: []
    path: /etc/docker/daemon.json
"""

from ansible_collections.agentless.overlay.plugins.module_utils._module import run_resource_module


def main() -> None:
    run_resource_module("docker_bip")


if __name__ == "__main__":
    main()
