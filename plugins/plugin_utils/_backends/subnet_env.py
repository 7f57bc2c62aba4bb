# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file by which flannel tells container runtimes of a host's lease, in its words. Pure. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress

from ansible_collections.agentless.overlay.plugins.module_utils._marks import FILE_HEAD, SUBNET_ENV
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Member, version_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Network
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import Part

_WORDS = {4: "FLANNEL", 6: "FLANNEL_IPV6"}


def list_runtime_addresses(own: Member) -> list[str]:
    """The first address of each lease, which a runtime's bridge gets."""
    return [f"{ipaddress.ip_network(lease.subnet)[1]}/{lease.subnet.partition('/')[2]}" for lease in own.leases]


def add_subnet_env(part: Part, network: Network, own: Member) -> None:
    lines = [
        f"{_WORDS[version_of(cidr)]}_NETWORK={cidr}\n{_WORDS[version_of(cidr)]}_SUBNET={address}\n"
        for cidr, address in zip(network.cidrs, list_runtime_addresses(own))
    ]
    content = FILE_HEAD + "".join(lines) + f"FLANNEL_MTU={network.mtu}\nFLANNEL_IPMASQ=true\n"
    part.add("files", {"path": SUBNET_ENV, "content": content})
