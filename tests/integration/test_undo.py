# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a failed run leaves: the host as it was, or the names of what is not; as iproute2 sees it."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labs import Namespace, failing, module_paths, run

AS_IT_WAS = "What was done before was undone; the host is as it was."
NO_DAD = "sysctl -q net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0"
LOOK = {
    "link": "ip -j -d link",
    "address": "ip -j address",
    "route": "ip -j -4 route show table main",
    "route6": "ip -j -6 route show table main",
    "neigh": "ip -j neigh show nud permanent",
    "nexthop": "ip -j nexthop",
    "port": "bridge -j -d link",
    "fdb": "bridge -j fdb",
    "vlan": "bridge -j vlan",
}
# Counters, clocks and numbers in the order of arrival; what a device hears for itself, and how far its carrier has come; what
# a bridge could have of its ports, once it has had one.
_VOLATILE = {"id", "no", "designated_port", "operstate", "fdb_n_learned", "mcast_n_groups", "state_text", "tso_max_size"}
MAC = "02:00:00:00:00:%02x"


def _still(item: Any) -> Any:
    """Without what moves by itself."""
    if isinstance(item, list):
        return sorted((_still(one) for one in item), key=json.dumps)
    if not isinstance(item, dict):
        return item
    kept = {key: _still(value) for key, value in item.items() if key not in _VOLATILE and "timer" not in key}
    if isinstance(kept.get("flags"), list):
        kept["flags"] = [flag for flag in kept["flags"] if flag not in ("linkdown", "NO-CARRIER", "LOWER_UP", "dead")]
    return kept


def look(namespace: Namespace) -> dict[str, Any]:
    found = {name: _still(namespace.json(command)) for name, command in LOOK.items()}
    found["fdb"] = [
        entry
        for entry in found["fdb"]
        if entry.get("state") in ("permanent", "static") and not entry["mac"].startswith(("33:33", "01:00:5e"))
    ]
    # What a port is in, a bridge that has just got it decides a moment later.
    for entry in found["port"]:
        entry.pop("state", None)
    for entry in found["link"]:
        entry.get("linkinfo", {}).get("info_slave_data", {}).pop("state", None)
    for entry in found["address"]:
        # The kernel makes it from the MAC that the device has when it comes up, and keeps it when that changes.
        entry["addr_info"] = [one for one in entry["addr_info"] if one["scope"] != "link"]
    rules = namespace.sh(
        "nft -s list table inet agentless_overlay 2>/dev/null; iptables -S DOCKER-USER 2>/dev/null", check=False
    )
    # All accept, in whatever order; and the chain that Docker makes as well stays, empty.
    found["nft"] = sorted(line for line in rules.splitlines() if line != "-N DOCKER-USER")
    settings = namespace.sh("sysctl -a 2>/dev/null | grep -E 'accept_ra |autoconf|ip_forward |promote'", check=False)
    found["sysctl"] = sorted(settings.splitlines())
    return found


def differences(namespace: Namespace, before: dict[str, Any]) -> dict[str, Any]:
    """What is not as it was, after time for what comes by itself."""
    deadline = time.monotonic() + 3
    while True:
        after = look(namespace)
        found = {
            name: ([one for one in value if one not in after[name]], [one for one in after[name] if one not in value])
            for name, value in before.items()
            if value != after[name]
        }
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.3)


BRIDGE = {"name": "br.7", "mac": MAC % 7, "mtu": 1450, "alias": "agentless.overlay:x", "accept_ra": 0, "autoconf": 0}
FIREWALL = {"network": "x", "cidrs": ["10.77.0.0/16"], "bridge": "br.7"}
VXLAN = {"name": "vx", "vni": 88, "port": 4789, "local": "10.1.1.1", "mac": MAC % 8, "mtu": 1450}


@pytest.fixture
def flat(namespace: Namespace) -> Iterator[Namespace]:
    """A host with a bridge of ours, a port of a container on it with much that was set by hand, and our vxlan device."""
    namespace.sh(NO_DAD)
    link = {**VXLAN, "alias": "agentless.overlay:x", "master": "br.7", "addresses": []}
    bridge = {**BRIDGE, "addresses": ["10.77.1.1/16", "fd77::1/64"]}
    options = {"bridge": [bridge], "firewall": [FIREWALL], "vxlan_link": [{"entries": [link], "purge": True}]}
    namespace.converge("overlay_host", **options)
    for name in ("c1", "c2"):
        namespace.sh(
            f"ip link add {name} type veth peer name {name}in; ip link set {name} master br.7 up; ip link set {name}in up"
        )
    namespace.sh(
        "ip link set c1 type bridge_slave hairpin on isolated on learning off flood off priority 5 cost 77 guard on; "
        "ip link set vx type bridge_slave hairpin on; ip link set br.7 type bridge ageing_time 7700 mcast_snooping 0; "
        "bridge fdb add 02:00:00:00:77:01 dev c1 master static; bridge fdb add 02:00:00:00:77:02 dev vx master sticky static; "
        "ip address add 10.77.1.9/16 dev br.7; ip address add 10.99.0.1/24 brd 10.99.0.77 dev br.7 label br.7:x; "
        "ip neigh add 10.77.0.5 lladdr 02:00:00:00:77:05 dev br.7 nud permanent; "
        "ip neigh add fd77::5 lladdr 02:00:00:00:77:05 dev br.7 nud permanent; "
        "ip route add 10.55.0.0/24 via 10.77.9.9 dev br.7; ip -6 route add fd55::/64 via fd77::9 dev br.7 metric 9"
    )
    yield namespace


NOTHING: dict[str, Any] = {"bridge": [], "firewall": [], "vxlan_link": [{"entries": [], "purge": True}]}


@pytest.mark.parametrize("keeps_vxlan", [False, True])
def test_a_removed_bridge_comes_back_with_all_that_was_on_it(
    flat: Namespace, pyroute2: str, tmp_path: Path, keeps_vxlan: bool
) -> None:
    """The firewall goes after the bridge, so its failure finds the bridge gone."""
    before = look(flat)
    wanted = {name: value for name, value in NOTHING.items() if not (keeps_vxlan and name == "vxlan_link")}
    predicted = flat.module("overlay_host", pyroute2, check=True, **wanted)["operations"]
    assert predicted.index("bridge: remove br.7") < next(n for n, one in enumerate(predicted) if "firewall: remove" in one)
    answer = flat.module("overlay_host", pyroute2, fails=True, wrapper=failing(tmp_path, "nft", " -f "), **wanted)
    assert "firewall: remove" in answer["msg"] and "no space left" in answer["msg"]
    assert AS_IT_WAS in answer["msg"], answer["msg"]
    assert differences(flat, before) == {}
    # And without the failure all of it goes.
    flat.converge("overlay_host", pyroute2, **NOTHING)
    assert "br.7" not in flat.sh("ip link") and "agentless" not in flat.sh("nft list ruleset; iptables -S")


def test_a_bridge_whose_only_port_was_down_has_its_neighbours_again(
    namespace: Namespace, pyroute2: str, tmp_path: Path
) -> None:
    """What fails takes long enough for the kernel to see that there is no carrier, and to forget all that is not permanent."""
    link = {**VXLAN, "alias": "agentless.overlay:x", "master": "br.7", "addresses": []}
    options = {"bridge": [BRIDGE], "firewall": [FIREWALL], "vxlan_link": [{"entries": [link]}]}
    namespace.converge("overlay_host", pyroute2, **options)
    namespace.sh("ip neigh add 10.77.0.6 lladdr 02:00:00:00:77:06 dev br.7 nud noarp")
    before = look(namespace)
    down = {**options, "firewall": [], "vxlan_link": [{"entries": [{**link, "up": False}]}]}
    wrapper = failing(tmp_path, "nft", " -f ")
    program = tmp_path / "nft"
    program.write_text(program.read_text().replace("\n", "\nsleep 0.7\n", 1))
    answer = namespace.module("overlay_host", pyroute2, fails=True, wrapper=wrapper, **down)
    assert AS_IT_WAS in answer["msg"], answer["msg"]
    assert "10.77.0.6 lladdr 02:00:00:00:77:06 NOARP" in namespace.sh("ip neigh show dev br.7 nud noarp")
    assert differences(namespace, before) == {}


def test_what_cannot_be_undone_is_named_and_the_rest_is_undone(flat: Namespace, pyroute2: str, tmp_path: Path) -> None:
    before = look(flat)
    wrapper = failing(tmp_path, "nft", " -f ")
    # Takes rules away, and puts none back.
    (tmp_path / "iptables-restore").write_text(
        '#!/bin/sh\nsaid=$(cat); case "$said" in *"-I "*) echo "iptables: no space left" >&2; exit 1;; esac\n'
        f'echo "$said" | {shutil.which("iptables-restore")} "$@"\n'
    )
    (tmp_path / "iptables-restore").chmod(0o755)
    answer = flat.module("overlay_host", pyroute2, fails=True, wrapper=wrapper, **NOTHING)
    assert AS_IT_WAS not in answer["msg"]
    assert "What was done before was undone, but for this: still to do is firewall: add iptables DOCKER-USER" in answer["msg"]
    assert "iptables: no space left" in answer["msg"] and "bridge" not in answer["msg"].split("but for this")[1].split("\n")[0]
    assert set(differences(flat, before)) == {"nft"}


# Answers as dockerd does, until it is to make a network: that it does not survive.
DOCKERD = """
import http.server, json, os, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def address_string(self):
        return ""
    def log_message(self, *args):
        pass
    def do_GET(self):
        answers = {"/version": {"Version": "20.10.24", "ApiVersion": "1.41"}, "/info": {"LiveRestoreEnabled": False}}
        body = json.dumps(answers.get(self.path.split("?")[0], [])).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        os._exit(0)
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass
server = Server(sys.argv[1], Handler)
print("listening", flush=True)
server.serve_forever()
"""


def test_a_dockerd_that_dies_stops_no_undo(namespace: Namespace, pyroute2: str, tmp_path: Path) -> None:
    """The network of Docker is made last; all else needs no Docker to be undone."""
    namespace.sh(NO_DAD)
    before = look(namespace)
    link = {**VXLAN, "alias": "agentless.overlay:x", "addresses": ["10.88.1.0/32"]}
    options: dict[str, Any] = {
        "vxlan_link": [{"entries": [link], "purge": True}],
        "neigh_entry": [{"device": "vx", "entries": [{"dst": "10.88.2.0", "lladdr": MAC % 2}], "purge": True}],
        "fdb_entry": [{"device": "vx", "entries": [{"mac": MAC % 2, "dst": "10.1.1.2"}], "purge": True}],
        "route_entry": [
            {"entries": [{"dst": "10.88.2.0/24", "gateway": "10.88.2.0", "device": "vx", "onlink": True}], "purge": True}
        ],
        "docker_network": [
            {
                "name": "web",
                "network": "x",
                "subnets": ["10.88.1.0/24"],
                "gateways": ["10.88.1.1"],
                "bridge": "br.88",
                "mtu": 1450,
            }
        ],
    }
    # /var/run is /run: the socket in it, for this process alone.
    script = (
        f"mount --bind {tmp_path} /run; timeout 60 {sys.executable} -c '{DOCKERD}' /run/docker.sock >/run/said & "
        f'until grep -qs listening {tmp_path}/said; do sleep 0.1; done; exec "$@"'
    )
    wrapper = ("unshare", "--mount", "sh", "-c", script, "sh")
    answer = namespace.module("overlay_host", pyroute2, fails=True, wrapper=wrapper, **options)
    assert "docker_network: add web" in answer["msg"], answer["msg"]
    assert "but for this: docker_network could not be looked at (docker" in answer["msg"], answer["msg"]
    assert AS_IT_WAS not in answer["msg"]
    assert differences(namespace, before) == {}


INJECT = """
import json, sys
from ansible_collections.agentless.overlay.plugins.module_utils import _module
from ansible_collections.agentless.overlay.plugins.module_utils._resources import ORDER
from ansible_collections.agentless.overlay.plugins.module_utils._engine._programs import run_program
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Failure, OverlayError

options, at = json.load(sys.stdin)
done = 0

def wrap(resource):
    real = resource.apply

    def apply(host, ops):
        global done
        if host.rolling_back:
            return real(host, ops)
        left, done = at - done, done + len(ops)
        if left >= len(ops):
            return real(host, ops)
        return (real(host, ops[:left]) if left else []) or [Failure(ops[left], "injected")]

    resource.apply = apply

for resource in ORDER:
    wrap(resource)
try:
    _module.converge(Host(run=run_program), _module.validate_sections(options), whole=True)
except OverlayError as error:
    print(error)
"""


class Dice(random.Random):
    """Random wishes, and random things that a host's owner does by hand."""

    def maybe(self, value: Any, chance: float = 0.5) -> dict[str, Any]:
        return value if self.random() < chance else {}

    def wish(self) -> dict[str, Any]:
        bridges = [name for name in ("br.1", "br.2") if self.random() < 0.6]
        links = [name for name in ("vx.1", "vx.2", "vx.3") if self.random() < 0.7]
        options: dict[str, Any] = {
            "bridge": [self.bridge(name) for name in bridges],
            "vxlan_link": [{"entries": [self.link(name, bridges) for name in links], "purge": True}],
            "neigh_entry": [],
            "fdb_entry": [],
            "route_entry": [{"entries": [], "purge": True}],
            "sysctl": [{"name": "net.ipv4.ip_forward", "value": str(self.randrange(2))}],
            "firewall": [
                {"network": f"n{n}", "cidrs": [f"10.{n}.0.0/16"], "bridge": "br.1"} for n in (5, 6) if self.random() < 0.5
            ],
        }
        for entry in options["vxlan_link"][0]["entries"]:
            if "master" not in entry:
                self.add_peers(options, entry["name"])
        return options

    def bridge(self, name: str) -> dict[str, Any]:
        number = int(name[-1])
        return {
            **{"name": name, "mac": MAC % (number + 16 * self.randrange(2)), "mtu": self.choice([1200, 1400, 1450])},
            **{"alias": f"agentless.overlay:{self.choice('ab')}"},
            "addresses": self.sample([f"10.7{number}.0.{n}/16" for n in (1, 2, 3)], self.randrange(4)),
            **self.maybe({"accept_ra": 0, "autoconf": 0}),
        }

    def link(self, name: str, bridges: list[str]) -> dict[str, Any]:
        number = int(name[-1])
        entry: dict[str, Any] = {
            **{"name": name, "vni": number, "port": self.choice([4789, 8472]), "local": "10.1.1.1"},
            **{"mac": MAC % (64 + number + 16 * self.randrange(2)), "mtu": self.choice([1400, 1450])},
            **{"alias": f"agentless.overlay:{self.choice('ab')}", "ttl": self.choice([0, 7])},
            **self.maybe({"accept_ra": 0, "autoconf": 0}),
            **self.maybe({"udpcsum": False}, 0.3),
        }
        if bridges and self.random() < 0.5:
            return {**entry, "master": self.choice(bridges), "addresses": [], **self.maybe({"neigh_suppress": True})}
        return {**entry, "addresses": [f"10.8{number}.0.{self.randrange(1, 4)}/24", f"fd8{number}::1/{self.choice([64, 128])}"]}

    def add_peers(self, options: dict[str, Any], device: str) -> None:
        number, peers = int(device[-1]), self.sample(range(1, 9), self.randrange(5))
        six = self.sample(range(1, 9), self.randrange(3))
        neighbours = [{"dst": f"10.{number}.{n}.0", "lladdr": MAC % n} for n in peers]
        options["neigh_entry"].append({"device": device, "entries": neighbours, "purge": True})
        fdb = [{"mac": MAC % n, "dst": f"10.1.2.{self.randrange(1, 4)}"} for n in peers]
        options["fdb_entry"].append({"device": device, "entries": fdb, "purge": True})
        shared = {"device": device, "onlink": True}
        options["route_entry"][0]["entries"] += [
            *({"dst": f"10.{number}.{n}.0/24", "gateway": f"10.{number}.{n}.0", **shared} for n in peers),
            *({"dst": f"fd0{number}:{n}::/64", "gateway": f"fd99::{n}", **shared} for n in six),
        ]

    def meddle(self, namespace: Namespace) -> None:
        """Things of others, on the devices that are there."""
        links = namespace.json("ip -j -d link")
        names = [item["ifname"] for item in links if item["ifname"].startswith(("br.", "vx."))]
        bridges = [name for name in names if name.startswith("br.")]
        commands = []
        # A network for each device: of several routes in one place not every order can be put back, which is refused.
        for name in names:
            n = int(name[-1]) + 4 * name.startswith("br.")
            commands += self.sample(
                [
                    f"ip route append 172.16.{n}.0/24 dev {name} metric 5 proto static",
                    f"ip -6 route append fd16:{n}::/64 dev {name} metric 5 proto static",
                    f"ip -6 route append fd17:{n}::/64 dev eth0; ip -6 route append fd17:{n}::/64 dev {name}",
                    f"ip neigh replace 172.16.{n}.9 lladdr 02:00:00:00:16:0{n} dev {name} nud permanent",
                ],
                self.randrange(4),
            )
        for number, name in enumerate(bridges):
            flag = self.choice(["hairpin", "isolated", "guard"])
            commands += [
                f"ip link set c{number} master {name}; ip link set c{number} type bridge_slave {flag} on",
                f"bridge fdb replace 02:00:00:00:20:0{number} dev c{number} master static",
            ]
        namespace.sh("; ".join([*commands, "true"]))


def test_random_failures_leave_the_host_as_it_was(namespace: Namespace) -> None:
    seed = int(os.environ.get("OVERLAY_SEED", random.randrange(10**6)))
    print(f"OVERLAY_SEED={seed}")
    dice = Dice(seed)
    namespace.sh(NO_DAD)
    namespace.sh(
        "ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up; "
        "ip address add 192.168.1.1/24 dev eth0"
    )
    for number in (0, 1):
        namespace.sh(
            f"ip link add c{number} type veth peer name c{number}in; ip link set c{number} up; ip link set c{number}in up"
        )
    namespace.module("overlay_host", **dice.wish())
    undone = 0
    for turn in range(int(os.environ.get("OVERLAY_TURNS", "15"))):
        dice.meddle(namespace)
        wish = dice.wish()
        operations = namespace.module("overlay_host", check=True, **wish)["operations"]
        if not operations:
            continue
        at, before = dice.randrange(len(operations)), look(namespace)
        enter = ("nsenter", f"--net=/run/netns/{namespace.name}")
        said = run(
            *enter, sys.executable, "-c", INJECT, stdin=json.dumps([wish, at]), PYTHONPATH=":".join(module_paths("current"))
        )
        assert "injected" in said.stdout, said.stdout + said.stderr
        assert AS_IT_WAS in said.stdout, (turn, at, said.stdout)
        found = differences(namespace, before)
        assert not found, f"turn {turn}, failed at {at}\n{json.dumps(found, indent=1)}\n{said.stdout}\n{operations}"
        undone += 1
        if turn % 3 == 0:
            namespace.module("overlay_host", **wish)
    assert undone
