# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The resources, a file each, and the one list of them. PRIVATE to the collection."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Resource
from ansible_collections.agentless.overlay.plugins.module_utils._resources._addresses import Addresses
from ansible_collections.agentless.overlay.plugins.module_utils._resources._boot import Boot
from ansible_collections.agentless.overlay.plugins.module_utils._resources._bridges import Bridges
from ansible_collections.agentless.overlay.plugins.module_utils._resources._daemon_json import DaemonJson
from ansible_collections.agentless.overlay.plugins.module_utils._resources._docker_networks import DockerNetworks
from ansible_collections.agentless.overlay.plugins.module_utils._resources._fdb import Fdb
from ansible_collections.agentless.overlay.plugins.module_utils._resources._files import Files
from ansible_collections.agentless.overlay.plugins.module_utils._resources._firewall import Firewall
from ansible_collections.agentless.overlay.plugins.module_utils._resources._links import Links
from ansible_collections.agentless.overlay.plugins.module_utils._resources._managers import Managers
from ansible_collections.agentless.overlay.plugins.module_utils._resources._neighbours import Neighbours
from ansible_collections.agentless.overlay.plugins.module_utils._resources._nexthops import Nexthops
from ansible_collections.agentless.overlay.plugins.module_utils._resources._routes import Routes
from ansible_collections.agentless.overlay.plugins.module_utils._resources._sandboxes import Sandboxes
from ansible_collections.agentless.overlay.plugins.module_utils._resources._sysctls import Sysctls
from ansible_collections.agentless.overlay.plugins.module_utils._resources._units import Units

# Additions and changes go in this order, removals the other way round (_engine/_transaction.py). Sections of options, names in
# reports and the boot script follow it too.
ORDER: Tuple[Resource[Any], ...] = (
    Sysctls(),
    Managers(),
    Firewall(),
    Bridges(),
    Links(),
    Addresses(),
    Neighbours(),
    Fdb(),
    Nexthops(),
    Routes(),
    Sandboxes(),
    Files(),
    Units(),
    Boot(),
    DaemonJson(),
    DockerNetworks(),
)
# Each section of options, with the resource that gives its argument spec.
BY_SECTION: Dict[str, Resource[Any]] = {one.section: one for one in ORDER if one.options is not None}
