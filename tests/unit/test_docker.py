# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pure part of what concerns Docker: addresses, keys, containers that need each other; no daemon."""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import random
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.module_utils._docker import (
    _containers,
    _daemon_keys,
    _daemon_text,
    _docker_api,
    _dockerd,
    _processes,
)
from ansible_collections.agentless.overlay.plugins.module_utils._docker._decide import (
    DaemonSpec,
    Decision,
    Found,
    decide_daemon_json,
)
from ansible_collections.agentless.overlay.plugins.module_utils._docker._docker_api import Container, Docker
from ansible_collections.agentless.overlay.plugins.module_utils._docker._seen import Dockerd
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _docker_networks
from ansible_collections.agentless.overlay.plugins.module_utils._resources._docker_networks import DockerNetwork
from ansible_collections.agentless.overlay.plugins.module_utils._resources._files import File, read_file, write_file


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
        found = _daemon_keys.find_free_address(_daemon_keys.DOCKERS_POOLS, taken)
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
    assert _daemon_keys.find_free_address(_daemon_keys.DOCKERS_POOLS, everything) is None
    assert _daemon_keys.find_free_address([("fd00:1::/48", 64), ("10.7.0.0/16", 24)], []) == "10.7.0.1/24"


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
    said = _daemon_keys.list_keys_outside("daemon.json", keys, wanted)
    assert bool(said) == bool(words) and all(word in said[0] for word in words)


def test_keys_of_ipv6_are_not_our_business_without_a_lease_of_it() -> None:
    before = {"ipv6": True, "fixed-cidr-v6": "fd00:dead::/64", "default-gateway-v6": "fd00:dead::1"}
    assert _daemon_keys.list_keys_outside("daemon.json", before, {"bip": "10.88.50.1/24"}) == []
    # Before Docker 28 the first of them is how docker0 gets its lease.
    keys = {"bip": "10.88.50.1/24", "ipv6": True, "fixed-cidr-v6": "fd00:88:0:1::/64"}
    assert _daemon_keys.list_keys_outside("daemon.json", {"fixed-cidr-v6": "fd00:dead::/64"}, keys) == []


def test_what_dockerd_quotes_of_a_file_is_not_told() -> None:
    said = "invalid bind address (http://u:S3cret@x) and label a=S3cret for no-such-key in 10.88.50.1/24"
    found = {"hosts": ["http://u:S3cret@x"], "labels": ["a=S3cret", "b"], "deep": {"er": [{"x": "S3cret"}]}, "debug": True}
    assert _dockerd.hide_values(said, found) == "invalid bind address (***) and label *** for no-such-key in 10.88.50.1/24"


def test_only_our_keys_are_shown() -> None:
    text = '{"proxies": {"http-proxy": "http://u:secret@p"}, "mtu": 1400, "bip": "10.0.0.1/24"}'
    assert _daemon_keys.list_own_lines(text, "daemon.json") == ['"bip": "10.0.0.1/24"', '"mtu": 1400']
    assert _daemon_keys.list_own_lines("not json", "daemon.json") == [] == _daemon_keys.list_own_lines("", "daemon.json")


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
    assert _docker_api.list_networks_over(docker, "10.88.50.1/24") == [
        "around (10.88.0.0/16)",
        "inside (10.88.50.128/25)",
        "odd (10.88.50.0/24)",
    ]
    assert _docker_api.list_networks_over(docker, "fd00::1/64") == ["inside (fd00::/64)"]
    assert _docker_api.list_networks_over(docker, "172.17.0.1/16") == []


@pytest.mark.parametrize(
    ("names", "own"),
    [(["/web"], "web"), (["/app/database", "/zdb"], "zdb"), (["/zdb", "/app/database"], "zdb"), (["/b/c", "/a/c"], "b/c")],
)
def test_a_container_is_called_by_its_own_name(names: list[str], own: str) -> None:
    assert _docker_api.find_container_name({"Names": names}) == own


def test_who_needs_one_that_is_gone_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_docker_api, "is_auto_removed", lambda name, _socket: name == "once")
    joins = {"once": "", "beside": "1", "below": "2", "web": "", "aside": "4"}
    containers = [Container(name, {}, ident=str(number), joins=joins[name]) for number, name in enumerate(joins, 1)]
    for order in itertools.permutations(containers):
        assert _docker_api.list_lost_containers(list(order), "") == ["below", "beside", "once"]


def test_one_that_docker_says_nothing_of_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would not be started again."""

    def answer(error: OverlayError) -> None:
        def api(*_args: Any) -> Any:
            raise error

        monkeypatch.setattr(_docker_api, "call_api", api)

    answer(_docker_api.NotThere("404"))
    assert _docker_api.is_auto_removed("web", "")
    answer(OverlayError("dockerd does not answer: timed out"))
    with pytest.raises(OverlayError, match="timed out"):
        _docker_api.is_auto_removed("web", "")


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
    assert _docker_api.list_guarded_addresses(docker) == ["10.0.0.2", "10.0.5.2"]


def test_what_needs_others_starts_after_them_in_whatever_order_it_is_named() -> None:
    needs: dict[str, set[str]] = {"a": set(), "b": {"a"}, "c": {"b"}, "d": {"c", "a"}, "lost": {"gone"}, "e": {"lost"}}
    for order in itertools.permutations(needs):
        running: list[str] = []

        def start(name: str, running: list[str] = running) -> None:
            missing = needs[name] - set(running)
            if missing:
                raise OverlayError(f"needs {sorted(missing)}")
            running.append(name)

        done, refused = _containers.repeat_for_each(order, start)
        assert set(done) == {"a", "b", "c", "d"} and done == running
        assert refused == {"lost": "needs ['gone']", "e": "needs ['lost']"}


@pytest.mark.parametrize(
    ("backend", "ours"),
    [("iptables", True), ("iptables+firewalld", True), ("nftables", False), ("nftables+firewalld", False)],
)
def test_the_iptables_backend_is_known_also_beside_firewalld(backend: str, ours: bool) -> None:
    assert Docker("29.0.0", True, firewall=backend).has_iptables is ours


# The text of daemon.json.


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        # Numbers keep their digits, escapes their letters; the last but one would be infinite, the last is half a character.
        (
            '{"a": 1e3, "b": 1.50, "c": 1e400, "d": "\\ud83d"}',
            '{"a": 1e3, "b": 1.50, "c": 1e400, "d": "\\ud83d", "bip": "10.0.0.1/24"}',
        ),
        ('{\r\n  "a": 1\r\n}\r\n', '{\r\n  "a": 1,\r\n  "bip": "10.0.0.1/24"\r\n}\r\n'),
        ("{\r\n}\r\n", '{\r\n  "bip": "10.0.0.1/24"\r\n}\r\n'),
        ('\ufeff{"a":1,"mtu":7}', '\ufeff{"a":1,"bip":"10.0.0.1/24"}'),
        ('{"mtu": 7, "l": ["x",\n     "y"] , "z" : 0}', '{"l": ["x",\n     "y"] , "z" : 0 , "bip": "10.0.0.1/24"}'),
        # dockerd does not take a number for true, nor the other way round.
        ('{"bip": 1}', '{"bip": "10.0.0.1/24"}'),
    ],
)
def test_what_others_wrote_stays_letter_by_letter(text: str, rendered: str) -> None:
    keys = {"bip": "10.0.0.1/24", "mtu": None}
    assert _daemon_text.render_daemon_json(text, "daemon.json", keys) == rendered
    assert _daemon_text.render_daemon_json(rendered, "daemon.json", keys) == rendered


def test_keys_come_and_go_and_no_other_is_touched() -> None:
    """Random objects in random manners, in which keys are set and taken out again."""
    seed = int(os.environ.get("OVERLAY_SEED", random.randrange(2**32)))
    print(f"OVERLAY_SEED={seed}")
    chance = random.Random(seed)
    values = [1, 1.5, "ü", "a\\b", True, None, [1, {"bip": 2}], {"x": {}}, "}", '{"']
    names = [*_daemon_keys.MANAGED, "debug", "labels", "hosts", 'a"b', "proxies"]
    for _round in range(500):
        found = {name: chance.choice(values) for name in chance.sample(names, chance.randrange(len(names)))}
        manner = {"indent": chance.choice([None, 1, "\t"]), "ensure_ascii": chance.random() < 0.5}
        text = json.dumps(found, **manner) + chance.choice(["", "\n"])  # type: ignore[arg-type]
        if chance.random() < 0.3:
            text = "\ufeff" + text.replace("\n", "\r\n")
        keys = {
            name: chance.choice([None, 1400, "10.0.0.1/24", True]) for name in _daemon_keys.MANAGED if chance.random() < 0.6
        }
        expected = {name: keys.get(name, value) for name, value in found.items() if keys.get(name, 0) is not None}
        expected.update({name: value for name, value in keys.items() if value is not None})
        rendered = _daemon_text.render_daemon_json(text, "daemon.json", keys)
        assert json.loads(rendered.lstrip("\ufeff")) == expected, text
        assert list(_daemon_text.parse_object(rendered, "")) == list(expected), text
        assert rendered.startswith("\ufeff") == text.startswith("\ufeff") and ("\r" in rendered) <= ("\r" in text)
        assert _daemon_text.render_daemon_json(rendered, "daemon.json", keys) == rendered


def test_a_file_that_is_no_utf8_is_read_and_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_bytes('{"a": 1}'.encode("utf-16"))
    found = read_file(str(path))
    assert found is not None
    with pytest.raises(OverlayError, match="is not UTF-8"):
        _daemon_text.parse_object(found.content, str(path))
    # And is put back as it was.
    write_file(found)
    assert path.read_bytes() == '{"a": 1}'.encode("utf-16")


def test_a_file_keeps_who_may_read_it(tmp_path: Path) -> None:
    """An ACL with a mask wider than what the group has: by its permission bits alone the group would get more."""
    path = tmp_path / "daemon.json"
    path.write_text("old")
    # Owner rw-, user 33 rw-, group r--, mask rw-, others nothing (linux/posix_acl_xattr.h).
    entries = ((1, 6, 0xFFFFFFFF), (2, 6, 33), (4, 4, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", acl)
        os.setxattr(path, "user.owner", b"somebody")
    except OSError:
        pytest.skip("this file system has no ACLs")
    write_file(File(str(path), "new", path.stat().st_mode & 0o7777))
    assert path.read_text() == "new" and path.stat().st_mode & 0o7777 == 0o660
    assert os.getxattr(path, "system.posix_acl_access") == acl and os.getxattr(path, "user.owner") == b"somebody"
    # Nor does it get one that its folder gives to new files.
    os.setxattr(tmp_path, "system.posix_acl_default", acl)
    os.removexattr(path, "system.posix_acl_access")
    path.chmod(0o640)
    write_file(File(str(path), "newer", 0o640))
    assert "system.posix_acl_access" not in os.listxattr(path) and path.stat().st_mode & 0o7777 == 0o640


# What is decided from what was found.

PATH = "/etc/docker/daemon.json"
ASKED = {"bip": "10.88.50.1/24", "mtu": 1450, "ip_masq": False}
IPV6 = {**ASKED, "bip6": "fd00:88:0:1::1/64"}
RUNNING = Docker("26.1.5", True, gateway="10.88.50.1/24", mtu="1450", masquerade="false")
OURS = '{"bip": "10.88.50.1/24", "mtu": 1450, "ip-masq": false}'


def decided(text: str, docker: Docker, asked: dict[str, Any] | None = None, **more: Any) -> Decision:
    """The decision of a host; what is kept by the ends of its names, and more of what was seen."""
    kept = {suffix: more.pop(suffix.strip(".").replace("-", "_"), None) for suffix in _daemon_keys.KEPT}
    ran, defer = more.pop("ran", None), more.pop("defer", False)
    spec = DaemonSpec(path=PATH, socket="/run/docker.sock", keys=asked or {}, remove=asked is None, defer=defer)
    return decide_daemon_json(spec, Found(text, kept, Dockerd(docker, **more), ran))


@pytest.mark.parametrize(
    ("docker", "words"),
    [
        (Docker("4.9.4", True, other="Podman Engine 4.9.4"), "Podman Engine 4.9.4 answers on /run/docker.sock, not Docker"),
        (replace(RUNNING, rootless=True, root="/home/x/.local/share/docker"), "is rootless (its data lie in /home/x/"),
        (replace(RUNNING, root="/var/snap/docker/common/var-lib-docker"), "reads /var/snap/docker/current/config/daemon.json"),
        (
            Docker("26.1.5", False, strange="a rootless dockerd runs (process 7)"),
            "a rootless dockerd runs (process 7); the host's",
        ),
        (Docker("26.1.5", False, survived=True), "containers of it live on (live-restore)"),
        (Docker("26.1.5", False, deaf=7), "dockerd runs (process 7) and does not listen on /run/docker.sock"),
        (replace(RUNNING, firewall="nftables"), 'Set "firewall-backend": "iptables"'),
        (Docker("28.1.0", True), "Upgrade Docker to 28.2"),
        (Docker("master", True), "'master' is not a version of Docker"),
    ],
)
def test_a_docker_that_is_none_of_ours_is_refused_by_what_it_is(docker: Docker, words: str) -> None:
    decision = decided("{}", docker, ASKED)
    assert len(decision.problems) == 1 and words in decision.problems[0]


def test_a_firewall_in_nftables_is_seen_where_docker_does_not_run_or_has_not_read_it() -> None:
    for docker in (Docker("29.0.0", False), Docker("29.0.0", True, gateway="10.88.50.1/24")):
        for text, flags in (('{"firewall-backend": "nftables"}', {}), ("{}", {"--firewall-backend": "nftables"})):
            assert 'Set "firewall-backend": "iptables"' in decided(text, docker, ASKED, flags=flags).problems[0]
        # A flag wins over nothing, and iptables is fine.
        assert decided('{"firewall-backend": "iptables"}', docker, ASKED).problems == []


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = '{"bridge": "br7", "fixed-cidr": "10.1.0.0/24"}'
    flags = {"--mtu": "1400", "--default-gateway": "10.88.51.9", "--config-file": "/etc/other.json"}
    found = decided(text, replace(RUNNING, networks=[network("app", "10.88.50.0/25")]), ASKED, flags=flags)
    for words in (
        "started with --mtu",
        "reads /etc/other.json",
        "bridge to 'br7'",
        "fixed-cidr to 10.1.0.0/24",
        "dockerd's command line (systemctl cat docker; /etc/default/docker) sets default-gateway to 10.88.51.9",
        "over Docker network app (10.88.50.0/25)",
    ):
        assert [one for one in found.problems if words in one], words
    assert len(found.problems) == 6


def test_a_masked_service_is_an_obstacle_only_where_it_would_have_to_be_started() -> None:
    down = Docker("26.1.5", False)
    assert "systemctl unmask docker.service" in decided("{}", down, ASKED, masked=True).problems[0]
    assert decided("{}", down, ASKED).problems == [] == decided(OURS, RUNNING, ASKED, masked=True).problems


def test_ipv6_that_is_ours_goes_and_the_owners_comes_back() -> None:
    owners = '{"ipv6": true, "fixed-cidr-v6": "fd00:dead::/64"}'
    for before in ("{}", owners):
        first = decided(before, RUNNING, IPV6)
        assert json.loads(first.text)["fixed-cidr-v6"] == "fd00:88:0:1::/64"
        assert json.loads(first.keep[".before-overlay-ipv6"]) == json.loads(before)
        kept = {
            "before_overlay": before,
            "before_overlay_docker0": "",
            "before_overlay_ipv6": first.keep[".before-overlay-ipv6"],
        }
        with_it = replace(RUNNING, gateway6="fd00:88:0:1::1/64")
        assert decided(first.text, with_it, IPV6, **kept) == Decision(first.text)

        gone = decided(first.text, with_it, ASKED, **kept)
        assert _daemon_keys.read_ipv6_keys(gone.text, "") == _daemon_keys.read_ipv6_keys(before, "")
        assert gone.forget == {".before-overlay-ipv6"} and gone.stale == ["fd00:88:0:1::1/64"]
        assert "docker0 has fd00:88:0:1::1/64, which it is not to have any more" in gone.reasons
        # Docker from 26 leaves the address there after a restart, and says that there is none.
        kept["overlay_undo"] = kept.pop("before_overlay_ipv6") and first.text
        live = replace(RUNNING, gateway6="fd00:dead::1/64" if before == owners else None)
        again = decided(gone.text, live, ASKED, addresses6=("fd00:88:0:1::1/64",), **kept)
        assert again.text == gone.text and again.stale == gone.stale and not again.keep
        assert decided(gone.text, live, ASKED, **kept) == Decision(gone.text)


def test_ipv6_of_the_owner_is_left_alone_where_we_never_set_any() -> None:
    text = '{"bip": "10.88.50.1/24", "mtu": 1450, "ip-masq": false, "ipv6": true, "fixed-cidr-v6": "fd00:dead::/64"}'
    live = replace(RUNNING, gateway6="fd00:dead::1/64")
    seen: dict[str, Any] = {"before_overlay": "{}", "before_overlay_docker0": "", "addresses6": ("fd00:dead::1/64",)}
    assert decided(text, live, ASKED, **seen) == Decision(text)
    # Set after our first change, and before the network got IPv6: that is what comes back.
    first = decided(text, live, IPV6, **seen)
    assert json.loads(first.keep[".before-overlay-ipv6"]) == {"ipv6": True, "fixed-cidr-v6": "fd00:dead::/64"}
    # As an earlier version left it: the keys are there, and nothing says so.
    done = decided(
        first.text, replace(RUNNING, gateway6="fd00:88:0:1::1/64"), IPV6, before_overlay="{}", before_overlay_docker0=""
    )
    assert done.text == first.text and done.keep == {".before-overlay-ipv6": "{}\n"}


def test_a_teardown_takes_ipv6_away_as_well() -> None:
    text = '{"bip": "10.88.50.1/24", "ipv6": true, "fixed-cidr-v6": "fd00:88:0:1::/64"}'
    kept = {"before_overlay": "", "before_overlay_docker0": "172.17.0.1/16", "before_overlay_ipv6": "{}\n"}
    first = decided(text, replace(RUNNING, gateway6="fd00:88:0:1::1/64"), **kept)
    assert json.loads(first.text) == {"bip": "172.17.0.1/16"} and first.stale and not first.forget
    live = Docker("26.1.5", True, gateway="172.17.0.1/16", mtu="1500", masquerade="true")
    left = decided(first.text, live, overlay_undo=text, addresses6=("fd00:88:0:1::1/64",), **kept)
    assert left.stale and left.text == first.text
    assert decided(first.text, live, overlay_undo=text, **kept) == Decision("", forget=set(_daemon_keys.KEPT))


def test_where_docker_is_gone_its_file_is_put_back_in_one_step() -> None:
    spec = DaemonSpec(path=PATH, remove=True)
    kept = {**dict.fromkeys(_daemon_keys.KEPT), ".before-overlay": '{"debug": true}', ".before-overlay-docker0": ""}
    found = Found('{"debug": true, "bip": "10.88.50.1/24"}', kept, Dockerd(error="no dockerd", installed=False))
    assert decide_daemon_json(spec, found) == Decision('{"debug": true}', forget=set(_daemon_keys.KEPT))
    assert decide_daemon_json(DaemonSpec(path=PATH, keys=ASKED), found).problems == ["no dockerd"]


def test_which_dockerd_has_read_the_file_is_known_without_a_clock() -> None:
    """allow-direct-routing, of which only what was written tells where no container shows it."""
    docker = Docker("28.5.2", True, gateway="10.88.50.1/24", mtu="1450", masquerade="false")
    text = '{"bip": "10.88.50.1/24", "mtu": 1450, "ip-masq": false, "allow-direct-routing": true}'
    undo = {"before_overlay": "{}", "before_overlay_docker0": "", "overlay_undo": OURS}
    for unread in (frozenset(), frozenset({"", ".overlay-undo"})):
        for ran, identity, reasons in (("a", "a", 1), ("a", "b", 0), ("", "b", 0)):
            found = decided(text, docker, ASKED, ran=ran, identity=identity, unread=unread, **undo)
            assert len(found.reasons) == reasons, (ran, identity, unread)
        # Where nobody noted it, the clock says.
        assert len(decided(text, docker, ASKED, identity="a", unread=unread, **undo).reasons) == len(unread) // 2
    # One that is kept still, and that dockerd has left behind, makes room for the next.
    for ran, kept in (("a", {}), ("b", {".overlay-undo": text})):
        changed = decided(text, docker, {**ASKED, "mtu": 1400}, ran=ran, identity="a", **undo)
        assert changed.reasons and changed.keep == kept


def test_a_file_newer_than_dockerd_is_told_from_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.touch()
    assert _processes.is_older_than(str(path), os.getpid())
    os.utime(path, (0, 0))
    assert not _processes.is_older_than(str(path), os.getpid())
    # A clock that was set back: nobody knows, and a restart for ever would be worse.
    os.utime(path, (time.time() + 3600,) * 2)
    assert not _processes.is_older_than(str(path), os.getpid())
    assert not _processes.is_older_than(str(tmp_path / "none"), os.getpid())
    assert not _processes.is_older_than(str(path), None)
    assert _processes.identify_process(os.getpid()) and _processes.identify_process(os.getpid()) != _processes.identify_process(
        1
    )
    assert _processes.identify_process(None) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="It makes a file in /run and gives it to nobody, as on hosts.")
def test_a_judgement_that_cannot_be_had_is_none_that_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """As 20.10 ends: it is good only where it ends at its missing privileges, as nobody."""
    said = {
        "needs root": (1, "", "dockerd needs to be started with root privileges. To run dockerd in rootless mode"),
        "bad": (1, "", "unable to configure the Docker daemon with file /x: the following directives are wrong: S3cret"),
        "killed": (-9, "", ""),
        "setpriv": (127, "", "setpriv: failed to execute dockerd: Permission denied"),
        "ok": (0, "configuration OK", ""),
    }
    monkeypatch.setattr(_dockerd.shutil, "which", lambda _program: "/usr/sbin/it")
    for release, good in (((20, 10), "needs root"), ((23, 0), "ok")):
        for name, answer in said.items():
            host = Host(run=lambda _args, _stdin, answer=answer: answer)
            found = _dockerd.judge_daemon_json(host, release, '{"labels": ["S3cret"]}', None)
            assert (found is None) == (name == good), (release, name, found)
            assert "S3cret" not in str(found)
    monkeypatch.setattr(_dockerd.shutil, "which", lambda program: None if program == "dockerd" else program)
    assert "there is no program dockerd" in str(_dockerd.judge_daemon_json(Host(), (20, 10), "{}", None))


@pytest.mark.parametrize(
    ("version", "other"),
    [
        ({"Version": "28.5.2", "Components": [{"Name": "Engine", "Version": "28.5.2"}, {"Name": "runc"}]}, ""),
        ({"Version": "1.13.1"}, ""),
        (
            {
                "Platform": {"Name": "linux/amd64/debian-12"},
                "Components": [{"Name": "Podman Engine", "Version": "4.9.4"}, {"Name": "Conmon", "Version": "2.1.6"}],
                "Version": "4.9.4",
            },
            "Podman Engine 4.9.4",
        ),
    ],
)
def test_what_answers_as_docker_is_known_by_its_parts(
    monkeypatch: pytest.MonkeyPatch, version: dict[str, Any], other: str
) -> None:
    answers = {"/version": version, "/info": {}, "/networks": [], "/containers/json": []}
    monkeypatch.setattr(_docker_api, "call_api", lambda path, _socket: answers[path])
    found = _docker_api.inspect_docker(Host(), "/run/docker.sock")
    assert found.other == other and found.understood == (not other)


# Docker networks.

BRIDGE = "com.docker.network.bridge."


def docker_network(**options: str) -> DockerNetwork:
    given = {(BRIDGE + name if name != "mtu" else "com.docker.network.driver.mtu"): value for name, value in options.items()}
    pools = (("10.88.1.0/24", "10.88.1.1", ""),)
    return DockerNetwork("web", "demo", pools, tuple(sorted(given.items())), tuple(sorted(given)))


def listed(entry: DockerNetwork, **defaults: str) -> dict[str, Any]:
    """As Docker lists what it was asked to make, with its default-network-opts in it."""
    asked = _docker_networks._make_request(entry)
    return {**asked, "Id": "1", "Options": {**defaults, **asked["Options"]}}


def test_options_of_others_are_no_difference() -> None:
    asked = docker_network(name="br", enable_ip_masquerade="false", mtu="1450")
    found = _docker_networks._decode_docker_network(
        listed(asked, **{BRIDGE + "enable_icc": "false", BRIDGE + "trusted_host_interfaces": "x"})
    )
    assert found.same(asked) and len(found.lines()) == 7, "others are shown as they are"
    assert found.overlay == "demo"
    # Ours that are not asked for any more go, and those of others come back as they were.
    more = docker_network(name="br", enable_ip_masquerade="false", mtu="1450", gateway_mode_ipv4="nat-unprotected")
    found = _docker_networks._decode_docker_network(listed(more, **{BRIDGE + "enable_icc": "false"}))
    assert not found.same(asked) and found.same(more)
    wanted = _docker_networks._keep_other_options(found, asked)
    assert dict(wanted.options) == {**dict(asked.options), BRIDGE + "enable_icc": "false"} and wanted.ours == asked.ours
    made = _docker_networks._decode_docker_network(listed(wanted))
    assert made.same(asked) and made == wanted
    # Without the label, as an earlier version made it: all that we may have set is ours.
    old = listed(asked, **{BRIDGE + "trusted_host_interfaces": "x", BRIDGE + "enable_icc": "false"})
    del old["Labels"]["agentless.overlay.options"]
    assert not _docker_networks._decode_docker_network(old).same(asked)
    del old["Options"][BRIDGE + "trusted_host_interfaces"]
    assert _docker_networks._decode_docker_network(old).same(asked)
    # A value of ours that is another one.
    assert not found.same(
        docker_network(name="br", enable_ip_masquerade="true", mtu="1450", gateway_mode_ipv4="nat-unprotected")
    )


def test_a_network_that_is_ipv6_alone_may_have_what_docker_adds() -> None:
    asked = replace(docker_network(name="br"), pools=(("fd00:1::/64", "fd00:1::1", ""),))
    item = listed(asked)
    item["IPAM"]["Config"].append({"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"})
    assert _docker_networks._decode_docker_network(item).same(asked)
    assert not _docker_networks._decode_docker_network(item).same(replace(asked, pools=(("fd00:2::/64", "fd00:2::1", ""),)))
