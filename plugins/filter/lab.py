# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters for the lab."""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible.errors import AnsibleFilterError


def lab_hosts(underlay: str, count: int) -> list[dict[str, str]]:
    """Names and addresses for a lab of a size; the third address is the first host's, as in the articles."""
    network = ipaddress.ip_network(underlay, strict=False)
    if network.num_addresses < count + 4:
        raise AnsibleFilterError(f"{underlay} has no room for {count} lab hosts; set lab_underlay to a larger network")
    return [{"name": f"docker{number + 1}", "address": f"{network[number + 3]}/{network.prefixlen}"} for number in range(count)]


class FilterModule:
    """Filters of agentless.overlay."""

    def filters(self) -> dict[str, Any]:
        return {"lab_hosts": lab_hosts}
