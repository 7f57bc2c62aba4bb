# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The boot script of any plan makes what the plan says; OVERLAY_PLANS=200 for more of them, OVERLAY_SEED to begin with one."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from labs import Namespace, environment, run

from ansible_collections.agentless.overlay.plugins.module_utils import _module
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._programs import run_program
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _boot
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import make_part
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import make_plan

PLANS = int(os.environ.get("OVERLAY_PLANS", "20"))
# What a boot does not put back, or what a namespace cannot have for itself.
ELSEWHERE = {"managers", "files", "units", "boot", "docker_bip", "docker_network"}
LINK = {"name": "vx", "vni": 8, "local": "10.1.1.1", "port": 4789}
BOOLEANS = (
    *("ttl_inherit", "learning", "udpcsum", "udp6zerocsumtx", "udp6zerocsumrx", "gbp", "proxy", "rsc"),
    *("l2miss", "l3miss", "localbypass"),
)
NUMBERS = {"ttl": (0, 1, 64, 255), "tos": (0, 1, 8, 16, 184, 255), "ageing": (0, 1, 300, 2**32 - 1)}
# Few entries fit into the least of it.
NUMBERS["maxaddress"] = (0, 1000, 2**32 - 1)
# What iproute2 of this machine has a word for.
WORDS = run("sh", "-c", "ip link help vxlan 2>&1", check=False).stdout


def seed_of(number: int) -> random.Random:
    """A number that can be given again, and what follows from it; by default another one in every run."""
    seed = int(os.environ.get("OVERLAY_SEED", random.randrange(2**31))) + number
    print(f"OVERLAY_SEED={seed} OVERLAY_PLANS=1")
    return random.Random(seed)


def link_options(seen: random.Random, version: int) -> dict[str, Any]:
    """Options of a vxlan device as a user may write them, each of them now and then."""
    asked = seen.choice((0, 0.15, 0.5, 1))
    link: dict[str, Any] = {name: seen.choice((True, False)) for name in BOOLEANS if seen.random() < asked}
    link.update({name: seen.choice(values) for name, values in NUMBERS.items() if seen.random() < asked})
    if seen.random() < asked:
        link["df"] = seen.choice(("unset", "set", "inherit"))
    if seen.random() < asked:
        low = seen.choice((1, 1024, 40000, 65535))
        link.update(srcport_min=low, srcport_max=seen.choice((low, 65535)))
    if seen.random() < asked:
        # Which IPv4 has no place for.
        link["flowlabel"] = seen.choice((0, 1, 2**20 - 1)) if version == 6 else 0
    if "localbypass" not in WORDS and link.get("localbypass") is False:
        del link["localbypass"]
    return link


def network(seen: random.Random, number: int, namespace: str, benign: bool) -> dict[str, Any]:
    """One item of overlay_networks, of any backend and attachment."""
    backend = seen.choice(("vxlan", "vxlan", "vxlan", "host-gw", "p2p", "multicast", "l2", "none"))
    made: dict[str, Any] = {"name": f"n{number}", "backend": backend}
    if backend == "none":
        containers = [
            {"name": f"{namespace}-{number}{c}", "address": f"10.{number}.0.{c}"} for c in range(2, seen.randint(3, 4))
        ]
        publish = {"port": 9000 + number, "to": 80, "by": "dnat"}
        containers[0]["publish"] = [publish]  # type: ignore[assignment]
        bridge = {"bridge": f"mybridge{number}"} if seen.random() < 0.5 else {}
        return {**made, "cidr": f"10.{number}.0.0/16", **bridge}
    attach = {
        "vxlan": ("docker0", "docker_network", "host"),
        "host-gw": ("docker0", "docker_network"),
        "l2": ("docker_network",),
    }.get(backend, ("host", "docker_network"))
    chosen = seen.choice(attach)
    made["attach"] = {"docker_network": f"d{number}"} if chosen == "docker_network" else chosen
    four, six = f"10.{number}.0.0/16", f"fd00:{number}::/48"
    made["cidr"] = seen.choice((four, [four, six], *([six] if chosen != "docker0" else [])))
    if backend == "host-gw":
        return made
    version = seen.choice((4, 4, 6))
    made.update(vni=seen.choice((number, 2**24 - number)), port=seen.choice((4789, 8472)))
    made["underlay"] = f"ipv{version}"
    if not benign:
        made["link"] = link_options(seen, version)
        if backend != "multicast" and seen.random() < 0.3:
            made["dev"] = "eth0"
    if backend == "multicast":
        made.update(group="239.1.1.1" if version == 4 else "ff05::100", dev="eth0")
    if backend == "vxlan":
        made["direct_routing"] = seen.random() < 0.3
        if seen.random() < 0.3:
            made["parallel"] = [{"vni": made["vni"] ^ 4096}]
    if backend == "l2":
        made.update(neigh_suppress=seen.random() < 0.5, static=seen.random() < 0.3)
    if seen.random() < 0.2:
        made["mtu"] = seen.choice((1280, 1300) if "fd00" in str(made["cidr"]) else (600, 1279, 1280, 1400))
    return made


def plan_of(seen: random.Random, namespace: str, hosts: int = 0, benign: bool = False) -> Any:
    """A plan without errors, of one to three networks."""
    while True:
        count = hosts or seen.randint(2, 5)
        nodes = [
            Node(
                name=f"h{n}",
                underlay_ip=[f"192.168.65.{n}/24", f"fd65::{n}/64"],
                underlay_dev="eth0" if seen.random() < 0.2 else None,
                # One that is behind a router.
                underlay_subnet=None,
            )
            for n in range(1, count + 1)
        ]
        if count > 2 and seen.random() < 0.3:
            nodes[-1] = Node(name=nodes[-1].name, underlay_ip=[f"192.168.66.{count}/24", f"fd66::{count}/64"])
        networks = [network(seen, number, namespace, benign) for number in range(1, seen.randint(1, 3) + 1)]
        plan = make_plan(BACKENDS, networks, nodes)
        if not plan.errors:
            print(json.dumps(networks))
            return plan.plan


def sections_of(plan: Any, host: str, nexthops: str) -> dict[str, Any]:
    sections = make_part(plan, host, nexthops=nexthops)
    # What a boot makes: without what comes of the containers of a moment.
    made: dict[str, Any] = dict(sections["boot"][0].get("sections") or sections)
    return {name: parts for name, parts in made.items() if name not in ELSEWHERE}


def script_of(sections: dict[str, Any]) -> str:
    return _boot.make_boot_script(_module.validate_sections(sections))


def refused(sections: dict[str, Any]) -> str:
    """What the programs of this machine have against the script, tried in a namespace of its own."""
    return _boot.find_refusals(Host(run=run_program), _boot.parse_boot_parts(_module.validate_sections(sections)))


def underlay(namespace: Namespace, number: int) -> None:
    namespace.sh(
        f"ip address add 192.168.65.{number}/24 dev eth0; ip address add fd65::{number}/64 dev eth0 nodad; "
        "ip link set eth0 up; ip route add default via 192.168.65.254; ip route add default via fd65::254 dev eth0"
    )


def everything(namespace: Namespace) -> dict[str, list[str]]:
    """The namespace as programs see it that are not ours, less what changes by itself."""
    asked = {
        "link": "ip -d -o link",
        "address": "ip -o address | grep -v 'scope link'",
        # Both families; less what follows from link-local addresses, which come by themselves.
        "route": "ip -d -N route show table all | grep -v -e fe80:: -e ff00::",
        "neigh": "ip neigh show nud permanent",
        # Less the groups that the kernel joins by itself, a moment after a device is up.
        "fdb": "bridge fdb | grep permanent | grep -v -i -e ^33:33 -e ^01:00:5e",
        "nexthop": "ip nexthop",
        "port": "bridge -d -o link",
        "nft": "nft -s list ruleset",
        "ra": "grep -H . /proc/sys/net/ipv6/conf/*/accept_ra /proc/sys/net/ipv6/conf/*/autoconf /proc/sys/net/ipv?/*forward*",
        "namespaces": f"ip netns | grep {namespace.name}-",
    }
    said = namespace.sh("; echo =-=-=; ".join(asked.values()) + "; true").split("=-=-=\n")
    kept = [re.sub(r"\S+_timer +\S+|state \S+|<[^>]*>|qdisc \S+|(?:tentative|linkdown|dadfailed) ?", "", text) for text in said]
    return {name: sorted(line for line in text.splitlines() if line) for name, text in zip(asked, kept, strict=True)}


@pytest.mark.parametrize("number", range(PLANS))
def test_a_boot_makes_what_the_plan_says(namespace: Namespace, number: int) -> None:
    seen = seed_of(number)
    plan = plan_of(seen, namespace.name)
    wanted = sections_of(plan, "h1", seen.choice(("auto", "always", "never")))
    script = script_of(wanted)
    namespace.sh("ip link add eth0 type veth peer name eth1; ip link set eth1 up")
    underlay(namespace, 1)
    assert refused(wanted) == ""
    namespace.shell(script)
    found = namespace.module("overlay_host", check=True, **wanted)
    assert found["operations"] == [] and not found["changed"], found["operations"]
    # On a host that has it all it changes nothing, takes nothing away for a moment, and stumbles over nothing.
    before = everything(namespace)
    with watched(namespace) as gone:
        namespace.shell(script)
    after = everything(namespace)
    assert {name: set(after[name]) ^ set(before[name]) for name in before if after[name] != before[name]} == {}
    assert gone == []
    # For the namespaces by hand, which are not inside this one.
    namespace.module("overlay_host", sandbox=[])


class watched:
    """What is deleted in a namespace meanwhile, as the kernel tells it."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace, self.gone = namespace, list[str]()

    def __enter__(self) -> list[str]:
        command = ("nsenter", f"--net=/run/netns/{self.namespace.name}", "ip", "monitor", "all")
        self.job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
        time.sleep(0.1)
        return self.gone

    def __exit__(self, *_error: object) -> None:
        time.sleep(0.1)
        self.job.terminate()
        assert self.job.stdout is not None
        # Neighbours that nobody answers for come and go.
        said = (line.strip() for line in self.job.stdout)
        self.gone += [line for line in said if "Deleted" in line and "FAILED" not in line and "INCOMPLETE" not in line]
        self.job.wait()


# What iproute2 refuses, and what only a host has that is not this one: devices, their addresses, ways to gateways.
@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"vxlan_link": [{"name": "vx", "vni": 8, "tos": 184, "dev": "eth9.7", "group": "239.1.1.1"}]}, ""),
        ({"vxlan_link": [{**LINK, "flowlabel": 7}]}, "only applies to IPv6 VXLAN devices"),
        ({"route_entry": [{"dst": "10.88.2.0/24", "gateway": "10.1.1.2"}]}, ""),
        ({"route_entry": [{"dst": "fd00::/64", "gateway": "fd65::2", "device": "eth9", "src": "fd65::1"}]}, ""),
        ({"route_entry": [{"dst": "10.88.2.0/24", "gateway": "10.1.1.2", "table": 7, "src": "10.1.1.1"}]}, ""),
        (
            {"vxlan_link": [LINK], "fdb_entry": [{"device": "vx", "mac": "02:00:00:00:00:01", "dst": "fd00::1"}]},
            "by: bridge",
        ),
        ({"sysctl": [{"name": "net.ipv4.conf.nothing/7.forwarding", "value": 1}]}, ""),
        ({"files": [{"path": "/run/nobody/writes/this", "content": "x"}]}, ""),
        (
            {"firewall": [{"network": "n", "cidrs": ["10.1.0.0/16"], "bridge": "b", "publish": [{"port": 99999, "to": "x"}]}]},
            "nft",
        ),
    ],
)
def test_what_a_next_boot_could_not_use_is_found_today(namespace: Namespace, sections: dict[str, Any], words: str) -> None:
    seen = (
        "nsenter",
        f"--net=/run/netns/{namespace.name}",
        "sh",
        "-c",
        "ip -o link; ip route; nft list ruleset; ls /run/nobody; mount | grep -v ' /run/netns/'; true",
    )
    before = run(*seen).stdout
    said = refused(sections)
    assert (words in said) if words else said == "", said
    assert run(*seen).stdout == before


@pytest.fixture
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces with a wire between them."""
    made = [Namespace(), Namespace()]
    try:
        # Inside, so that no other test's devices of these names are met.
        ends = [f"netns {one.name}" for one in made]
        run("sh", "-c", f"ip link add eth0 {ends[0]} type veth peer name eth0 {ends[1]}")
        for number, one in enumerate(made, 1):
            underlay(one, number)
        yield made[0], made[1]
    finally:
        for one in made:
            one.remove()


def addresses(plan: Any, host: str) -> Iterator[str]:
    """What of the overlay answers on a host, beside the containers."""
    for one in plan.networks.values():
        if one.joins:
            yield from (lease.gateway for lease in one.members[host].leases)


@pytest.mark.parametrize("number", range(max(1, PLANS // 5)))
def test_a_script_that_runs_again_loses_no_packet(pair: tuple[Namespace, Namespace], number: int) -> None:
    seen = seed_of(number)
    plan = plan_of(seen, pair[0].name, hosts=2, benign=True)
    targets = list(addresses(plan, "h2"))
    while not targets:
        plan = plan_of(seen, pair[0].name, hosts=2, benign=True)
        targets = list(addresses(plan, "h2"))
    how = seen.choice(("auto", "always", "never"))
    scripts = [script_of({**sections_of(plan, host, how), "sandbox": []}) for host in ("h1", "h2")]
    for one, host, script in zip(pair, ("h1", "h2"), scripts, strict=True):
        # As Docker's bridge would have them.
        for address in addresses(plan, host):
            one.sh(f"ip address replace {address}/{128 if ':' in address else 32} dev lo nodad")
        one.shell(script)
    jobs = []
    for address in targets:
        pair[0].sh(f"ping -c 1 -w 5 {address}")
        command = ("nsenter", f"--net=/run/netns/{pair[0].name}", "ping", "-q", "-i", "0.002", "-w", "30", address)
        jobs.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()))
    time.sleep(0.1)
    for _again in range(3):
        for one, script in zip(pair, scripts, strict=True):
            one.shell(script)
    time.sleep(0.1)
    for job in jobs:
        job.send_signal(2)
        said = job.communicate()[0]
        sent, received = (int(number) for number in re.findall(r"(\d+) packets transmitted, (\d+) received", said)[0])
        # The last one may be on its way.
        assert sent > 50 and sent - received <= 1, said
