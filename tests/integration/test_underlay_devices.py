# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device that a vxlan device is bound to: its MTU, one of our own, one that is not there."""

from __future__ import annotations

from typing import Any

import pytest
from labs import Namespace

LINK = {"name": "vx", "vni": 88, "port": 4789, "local": "10.1.1.1", "mac": "02:00:00:00:00:01", "mtu": 1450}


def wish(*links: dict[str, Any]) -> dict[str, Any]:
    alias = {"alias": "agentless.overlay:main"}
    return {"vxlan_link": [{"entries": [{**LINK, **alias, **link} for link in links], "purge": True}]}


@pytest.fixture
def there(namespace: Namespace) -> Namespace:
    namespace.sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up")
    return namespace


def mtu(namespace: Namespace) -> Any:
    return namespace.json("ip -j link show dev vx")[0]["mtu"]


@pytest.mark.parametrize(("local", "most"), [("10.1.1.1", 1450), ("fd00::1", 1430)])
def test_an_mtu_that_its_device_does_not_leave(there: Namespace, local: str, most: int) -> None:
    """The kernel makes a device with less and says nothing, and refuses the rest ever after."""
    for check in (True, False):
        refused = there.module(
            "overlay_host", check=check, fails=True, **wish({"dev": "eth0", "mtu": most + 1, "local": local})
        )
        assert f"mtu {most + 1} is more than eth0 leaves, whose own is 1500: at most {most}" in refused["msg"]
    there.converge("overlay_host", **wish({"dev": "eth0", "mtu": most, "local": local}))
    assert mtu(there) == most
    refused = there.module("overlay_host", fails=True, **wish({"dev": "eth0", "mtu": most + 1, "local": local}))
    assert f"at most {most}" in refused["msg"] and mtu(there) == most
    # One that is there has what it has, until it would have to be made anew.
    there.sh("ip link set eth0 mtu 1400")
    there.converge("overlay_host", **wish({"dev": "eth0", "mtu": most, "local": local}))
    anew = {"dev": "eth0", "mtu": most, "local": local, "udpcsum": False}
    assert f"at most {most - 100}" in there.module("overlay_host", fails=True, **wish(anew))["msg"]
    assert mtu(there) == most


@pytest.mark.parametrize("name", ["a", "z"])
def test_one_of_ours_upon_another_comes_after_it_and_goes_before_it(there: Namespace, name: str) -> None:
    upon = {"name": name, "vni": 89, "mac": "02:00:00:00:00:02", "mtu": 1400, "dev": "vx"}
    there.converge("overlay_host", **wish({}, upon))
    assert there.json(f"ip -j -d link show dev {name}")[0]["linkinfo"]["info_data"]["link"] == "vx"
    there.converge("overlay_host", **wish())
    assert not there.sh("ip -o link show type vxlan")


def test_devices_that_are_not_there_are_told_together_before_anything_is_touched(there: Namespace) -> None:
    firewall = [{"network": "main", "cidrs": ["10.88.0.0/16"]}]
    refused = there.module("overlay_host", fails=True, firewall=firewall, **wish({"dev": "eth9", "master": "br9"}))
    assert "no device br9" in refused["msg"] and "no device eth9" in refused["msg"] and "Nothing was changed" in refused["msg"]


@pytest.mark.parametrize("purge", [True, False])
def test_what_goes_with_a_device_is_part_of_the_impact(there: Namespace, purge: bool) -> None:
    """Its routes need no operation, and who allows no drops means them too."""
    routes = {"entries": [{"dst": "10.88.2.0/24", "gateway": "10.88.2.0", "device": "vx", "onlink": True}], "purge": True}
    there.converge("overlay_host", **wish({}), route_entry=[routes])
    nothing = {**wish(), **({"route_entry": [{"entries": [], "purge": True}]} if purge else {})}
    for check in (True, False):
        refused = there.module("overlay_host", check=check, fails=True, allow_drops=False, **nothing)
        assert "drops packets to 10.88.2.0/24" in refused["msg"]
    # One that leads over another device by then drops nothing.
    other = {"name": "vy", "vni": 89}
    moved = {**routes, "entries": [{**routes["entries"][0], "device": "vy"}]}
    there.converge("overlay_host", allow_drops=False, **wish(other), route_entry=[moved])
    done = there.converge("overlay_host", **wish())
    assert [one["drops"] for one in done["impact"]] == ["packets to 10.88.2.0/24"]
