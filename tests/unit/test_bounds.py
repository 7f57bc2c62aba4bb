# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values that no kernel takes: refused by what is pure, so in check mode too, and before anything is touched."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import OverlayError
from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER

LEAST: dict[str, dict[str, Any]] = {
    "vxlan_link": {"name": "vx", "vni": 7},
    "fdb_entry": {"device": "vx", "mac": "02:00:00:00:00:01", "dst": "192.0.2.1"},
    "route_entry": {"device": "vx", "dst": "10.0.0.0/24"},
    "bridge": {"name": "br"},
}
# Section, option, the least and the largest value.
BOUNDS = [
    ("vxlan_link", "vni", 1, 16777215),
    ("vxlan_link", "port", 1, 65535),
    ("vxlan_link", "ttl", 0, 255),
    ("vxlan_link", "tos", 0, 255),
    ("vxlan_link", "flowlabel", 0, 1048575),
    ("vxlan_link", "mtu", 68, 65535),
    ("vxlan_link", "ageing", 0, 4294967295),
    ("vxlan_link", "maxaddress", 0, 4294967295),
    ("fdb_entry", "port", 1, 65535),
    ("fdb_entry", "vni", 0, 16777215),
    ("route_entry", "metric", 0, 4294967295),
    ("route_entry", "table", 1, 4294967295),
    ("bridge", "mtu", 68, 65535),
]
NAME = "is not a device name of at most 15 characters, none of them a space or one of / : %, and neither . nor .."


def refused(section: str, bulk: bool = False, **options: Any) -> str:
    """The words that a section is refused with; empty where it is taken."""
    entry = {**LEAST[section], **options}
    part = {"entries": [entry], "purge": True} if bulk else entry
    (resource,) = [one for one in ORDER if one.name == section]
    try:
        resource.parse({section: [part]})
    except OverlayError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("section", "option", "low", "high"), BOUNDS)
def test_a_number_beyond_what_the_kernel_has_room_for(section: str, option: str, low: int, high: int) -> None:
    for value in (low, high):
        assert refused(section, **{option: value}) == "", value
    entry = {"fdb_entry": "02:00:00:00:00:01 on vx", "route_entry": "10.0.0.0/24 on vx"}.get(
        section, LEAST[section].get("name")
    )
    for value in (low - 1, high + 1):
        words = f"{section}: {entry}: {option} {value} is not from {low} to {high}"
        assert refused(section, **{option: value}) == words
        if section != "bridge":
            assert refused(section, bulk=True, **{option: value}) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0, 65535, ""),
        (9, 9, ""),
        (-1, 9, "vxlan_link: vx: srcport_min -1 is not from 0 to 65535"),
        (9, 65536, "vxlan_link: vx: srcport_max 65536 is not from 0 to 65535"),
        (9, 8, "vxlan_link: vx: srcport_min 9 is larger than srcport_max, 8"),
    ],
)
def test_source_ports(low: int, high: int, words: str) -> None:
    assert refused("vxlan_link", srcport_min=low, srcport_max=high) == words


@pytest.mark.parametrize("section", ["vxlan_link", "bridge"])
@pytest.mark.parametrize(
    ("name", "good"),
    [
        *((name, True) for name in ("v", "vxlan.88", "a" * 15, "ü" * 7, "...", "br-1_x@2")),
        *((name, False) for name in ("", ".", "..", "a/b", "a b", "a\tb", "a\n", "a:b", "vx%d", "a\0b", "a" * 16, "ü" * 8)),
    ],
)
def test_a_name_that_no_device_can_have(section: str, name: str, good: bool) -> None:
    assert refused(section, name=name) == ("" if good else f"{section}: {name!r} {NAME}")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"local": "192.0.2.1"}, ""),
        ({"local": "fd00::1", "remote": "fd00::2"}, ""),
        ({"group": "239.1.1.1"}, ""),
        ({"group": "ff05::100"}, ""),
        ({"local": "239.1.1.1"}, "local 239.1.1.1 is not the address of one host"),
        ({"local": "0.0.0.0"}, "local 0.0.0.0 is not the address of one host"),
        ({"local": "::"}, "local :: is not the address of one host"),
        ({"local": "ff05::1"}, "local ff05::1 is not the address of one host"),
        ({"remote": "239.1.1.1"}, "remote 239.1.1.1 is a multicast group: give it as group, with dev"),
        ({"remote": "ff05::1"}, "remote ff05::1 is a multicast group: give it as group, with dev"),
        ({"group": "192.0.2.1"}, "group 192.0.2.1 is not from 224.0.0.0/4 or ff00::/8, the multicast groups"),
        ({"group": "fd00::1"}, "group fd00::1 is not from 224.0.0.0/4 or ff00::/8, the multicast groups"),
    ],
)
def test_an_outer_address_of_the_wrong_kind(options: dict[str, Any], words: str) -> None:
    assert refused("vxlan_link", **options) == (f"vxlan_link: vx: {words}" if words else "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gateway": "10.0.0.1"}, ""),
        ({"dst": "fd00::/64", "gateway": "fd00::1"}, ""),
        ({"src": "10.0.0.1"}, ""),
        ({"gateway": "fd00::1"}, "10.0.0.0/24 on vx: gateway fd00::1 is not of the same IP family as dst"),
        ({"dst": "fd00::/64", "gateway": "10.0.0.1"}, "fd00::/64 on vx: gateway 10.0.0.1 is not of the same IP family as dst"),
        ({"src": "fd00::1"}, "10.0.0.0/24 on vx: src fd00::1 is not of the same IP family as dst"),
        (
            {"gateway": "fd00::1", "device": None},
            "10.0.0.0/24: gateway fd00::1 is not of the same IP family as dst",
        ),
    ],
)
def test_a_route_has_one_family(options: dict[str, Any], words: str) -> None:
    assert refused("route_entry", **options) == (f"route_entry: {words}" if words else "")


def test_what_is_to_go_is_looked_at_too() -> None:
    """Nothing could have such a value, so the wish is a mistake."""
    assert refused("fdb_entry", state="absent", port=70000) != ""


def test_ten_thousand_entries_are_looked_at_in_no_time() -> None:
    entries = [
        {"mac": f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", "dst": "192.0.2.1", "port": 4789, "vni": n} for n in range(10_000)
    ]
    (resource,) = [one for one in ORDER if one.name == "fdb_entry"]
    started = time.process_time()
    assert len(resource.parse({"fdb_entry": [{"device": "vx", "entries": entries}]}).present) == 10_000
    # Some 60 ms on a slow machine.
    assert time.process_time() - started < 1
