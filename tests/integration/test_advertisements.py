# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container that says it is a router: no host of the network believes it, and one that once did is mended."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from labs import Namespace, lines, run

from ansible_collections.agentless.overlay.plugins.module_utils import _module
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _boot
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import make_part
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import make_plan

# Device, prefix, and for how long the prefix is valid: -1 for ever.
ADVERTISE = """
import socket, struct, sys
device, prefix, valid = sys.argv[1:]
lifetime = int(valid) & 0xffffffff
out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
head = struct.pack(">BBHBBHII", 134, 0, 0, 3, 0, 1800, 7000, 9000)
option = struct.pack(">BBBBIII", 3, 4, 64, 0xc0, lifetime, lifetime, 0) + socket.inet_pton(socket.AF_INET6, prefix)
mtu = struct.pack(">BBHI", 5, 1, 0, 1280)
out.sendto(head + option + mtu, ("ff02::1", 0, 0, socket.if_nametoindex(device)))
"""
NO_DAD = "sysctl -q net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0"
KINDS: dict[str, dict[str, Any]] = {
    "l2": {"backend": "l2", "cidr": "10.90.0.0/16", "vni": 90, "attach": {"docker_network": "flat"}},
    "none": {
        **{"backend": "none", "cidr": "10.90.0.0/16", "bridge": "br.90", "attach": "namespace"},
        "members": ["h1"],
        "gateway": "10.90.0.254",
        "containers": [{"name": "c1", "address": "10.90.0.1"}],
    },
}


@pytest.fixture
def container(namespace: Namespace) -> Iterator[Namespace]:
    made = Namespace()
    try:
        for side in (namespace, made):
            side.sh(NO_DAD)
        yield made
    finally:
        made.remove()


def planned(kind: str = "l2") -> dict[str, Any]:
    """What the plan gives a host, of what this test is about; not its files, which would be this machine's."""
    plan = make_plan(BACKENDS, [{"name": "flat", **KINDS[kind]}], [Node("h1", "192.168.65.3"), Node("h2", "192.168.65.4")])
    assert plan.errors == []
    sections = make_part(plan.plan, "h1")
    return {name: sections[name] for name in ("bridge", "vxlan_link", "neigh_entry", "fdb_entry", "route_entry")}


def without_mend(sections: dict[str, Any]) -> dict[str, Any]:
    """What an earlier release asked for: nothing about router advertisements."""

    def stripped(item: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in item.items() if key not in ("accept_ra", "autoconf")}

    links = [{**part, "entries": [stripped(item) for item in part["entries"]]} for part in sections["vxlan_link"]]
    return {**sections, "bridge": [stripped(item) for item in sections["bridge"]], "vxlan_link": links}


def attach(namespace: Namespace, container: Namespace, device: str = "") -> None:
    """Connect a container to a bridge; without one, a router to the host's physical device."""
    outside, inside = ("c1", "c1") if device else ("eth0", "eth0")
    namespace.sh(f"ip link add {outside} type veth peer name {inside} netns {container.name}")
    namespace.sh((f"ip link set {outside} master {device}; " if device else "") + f"ip link set {outside} up")
    container.sh(f"ip link set {inside} up")


def advertise(
    namespace: Namespace, container: Namespace, inside: str = "c1", prefix: str = "2001:db8:bad::", valid: int = 86400
) -> None:
    """Let it say so once, and wait until the host has heard it."""

    def heard() -> int:
        return int(namespace.sh("grep Icmp6InRouterAdvertisements /proc/net/snmp6").split()[1])

    before, deadline = heard(), time.monotonic() + 10
    while heard() == before:
        assert time.monotonic() < deadline, "the router advertisement does not arrive"
        run(
            *("nsenter", f"--net=/run/netns/{container.name}", sys.executable, "-c", ADVERTISE, inside, prefix, str(valid)),
        )
        time.sleep(0.2)
    time.sleep(0.2)


def believed(namespace: Namespace, device: str = "br.90") -> list[str]:
    """Routes and addresses that the device has from the advertisement."""
    said = namespace.sh(f"ip -6 route show dev {device}; ip -6 -o address show dev {device}")
    kept = [line for line in said.splitlines() if "default" in line or "2001:db8" in line]
    return [re.sub(r"[0-9]+sec", "", line) for line in kept]


def beliefs(namespace: Namespace) -> list[str]:
    """What else an advertisement sets on the bridge: hop limit, MTU, and how long neighbours are believed."""
    names = ("conf/br.90/hop_limit", "conf/br.90/mtu", "neigh/br.90/base_reachable_time_ms", "neigh/br.90/retrans_time_ms")
    return namespace.sh("sysctl " + " ".join("net/ipv6/" + name for name in names)).splitlines()


def settings(namespace: Namespace, *devices: str) -> set[str]:
    shown = (namespace.sh(f"sysctl -n net/ipv6/conf/{device}/accept_ra net/ipv6/conf/{device}/autoconf") for device in devices)
    return {" ".join(said.split()) for said in shown}


@pytest.mark.parametrize("by", ["the run", "the boot script"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_container_cannot_become_the_hosts_router(namespace: Namespace, container: Namespace, kind: str, by: str) -> None:
    sections = planned(kind)
    if by == "the run":
        namespace.converge("overlay_host", **sections)
    else:
        options, problems = _module._check_sections(sections)
        assert problems == []
        script = _boot.make_boot_script(options)
        # The bridge, and the device before it, may not be up for a moment with the kernel's own settings.
        for device in ["br.90", *(["vxlan.90"] if kind == "l2" else [])]:
            assert script.index(f"ipv6 {device} accept_ra 0") < script.index(f"set dev {device} up\n")
        namespace.shell(script)
        assert namespace.module("overlay_host", check=True, **sections)["operations"] == []
    attach(namespace, container, "br.90")
    advertise(namespace, container)
    assert believed(namespace) == []
    assert settings(namespace, "br.90", *(["vxlan.90"] if kind == "l2" else [])) == {"0 0"}


@pytest.mark.parametrize("stepwise", [False, True])
def test_a_host_that_believed_one_is_mended(namespace: Namespace, container: Namespace, pyroute2: str, stepwise: bool) -> None:
    sections = planned()
    namespace.module("overlay_host", pyroute2, **without_mend(sections))
    own = beliefs(namespace)
    attach(namespace, container, "br.90")
    attach(namespace, container)
    # A true router on the physical device, which is nobody's business here; and a network that is announced for ever.
    advertise(namespace, container, "eth0", "2001:db8:1::")
    advertise(namespace, container)
    advertise(namespace, container, prefix="2001:db8:bade::", valid=-1)
    assert len(believed(namespace)) == 5, believed(namespace)
    assert not set(beliefs(namespace)) & set(own), "all four are those of the advertisement"
    physical = believed(namespace, "eth0")
    assert len(physical) == 3
    if stepwise:
        namespace.module("overlay_host", pyroute2, bridge=sections["bridge"])
        namespace.converge("vxlan_link", pyroute2, **sections["vxlan_link"][0])
        done = namespace.converge("route_entry", pyroute2, **sections["route_entry"][0])
    else:
        looked = namespace.module("overlay_host", pyroute2, check=True, **sections)
        found = {(item["resource"], item["name"], item["kind"]) for item in looked["drift"]}
        assert {("bridge", "br.90", "wrong"), ("vxlan_link", "vxlan.90", "wrong")} < found
        assert {("route_entry", "::/0", "extra"), ("route_entry", "2001:db8:bad::/64", "extra")} < found
        done = namespace.converge("overlay_host", pyroute2, allow_drops=False, **sections)
        assert lines(done, "bridge") == ["-br.90 accept_ra 1", "-br.90 autoconf 1", "+br.90 accept_ra 0", "+br.90 autoconf 0"]
        assert sum(line.startswith("-br.90 2001:db8:") or "2001:db8:" in line for line in lines(done, "address")) == 2
    assert len(lines(done, "route_entry")) == 3
    assert believed(namespace) == [] and beliefs(namespace) == own
    assert believed(namespace, "eth0") == physical
    advertise(namespace, container)
    assert believed(namespace) == [] and settings(namespace, "br.90", "vxlan.90") == {"0 0"}


def test_a_port_that_believed_one_is_mended(namespace: Namespace, container: Namespace) -> None:
    """Of a port with no address of its own, and of a route to a destination of ours that a container announced."""
    sections = planned()
    namespace.module("overlay_host", **without_mend(sections))
    namespace.sh("ip -6 address add 2001:db8:bad::7/64 dev vxlan.90 valid_lft 900 preferred_lft 900")
    namespace.sh(
        "ip -6 route add default via fe80::7 dev vxlan.90 proto ra; ip -6 route add fd90:2::/64 via fe80::7 dev br.90 proto ra"
    )
    assert len(believed(namespace, "vxlan.90")) == 3
    ours = {"dst": "fd90:2::/64", "gateway": "fd99::2", "onlink": True, "device": "br.90"}
    sections["route_entry"][0]["entries"] = [ours]
    namespace.converge("overlay_host", **sections)
    assert believed(namespace, "vxlan.90") == []
    assert namespace.sh("ip -6 route show fd90:2::/64").split()[:5] == ["fd90:2::/64", "via", "fd99::2", "dev", "br.90"]


def test_a_mended_bridge_keeps_its_neighbours(namespace: Namespace, pyroute2: str) -> None:
    """They are static entries of a network at layer 2; the kernel drops them with a MAC that is set, be it the same."""
    sections = planned()
    sections["neigh_entry"] = [
        {"device": "br.90", "entries": [{"dst": "10.90.1.2", "lladdr": "02:00:00:00:00:02"}], "purge": True}
    ]
    namespace.converge("overlay_host", pyroute2, **without_mend(sections))
    namespace.converge("overlay_host", pyroute2, **sections)
    namespace.sh("ip link set br.90 address 02:00:00:00:00:99")
    namespace.converge("overlay_host", pyroute2, **sections)
    assert "10.90.1.2 lladdr 02:00:00:00:00:02 PERMANENT" in namespace.sh("ip neigh show dev br.90")


def test_a_device_that_gets_ipv6_with_its_mtu(namespace: Namespace, pyroute2: str) -> None:
    """Below 1280 there is none, and nothing to set; with it come the kernel's own settings."""
    link = {"name": "vx", "vni": 88, "port": 4789, "local": "10.1.1.1", "accept_ra": 0, "autoconf": 0}
    bridge = {"name": "br.7", "alias": "agentless.overlay:x", "accept_ra": 0, "autoconf": 0}
    for mtu in (1200, 1400, 1200, 1400):
        options = {"vxlan_link": [{**link, "mtu": mtu}], "bridge": [{**bridge, "mtu": mtu}]}
        namespace.converge("overlay_host", pyroute2, **options)
        if mtu == 1400:
            assert settings(namespace, "vx", "br.7") == {"0 0"}
        else:
            assert "vx" not in namespace.sh("ls /proc/sys/net/ipv6/conf")
    # Asked for, where there can be none.
    answer = namespace.module("vxlan_link", pyroute2, fails=True, **{**link, "mtu": 1200, "accept_ra": 1})
    assert "vx has no IPv6, and so no accept_ra" in answer["msg"] and "the host is as it was" in answer["msg"]
    # Not asked for, it is the kernel's, and goes with its IPv6.
    namespace.converge("overlay_host", pyroute2, bridge=[{"name": "br.8", "alias": "agentless.overlay:x", "mtu": 1400}])
    namespace.converge("overlay_host", pyroute2, bridge=[{"name": "br.8", "alias": "agentless.overlay:x", "mtu": 1200}])
    namespace.converge("vxlan_link", pyroute2, name="vx2", vni=89, mtu=1200)
    namespace.converge("vxlan_link", pyroute2, name="vx2", vni=89, mtu=1400)
    assert settings(namespace, "vx2") == {"1 1"}


def test_an_undo_brings_back_the_settings_as_found(namespace: Namespace, pyroute2: str) -> None:
    sections = planned()
    namespace.module("overlay_host", pyroute2, **without_mend(sections))
    namespace.sh("sysctl -q net/ipv6/conf/br.90/accept_ra=2 net/ipv6/conf/vxlan.90/autoconf=0")
    before = namespace.sh("sysctl net.ipv6 | grep -v expires")
    broken = [{"path": "/proc/nowhere/file", "content": "x"}]
    for port in (4789, 8472):
        sections["vxlan_link"][0]["entries"][0]["port"] = port
        answer = namespace.module("overlay_host", pyroute2, fails=True, files=broken, **sections)
        assert "the host is as it was" in answer["msg"]
        assert namespace.sh("sysctl net.ipv6 | grep -v expires") == before
