# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An inventory with errors: all of them in one run, and no host touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from labs import Lab


@pytest.fixture
def unmade(tmp_path: Path) -> Lab:
    """An inventory whose hosts do not exist, so that touching one would be an unreachable host."""
    lab = Lab(tmp_path)
    lab.write_inventory()
    return lab


def test_all_errors_come_at_once(unmade: Lab) -> None:
    unmade.hosts = {
        "docker1": {"ansible_host": "192.168.65.3"},
        "docker2": {"ansible_host": "192.168.65.3"},
        "docker3": {"ansible_host": "docker3.example.org"},
        "docker4": {"ansible_host": "10.88.3.4", "overlay_subnet": {"small": "10.88.7.0/30", "nowhere": "10.1.0.0/24"}},
        "docker5": {"ansible_host": "192.168.65.7", "overlay_underlay_mtu": 1400},
        "docker6": {"ansible_host": "192.168.65.8"},
    }
    unmade.write_inventory(
        overlay_networks=[
            {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88, "mtu": 1450},
            {"name": "zero", "cidr": "10.90.0.0/16", "vni": 0},
            {"name": "bits", "cidr": "10.91.0.7/16", "vni": 91},
            {"name": "over", "cidr": "10.92.0.0/16", "vni": 92},
            {"name": "lap", "cidr": "10.92.128.0/17", "vni": 93, "vin": 7},
            {"name": "small", "cidr": "10.94.0.0/28", "vni": 94},
            {"name": "twice", "cidr": "10.95.0.0/16", "vni": 94, "port": 99999, "device": "a-name-too-long-for-linux"},
        ],
        overlay_reserved_cidrs=["10.94.0.0/16", "office"],
    )
    played = unmade.play("-vv")
    assert played.code != 0
    text = played.text
    for words in (
        "docker2: overlay_underlay_ip = '192.168.65.3': docker1 has the same underlay address. Give each host its own.",
        "docker3: overlay_underlay_ip = 'docker3.example.org': not an IP address (names are not resolved).",
        "docker4: overlay_subnet.nowhere = '10.1.0.0/24': there is no such network.",
        "docker4: overlay_subnet.small = '10.88.7.0/30': not inside network small, 10.94.0.0/28.",
        "overlay_networks[0].mtu = 1450: too large: the underlay of docker5 carries 1400, and the tunnel needs 50 of it.",
        "overlay_networks[1].vni = 0: not a whole number from 1 to 16777215.",
        "overlay_networks[2].cidr = '10.91.0.7/16': has host bits; the network is 10.91.0.0/16. Write 10.91.0.0/16.",
        "overlay_networks[4].vin = 7: there is no such option.",
        "overlay_networks: lap.cidr = '10.92.128.0/17': overlaps network over, 10.92.0.0/16.",
        "overlay_networks[6].vni = 94: network small has the same VNI.",
        "overlay_networks[6].port = 99999: not a whole number from 1 to 65535.",
        "overlay_networks[6].device = 'a-name-too-long-for-linux': not a device name of at most 15 characters.",
        "docker6: overlay_networks: small.cidr = '10.94.0.0/28': full: all 3 leases of /30 are taken.",
        "overlaps the reserved 10.94.0.0/16 (overlay_reserved_cidrs[0]).",
        "overlay_reserved_cidrs[1] = 'office': not a network.",
    ):
        assert words in text, f"{words!r} is not in\n{text}"
    assert "no host was touched" in text
    assert "unreachable=1" not in text and "nsenter" not in text
    assert not (unmade.inventory / "group_vars/agentless_overlay/leases.yml").exists()


def test_each_backend_refuses_what_it_cannot_be(unmade: Lab) -> None:
    """From the inventory alone; tests/unit/test_backends.py has more of each."""
    unmade.hosts = {
        "docker1": {"ansible_host": "192.168.65.3", "overlay_underlay_ip": "192.168.65.3/24"},
        "docker2": {"ansible_host": "192.168.66.4", "overlay_underlay_ip": "192.168.66.4/24"},
        "docker3": {
            "ansible_host": "192.168.65.5",
            "overlay_underlay_ip": "fd65::5/64",
            "overlay_subnet": {"l2": "10.9.1.0/24"},
        },
    }
    unmade.write_inventory(
        overlay_networks=[
            {"name": "tunnel", "backend": "p2p", "cidr": "10.1.0.0/24", "vni": 1},
            {"name": "all", "backend": "multicast", "cidr": "10.2.0.0/24", "vni": 2, "dev": "eth0", "members": "docker1"},
            {"name": "gw", "backend": "host-gw", "cidr": "10.3.0.0/16", "members": ["docker1", "docker2"]},
            {**{"name": "l2", "backend": "l2", "cidr": "10.4.0.0/16", "vni": 4}, "attach": {"docker_network": "l2"}},
            {"name": "mixed", "cidr": "10.5.0.0/16", "vni": 5, "attach": {"docker_network": "mixed"}},
        ]
    )
    played = unmade.play()
    assert played.code != 0 and "no host was touched" in played.text
    for words in (
        "docker3: overlay_networks[0].members = 'all': a point-to-point network joins two nodes, and has 3",
        "overlay_networks[1].group = not set: not the address of a multicast group. Choose one, such as 239.1.1.1",
        "docker2: overlay_networks[2].backend = 'host-gw': the host is on underlay subnet 192.168.66.0/24, and docker1 on",
        "docker3: overlay_subnet.l2 = '10.9.1.0/24': the ip-range of the host is not inside network l2, 10.4.0.0/16",
        "docker3: overlay_underlay_ip = 'fd65::5': an IPv6 address alone, while other members have IPv4 alone",
    ):
        assert words in played.text, f"{words!r} is not in\n{played.text}"
    assert not (unmade.inventory / "group_vars/agentless_overlay/leases.yml").exists()


def test_a_network_that_only_one_host_has_is_an_error(unmade: Lab) -> None:
    unmade.hosts["docker2"]["overlay_networks"] = [{"name": "demo", "cidr": "10.88.0.0/16", "vni": 89}]
    unmade.write_inventory()
    played = unmade.play()
    assert "docker2: overlay_networks = " in played.text and "differs from what docker1 has" in played.text


def test_a_record_that_cannot_be_written_stops_the_run(unmade: Lab) -> None:
    unmade.hosts["docker1"].pop("overlay_subnet")
    unmade.write_inventory(overlay_leases="/proc/nowhere/leases.yml")
    played = unmade.play()
    assert played.code != 0 and "unreachable=1" not in played.text
    assert "/proc/nowhere/leases.yml: leases cannot be recorded" in played.text
    assert "No host was touched" in played.text


def test_a_broken_record_is_an_error(unmade: Lab) -> None:
    records = unmade.inventory / "leases.yml"
    records.write_text("overlay_lease_records:\n  demo:\n    docker9: 10.88.87.0/24\n    docker8: 10.99.0.0/24\n")
    unmade.write_inventory(overlay_leases=str(records))
    text = unmade.play().text
    assert "overlaps docker2's 10.88.87.0/24 in network demo" in text
    assert "demo.docker8 = '10.99.0.0/24': not inside network demo" in text
    records.write_text("overlay_lease_records: [")
    assert "leases.yml: cannot be read" in unmade.play().text


def test_hosts_that_are_not_there_are_unreachable_and_not_unchanged(unmade: Lab) -> None:
    played = unmade.play("--check")
    assert played.code == 4
    assert "There is no namespace" in played.text and "make lab" in played.text
