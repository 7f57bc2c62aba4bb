# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pure part of what concerns Docker: addresses, keys, containers that need each other; no daemon."""

from __future__ import annotations

import ipaddress
import itertools
import os
import random
from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _containers, _daemon_keys, _docker_api, _dockerd
from ansible_collections.agentless.overlay.plugins.module_utils._docker._docker_api import Container, Docker
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import OverlayError


def network(name: str, *subnets: str, **more: Any) -> dict[str, Any]:
    """A Docker network as the API lists it."""
    return {
        "Name": name,
        "Driver": "bridge",
        "Scope": "local",
        "IPAM": {"Config": [{"Subnet": one} for one in subnets]},
        **more,
    }


def test_a_free_address_is_the_first_that_nothing_overlaps() -> None:
    """Random networks, and a search that knows no pools: nothing before the answer is free."""
    seed = int(os.environ.get("OVERLAY_SEED", random.randrange(2**32)))
    print(f"OVERLAY_SEED={seed}")
    chance = random.Random(seed)
    for _round in range(200):
        numbers = [chance.randrange(0xAC100000, 0xAC200000) for _number in range(chance.randrange(30))]
        taken = [ipaddress.ip_network((number, chance.choice((12, 16, 20, 24, 30))), strict=False) for number in numbers]
        found = _daemon_keys.free_address(_daemon_keys.DOCKERS_POOLS, taken)
        # First and last address of each, by number.
        candidates = [(0xAC000000 + (number << 16), 16) for number in range(17, 32)]
        candidates += [(0xC0A80000 + (number << 12), 20) for number in range(16)]
        spans = [(int(one.network_address), int(one.broadcast_address)) for one in taken]
        free = [
            f"{ipaddress.ip_address(first + 1)}/{length}"
            for first, length in candidates
            if all(first + (1 << 32 - length) <= low or high < first for low, high in spans)
        ]
        assert found == (free[0] if free else None), taken


def test_where_all_is_taken_nothing_is_free() -> None:
    everything = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("fd00::/8")]
    assert _daemon_keys.free_address(_daemon_keys.DOCKERS_POOLS, everything) is None
    assert _daemon_keys.free_address([("fd00:1::/48", 64), ("10.7.0.0/16", 24)], []) == "10.7.0.1/24"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"fixed-cidr": "10.88.51.0/25"}, ["fixed-cidr to 10.88.51.0/25"]),
        ({"fixed-cidr": "10.88.50.128/25", "default-gateway": "10.88.50.254"}, []),
        ({"default-gateway": "10.88.51.1"}, ["default-gateway to 10.88.51.1"]),
        ({"default-gateway": "nonsense"}, ["default-gateway to nonsense"]),
        ({"fixed-cidr-v6": "fd00:dead::/64"}, ["fixed-cidr-v6 to fd00:dead::/64"]),
        ({"fixed-cidr-v6": "fd00:88:0:1::/80", "default-gateway-v6": "fd00:88:0:1::5"}, []),
        ({"default-gateway-v6": "10.88.50.1"}, ["default-gateway-v6 to 10.88.50.1"]),
        # All at once.
        ({"default-gateway": "10.1.1.1", "default-gateway-v6": "fd00::1"}, ["to 10.1.1.1", "to fd00::1"]),
    ],
)
def test_keys_outside_the_lease_are_refused(keys: dict[str, Any], words: list[str]) -> None:
    wanted = {"bip": "10.88.50.1/24", "ipv6": True, "bip6": "fd00:88:0:1::1/64"}
    said = _daemon_keys.outside("daemon.json", keys, wanted)
    assert bool(said) == bool(words) and all(word in said[0] for word in words)


def test_keys_of_ipv6_are_not_our_business_without_a_lease_of_it() -> None:
    before = {"ipv6": True, "fixed-cidr-v6": "fd00:dead::/64", "default-gateway-v6": "fd00:dead::1"}
    assert _daemon_keys.outside("daemon.json", before, {"bip": "10.88.50.1/24"}) == []
    # Before Docker 28 the first of them is how docker0 gets its lease.
    keys = {"bip": "10.88.50.1/24", "ipv6": True, "fixed-cidr-v6": "fd00:88:0:1::/64"}
    assert _daemon_keys.outside("daemon.json", {"fixed-cidr-v6": "fd00:dead::/64"}, keys) == []


def test_what_dockerd_quotes_of_a_file_is_not_told() -> None:
    said = "invalid bind address (http://u:S3cret@x) and label a=S3cret for no-such-key in 10.88.50.1/24"
    found = {"hosts": ["http://u:S3cret@x"], "labels": ["a=S3cret", "b"], "deep": {"er": [{"x": "S3cret"}]}, "debug": True}
    assert _dockerd.hide_values(said, found) == "invalid bind address (***) and label *** for no-such-key in 10.88.50.1/24"


def test_only_our_keys_are_shown() -> None:
    text = '{"proxies": {"http-proxy": "http://u:secret@p"}, "mtu": 1400, "bip": "10.0.0.1/24"}'
    assert _daemon_keys.own_lines(text, "daemon.json") == ['"bip": "10.0.0.1/24"', '"mtu": 1400']
    assert _daemon_keys.own_lines("not json", "daemon.json") == [] == _daemon_keys.own_lines("", "daemon.json")


def test_networks_over_a_subnet_are_those_of_others() -> None:
    docker = Docker(
        "28.5.2",
        True,
        networks=[
            network("bridge", "172.17.0.0/16"),
            network("inside", "10.88.50.128/25", "fd00::/64"),
            network("around", "10.88.0.0/16"),
            network("beside", "10.88.51.0/24"),
            # As Docker 20.10 keeps it.
            network("odd", "10.88.50.77/24"),
            network("ours", "10.88.50.0/24", Labels={"agentless.overlay": "web"}),
            network("ingress", "10.88.50.0/24", Scope="swarm", Driver="overlay"),
            {"Name": "host", "Driver": "host", "Scope": "local", "IPAM": {"Config": None}},
        ],
    )
    assert _docker_api.networks_over(docker, "10.88.50.1/24") == [
        "around (10.88.0.0/16)",
        "inside (10.88.50.128/25)",
        "odd (10.88.50.0/24)",
    ]
    assert _docker_api.networks_over(docker, "fd00::1/64") == ["inside (fd00::/64)"]
    assert _docker_api.networks_over(docker, "172.17.0.1/16") == []


@pytest.mark.parametrize(
    ("names", "own"),
    [(["/web"], "web"), (["/app/database", "/zdb"], "zdb"), (["/zdb", "/app/database"], "zdb"), (["/b/c", "/a/c"], "b/c")],
)
def test_a_container_is_called_by_its_own_name(names: list[str], own: str) -> None:
    assert _docker_api.container_name({"Names": names}) == own


def test_who_needs_one_that_is_gone_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_docker_api, "auto_removed", lambda name, _socket: name == "once")
    joins = {"once": "", "beside": "1", "below": "2", "web": "", "aside": "4"}
    containers = [Container(name, {}, ident=str(number), joins=joins[name]) for number, name in enumerate(joins, 1)]
    for order in itertools.permutations(containers):
        assert _docker_api.lost_with_a_restart(list(order), "") == ["below", "beside", "once"]


def test_one_that_docker_says_nothing_of_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would not be started again."""

    def answer(error: OverlayError) -> None:
        def api(*_args: Any) -> Any:
            raise error

        monkeypatch.setattr(_docker_api, "api", api)

    answer(_docker_api.NotThere("404"))
    assert _docker_api.auto_removed("web", "")
    answer(OverlayError("dockerd does not answer: timed out"))
    with pytest.raises(OverlayError, match="timed out"):
        _docker_api.auto_removed("web", "")


def test_addresses_that_docker_guards() -> None:
    mode = "com.docker.network.bridge.gateway_mode_ipv4"
    docker = Docker(
        "28.5.2",
        True,
        containers=[Container("c1", {name: [f"10.0.{number}.2", f"fd00:{number}::2"]}) for number, name in enumerate("abcdef")],
        networks=[
            network("a"),
            network("b", Options={mode: "nat-unprotected"}),
            network("c", Options={mode: "routed"}),
            network("d", Internal=True),
            network("e", Driver="macvlan"),
            network("f", Options={mode: "nat"}),
        ],
    )
    assert _docker_api.guarded_addresses(docker) == ["10.0.0.2", "10.0.5.2"]


def test_what_needs_others_starts_after_them_in_whatever_order_it_is_named() -> None:
    needs: dict[str, set[str]] = {"a": set(), "b": {"a"}, "c": {"b"}, "d": {"c", "a"}, "lost": {"gone"}, "e": {"lost"}}
    for order in itertools.permutations(needs):
        running: list[str] = []

        def start(name: str, running: list[str] = running) -> None:
            missing = needs[name] - set(running)
            if missing:
                raise OverlayError(f"needs {sorted(missing)}")
            running.append(name)

        done, refused = _containers.repeat(order, start)
        assert set(done) == {"a", "b", "c", "d"} and done == running
        assert refused == {"lost": "needs ['gone']", "e": "needs ['lost']"}


@pytest.mark.parametrize(
    ("backend", "ours"),
    [("iptables", True), ("iptables+firewalld", True), ("nftables", False), ("nftables+firewalld", False)],
)
def test_the_iptables_backend_is_known_also_beside_firewalld(backend: str, ours: bool) -> None:
    assert Docker("29.0.0", True, firewall=backend).has_iptables is ours
