# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of the kernel: of devices with a dot in their names, of several numbers, and those that are not there."""

from __future__ import annotations

import re

from labs import Namespace

FORWARDING = {"name": "net.ipv6.conf.all.forwarding", "value": "1"}


def test_a_default_route_by_a_vlan_is_not_lost(namespace: Namespace) -> None:
    namespace.sh(
        "ip link add eth0.100 address 02:00:00:00:00:10 type bridge; ip link set eth0.100 up; "
        "ip -6 route add default via fe80::9 dev eth0.100 proto ra"
    )
    said = namespace.module("overlay_host", fails=True, sysctl=[FORWARDING])["msg"]
    assert "default route from router advertisements" in said and "Traceback" not in said
    assert namespace.sh("cat /proc/sys/net/ipv6/conf/all/forwarding") == "0\n"
    # As it is told, by the program that everybody has.
    name = re.findall(r"Set (\S+) to 2", said)[0]
    namespace.sh(f"sysctl -w {name}=2")
    assert namespace.sh("cat /proc/sys/net/ipv6/conf/eth0.100/accept_ra") == "2\n"
    namespace.converge("overlay_host", sysctl=[FORWARDING])
    assert namespace.sh("cat /proc/sys/net/ipv6/conf/all/forwarding") == "1\n"


def test_a_setting_of_a_device_with_a_dot(namespace: Namespace) -> None:
    namespace.sh("ip link add eth0.100 type bridge")
    for name in ("net.ipv4.conf.eth0/100.proxy_arp", "net/ipv4/conf/eth0.100/rp_filter"):
        namespace.converge("overlay_host", sysctl=[{"name": name, "value": "2" if "filter" in name else "1"}])
    assert namespace.sh("cd /proc/sys/net/ipv4/conf/eth0.100; cat proxy_arp rp_filter") == "1\n2\n"


def test_a_setting_of_several_numbers_is_set_once(namespace: Namespace) -> None:
    """The kernel tells them with tabs in between."""
    done = namespace.converge("overlay_host", sysctl=[{"name": "net.ipv4.ip_local_port_range", "value": "40000 50000"}])
    assert done["changed"] and namespace.sh("cat /proc/sys/net/ipv4/ip_local_port_range").split() == ["40000", "50000"]


def test_what_is_not_there_is_refused_before_anything_is_touched(namespace: Namespace) -> None:
    settings = [{"name": "net.ipv4.ip_forward", "value": "1"}, {"name": "net.ipv4.conf.nothing/7.rp_filter", "value": "1"}]
    for check in (True, False):
        said = namespace.module("overlay_host", check=check, fails=True, sysctl=settings)["msg"]
        assert "no setting net.ipv4.conf.nothing/7.rp_filter" in said and "Nothing was changed" in said
    assert namespace.sh("cat /proc/sys/net/ipv4/ip_forward") == "0\n"
