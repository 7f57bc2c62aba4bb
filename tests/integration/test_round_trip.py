# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was there is there again: hosts with much that others set by hand, before and after a device is made anew, a run that
fails at each of its operations in turn, and a teardown that fails; as iproute2, nft and /proc tell it. Or the run is refused.

OVERLAY_TURNS hosts from OVERLAY_SEED on. The first OVERLAY_SHRINK faults are made smaller before they are shown, and
OVERLAY_KIND=name,name gives all hosts these kinds of decorations (decorations.py), and no others.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from decorations import KINDS, SWITCH, SWITCH_PORT, Decoration, Dice, Wish
from inside import Inside, inside
from labs import Namespace
from listing import shown

# The same hosts in each run of the suite, whose verdict must be of the change at hand; `make soak` goes on to others.
SEED = 13000
AS_IT_WAS = "the host is as it was"
HOST = """
sysctl -q net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0
for n in 0 1; do
  ip link add eth$n type veth peer name far$n; ip link set eth$n up; ip link set far$n up
  ip address add 192.168.$((n + 1)).1/24 dev eth$n; ip address add fd92:$n::1/64 dev eth$n
  ip link add c$n type veth peer name c${n}in; ip link set c$n up; ip link set c${n}in up
done
for program in iptables ip6tables; do $program -N DOCKER-USER; $program -A FORWARD -j DOCKER-USER; done
"""
HOST += f"""
ip link add {SWITCH} type bridge; ip link add s0 address {SWITCH_PORT} type veth peer name s0in
ip link set s0 master {SWITCH} up; ip link set s0in up; ip link set {SWITCH} up
"""
# Until the kernel has looked at an address there is no route to it; a bridge whose last port was taken away has its carrier,
# and the routes that go with it, for up to a second more.
SETTLE = """
settled() {
  [ -z "$(ip -6 -o address show tentative)" ] || return 1
  for bridge in $(ip -o link show type bridge up | cut -d : -f 2); do
    own=$(ip link show dev $bridge | grep -c LOWER_UP) ports=$(ip -o link show master $bridge up | grep -c LOWER_UP)
    [ $((own > 0)) = $((ports > 0)) ] || return 1
  done
}
for n in $(seq 50); do settled && break; sleep 0.1; done
"""
TEARDOWN: Wish = {
    **{"bridge": [], "firewall": [], "neigh_entry": [], "fdb_entry": []},
    **{"vxlan_link": [{"entries": [], "purge": True}], "route_entry": [{"entries": [], "purge": True}]},
}
# What of a device only a new one can have otherwise, and how iproute2 calls it.
ANEW: dict[str, tuple[Any, str]] = {
    "port": (8472, "port"),
    "vni": (7000, "id"),
    "udpcsum": (None, "udp_csum"),
    "rsc": (True, "rsc"),
}


@dataclass(frozen=True)
class Case:
    """One thing that is tried with a host: of a scenario, the failure at one operation, or nothing more."""

    scenario: str
    at: int | None = None


@dataclass
class Outcome:
    went: int = 0
    refused: int = 0
    faults: list[tuple[Case, str]] = field(default_factory=list)
    unsupported: set[str] = field(default_factory=set)


@contextmanager
def a_host(seed: int, kept: Sequence[Decoration] | None, outcome: Outcome) -> Iterator[tuple[Inside, Dice, Wish]]:
    """One made by overlay_host and decorated; always the same for a seed, but for decorations that are not C(kept)."""
    namespace = Namespace()
    try:
        namespace.sh(HOST)
        with inside("nsenter", f"--net=/run/netns/{namespace.name}") as host:
            dice = Dice(seed)
            wish = dice.wish()
            made = host.converge(wish)
            assert "error" not in made, made
            for one in all_of(seed) if kept is None else kept:
                if host.sh(one.command):
                    outcome.unsupported.add(one.kind)
            namespace.sh(SETTLE)
            yield host, Dice(seed + 1), wish
    finally:
        namespace.remove()


def all_of(seed: int) -> list[Decoration]:
    dice = Dice(seed)
    wish = dice.wish()
    return dice.decorations(wish, [name for name in os.environ.get("OVERLAY_KIND", "").split(",") if name])


class Trial:
    """What is tried with one host, until something is not as it was."""

    def __init__(self, host: Inside, outcome: Outcome, only: Case | None = None) -> None:
        self.host, self.outcome, self.only = host, outcome, only
        self.before = host.look()

    def wanted(self, case: Case) -> bool:
        return self.only in (None, case) and not self.outcome.faults

    def fault(self, case: Case, said: Any, found: Any = None) -> None:
        text = f"{said}\n{shown(found)}" if found else str(said)
        self.outcome.faults.append((case, text))

    def fails(self, case: Case, wish: Wish) -> None:
        """A run whose operation fails leaves all as it was, and says so."""
        if not self.wanted(case):
            return
        answer = self.host.converge(wish, fail_at=case.at)
        said, found = answer.get("error", str(answer)), self.host.changes(self.before)
        if found:
            self.fault(case, said, found)
        elif "injected" not in said:
            if "operations failed" in said or "error" not in answer:
                self.fault(case, f"failed otherwise than asked: {said}")
            self.outcome.refused += 1
        elif AS_IT_WAS not in said:
            self.fault(case, f"all is as it was, and it says otherwise: {said}")
        else:
            self.outcome.went += 1

    def changes(self, case: Case, wish: Wish, ours: Sequence[str] = ()) -> bool:
        """A run that works changes C(ours) alone; whether it did work."""
        answer = self.host.converge(wish)
        found = self.host.changes(self.before)
        if "error" in answer:
            if found or "operations failed" in answer["error"] and AS_IT_WAS not in answer["error"]:
                self.fault(case, answer["error"], found)
            self.outcome.refused += 1
            return False
        found = _less(found, ours)
        if found:
            self.fault(case, f"{len(answer['operations'])} operations were done", found)
        self.outcome.went += 1
        return not found


def _less(found: dict[str, Any], ours: Sequence[str]) -> dict[str, Any]:
    """Without what makes a device another one."""
    if "link" in found and ours:
        sides = {}
        for side, texts in found["link"].items():
            links = [json.loads(text) for text in texts]
            for link in links:
                if link["ifname"] in ours:
                    for _value, name in ANEW.values():
                        link["linkinfo"]["info_data"].pop(name, None)
            sides[side] = sorted(json.dumps(link, sort_keys=True) for link in links)
        if sides["gone"] == sides["come"]:
            return {name: value for name, value in found.items() if name != "link"}
    return found


def anew(trial: Trial, dice: Dice, wish: Wish) -> None:
    """A device of another port, VNI, ..., with all that was on it; and back."""
    links = wish["vxlan_link"][0]["entries"]
    chosen = dice.sample(links, dice.randrange(1, len(links) + 1)) if links else []
    wants, purges = dice.choice(list(ANEW)), dice.random() < 0.3
    if not purges:
        # Others' addresses, neighbours and FDB entries stay.
        wish = json.loads(json.dumps(wish))
        for part in [*wish["neigh_entry"], *wish["fdb_entry"], *wish["bridge"], *wish["vxlan_link"][0]["entries"]]:
            part.pop("purge", None)
            part.pop("addresses", None)
    changed = json.loads(json.dumps(wish))
    names = [link["name"] for link in chosen]
    for link in changed["vxlan_link"][0]["entries"]:
        if link["name"] in names:
            value = ANEW[wants][0]
            link[wants] = not link[wants] if value is None else value + link["vni"] if wants == "vni" else value
    case = Case(f"made anew: {wants} of {', '.join(names)}, {'purging' if purges else 'purging nothing'}")
    if not names or not trial.wanted(case):
        return
    if purges:
        # What goes with that is asked for.
        said = trial.host.converge(wish).get("error")
        if said is not None:
            if "operations failed" in said:
                trial.fault(case, f"to take away what is not wished: {said}")
            trial.outcome.refused += 1
            return
        trial.before = trial.host.look()
    if trial.changes(case, changed, names):
        trial.changes(case, wish)


def teardown(trial: Trial, dice: Dice, wish: Wish) -> None:
    """Its last operation fails, or one of the firewall's, which come when the devices are gone."""
    operations = trial.host.converge(TEARDOWN, check=True).get("operations", [])
    places = {number for number, one in enumerate(operations) if one.startswith("firewall: ")}
    for at in sorted({*sorted(places)[:1], len(operations) - 1} - {-1}):
        trial.fails(Case("teardown", at), TEARDOWN)


def failures(trial: Trial, dice: Dice, wish: Wish) -> None:
    """Another wish, of which each operation fails in turn."""
    other = dice.wish()
    answer = trial.host.converge(other, check=True)
    for at in range(len(answer.get("operations", [0]))):
        trial.fails(Case("another wish", at), other)


def attempt(seed: int, kept: Sequence[Decoration] | None = None, only: Case | None = None) -> Outcome:
    """All that is tried with a seed; a new host after a fault."""
    outcome = Outcome()
    for scenario, name in ((anew, "made anew"), (teardown, "teardown"), (failures, "another wish")):
        if only is not None and not only.scenario.startswith(name):
            continue
        before = outcome.faults
        outcome.faults = []
        with a_host(seed, kept, outcome) as (host, dice, wish):
            scenario(Trial(host, outcome, only), dice, wish)
        outcome.faults = before + outcome.faults
    return outcome


def smaller(seed: int, case: Case, said: str, tries: int = 30) -> tuple[list[Decoration], str]:
    """As few decorations as it takes, and what is said then."""
    kept = all_of(seed)
    size = len(kept)
    while size and tries > 0:
        for start in range(0, len(kept), size):
            less = kept[:start] + kept[start + size :]
            tries -= 1
            faults = attempt(seed, less, case).faults
            if faults:
                kept, said = less, faults[0][1]
                break
        else:
            size //= 2
        size = min(size, len(kept))
    return kept, said


def test_what_was_there_is_there_again() -> None:
    first = int(os.environ.get("OVERLAY_SEED") or SEED)
    turns, shrinks = int(os.environ.get("OVERLAY_TURNS", "12")), int(os.environ.get("OVERLAY_SHRINK", "1"))
    print(f"OVERLAY_SEED={first} OVERLAY_TURNS={turns}")
    faults, hosts, unsupported = [], Counter[str](), set[str]()
    seeds = range(first, first + turns)
    # Half the time is the kernel's, which lets a device go when nobody can be looking at it any more.
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(attempt, seeds))
    for seed, outcome in zip(seeds, outcomes, strict=True):
        hosts["refused" if outcome.refused and not outcome.went else "went" if outcome.went else "did nothing"] += 1
        hosts["runs that went"] += outcome.went
        hosts["runs refused"] += outcome.refused
        unsupported |= outcome.unsupported
        for case, said in outcome.faults:
            kept = all_of(seed)
            if len(faults) < shrinks:
                kept, said = smaller(seed, case, said)
            wish = json.dumps(Dice(seed).wish())
            did = "\n".join(f"  {one.kind}: {one.command}" for one in kept)
            faults.append(f"OVERLAY_SEED={seed} OVERLAY_TURNS=1, {case}\nwish: {wish}\ndecorations:\n{did}\n{said}")
    print(f"{dict(hosts)}; {len(faults)} faults")
    # Which commands this kernel has no means for.
    print(f"Not supported here, at least once: {', '.join(sorted(unsupported))}")
    assert not faults, f"{len(faults)} faults\n\n" + "\n\n".join(faults)
    # A test that is always refused shows nothing.
    assert hosts["went"] * 3 >= turns and hosts["runs that went"] >= hosts["runs refused"], hosts
    assert len(unsupported) < len(KINDS) / 4
