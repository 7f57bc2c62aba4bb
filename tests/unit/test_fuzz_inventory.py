# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever is in an inventory, the planner makes a plan of it that hosts take, or says what is wrong; it never just fails.

OVERLAY_EXAMPLES inventories of each kind, by OVERLAY_SEED.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import ipaddress
import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ansible_collections.agentless.overlay.plugins.module_utils import _module
from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS, restore_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan import fields
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import list_probe_targets, make_part
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import Planned, make_plan

EXAMPLES = int(os.environ.get("OVERLAY_EXAMPLES", "2000"))
SEED = int(os.environ.get("OVERLAY_SEED") or 190823)
Inventory = dict[str, Any]
KEYS = sorted({*fields._COMMON, *(option for kind in BACKENDS.values() for option in kind.options)})
HOST_KEYS = [one.name for one in dataclasses.fields(Node) if one.name not in ("name", "groups")]
PYTHON = re.compile(r"\b(None|True|False|NoneType|Traceback)\b|object at 0x|<class|OrderedDict|IPNetwork\(")


class Huge(int):
    """A number of more digits than Python writes; this repr is for hypothesis."""

    def __repr__(self) -> str:
        return "Huge(10**5000)"

    __str__ = int.__repr__


HUGE = Huge(10**5000)
ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)
# What people write by mistake, what YAML makes of what they write, and what is nobody's.
NASTY: list[Any] = [
    *(None, "", " ", "\n", False, True, 0, 1, -1, 10.88, float("nan"), float("inf"), HUGE, 2**24, 1279, 1280, 65536),
    *(datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1), b"\x00\xff", {}, [], [[]], [None], {"": None}, {None: 1}),
    *({1: 2, "a": {"b": [None, True]}}, [["all", "all"]], [["all"]], [[], []], ENDLESS, {HUGE: HUGE}),
    *("10.1", "0x0a000001", "010.0.0.1", "10.0.0.1", " 10.0.0.1 ", "10.88.0.0/255.255.0.0", "10.88.0.0/0.0.255.255"),
    *("10.88.0.1-5", "10.88.*.*", "10.0.0.1,10.0.0.2", "10.0.0.1:22", "0.0.0.0/0", "::/0", "128.0.0.0/1", "2000::/3"),
    *("10.88.0.0/016", "10.88.0.0/33", "10.88.0.1/16", "10.88.0.4/30", "10.88.0.4/32", "fd00::/128", "::1", "fd00::/127"),
    *("::ffff:10.0.0.1", "::10.0.0.1", "fe80::1%eth0", "[fd00::1]", "[fd00::1]/64", "FD00::1", "255.255.255.255", "224.0.0.1"),
    *("all", "nobody", "*", "@", "[*].groups", "[*].labels", "[?name==", "[::0]", "name", "[0]", "length(@)", "to_number('x')"),
    *("sort_by(@, &labels)", "max([].groups)", "sum([].name)", "[" * 2000, "`\x00`", "contains(@, `1`)", "join(@, @)"),
    *("lo", "docker0", "docker_gwbridge", "br-0123456789ab", "default", ".", "..", "a/b", "a b", "br.88", "vxlan.88", "eth0"),
    *("a" * 300, "ü" * 15, "\ud800", "\x1b[31m", "{{ x }}", "no", "12:34:56", "02:42:0a:00:00:01", "1" * 5000, "88", "088"),
]
# What is no message's own words.
TEXTS = st.text(max_size=8).filter(lambda text: not PYTHON.search(text))
WORDS = st.sampled_from(["a", "b", "h1", "h2", "web", "main", "net", "10.88.7.0/24", "fd00:88:7::/64", 88, 1400])
SCALARS = st.one_of(st.sampled_from(NASTY), WORDS, st.integers(), st.floats(), TEXTS, st.booleans())
HASHABLE = st.one_of(TEXTS, st.integers(-9, 99), st.none(), st.sampled_from(KEYS))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HASHABLE, inner, max_size=3),
    max_leaves=4,
)
NAMES = st.one_of(st.sampled_from(["h1", "h2", "web1.example.com", "10.0.0.7"]), TEXTS)
NETWORKS = st.one_of(
    st.fixed_dictionaries({}, optional={key: st.one_of(VALUES, st.sampled_from(sorted(BACKENDS))) for key in KEYS}),
    st.dictionaries(HASHABLE, VALUES, max_size=5),
    VALUES,
)
RANDOM = st.fixed_dictionaries(
    {
        "networks": st.one_of(st.lists(NETWORKS, max_size=3), VALUES),
        "hosts": st.dictionaries(NAMES, st.dictionaries(st.sampled_from(HOST_KEYS), VALUES, max_size=4), max_size=3),
        "groups": st.dictionaries(st.sampled_from(["web", "hubs", "all"]), st.lists(NAMES, max_size=2), max_size=2),
        "recorded": st.dictionaries(NAMES, st.one_of(st.dictionaries(HASHABLE, VALUES, max_size=3), VALUES), max_size=2),
        "reserved": VALUES,
    }
)


# Right inventories, and what happens to them


ATTACHED: dict[str, Any] = {
    **{"Docker0": "docker0", "Host": "host", "Namespace": "namespace"},
    "DockerNetwork": {"docker_network": "net"},
}
CIDRS = ["10.88.0.0/16", "10.88.0.0/28", "fd00:88::/48", ["10.88.0.0/16", "fd00:88::/48"]]


@st.composite
def right_networks(draw: st.DrawFn, number: int) -> Inventory:
    """A network of any kind, that is right by itself and beside those of other numbers."""
    kind = draw(st.sampled_from(sorted(BACKENDS.items())))[1]
    attachment = draw(st.sampled_from(kind.attachments))
    attach = copy.deepcopy(ATTACHED[attachment.__name__])
    if isinstance(attach, dict):
        attach["docker_network"] += str(number)
    cidrs = [cidr for cidr in CIDRS if not attachment.has_ipv4 or "10.88" in str(cidr)]
    if not kind.joins:
        cidrs = [cidr for cidr in cidrs if isinstance(cidr, str)]
    cidr = draw(st.sampled_from(cidrs))
    shifted: Any = json.loads(json.dumps(cidr).replace("88", str(88 + number)))
    made: Inventory = {"name": f"n{number}", "backend": kind.backend, "cidr": shifted, "attach": attach}
    own: dict[str, Any] = {
        **{"vni": 88 + number, "port": 4789, "device": f"vx{number}", "dev": "eth0", "underlay": "ipv4"},
        **{"link": {"ttl": 64, "srcport_min": 1000, "srcport_max": 2000}, "direct_routing": True, "peers": ["h1"]},
        **{"parallel": [{"vni": 1000 + number}], "group": "239.1.1.1", "neigh_suppress": True, "static": True},
        **{"bridge": f"by{number}", "gateway": None, "containers": _containers(shifted, number)},
    }
    needed = {"vni", "group", "dev"} if kind.backend == "multicast" else {"vni"}
    chosen = [key for key in kind.options if key in needed or key != "underlay" and draw(st.booleans())]
    made.update({key: own[key] for key in chosen})
    if kind.backend == "p2p":
        made["members"] = ["h1", "h2"]
    return made


def _containers(cidr: Any, number: int) -> list[Inventory]:
    first = str(cidr).replace("0.0/16", "0.9").replace("0.0/28", "0.9").replace("::/48", "::9")
    return [{"name": f"c{number}", "address": first, "publish": [{"port": 9000 + number, "to": 80, "by": "dnat"}]}]


@st.composite
def right_inventories(draw: st.DrawFn) -> Inventory:
    # Each host has one docker0, and one file that tells runtimes of a network.
    networks = [draw(right_networks(number)) for number in range(draw(st.integers(1, 2)))]
    if len(networks) > 1 and not any(isinstance(one["attach"], dict) for one in networks):
        del networks[1]
    hosts: dict[str, Any] = {
        f"h{number}": {
            **{"underlay_ip": [f"192.168.65.{number}/24", f"fd65::{number}/64"], "underlay_mtu": 1500},
            **{"underlay_dev": "eth0", "labels": {"zone": "a"}},
        }
        for number in range(1, draw(st.integers(2, 3)) + 1)
    }
    groups = {"web": ["h1"], "overlay": sorted(hosts)}
    recorded: dict[str, Any] = {}
    return {"networks": networks, "hosts": hosts, "groups": groups, "recorded": recorded, "reserved": ["172.16.0.0/12"]}


def places(value: Any, levels: int = 6) -> Iterator[tuple[Any, Any]]:
    """Each container in an inventory with a key or an index of it."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys if levels else ():
        yield value, key
        yield from places(value[key], levels - 1)


@st.composite
def wrong_inventories(draw: st.DrawFn) -> tuple[Inventory, Inventory]:
    """A right one, and the same after one to three mistakes."""
    right = draw(right_inventories())
    wrong = copy.deepcopy(right)
    for _mistake in range(draw(st.integers(1, 3))):
        draw(st.sampled_from(MISTAKES))(draw, wrong)
    return right, wrong


def _choose(draw: st.DrawFn, inventory: Inventory) -> tuple[Any, Any]:
    # What an inventory cannot be without, the caller of the planner gives.
    found = [place for place in places(inventory) if place[0] is not inventory and place[0] is not inventory["groups"]]
    found = [place for place in found if place[0] is not inventory["hosts"]] or [(inventory, "networks")]
    return found[draw(st.integers(0, len(found) - 1))]


def _draw_nasty(draw: st.DrawFn, *more: Any) -> Any:
    # Of one's own: the next mistake may be inside of it.
    return copy.deepcopy(draw(st.sampled_from([*NASTY, *more])))


def set_value(draw: st.DrawFn, inventory: Inventory) -> None:
    holder, key = _choose(draw, inventory)
    holder[key] = _draw_nasty(draw)


def change_type(draw: st.DrawFn, inventory: Inventory) -> None:
    holder, key = _choose(draw, inventory)
    old = holder[key]
    changes: list[Callable[[], Any]] = [lambda: [old], lambda: {"name": old}, lambda: f"{old}" if type(old) is int else 7]
    holder[key] = draw(st.sampled_from(changes))()


def drop_key(draw: st.DrawFn, inventory: Inventory) -> None:
    holder, key = _choose(draw, inventory)
    if holder is not inventory:
        del holder[key]


def misspell_key(draw: st.DrawFn, inventory: Inventory) -> None:
    holder, key = _choose(draw, inventory)
    if isinstance(holder, dict) and holder is not inventory and holder not in inventory["hosts"].values():
        holder[draw(st.sampled_from([str(key) + "s", str(key).upper(), 7, None]))] = holder.pop(key)


def add_key(draw: st.DrawFn, inventory: Inventory) -> None:
    networks = (
        [one for one in inventory["networks"] if isinstance(one, dict)] if isinstance(inventory["networks"], list) else []
    )
    if networks and draw(st.booleans()):
        draw(st.sampled_from(networks))[draw(st.sampled_from(KEYS))] = _draw_nasty(draw)
    elif inventory["hosts"]:
        values = inventory["hosts"][draw(st.sampled_from(sorted(inventory["hosts"])))]
        values[draw(st.sampled_from(HOST_KEYS))] = _draw_nasty(draw)


def swap_values(draw: st.DrawFn, inventory: Inventory) -> None:
    one, other = _choose(draw, inventory), _choose(draw, inventory)
    a, b = copy.deepcopy(one[0][one[1]]), copy.deepcopy(other[0][other[1]])
    one[0][one[1]] = b
    # The first may have held the second.
    if isinstance(other[0], dict) or other[1] < len(other[0]):
        other[0][other[1]] = a


def add_record(draw: st.DrawFn, inventory: Inventory) -> None:
    value = _draw_nasty(draw, ["10.88.4.0/24", "10.88.5.0/24"], "10.88.4.0/24", "10.88.0.7", "10.88.0.8/30")
    host = draw(st.sampled_from(["h1", "h2", "gone", 101]))
    inventory["recorded"].setdefault(draw(st.sampled_from(["n0", "n1", "gone"])), {})[host] = value


MISTAKES = [set_value, change_type, drop_key, misspell_key, add_key, swap_values, add_record]


# What has to be true of all


def plan_of(inventory: Inventory) -> Planned:
    groups = inventory["groups"]
    nodes = [
        Node(name=name, groups=tuple(group for group, names in groups.items() if name in names), **values)
        for name, values in inventory["hosts"].items()
    ]
    recorded, reserved = inventory["recorded"], inventory["reserved"]
    return make_plan(BACKENDS, inventory["networks"], nodes, recorded, reserved, "leases.yml", groups)


def check(inventory: Inventory) -> Planned:
    made, again = plan_of(inventory), plan_of(inventory)
    assert made.errors == again.errors and (made.errors or made.plan == again.plan)
    for error in made.errors:
        assert all((error.host, error.variable, error.value, error.problem, error.remedy)), error
        text = str(error)
        assert text.isprintable() and len(text) < 2000 and not PYTHON.search(text), text
    if not made.errors:
        _check_plan(made)
    return made


def _check_plan(made: Planned) -> None:
    """Each host's part is one that its module takes, and the plan the same after it was on file."""
    plain = made.plan.to_plain()
    assert plain["networks"] and made.plan.list_nodes()
    assert restore_plan(json.loads(json.dumps(plain))) == made.plan
    cidrs = [ipaddress.ip_network(cidr) for network in made.plan.networks.values() for cidr in network.cidrs]
    for node in made.plan.list_nodes():
        sections = _module.validate_sections(make_part(made.plan, node))
        for resource in ORDER:
            resource.parse(sections)
        for target in list_probe_targets(made.plan, node, {}):
            assert any(ipaddress.ip_address(target["address"]) in cidr for cidr in cidrs), target


def by_examples(test: Callable[..., None]) -> Callable[..., None]:
    print(f"OVERLAY_SEED={SEED} OVERLAY_EXAMPLES={EXAMPLES}")
    told = settings(
        max_examples=EXAMPLES, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck)
    )
    return seed(SEED)(told(test))


@by_examples
@given(RANDOM)
def test_random_inventories(inventory: Inventory) -> None:
    check(inventory)


@by_examples
@given(wrong_inventories())
def test_slightly_wrong_inventories(inventories: tuple[Inventory, Inventory]) -> None:
    right, wrong = inventories
    assert [str(error) for error in check(right).errors] == []
    check(wrong)
