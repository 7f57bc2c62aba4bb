# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""By what a host's own packets go, as the kernel says. PRIVATE to the collection."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Sequence

# A program's arguments and its standard input; gives what it says.
Run = Callable[[List[str], str], str]


def query_routes(run: Run, addresses: Sequence[str]) -> Dict[str, Dict[str, Any]]:
    """By address the route there, as C(ip) tells it; nothing where there is none."""
    if not addresses:
        # Without a line of input ip would read what the module itself was given: from a terminal, for ever.
        return {}
    # One process for all, which goes on where there is no route to one of them.
    out = run(["ip", "-json", "-force", "-batch", "-"], "".join("route get %s\n" % address for address in addresses))
    found: Dict[str, Dict[str, Any]] = {}
    decoder, position = json.JSONDecoder(), 0
    while "[" in out[position:]:
        routes, position = decoder.raw_decode(out, out.index("[", position))
        found.update({route["dst"]: route for route in routes if route.get("dst") in addresses})
    return found
