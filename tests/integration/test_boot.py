# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The boot script makes what overlay_host makes, without it: in a bare namespace, by iproute2 and nft alone."""

from __future__ import annotations

import time
from typing import Any

import pytest
from labs import Namespace

from ansible_collections.agentless.overlay.plugins.module_utils import _boot, _module

PEERS = range(2, 300)
LINKS: dict[str, dict[str, Any]] = {
    "as planned": {"local": "10.1.1.1", "learning": False},
    "every option": {
        **{"local": "10.1.1.1", "dev": "lo", "learning": True, "ttl": 7, "tos": 8, "df": "set", "ageing": 60, "udpcsum": False}
    },
    "point to point": {"local": "10.1.1.1", "remote": "10.1.1.2", "port": 8472},
}


def sections(link: dict[str, Any]) -> dict[str, Any]:
    device = {"name": "vx", "vni": 88, "mac": "02:00:00:00:00:01", "mtu": 1400, "alias": "agentless.overlay:it's", "up": True}
    macs = {n: f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}" for n in PEERS}
    return {
        "sysctl": [{"name": "net.ipv4.ip_forward", "value": "1"}],
        "vxlan_link": [{"entries": [{**device, "addresses": ["10.88.1.0/32"], **link}], "purge": True}],
        "neigh_entry": [
            {
                "device": "vx",
                "entries": [{"dst": f"10.{100 + (n >> 8)}.{n & 255}.0", "lladdr": macs[n]} for n in PEERS],
                "purge": True,
            }
        ],
        "fdb_entry": [
            {
                "device": "vx",
                # Two destinations of one MAC, for head-end replication.
                "entries": [{"mac": macs[n], "dst": f"10.1.{n >> 8}.{n & 255}"} for n in PEERS]
                + [{"mac": "00:00:00:00:00:00", "dst": f"10.1.1.{n}"} for n in (2, 3) if "remote" not in link],
            }
        ],
        "route_entry": [
            {
                "entries": [
                    {
                        "dst": f"10.{100 + (n >> 8)}.{n & 255}.0/24",
                        "gateway": f"10.{100 + (n >> 8)}.{n & 255}.0",
                        "device": "vx",
                        "onlink": True,
                    }
                    for n in PEERS
                ],
                "purge": True,
            }
        ],
        "firewall": [
            {
                **{"network": "demo", "cidr": "10.88.0.0/16", "lease": "10.88.1.0/24", "device": "vx", "vni": 88, "port": 4789},
                "vteps": [f"10.1.{n >> 8}.{n & 255}" for n in PEERS],
            }
        ],
    }


def everything(namespace: Namespace) -> list[str]:
    # A table that is replaced comes after the others.
    return sorted(
        namespace.sh("ip -d link show vx; ip neigh; bridge fdb show dev vx; ip route; nft -s list ruleset").splitlines()
    )


@pytest.mark.parametrize("name", LINKS)
def test_the_script_makes_what_the_module_wants(namespace: Namespace, name: str) -> None:
    wanted = sections(LINKS[name])
    options, problems = _module._validated(wanted)
    assert problems == []
    script = _boot.script(options)
    namespace.sh("ip address add 10.1.1.1/24 dev lo")
    began = time.monotonic()
    namespace.shell(script)
    print(f"{len(PEERS)} peers: {time.monotonic() - began:.2f} s")
    found = namespace.module("overlay_host", check=True, **wanted)
    assert found["operations"] == [], found["operations"]
    before = everything(namespace)
    # On a host that has it all it changes nothing, and stumbles over nothing.
    namespace.shell(script)
    assert everything(namespace) == before


def test_a_script_that_fails_in_part_says_so_and_does_the_rest(namespace: Namespace) -> None:
    wanted = sections(LINKS["as planned"])
    options, _problems = _module._validated(wanted)
    # A device in the way, of another kind.
    namespace.sh("ip link add vx type bridge")
    with pytest.raises(AssertionError, match="exit code 1"):
        namespace.shell(_boot.script(options))
    assert "vteps_88" in namespace.sh("nft list table ip agentless_overlay")
