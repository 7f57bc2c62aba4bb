# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pure part of the engine: order, consequences, differences; no kernel."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _daemon_keys, _docker_api
from ansible_collections.agentless.overlay.plugins.module_utils._docker._docker_api import Docker
from ansible_collections.agentless.overlay.plugins.module_utils._engine import _transaction, _undo
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Failure,
    Op,
    OverlayError,
    Resource,
    make_sort_key,
)
from ansible_collections.agentless.overlay.plugins.module_utils._marks import MARK
from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER, _daemon_json, _docker_networks
from ansible_collections.agentless.overlay.plugins.module_utils._resources._addresses import Address
from ansible_collections.agentless.overlay.plugins.module_utils._resources._bridges import Bridge
from ansible_collections.agentless.overlay.plugins.module_utils._resources._fdb import FdbEntry
from ansible_collections.agentless.overlay.plugins.module_utils._resources._neighbours import Neighbour
from ansible_collections.agentless.overlay.plugins.module_utils._resources._routes import Route
from ansible_collections.agentless.overlay.plugins.module_utils._resources._vxlan import Link
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import list_probe_targets, make_part
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import make_plan

NAMES = {"vxlan_link": Link, "address": Address, "neigh_entry": Neighbour, "fdb_entry": FdbEntry, "route_entry": Route}


def state(*entries: Any) -> _transaction.State:
    made: _transaction.State = {}
    for name, cls in NAMES.items():
        made[name] = {entry.key: entry for entry in entries if isinstance(entry, cls)}
    return made


LINK = Link("vx", vni=88, port=4789, local="10.0.0.1", mac="02:00:00:00:00:01", mtu=1450)
ADDRESS = Address("vx", "10.88.1.0/32")
NEIGHBOUR = Neighbour("vx", "10.88.2.0", "02:00:00:00:00:02")
FDB = FdbEntry("vx", "02:00:00:00:00:02", "10.0.0.2")
ROUTE = Route("10.88.2.0/24", "vx", "10.88.2.0", True)
ALL = (LINK, ADDRESS, NEIGHBOUR, FDB, ROUTE)


def kinds(ops: list[Any]) -> list[str]:
    return [f"{op.resource} {op.action}" for batch in _transaction.order_operations(ORDER, ops) for op in batch]


def test_additions_come_route_last_and_removals_route_first() -> None:
    up, _effects = _transaction.plan_operations(ORDER, state(), state(*ALL))
    assert kinds(up) == ["vxlan_link add", "address add", "neigh_entry add", "fdb_entry add", "route_entry add"]
    down, _effects = _transaction.plan_operations(ORDER, state(*ALL), state(LINK))
    assert kinds(down) == ["route_entry remove", "fdb_entry remove", "neigh_entry remove", "address remove"]


def test_what_is_on_a_removed_device_goes_with_it() -> None:
    ops, effects = _transaction.plan_operations(ORDER, state(*ALL), state())
    assert kinds(ops) == ["vxlan_link remove"] and effects.removed == {"vx"}


def test_an_addition_comes_before_a_removal() -> None:
    """Make before break: a new peer is reachable before an old one goes."""
    other = Route("10.88.3.0/24", "vx", "10.88.3.0", True)
    ops, _effects = _transaction.plan_operations(ORDER, state(LINK, ROUTE), state(LINK, other))
    assert kinds(ops) == ["route_entry add", "route_entry remove"]


def test_a_recreated_device_gets_everything_back() -> None:
    changed = Link("vx", vni=99, port=4789, local="10.0.0.1", mac="02:00:00:00:00:01", mtu=1450)
    ops, effects = _transaction.plan_operations(ORDER, state(*ALL), state(changed, ADDRESS, NEIGHBOUR, FDB, ROUTE))
    assert effects.lost == {"vx"}
    assert kinds(ops) == ["vxlan_link re-create", "address add", "neigh_entry add", "fdb_entry add", "route_entry add"]


def test_a_new_mac_puts_the_neighbours_back() -> None:
    changed = Link("vx", vni=88, port=4789, local="10.0.0.1", mac="02:00:00:00:00:99", mtu=1450)
    ops, _effects = _transaction.plan_operations(ORDER, state(*ALL), state(changed, ADDRESS, NEIGHBOUR, FDB, ROUTE))
    assert kinds(ops) == ["vxlan_link change", "neigh_entry add"]


@pytest.mark.parametrize(
    ("change", "action"),
    [
        ({"local": "10.0.0.9"}, "change"),
        ({"local": "fd00::9"}, "re-create"),
        ({"mtu": 1400, "alias": "x", "up": False}, "change"),
        ({"ttl": 9, "tos": 8, "learning": True, "ageing": 7, "df": "set"}, "change"),
        ({"port": 8472}, "re-create"),
        ({"udpcsum": False}, "re-create"),
    ],
)
def test_only_what_the_kernel_cannot_change_recreates(change: dict[str, Any], action: str) -> None:
    from dataclasses import replace

    ops, _effects = _transaction.plan_operations(ORDER, state(LINK), state(replace(LINK, **change)))
    assert [op.action for op in ops] == [action]


def test_a_device_that_takes_over_vni_and_port_waits_for_the_old_one() -> None:
    old = Link("old", vni=88, port=4789, local="10.0.0.1", alias=MARK + "x")
    ops, _effects = _transaction.plan_operations(ORDER, state(old), state(LINK))
    assert kinds(ops) == ["vxlan_link remove", "vxlan_link add"]
    elsewhere = Link("old", vni=77, port=4789, local="10.0.0.1", alias=MARK + "x")
    ops, _effects = _transaction.plan_operations(ORDER, state(elsewhere), state(LINK))
    assert kinds(ops) == ["vxlan_link add", "vxlan_link remove"]


def test_a_route_of_others_is_replaced_or_goes_first() -> None:
    """Of IPv4 the kernel replaces one by another; of IPv6 it could replace that of a third."""
    for dst, before, kinds_of in (
        ("10.88.2.0/24", Route("10.88.2.0/24", "eth0", protocol=4), ["route_entry change"]),
        ("fd88:2::/64", Route("fd88:2::/64", "eth0", protocol=4), ["route_entry remove", "route_entry add"]),
    ):
        ours = Route(dst, "vx", "fd99::2" if ":" in dst else "10.88.2.0", True)
        for found, wanted in ((before, ours), (ours, before)):
            ops, _effects = _transaction.plan_operations(ORDER, state(LINK, found), state(LINK, wanted))
            assert kinds(ops) == kinds_of
    moved = Route("fd88:2::/64", "vy", "fd99::2", True)
    ops, _effects = _transaction.plan_operations(ORDER, state(LINK, ours), state(LINK, moved))
    assert kinds(ops) == ["route_entry change"]


@pytest.mark.parametrize("protocol", [1, 2, 9])
def test_routes_of_the_kernel_are_never_made(protocol: int) -> None:
    route = Route("fe80::/64", "vx", protocol=protocol, metric=256)
    changed = Link("vx", vni=99, port=4789, local="10.0.0.1", mac="02:00:00:00:00:01", mtu=1450)
    ops, _effects = _transaction.plan_operations(ORDER, state(LINK, route), state(changed, route))
    assert kinds(ops) == ["vxlan_link re-create"]
    assert route.key != Route("fe80::/64", "eth0", protocol=protocol, metric=256).key


def test_an_undo_says_what_is_not_as_it_was() -> None:
    assert _undo.describe_undo([], [], {}, []) == "What was done before was undone; the host is as it was."
    ops, _effects = _transaction.plan_operations(ORDER, state(LINK), state(LINK, ROUTE))
    said = _undo.describe_undo(ops, [Failure(ops[0], "EPERM: no")], {"docker_network": "dockerd is silent"}, [])
    assert "as it was" not in said
    assert "docker_network could not be looked at (dockerd is silent)" in said
    assert "still to do is route_entry: add 10.88.2.0/24 via 10.88.2.0 dev vx proto 157 onlink; EPERM: no" in said


def test_what_goes_down_is_read_for_an_undo() -> None:
    """What it loses was asked for, and is as it was only if an undo brings it back."""
    from dataclasses import replace

    for change in ({"up": False}, {"mtu": 1200}):
        ops, effects = _transaction.plan_operations(ORDER, state(LINK), state(replace(LINK, **change)))
        assert kinds(ops) == ["vxlan_link change"] and not effects and effects.shaken == {"vx"}
    _ops, effects = _transaction.plan_operations(ORDER, {"bridge": {("br",): Bridge("br", mtu=1450)}}, {})
    assert effects.removed == effects.bridges == {"br"}


def test_zero_macs_are_told_apart_by_destination() -> None:
    zero = [FdbEntry("vx", "00:00:00:00:00:00", f"10.0.0.{n}") for n in (2, 3)]
    assert zero[0].key != zero[1].key
    assert FdbEntry("vx", "02:00:00:00:00:02", "10.0.0.2").key == FdbEntry("vx", "02:00:00:00:00:02", "10.0.0.3").key


def test_addresses_sort_by_number() -> None:
    keys = [("vx", "10.88.10.0"), ("vx", "10.88.9.0"), ("vx", None)]
    assert sorted(keys, key=make_sort_key) == [("vx", "10.88.9.0"), ("vx", "10.88.10.0"), ("vx", None)]


# Docker

OPTIONS = {"bip": "10.88.50.1/24", "mtu": 1450, "ip_masq": False}


@pytest.mark.parametrize(
    ("release", "direct"), [((20, 10), None), ((27, 5), None), ((28, 2), True), ((28, 5), True), ((29, 0), True)]
)
def test_each_docker_gets_the_keys_it_knows(release: tuple[int, int], direct: Any) -> None:
    assert _daemon_keys.choose_keys(release, OPTIONS) == {
        "bip": "10.88.50.1/24",
        "mtu": 1450,
        "ip-masq": False,
        "allow-direct-routing": direct,
    }


@pytest.mark.parametrize("release", [(28, 0), (28, 1)])
def test_docker_that_cannot_be_opened_is_refused(release: tuple[int, int]) -> None:
    with pytest.raises(OverlayError, match="Upgrade Docker to 28.2"):
        _daemon_keys.choose_keys(release, OPTIONS)


@pytest.mark.parametrize(
    ("version", "release"),
    [("20.10.24+dfsg1", (20, 10)), ("28.5.2", (28, 5)), ("29.0.0-rc.1", (29, 0)), ("28.2.2+dfsg1", (28, 2))],
)
def test_versions_are_understood(version: str, release: tuple[int, int]) -> None:
    assert Docker(version, True).release == release


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("", '{\n  "bip": "10.0.0.1/24"\n}\n'),
        ("{}\n", '{\n  "bip": "10.0.0.1/24"\n}\n'),
        ('{"z": 1, "bip": "x", "a": [1, 2]}', '{"z": 1, "bip": "10.0.0.1/24", "a": [1, 2]}'),
        ('{\n\t"z": "ü",\n\t"mtu": 7\n}\n', '{\n\t"z": "ü",\n\t"bip": "10.0.0.1/24"\n}\n'),
        ('{ "bip":   "10.0.0.1/24" }', '{ "bip":   "10.0.0.1/24" }'),
    ],
)
def test_a_file_keeps_its_order_and_manner(text: str, rendered: str) -> None:
    keys = {"bip": "10.0.0.1/24", "mtu": None}
    assert _daemon_keys.render_daemon_json(text, "daemon.json", keys) == rendered
    assert _daemon_keys.render_daemon_json(rendered, "daemon.json", keys) == rendered


def test_what_is_not_in_force_needs_a_restart() -> None:
    keys = {"bip": "10.88.50.1/24", "mtu": 1450, "ip-masq": False}
    live = Docker("20.10.24", True, gateway="10.88.50.1/24", mtu="1450", masquerade="false")
    assert _daemon_keys.list_live_differences(live, keys) == []
    assert len(_daemon_keys.list_live_differences(Docker("20.10.24", True, gateway="172.17.0.1/16"), keys)) == 3


# One host's part


def test_a_host_gets_its_peers_and_not_itself() -> None:
    nodes = [Node(f"docker{n}", f"192.168.65.{n}", subnet=f"10.88.{n}.0/24") for n in (1, 2, 3)]
    plan = make_plan(BACKENDS, [{"name": "demo", "cidr": "10.88.0.0/16", "vni": 88}], nodes).plan
    sections = make_part(plan, "docker2")
    for section in ("neigh_entry", "fdb_entry", "route_entry"):
        assert len(sections[section][0]["entries"]) == 2 and sections[section][0]["purge"]
    assert [entry["dst"] for entry in sections["route_entry"][0]["entries"]] == ["10.88.1.0/24", "10.88.3.0/24"]
    assert sections["docker_bip"][0]["bip"] == "10.88.2.1/24"
    containers = {"docker1": {"bridge": {"name": "c1", "addresses": ["10.88.1.2"]}}, "docker3": None}
    shared = {"network": "bridge", "mtu": 1450}
    assert list_probe_targets(plan, "docker2", containers, ["docker3"]) == [
        {"name": "docker1", "address": "10.88.1.1", **shared},
        {"name": "docker1/c1", "address": "10.88.1.2", **shared},
        # Its docker0 has no lease before its owner restarts Docker: its VTEP answers.
        {"name": "docker3", "address": "10.88.3.0", **shared},
    ]


def test_a_docker_network_of_its_own_leaves_daemon_json_alone() -> None:
    nodes = [Node(f"docker{n}", f"192.168.65.{n}", subnet={"demo": f"10.88.{n}.0/24"}) for n in (1, 2)]
    networks = [
        {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88, "attach": {"docker_network": "overlay"}},
        {"name": "more", "cidr": "10.89.0.0/16", "vni": 89, "attach": {"docker_network": "more"}},
    ]
    plan = make_plan(BACKENDS, networks, nodes)
    assert plan.errors == []
    sections = make_part(plan.plan, "docker1")
    assert sections["docker_bip"] == [{"state": "absent"}]
    assert sections["files"] == [{"path": "/run/flannel/subnet.env", "state": "absent"}]
    assert [item["bridge"] for item in sections["docker_network"]] == ["br.88", "br.89"]
    assert [item["bridge"] for item in sections["firewall"]] == ["br.88", "br.89"]
    assert {target["network"] for target in list_probe_targets(plan.plan, "docker1", {})} == {"overlay", "more"}


@pytest.mark.parametrize(
    ("release", "option"),
    [
        ((20, 10), None),
        ((27, 5), None),
        ((28, 0), ("com.docker.network.bridge.gateway_mode_ipv4", "nat-unprotected")),
        ((28, 1), ("com.docker.network.bridge.gateway_mode_ipv4", "nat-unprotected")),
        ((28, 2), ("com.docker.network.bridge.trusted_host_interfaces", "vxlan.88")),
        ((29, 0), ("com.docker.network.bridge.trusted_host_interfaces", "vxlan.88")),
    ],
)
def test_each_release_of_docker_gets_what_lets_the_overlay_in(release: tuple[int, int], option: tuple[str, str] | None) -> None:
    options = dict(
        _docker_networks.choose_driver_options(
            release, {"bridge": "br.88", "mtu": 1450, "devices": ["vxlan.88"], "subnets": ["10.88.1.0/24"]}
        )
    )
    assert options.pop("com.docker.network.bridge.enable_ip_masquerade") == "false"
    assert options.pop("com.docker.network.driver.mtu") == "1450"
    assert options.pop("com.docker.network.bridge.name") == "br.88"
    assert options == ({option[0]: option[1]} if option else {})


def test_a_docker_with_its_firewall_in_nftables_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_docker_api, "inspect_docker", lambda host, socket: Docker("29.0.0", True, firewall="nftables"))
    network = {"name": "web", "network": "demo", "subnets": ["10.88.1.0/24"], "gateways": ["10.88.1.1"]}
    asked: list[tuple[Resource[Any], dict[str, Any]]] = [
        (_daemon_json.DaemonJson(), {"path": str(tmp_path / "daemon.json"), "socket": "", "bip": "10.88.1.1/24"}),
        (_docker_networks.DockerNetworks(), {**network, "bridge": "br.88", "devices": ["vxlan.88"], "mtu": 1450}),
    ]
    for resource, options in asked:
        spec = resource.parse({resource.section: [options]})
        found = resource.read(Host(run=lambda *_asked: (0, "", "")), spec, set())
        said = resource.obstacles(Host(), spec, found, resource.settle(found, spec))
        assert [one for one in said if 'Set "firewall-backend": "iptables"' in one]


@pytest.mark.parametrize(
    ("before", "now", "restored"),
    [
        # Nothing else has changed: the text as it was.
        ('{ "mtu": 1400,"a":1 }', '{\n  "mtu": 1450,\n  "a": 1,\n  "bip": "x"\n}\n', '{ "mtu": 1400,"a":1 }'),
        # Keys of others that came meanwhile stay.
        ('{"mtu": 1400}', '{"mtu": 1450, "bip": "x", "b": 2}', '{"mtu": 1400, "b": 2}\n'),
        # There was no file.
        ("", '{"mtu": 1450, "bip": "x"}', ""),
        ("", '{"mtu": 1450, "bip": "x", "b": 2}', '{"b": 2}\n'),
    ],
)
def test_our_keys_go_back_to_what_they_were(before: str, now: str, restored: str) -> None:
    assert _daemon_keys.restore_keys(now, "daemon.json", before).strip() == restored.strip()


def test_the_impact_of_many_removals_takes_no_longer_than_they_do() -> None:
    ops = [Op("route_entry", Route(f"10.{n >> 8}.{n & 255}.0/24", "vx"), None) for n in range(20_000)]
    ops.append(Op("route_entry", None, Route("10.0.1.0/24", "vy", metric=5)))
    started = time.monotonic()
    told = _transaction.list_impacts(ORDER, ops)
    # Each looked for in all would be some minutes.
    assert time.monotonic() - started < 10
    assert len(told) == 19_999 and not [one for one in told if "10.0.1.0/24" in one["operation"]]


def test_a_device_gives_way_to_one_of_its_vni_that_names_no_port() -> None:
    old, new = Link("vx", vni=10, port=8472), Link("vy", vni=10)
    ops, _effects = _transaction.plan_operations(ORDER, state(old), state(new))
    assert kinds(ops) == ["vxlan_link remove", "vxlan_link add"]
