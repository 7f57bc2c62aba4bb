# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each resource's lines of the boot script; no kernel, no file."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.module_utils import _module
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import Session
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Op
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _boot
from ansible_collections.agentless.overlay.plugins.module_utils._resources._bridges import Bridge, Bridges
from ansible_collections.agentless.overlay.plugins.module_utils._resources._files import File, Files
from ansible_collections.agentless.overlay.plugins.module_utils._resources._links import Links
from ansible_collections.agentless.overlay.plugins.module_utils._resources._vxlan import Link, list_option_names

# A value of each option that is not what the kernel begins with.
VALUES: dict[str, Any] = {
    **{"name": "vy", "vni": 7, "port": 8472, "local": "10.1.1.1", "remote": "10.1.1.2", "dev": "eth0", "learning": False},
    **{"ttl": 9, "ttl_inherit": True, "tos": 184, "df": "set", "flowlabel": 5, "ageing": 60, "maxaddress": 9},
    **{"srcport": (1, 2), "udpcsum": False, "udp6zerocsumtx": True, "udp6zerocsumrx": True, "gbp": True, "proxy": True},
    **{"rsc": True, "l2miss": True, "l3miss": True, "localbypass": False, "mac": "02:00:00:00:00:01", "mtu": 1400},
    **{"alias": "it's", "accept_ra": 0, "autoconf": 0, "master": "br", "neigh_suppress": True, "up": False},
}
# Options of the module that tell of others: which remote, which source ports, and what is on the device.
ELSEWHERE = {"group", "srcport_min", "srcport_max", "addresses", "state", "adopt"}


def test_no_option_of_a_device_is_forgotten() -> None:
    """What the module takes, the next boot sets too."""
    entry = _module.SPECS["vxlan_link"][0]["entries"]["options"]
    options = set(list_option_names())
    assert set(entry) - ELSEWHERE == options - {"srcport"} == set(VALUES) - {"srcport"}
    for option, value in VALUES.items():
        plain = Link("vx", vni=88)
        assert Links().shell([replace(plain, **{option: value})]) != Links().shell([plain]), option


def test_no_option_of_a_bridge_is_forgotten() -> None:
    plain = Bridge("br")
    for option in _module.SPECS["bridge"][0]:
        if option not in ("name", "addresses", "adopt"):
            assert Bridges().shell([replace(plain, **{option: VALUES[option]})]) != Bridges().shell([plain]), option


@pytest.mark.parametrize("tos", [0, 8, 16, 184, 255])
def test_a_tos_is_the_same_number_to_iproute2(tos: int) -> None:
    line = Links().shell([Link("vx", vni=88, tos=tos)])[0].split()
    assert int(line[line.index("tos") + 1], 16) == tos


@pytest.mark.parametrize("content", ["abc", "abc\n", "", "END\n", "it's $HOME `id` \\n %s\n\nEND"])
def test_a_file_is_written_as_it_is(tmp_path: Path, content: str) -> None:
    """Without a line end, and with a line that would end a here-document."""
    path = tmp_path / "folder/a file"
    lines = Files().shell([File("/run" + str(path), content, 0o640)])
    script = "\n".join(['try() { "$@"; }', *lines, "echo went on"]).replace("/run" + str(tmp_path), str(tmp_path))
    assert subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True).stdout == "went on\n"
    assert path.read_text() == content and path.stat().st_mode & 0o777 == 0o640


def test_a_kernel_without_localbypass_does_as_if_it_were_on() -> None:
    """Linux before 6.5 tells nothing of it: no difference for ever, and an iproute2 of that time is asked nothing."""
    found = Link("vx", vni=88)
    assert found.same(replace(found, localbypass=True)) and not found.same(replace(found, localbypass=False))
    assert "localbypass" not in "".join(Links().shell([replace(found, localbypass=True)]))


class Kernel(Session):
    """One that has no localbypass, and passes over it where it is set, as Linux before 6.5."""

    def write(self, messages: Any) -> dict[int, Any]:
        return {}

    def get(self, message: Any) -> Any:
        attrs = [("IFLA_INFO_KIND", "vxlan"), ("IFLA_INFO_DATA", {"attrs": [("IFLA_VXLAN_ID", 88)]})]
        return {"index": 7, "attrs": [("IFLA_IFNAME", "vx"), ("IFLA_LINKINFO", {"attrs": attrs})]}


@pytest.mark.parametrize("before", [None, Link("vx", vni=88)])
def test_localbypass_that_a_kernel_cannot_switch_off_is_refused(before: Any) -> None:
    host = Host(session=Kernel(), indexes={"vx": None})
    (failure,) = Links().apply(host, [Op("vxlan_link", before, Link("vx", vni=88, localbypass=False))])
    assert "Linux 6.5" in failure.reason and "Take localbypass out" in failure.reason


@pytest.mark.parametrize("nexthops", ["never", "always"])
def test_thousands_of_peers_are_no_more_programs_than_a_few(nexthops: str) -> None:
    """A process each would be minutes at boot."""

    def programs(peers: int) -> int:
        numbers = [f"10.{100 + (n >> 8)}.{n & 255}" for n in range(peers)]
        macs = [f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}" for n in range(peers)]
        routes = [{"dst": f"{n}.0/24", "gateway": f"{n}.0", "device": "vx", "onlink": True} for n in numbers]
        text = _boot.make_boot_script(
            {
                "vxlan_link": [{"name": "vx", "vni": 88, "addresses": ["10.99.1.0/32"]}],
                "neigh_entry": [{"device": "vx", "entries": [{"dst": f"{n}.0", "lladdr": m} for n, m in zip(numbers, macs)]}],
                "fdb_entry": [{"device": "vx", "entries": [{"mac": m, "dst": f"{n}.1"} for n, m in zip(numbers, macs)]}],
                "route_entry": [{"entries": routes, "nexthops": nexthops}],
            }
        )
        assert text.count("route replace") == text.count("neigh replace") == text.count("fdb replace") == peers
        return len(re.findall(r"^(?:try |.*\|\| try )", text, re.M))

    assert programs(3000) == programs(3) <= 9
