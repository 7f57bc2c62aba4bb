# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the releases of pyroute2 that distributions package, and the newest, have no name for."""

from __future__ import annotations

from typing import Any

import pytest
from labs import Namespace
from test_modules import LINK
from test_nexthops import VERSIONS

# 0.5.14 knows none of them, 0.8.1 not the last one.
FLAGS = ("neigh_suppress", "isolated", "locked")


def flags(namespace: Namespace) -> dict[str, Any]:
    found: dict[str, Any] = namespace.json("bridge -j -d link show dev vx")[0]
    # What it is in, the bridge decides a moment later.
    return {name: value for name, value in found.items() if name != "state"}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_port_that_is_made_anew_keeps_what_was_set_on_it(namespace: Namespace, version: str) -> None:
    namespace.converge("vxlan_link", version, **LINK, alias="agentless.overlay:x")
    namespace.sh("ip link add br.7 type bridge; ip link set br.7 up; ip link set vx master br.7")
    namespace.sh(f"bridge link set dev vx {' on '.join(FLAGS)} on")
    before = flags(namespace)
    assert [before[name] for name in FLAGS] == [True] * len(FLAGS), before
    # Of a device of ours the wish has to name what it is to stay: its bridge, and what of a port is an option.
    wish = {**LINK, "port": 4790, "master": "br.7", "neigh_suppress": True}
    done = namespace.converge("vxlan_link", version, **wish, alias="agentless.overlay:x")
    assert done["operations"][0].startswith("vxlan_link: re-create vx"), done["operations"]
    assert flags(namespace) == before
