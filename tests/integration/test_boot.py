# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The boot script makes what overlay_host makes, without it: in a bare namespace, by iproute2 and nft alone."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from labs import Namespace

from ansible_collections.agentless.overlay.plugins.module_utils import _module
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _boot

PEERS = range(2, 300)
LINKS: dict[str, dict[str, Any]] = {
    "as planned": {"local": "10.1.1.1", "learning": False},
    "every option": {
        **{
            "local": "10.1.1.1",
            "dev": "lo",
            "learning": True,
            "ttl": 7,
            "tos": 184,
            "df": "set",
            "ageing": 60,
            "udpcsum": False,
        },
        **{"maxaddress": 5000, "srcport_min": 40000, "srcport_max": 50000, "udp6zerocsumtx": True, "udp6zerocsumrx": True},
        **{"gbp": True, "udpcsum": False, "proxy": True, "rsc": True, "l2miss": True, "l3miss": True},
    },
    "point to point": {"local": "10.1.1.1", "remote": "10.1.1.2", "port": 8472},
    "multicast": {"local": "10.1.1.1", "group": "239.1.1.1", "dev": "eth0", "learning": True},
    "over IPv6": {"local": "fd65::1", "flowlabel": 5, "ttl_inherit": True},
    "port of a bridge": {"local": "10.1.1.1", "master": "br.88", "neigh_suppress": True, "learning": True},
}


def sections(link: dict[str, Any], namespace: str) -> dict[str, Any]:
    device = {"name": "vx", "vni": 88, "mac": "02:00:00:00:00:01", "mtu": 1400, "alias": "agentless.overlay:it's", "up": True}
    six = ":" in link["local"]
    macs = {n: f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}" for n in PEERS}
    return {
        "sysctl": [{"name": "net.ipv4.ip_forward", "value": "1"}],
        "vxlan_link": [{"entries": [{**device, "addresses": ["10.88.1.0/32", "fd00:88::/128"], **link}], "purge": True}],
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
                "entries": [{"mac": macs[n], "dst": f"fd65::1:{n:x}" if six else f"10.1.{n >> 8}.{n & 255}"} for n in PEERS]
                + [
                    {"mac": "00:00:00:00:00:00", "dst": f"fd65::{n}" if six else f"10.1.1.{n}"}
                    for n in (2, 3)
                    if not {"remote", "group"} & set(link)
                ],
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
                ]
                + [{"dst": "fd00:88:1::/64", "gateway": "fd00:88:1::", "device": "vx", "onlink": True}],
                "purge": True,
            }
        ],
        "bridge": [
            {
                "name": "br.88",
                "mac": "02:00:00:00:00:07",
                "mtu": 1400,
                "alias": "agentless.overlay:b",
                "addresses": ["10.9.0.1/16"],
            }
        ],
        "sandbox": [
            {
                "name": f"{namespace}-c",
                "network": "b",
                "bridge": "br.88",
                "address": "10.9.0.2/16",
                "gateway": "10.9.0.1",
                "mtu": 1400,
            }
        ],
        "firewall": [
            {
                **{"network": "demo", "devices": ["vx"]},
                "cidrs": ["10.88.0.0/16", "fd00:88::/48"],
                "leases": ["10.88.1.0/24", "fd00:88::/64"],
                "tunnels": [{"vni": 88, "port": 4789}],
                "vteps": [f"fd65::1:{n:x}" if six else f"10.1.{n >> 8}.{n & 255}" for n in PEERS],
            },
            {"network": "b", "cidrs": ["10.9.0.0/16"], "bridge": "br.88", "publish": [{"port": 9091, "to": "10.9.0.2:80"}]},
        ],
    }


def everything(namespace: Namespace) -> list[str]:
    # A table that is replaced comes after the others, a bridge's timers run, and what is learnt comes with packets.
    said = namespace.sh("ip -d link show dev vx; ip neigh; bridge fdb show dev vx; ip route; ip -6 route; nft -s list ruleset")
    kept = re.sub(r"\S+_timer +\S+|^[0-9a-f:]{17} (?:dst \S+ self|master \S+) *$", "", said, flags=re.M)
    return sorted(line for line in kept.splitlines() if line)


@pytest.mark.parametrize("name", LINKS)
def test_the_script_makes_what_the_module_wants(namespace: Namespace, name: str) -> None:
    wanted = sections(LINKS[name], namespace.name)
    options, problems = _module._check_sections(wanted)
    assert problems == []
    script = _boot.make_boot_script(options)
    namespace.sh("ip address add 10.1.1.1/24 dev lo; ip link add eth0 type veth peer name eth1; ip link set eth0 up")
    began = time.monotonic()
    namespace.shell(script)
    print(f"{len(PEERS)} peers: {time.monotonic() - began:.2f} s")
    found = namespace.module("overlay_host", check=True, **wanted)
    assert found["operations"] == [], found["operations"]
    before = everything(namespace)
    # On a host that has it all it changes nothing, and stumbles over nothing.
    namespace.shell(script)
    assert everything(namespace) == before
    namespace.module("overlay_host", sandbox=[], bridge=[])
    assert f"{namespace.name}-c" not in namespace.sh("ip netns list")


def test_a_script_that_fails_in_part_says_so_and_does_the_rest(namespace: Namespace) -> None:
    wanted = sections(LINKS["as planned"], namespace.name)
    options, _problems = _module._check_sections(wanted)
    # A device in the way, of another kind.
    namespace.sh("ip link add vx type bridge")
    with pytest.raises(AssertionError, match="exit code 1"):
        namespace.shell(_boot.make_boot_script(options))
    assert "vteps_88" in namespace.sh("nft list table inet agentless_overlay")


def test_a_script_that_the_next_boot_could_not_use_is_refused(namespace: Namespace, tmp_path: Path) -> None:
    """Also where the device is there already, so that nothing of the script would run on the host."""
    # With an /etc of its own, where the script would be.
    mount = f"mount -t tmpfs tmpfs {tmp_path}; mkdir {tmp_path}/u {tmp_path}/w; "
    mount += f"mount -t overlay -o lowerdir=/etc,upperdir={tmp_path}/u,workdir={tmp_path}/w overlay /etc"
    etc = ("unshare", "--mount", "sh", "-ec", f'{mount}; exec "$@"', "sh")
    link = {"name": "vx", "vni": 88, "up": True, "alias": "agentless.overlay:n"}
    namespace.module("overlay_host", vxlan_link=[link])
    before = everything(namespace)
    for check in (True, False):
        # No device may have a group's MAC, which only the kernel says.
        options: dict[str, Any] = {"vxlan_link": [{**link, "mac": "01:00:00:00:00:01"}], "boot": [{}]}
        said = namespace.module("overlay_host", check=check, fails=True, wrapper=etc, **options)["msg"]
        assert "boot: " in said and "address is not unicast" in said and "Nothing was changed" in said
    assert everything(namespace) == before
    # What it can use is not refused, with an underlay that a namespace has not.
    namespace.sh("ip link add eth9 type bridge; ip link set eth9 up; ip address add 10.1.1.1/24 dev eth9")
    route = {"dst": "10.88.2.0/24", "gateway": "10.1.1.2"}
    options = {"vxlan_link": [{**link, "dev": "eth9", "tos": 184}], "route_entry": [{"entries": [route]}], "boot": [{}]}
    assert namespace.module("overlay_host", wrapper=etc, **options)["changed"]
    assert "tos 0xb8" in namespace.sh("ip -d link show vx")
