# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters for the lab."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError

NETADDR_IMPORT_ERROR: ImportError | None = None
try:
    from netaddr import IPNetwork
except ImportError as error:
    NETADDR_IMPORT_ERROR = error


def lab_hosts(underlay: str, count: int) -> list[dict[str, str]]:
    """Names and addresses for a lab of a size; the third address is the first host's, as in the articles."""
    if NETADDR_IMPORT_ERROR is not None:
        raise AnsibleFilterError("lab_hosts needs netaddr on the controller") from NETADDR_IMPORT_ERROR
    network = IPNetwork(underlay)
    if network.size < count + 4:
        raise AnsibleFilterError(f"{underlay} has no room for {count} lab hosts; set lab_underlay to a larger network")
    return [{"name": f"docker{number + 1}", "address": f"{network[number + 3]}/{network.prefixlen}"} for number in range(count)]


class FilterModule:
    """Filters of agentless.overlay."""

    def filters(self) -> dict[str, Any]:
        return {"lab_hosts": lab_hosts}
