# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode is exact: three hosts with a network of each kind, and hands that change one thing after the other.

What was made is found, under its name, and nothing else; what a check foretells is what a run does; after it all is as it was
before the hands came, by iproute2 and nft; and a second run does nothing. OVERLAY_TURNS of mutations, by OVERLAY_SEED.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from inside import Inside, inside
from labs import LAB, Lab
from listing import difference, shown
from mutations import Drift, Mutation, Sections, mutations

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import make_part
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import make_plan

# The same mutations in each run of the suite; `make soak` goes on to others.
SEED = 802552
HOSTS = ("h1", "h2", "h3")
NETWORKS: list[dict[str, Any]] = [
    {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88},
    {"name": "web", "cidr": ["10.89.0.0/16", "fd89::/48"], "vni": 89, "attach": {"docker_network": "web"}},
    {"name": "flat", "backend": "l2", "cidr": "10.90.0.0/16", "vni": 90, "attach": {"docker_network": "flat"}},
    {"name": "gw", "backend": "host-gw", "cidr": "10.91.0.0/16", "attach": {"docker_network": "gw"}},
    {"name": "tunnel", "backend": "p2p", "cidr": "10.92.0.0/24", "vni": 92, "attach": "host", "members": ["h1", "h2"]},
    {
        **{"name": "all", "backend": "multicast", "cidr": "10.93.0.0/24", "vni": 93, "attach": "host"},
        **{"group": "239.1.1.1", "dev": "eth0"},
    },
    {
        **{"name": "hand", "backend": "none", "cidr": "10.94.0.0/16", "gateway": "10.94.1.254", "bridge": "MyDocker0"},
        "containers": [{"name": "ns1", "address": "10.94.1.1", "publish": [{"port": 9090, "to": 8080}]}],
    },
]
# Where it is seen that Docker made a network anew, under another number, or somebody a device with a MAC of its own.
ANEW = ("nft", "iptables", "ip6tables", "link", "address", "route", "route6", "neigh", "fdb", "port", "sysctl", "qdisc")


@dataclass
class Machine:
    """A host, its part of the plan, and what can be done to it."""

    name: str
    host: Inside
    sections: Sections
    managed: list[str]
    left: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Machine]]:
    lab = Lab(tmp_path_factory.mktemp("check") / "inventory")
    lab.hosts = {name: {"ansible_host": f"192.168.65.{number}"} for number, name in enumerate(HOSTS, 3)}
    plan = make_plan(
        BACKENDS, NETWORKS, [Node(name=name, underlay_ip=values["ansible_host"] + "/24") for name, values in lab.hosts.items()]
    )
    assert not plan.errors, plan.errors
    try:
        lab.up()
        with ExitStack() as stack:
            made = []
            for name in HOSTS:
                host = stack.enter_context(inside("bash", str(LAB), "exec", name, LAB_PREFIX=lab.prefix))
                # One of them with nexthop objects.
                how = "always" if name == "h2" else "never"
                sections = make_part(plan.plan, name, allow_renumber=True, nexthops=how)
                done = host.converge(sections)
                assert "error" not in done, done
                assert host.sh("service docker restart") == []
                done = host.converge(sections)
                assert "error" not in done and host.converge(sections)["operations"] == [], done
                managed = lab.sh(
                    name, "grep -rl agentless /etc/systemd/network /etc/udev /etc/NetworkManager 2>/dev/null || true"
                )
                made.append(Machine(name, host, sections, managed.split()))
            yield made
    finally:
        lab.down()


def covers(wanted: Drift, found: Drift) -> bool:
    return wanted[:2] == found[:2] and found[2].startswith(wanted[2])


def judge(chosen: list[Mutation], drift: list[Drift]) -> list[str]:
    """What was made and not found, and what was found and not made."""
    wanted = [one for mutation in chosen for one in mutation.must]
    allowed = wanted + [one for mutation in chosen for one in mutation.may]
    missed = [one for one in wanted if not any(covers(one, found) and (found[2] == one[2] or not one[2]) for found in drift)]
    invented = [one for one in drift if not any(covers(may, one) for may in allowed)]
    return [f"missed: {one}" for one in missed] + [f"invented: {one}" for one in invented]


def drift_of(answer: dict[str, Any]) -> list[Drift]:
    return [(one["resource"], one["kind"], one["name"]) for one in answer.get("drift", [])]


def _without_numbers(found: dict[str, Any]) -> dict[str, Any]:
    """A device that a hand removed comes back with another number."""
    numbers = re.compile(r'"(ifindex|index)": \d+')
    kept = {}
    for category, sides in found.items():
        still = {side: sorted(numbers.sub(r'"\1": 0', text) for text in texts) for side, texts in sides.items()}
        if still["gone"] != still["come"]:
            kept[category] = still
    return kept


def draw(machine: Machine, chance: random.Random, size: int) -> list[Mutation]:
    """As many mutations as asked for, of different places; in the long run each as often as any other."""
    chosen: list[Mutation] = []
    for _attempt in range(50):
        offered = mutations(machine.sections, chance, machine.name == "h2", machine.managed)
        machine.left = machine.left or sorted({one.name for one in offered})
        name = machine.left[chance.randrange(len(machine.left))]
        one = chance.choice([one for one in offered if one.name == name])
        if not any(one.hides(other) for other in chosen):
            machine.left.remove(name)
            chosen.append(one)
        if len(chosen) == size:
            break
    return chosen


def turn(machine: Machine, chosen: list[Mutation]) -> list[str]:
    """Mutate, check, run, run again; what is wrong with that."""
    host = machine.host
    # What is others' first: that has to be there afterwards.
    others = [one for one in chosen if not one.must and one.undo]
    ours = [one for one in chosen if one not in others]
    refused = host.sh(*(one.command for one in others))
    before = host.look()
    refused += host.sh(*(one.command for one in ours))
    wrong = [f"the test's own command failed: {text}" for text in refused]
    told = host.converge(machine.sections, check=True)
    done = host.converge(machine.sections)
    for name, answer in (("check", told), ("run", done)):
        if "error" in answer:
            wrong.append(f"{name}: {answer['error']}")
        else:
            wrong += [f"{name}: {text}" for text in judge(chosen, drift_of(answer))]
    if told.get("operations") != done.get("operations"):
        wrong.append(f"foretold {told.get('operations')}\ndone {done.get('operations')}")
    again = host.converge(machine.sections)
    if again.get("operations") != [] or again.get("changed") or again.get("drift"):
        wrong.append(f"second run: {again.get('error', again.get('operations'))}")
    found = _without_numbers(host.changes(before))
    if any(one.anew for one in ours):
        found = {name: value for name, value in found.items() if name not in ANEW}
    if found:
        wrong.append(f"not as it was:\n{shown(found)}")
    wrong += [f"the test's own undo failed: {text}" for text in host.sh(*(one.undo for one in others))]
    return wrong


def test_check_mode_finds_what_was_made_and_foretells_what_is_done(machines: list[Machine]) -> None:
    seed = int(os.environ.get("OVERLAY_SEED") or SEED)
    turns = int(os.environ.get("OVERLAY_TURNS", "60"))
    print(f"OVERLAY_SEED={seed} OVERLAY_TURNS={turns}")
    chance, made, faults = random.Random(seed), 0, []
    only = os.environ.get("OVERLAY_KIND")
    while made < turns:
        machine = chance.choice(machines)
        chosen = draw(machine, chance, min(chance.randrange(1, 4), turns - made))
        if only:
            offered = mutations(machine.sections, chance, machine.name == "h2", machine.managed)
            chosen = [one for one in offered if only in one.name][:1]
        made += max(len(chosen), 1)
        wrong = turn(machine, chosen)
        if wrong:
            did = "\n".join(f"  {one.name}: {one.command}" for one in chosen)
            faults.append(f"{machine.name}\n{did}\n" + "\n".join(wrong))
            # For the next turn to begin from a converged host again, without what was not found.
            devices = [link["name"] for link in machine.sections["vxlan_link"][0]["entries"]]
            machine.host.sh(*(f"ip link del {one}" for one in devices if any(one in other.command for other in chosen)))
            machine.host.converge(machine.sections)
    print(f"{made} mutations, {len(faults)} turns with a fault")
    assert not faults, f"OVERLAY_SEED={seed}: {len(faults)} faults\n\n" + "\n\n".join(faults)


def test_the_judge_can_say_no() -> None:
    mutation = Mutation("x", "true", "x", (("neigh_entry", "missing", "vx 10.0.0.1"),), (("route_entry", "missing", "10."),))
    assert judge([mutation], [("neigh_entry", "missing", "vx 10.0.0.1"), ("route_entry", "missing", "10.1.0.0/24")]) == []
    assert judge([mutation], []) == ["missed: ('neigh_entry', 'missing', 'vx 10.0.0.1')"]
    assert judge([mutation], [("neigh_entry", "missing", "vx 10.0.0.12")])[0].startswith("missed")
    assert judge([], [("sysctl", "wrong", "x")]) == ["invented: ('sysctl', 'wrong', 'x')"]
    assert difference({"a": ["1", "1"]}, {"a": ["1"]}) == {"a": {"gone": ["1"], "come": []}}
