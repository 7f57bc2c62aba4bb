# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of a host, by the programs of four Debian releases, beside what others do in the same tables."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from labs import Lab, Namespace, Net, lines, run

from ansible_collections.agentless.overlay.plugins.module_utils import _module
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _boot

PROGRAMS = ("nft", "iptables", "ip6tables", "iptables-restore", "ip6tables-restore")
ROUTED: dict[str, Any] = {
    "network": "demo",
    "cidrs": ["10.88.0.0/16", "fd00:88::/48"],
    "leases": ["10.88.1.0/24", "fd00:88:0:1::/64"],
    "devices": ["vx1"],
    "tunnels": [{"vni": 88, "port": 4789}],
    "vteps": ["192.0.2.3", "192.0.2.4", "fd65::4"],
}
DIRECT = {"network": "gw", "cidrs": ["10.89.0.0/16"], "leases": ["10.89.1.0/24"], "devices": [""]}
FLAT = {"network": "b", "cidrs": ["10.9.0.0/16"], "bridge": "br.9", "publish": [{"port": 9091, "to": "10.9.0.2:80"}]}
# Tunnels that are not vxlan.
OTHERS = {"network": "t", "tunnels": [{"protocol": "ipencap"}, {"port": 51820}], "vteps": ["192.0.2.3", "fd65::4"]}
EVERYTHING = [ROUTED, DIRECT, FLAT, OTHERS]
COMMENT = "-m comment --comment agentless.overlay:demo -j ACCEPT"
IN = f"-s 10.88.0.0/16 -d 10.88.1.0/24 -i vx1 -o docker0 {COMMENT}"
OUT = f"-s 10.88.1.0/24 -d 10.88.0.0/16 -i docker0 -o vx1 {COMMENT}"
# What Docker makes of the filter table, as far as it matters here.
DOCKER = """
{0} -N DOCKER; {0} -N DOCKER-USER; {0} -A DOCKER-USER -j RETURN
{0} -A FORWARD -j DOCKER-USER; {0} -A FORWARD -o docker0 -j DOCKER; {0} -P FORWARD DROP
"""


def release(folder: Path, suite: str) -> tuple[str, ...]:
    """A command before the module, for which the programs of another Debian come first in PATH."""
    root = run("bash", "tests/rootfs.sh", suite).stdout.strip()
    for program in PROGRAMS:
        (folder / program).write_text(f'#!/bin/sh\nexec chroot {root} /usr/sbin/{program} "$@"\n')
        (folder / program).chmod(0o755)
    mounts = f"mount --rbind /dev {root}/dev; mount -t proc proc {root}/proc; mount -t tmpfs tmpfs {root}/run"
    return ("unshare", "--mount", "sh", "-ec", f'{mounts}; PATH={folder}:$PATH exec "$@"', "sh")


def converge(namespace: Namespace, networks: list[dict[str, Any]], wrapper: tuple[str, ...] = ()) -> dict[str, Any]:
    """Check, run, run again, as Namespace.converge does."""
    predicted = namespace.module("overlay_host", check=True, wrapper=wrapper, firewall=networks)
    done = namespace.module("overlay_host", wrapper=wrapper, firewall=networks)
    again = namespace.module("overlay_host", wrapper=wrapper, firewall=networks)
    for key in ("changed", "operations", "diff"):
        assert predicted[key] == done[key], key
    assert not again["changed"] and again["operations"] == [], again["operations"]
    return done


def table(namespace: Namespace, wrapper: tuple[str, ...] = ()) -> list[str]:
    """Our table as numbers, less handles and counters.

    @param wrapper: for the nft that has made it: 1.0.6 dies of a set that a newer one has written
    """
    enter = ("nsenter", f"--net=/run/netns/{namespace.name}", *wrapper)
    listed = run(*enter, "nft", "-j", "-s", "list", "table", "inet", "agentless_overlay", check=False).stdout
    objects = [item for item in json.loads(listed)["nftables"] if "metainfo" not in item] if listed.strip() else []
    for item in objects:
        for value in item.values():
            value.pop("handle")
            value["elem"] = sorted(map(str, value.get("elem", ())))
    return sorted(json.dumps(item, sort_keys=True) for item in objects)


def chain(namespace: Namespace, program: str = "iptables", name: str = "DOCKER-USER") -> list[str]:
    said = namespace.sh(f"{program} -S {name} 2>/dev/null", check=False).replace('"', "")
    return [line.partition(name + " ")[2] for line in said.splitlines() if line.startswith("-A")]


def firewall(namespace: Namespace, **options: Any) -> list[str]:
    return lines(namespace.module("overlay_host", check=True, **options), "firewall")


# Our nft table.


@pytest.mark.parametrize("suite", ["bullseye", "bookworm", "trixie", "forky"])
def test_every_nft_says_that_it_is_as_it_shall_be(namespace: Namespace, tmp_path: Path, suite: str) -> None:
    converge(namespace, EVERYTHING)
    ours = table(namespace)
    wrapper = release(tmp_path, suite)
    # What another version made is as wanted for this one.
    assert namespace.module("overlay_host", wrapper=wrapper, firewall=EVERYTHING)["operations"] == []
    assert converge(namespace, [], wrapper)["changed"] and table(namespace, wrapper) == []
    assert converge(namespace, EVERYTHING, wrapper)["changed"]
    assert table(namespace, wrapper) == ours


@pytest.mark.parametrize("suite", ["bullseye", "bookworm", "trixie", "forky"])
def test_the_boot_script_by_every_release(namespace: Namespace, tmp_path: Path, suite: str) -> None:
    options, problems = _module._check_sections({"firewall": EVERYTHING})
    assert problems == []
    script = _boot.make_boot_script(options)
    wrapper = release(tmp_path, suite)
    enter = ("nsenter", f"--net=/run/netns/{namespace.name}", *wrapper)
    # The script has a path of its own.
    by_release = script.replace("PATH=/usr/local/sbin:", f"PATH={tmp_path}:/usr/local/sbin:")
    assert by_release != script
    run(*enter, "sh", stdin=by_release)
    found = namespace.module("overlay_host", check=True, wrapper=wrapper, firewall=EVERYTHING)
    assert found["operations"] == [], found["operations"]
    before = table(namespace, wrapper), namespace.sh("iptables -S; ip6tables -S")
    run(*enter, "sh", stdin=by_release)
    assert (table(namespace, wrapper), namespace.sh("iptables -S; ip6tables -S")) == before
    # With a rule of somebody else's before ours, and one of ours gone.
    namespace.sh(f"iptables -I DOCKER-USER -i vx1 -j DROP; iptables -D DOCKER-USER {OUT}")
    run(*enter, "sh", stdin=by_release)
    assert chain(namespace)[-1] == "-i vx1 -j DROP" and len(chain(namespace)) == 7
    assert namespace.module("overlay_host", check=True, wrapper=wrapper, firewall=EVERYTHING)["operations"] == []


T = "inet agentless_overlay"
HARM = {
    "a rule that is added": (
        f"add rule {T} postrouting ip saddr 1.2.3.4 drop",
        ["-nft chain postrouting: ip saddr 1.2.3.4 drop"],
    ),
    "one of ours once more": (
        f"add rule {T} input udp dport 4789 @th,96,24 88 ip saddr != @vteps_88 counter drop",
        ["-nft chain input: udp dport 4789 @th,96,24 0x58 ip saddr != @vteps_88 counter drop (once more)"],
    ),
    "one that no rule of ours is like": (
        f'add rule {T} input ct state new udp dport {{ 1-5, 9 }} counter accept comment "x y"',
        ['-nft chain input: ct state new udp dport { 1-5, 9 } counter accept comment "x y"'],
    ),
    "one of ours with a comment": (
        f'insert rule {T} postrouting ip saddr 10.88.1.0/24 masquerade fully-random comment "agentless.overlay:demo"',
        ['-nft chain postrouting: ip saddr 10.88.1.0/24 masquerade fully-random comment "agentless.overlay:demo"'],
    ),
    "a chain": (f"add chain {T} mine", ["-nft chain mine"]),
    "a map": (
        f"add map {T} m {{ type ipv4_addr : verdict; elements = {{ 1.2.3.4 : drop }}; }}",
        ["-nft map m: { type ipv4_addr : verdict; elements = { 1.2.3.4 : drop } }"],
    ),
    "an element": (f"add element {T} vteps_88 {{ 192.0.2.9 }}", ["-nft set vteps_88: 192.0.2.9"]),
    "an element that is gone": (f"delete element {T} vteps_88 {{ 192.0.2.4 }}", ["+nft set vteps_88: 192.0.2.4"]),
    "another policy": (
        f"chain {T} input {{ policy drop; }}",
        [
            "-nft chain input: type filter hook input priority -10; policy drop;",
            "+nft chain input: type filter hook input priority -10; policy accept;",
        ],
    ),
    "another set of senders": (
        f"delete element {T} vteps_88 {{ 192.0.2.3, 192.0.2.4 }}; add element {T} vteps_88 {{ 192.0.2.5, 192.0.2.6 }}",
        [
            *("-nft set vteps_88: 192.0.2.5", "-nft set vteps_88: 192.0.2.6"),
            *("+nft set vteps_88: 192.0.2.3", "+nft set vteps_88: 192.0.2.4"),
        ],
    ),
}


@pytest.fixture(scope="module")
def made() -> Iterator[Namespace]:
    """A namespace with all of it."""
    namespace = Namespace()
    try:
        converge(namespace, EVERYTHING)
        yield namespace
    finally:
        namespace.remove()


@pytest.mark.parametrize("name", HARM)
def test_what_somebody_changed_in_our_table_is_seen_and_mended(made: Namespace, name: str) -> None:
    namespace, (harm, told) = made, HARM[name]
    ours = table(namespace)
    namespace.sh(f"nft '{harm}'")
    assert table(namespace) != ours
    assert lines(converge(namespace, EVERYTHING), "firewall") == told
    assert table(namespace) == ours


@pytest.mark.parametrize("suite", ["bookworm", "forky"])
def test_a_table_that_sleeps_is_not_as_it_shall_be(namespace: Namespace, tmp_path: Path, suite: str) -> None:
    """nft 1.0.6 often ends its JSON at the flags of a table."""
    wrapper = release(tmp_path, suite)
    converge(namespace, EVERYTHING, wrapper)
    ours = table(namespace, wrapper)
    enter = ("nsenter", f"--net=/run/netns/{namespace.name}", *wrapper)
    run(*enter, "nft", f"add table {T} {{ flags dormant; }}")
    told = lines(namespace.module("overlay_host", wrapper=wrapper, firewall=EVERYTHING), "firewall")
    assert any(line.startswith("-nft table: { flags dormant") for line in told), told
    assert table(namespace, wrapper) == ours
    assert namespace.module("overlay_host", wrapper=wrapper, firewall=EVERYTHING)["operations"] == []


def test_what_others_put_into_our_table_comes_back_with_an_undo(namespace: Namespace, tmp_path: Path) -> None:
    converge(namespace, [ROUTED])
    for harm in (
        f'add rule {T} input ct state new limit rate 5/second counter accept comment "x y"',
        f"add set {T} z {{ type ipv4_addr; flags interval; elements = {{ 10.0.0.0/24, 10.0.1.0-10.0.1.5 }}; }}",
        f"add map {T} m {{ type ipv4_addr : verdict; elements = {{ 1.2.3.4 : drop, 1.2.3.5 : accept }}; }}",
        f"add rule {T} input ip saddr vmap @m; add counter {T} k",
        f"add chain {T} other; add rule {T} other counter; add rule {T} input jump other",
    ):
        namespace.sh(f"nft '{harm}'")
    before = sorted(namespace.sh(f"nft -s list table {T}").splitlines())
    # Everything of the firewall is done by then.
    wanted = {"firewall": [FLAT], "files": [{"path": "/proc/none", "content": "x"}]}
    answer = namespace.module("overlay_host", fails=True, **wanted)
    assert "the host is as it was" in answer["msg"], answer["msg"]
    assert sorted(namespace.sh(f"nft -s list table {T}").splitlines()) == before


def test_who_sends_to_many_keeps_his_address(namespace: Namespace) -> None:
    """And is masqueraded where he sends to one."""
    namespace.sh(
        "ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up;"
        "ip address add 192.0.2.1/24 dev eth0;"
        "ip link add docker0 type bridge; ip link set docker0 up; ip address add 10.88.1.1/24 dev docker0;"
        "ip neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev eth0"
    )
    converge(namespace, [ROUTED])
    enter = ("nsenter", f"--net=/run/netns/{namespace.name}")
    job = subprocess.Popen(
        [*enter, "timeout", "10", "tcpdump", "-n", "-l", "-c", "2", "-i", "eth1", "udp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert job.stdout is not None
    with job:
        next(line for line in job.stdout if "listening on" in line)
        for far in ("224.0.0.251", "192.0.2.2"):
            send = (
                "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('10.88.1.1', 5353)); "
                f"s.setsockopt(0, {socket.IP_MULTICAST_IF}, socket.inet_aton('192.0.2.1')); s.sendto(b'x', ('{far}', 5353))"
            )
            run(*enter, "python3", "-c", send)
        heard = [line for line in job.stdout if " > " in line]
    assert "10.88.1.1.5353 > 224.0.0.251.5353" in heard[0] and "192.0.2.1.5353 > 192.0.2.2.5353" in heard[1], heard


def test_thousands_of_senders_are_read_and_written_at_once(namespace: Namespace) -> None:
    many = {**ROUTED, "vteps": [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(1000, 4000)]}
    converge(namespace, [many])
    assert len(namespace.json("nft -j list set inet agentless_overlay vteps_88")["nftables"][1]["set"]["elem"]) == 3000


# Our rules in DOCKER-USER, beside those of others.

ABOVE = {
    "of our device": ("-i vx1 -j DROP", [IN]),
    "of no device": ("-p tcp -m tcp --dport 5432 -j REJECT --reject-with icmp-port-unreachable", [IN, OUT]),
    "back to Docker": ("-s 10.0.0.0/8 -j RETURN", [IN, OUT]),
    "to a chain that drops": ("-o docker0 -j mine", [IN]),
    "of a device of another name": ("-d 10.88.1.7/32 ! -i docker0 -j DROP", [IN]),
    "of any device but one": ("-d 10.88.1.7/32 ! -i eth0 -j DROP", [IN, OUT]),
}


@pytest.mark.parametrize("name", ABOVE)
def test_ours_stand_above_what_would_take_their_packets(namespace: Namespace, name: str) -> None:
    foreign, hit = ABOVE[name]
    namespace.sh(DOCKER.format("iptables") + "iptables -N mine; iptables -A mine -d 10.88.1.0/24 -j DROP")
    converge(namespace, [ROUTED])
    assert chain(namespace) == [OUT, IN, "-j RETURN"] or chain(namespace) == [IN, OUT, "-j RETURN"]
    namespace.sh(f"iptables -I DOCKER-USER {foreign}")
    done = converge(namespace, [ROUTED])
    told = lines(done, "firewall")
    assert told == [f"-iptables DOCKER-USER: {one} (below {foreign})" for one in hit] + [
        f"+iptables DOCKER-USER: {one}" for one in hit
    ]
    assert [op.partition(":")[2].split()[0] for op in done["operations"]] == ["change"] * len(hit)
    # The others are where they were, and Docker's way to it too.
    assert chain(namespace)[: len(hit)] in (hit, hit[::-1])
    assert [rule for rule in chain(namespace) if "agentless" not in rule] == [foreign, "-j RETURN"]
    assert chain(namespace, name="FORWARD") == ["-j DOCKER-USER", "-o docker0 -j DOCKER"]


BESIDE = (
    "-s 192.0.2.1/32 -j DROP",
    "-i eth0 -j DROP",
    "! -i vx1 -o br.5 -j DROP",
    "-i vx1 -j LOG",
    "-i vx1 -j ACCEPT",
    "-i vx1",
    "! -s 10.0.0.0/8 -j DROP",
    "-j mine",
)


def test_who_cannot_take_their_packets_may_stand_above(namespace: Namespace) -> None:
    namespace.sh(DOCKER.format("iptables"))
    # As those who ban addresses do.
    namespace.sh("iptables -N mine; iptables -A mine -s 203.0.113.5 -j REJECT; iptables -A mine -j RETURN")
    converge(namespace, [ROUTED])
    for rule in BESIDE:
        namespace.sh(f"iptables -I DOCKER-USER {rule}")
    before = namespace.sh("iptables -S")
    assert namespace.module("overlay_host", firewall=[ROUTED])["operations"] == []
    assert namespace.sh("iptables -S") == before


def test_an_undo_puts_them_below_again(namespace: Namespace) -> None:
    namespace.sh(DOCKER.format("iptables"))
    converge(namespace, [ROUTED])
    foreign = ["-s 192.0.2.1/32 -j DROP", "-p tcp -j DROP"]
    for rule in reversed(foreign):
        namespace.sh(f"iptables -I DOCKER-USER {rule}")
    namespace.sh("iptables -D FORWARD -j DOCKER-USER")
    wanted = {"firewall": [ROUTED], "files": [{"path": "/proc/none", "content": "x"}]}
    answer = namespace.module("overlay_host", fails=True, **wanted)
    assert "the host is as it was" in answer["msg"], answer["msg"]
    # Which of ours comes first is all one.
    assert chain(namespace, name="FORWARD") == ["-o docker0 -j DOCKER"]
    assert chain(namespace)[:2] + sorted(chain(namespace)[2:]) == [*foreign, *sorted([IN, OUT, "-j RETURN"])]


# The way to DOCKER-USER.


def test_a_way_that_was_flushed_is_led_to_docker_user_again(namespace: Namespace) -> None:
    namespace.sh(DOCKER.format("iptables") + DOCKER.format("ip6tables"))
    converge(namespace, [ROUTED])
    namespace.sh("iptables -F FORWARD")
    assert lines(converge(namespace, [ROUTED]), "firewall") == [
        "-iptables FORWARD: nothing leads to DOCKER-USER",
        "+iptables FORWARD: -j DOCKER-USER",
    ]
    assert chain(namespace, name="FORWARD") == ["-j DOCKER-USER"]
    # It is Docker's, and no part of what goes with the network.
    converge(namespace, [])
    assert chain(namespace, name="FORWARD") == ["-j DOCKER-USER"] and chain(namespace) == ["-j RETURN"]


def test_what_stands_before_the_way_is_passed(namespace: Namespace) -> None:
    namespace.sh(DOCKER.format("iptables"))
    converge(namespace, [ROUTED])
    # As Docker's own isolation of bridges, which is of other devices, where firewalld was loaded anew.
    namespace.sh(
        "iptables -N ONE; iptables -N TWO; iptables -A ONE -i docker0 ! -o docker0 -j TWO; iptables -A TWO -o docker0 -j DROP;"
        "iptables -I FORWARD -j ONE; iptables -I FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT"
    )
    assert namespace.module("overlay_host", firewall=[ROUTED, DIRECT], check=True)["operations"] == [
        op for op in namespace.module("overlay_host", firewall=[ROUTED, DIRECT], check=True)["operations"] if "10.89" in op
    ]
    namespace.sh("iptables -I FORWARD -i vx1 -j DROP")
    assert lines(converge(namespace, [ROUTED]), "firewall") == [
        "-iptables FORWARD: -i vx1 -j DROP before DOCKER-USER",
        "+iptables FORWARD: -j DOCKER-USER",
    ]
    assert chain(namespace, name="FORWARD")[:2] == ["-j DOCKER-USER", "-i vx1 -j DROP"]


@contextmanager
def dockerd(namespace: Namespace, folder: Path) -> Iterator[None]:
    """A process of that name in the namespace."""
    shutil.copy(shutil.which("sleep") or "", folder / "dockerd")
    job = subprocess.Popen(["nsenter", f"--net=/run/netns/{namespace.name}", str(folder / "dockerd"), "1000"])
    try:
        yield
    finally:
        job.kill()
        job.wait()


def test_a_dockerd_that_leaves_iptables_alone_stands_in_the_way(namespace: Namespace, tmp_path: Path) -> None:
    """ "iptables": false and a FORWARD that drops: nothing will ever lead to our rules."""
    namespace.sh("iptables -P FORWARD DROP")
    with dockerd(namespace, tmp_path):
        before = namespace.sh("iptables -S; nft list ruleset")
        for check in (True, False):
            answer = namespace.module("overlay_host", check=check, fails=True, firewall=[ROUTED])
            assert "(policy DROP, and nothing leads to DOCKER-USER)" in answer["msg"], answer["msg"]
            assert '"iptables" is false in daemon.json' in answer["msg"]
            assert "iptables -I FORWARD -j DOCKER-USER" in answer["msg"] and "Nothing was changed" in answer["msg"]
        assert namespace.sh("iptables -S; nft list ruleset") == before
        # What it says to do is enough.
        namespace.sh("iptables -N DOCKER-USER; iptables -I FORWARD -j DOCKER-USER")
        converge(namespace, [ROUTED])
        # And where FORWARD drops nothing, nothing needs to lead there.
        namespace.sh("iptables -F; iptables -X; iptables -P FORWARD ACCEPT")
        converge(namespace, [ROUTED])


def test_a_docker_that_has_not_started_will_lead_there(namespace: Namespace, tmp_path: Path) -> None:
    namespace.sh("iptables -P FORWARD DROP")
    (tmp_path / "dockerd").write_text("#!/bin/sh\n")
    (tmp_path / "dockerd").chmod(0o755)
    converge(namespace, [ROUTED], ("sh", "-ec", f'PATH={tmp_path}:$PATH exec "$@"', "sh"))
    namespace.sh(DOCKER.format("iptables").replace("iptables -N DOCKER-USER;", ""))
    assert namespace.module("overlay_host", firewall=[ROUTED])["operations"] == []


# Two kinds of iptables.


@pytest.mark.parametrize("theirs", ["legacy", "nft"])
def test_rules_go_into_the_tables_that_docker_uses(namespace: Namespace, tmp_path: Path, theirs: str) -> None:
    ours = "nft" if theirs == "legacy" else "legacy"
    for program in ("iptables", "iptables-restore", "ip6tables", "ip6tables-restore"):
        name, _dash, rest = program.partition("-")
        (tmp_path / program).symlink_to(shutil.which(f"{name}-{ours}" + (f"-{rest}" if rest else "")) or "")
    wrapper = ("sh", "-ec", f'PATH={tmp_path}:$PATH exec "$@"', "sh")
    # Before Docker used the others.
    assert converge(namespace, [ROUTED], wrapper)["changed"]
    namespace.sh(DOCKER.format("iptables-" + theirs))
    done = converge(namespace, [ROUTED], wrapper)
    told = lines(done, "firewall")
    assert told == [f"-iptables DOCKER-USER: {one}" for one in (IN, OUT)] + [
        f"+iptables-{theirs} DOCKER-USER: {one}" for one in (IN, OUT)
    ]
    assert sorted(chain(namespace, "iptables-" + theirs)) == sorted([IN, OUT, "-j RETURN"])
    assert chain(namespace, "iptables-" + ours) == []
    # The boot script, where it runs while Docker does, knows them too.
    options, _problems = _module._check_sections({"firewall": [ROUTED]})
    namespace.sh(f"iptables-{theirs} -F DOCKER-USER")
    script = _boot.make_boot_script(options).replace("PATH=/usr/local/sbin:", f"PATH={tmp_path}:/usr/local/sbin:")
    namespace.shell(script)
    assert namespace.module("overlay_host", check=True, wrapper=wrapper, firewall=[ROUTED])["operations"] == []
    # And all of it goes.
    converge(namespace, [], wrapper)
    assert "agentless" not in namespace.sh("iptables-legacy -S; iptables-nft -S")


def test_docker_in_both_stands_in_the_way(namespace: Namespace) -> None:
    namespace.sh(DOCKER.format("iptables-legacy") + DOCKER.format("iptables-nft"))
    before = namespace.sh("iptables-legacy -S; iptables-nft -S; nft list tables")
    answer = namespace.module("overlay_host", fails=True, firewall=[ROUTED])
    assert "the tables of both iptables and iptables-legacy have rules of Docker's" in answer["msg"], answer["msg"]
    assert namespace.sh("iptables-legacy -S; iptables-nft -S; nft list tables") == before


def test_to_look_makes_no_legacy_table(namespace: Namespace) -> None:
    namespace.module("overlay_host", firewall=[])
    assert namespace.sh("cat /proc/self/net/ip_tables_names") == ""


# Others who manage a firewall.


def changed_root(folders: list[str], script: str, programs: Path | str = "/") -> tuple[str, ...]:
    """A command before the module, for which some folders are changed by a script, and nothing is when it ends."""
    mounts = "mount -t tmpfs tmpfs /opt; " + "; ".join(
        f"mkdir -p /opt/{number}/up /opt/{number}/work; "
        f"mount -t overlay -o lowerdir={folder},upperdir=/opt/{number}/up,workdir=/opt/{number}/work overlay {folder}"
        for number, folder in enumerate(folders)
    )
    return ("unshare", "--mount", "sh", "-ec", f'{mounts}; {script}; PATH={programs}:$PATH exec "$@"', "sh")


def programs(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / name.replace("_", "-")).write_text("#!/bin/sh\n" + text)
        (folder / name.replace("_", "-")).chmod(0o755)
    return folder


MANAGED = [{"devices": ["vx1"], "bridges": [], "flows": [{"protocol": "udp", "port": 4789}]}]
ACTIVE = 'case "$*" in *is-active*firewalld*) exit 0;; esac; exit 3'


def with_firewalld(folder: Path, script: str = "") -> tuple[str, ...]:
    """Beside a firewalld that runs, or so it seems to those who ask."""
    prepared = "mount -t tmpfs tmpfs /run/systemd; mkdir /run/systemd/system; touch /usr/sbin/firewalld"
    policies = "mkdir -p /usr/lib/firewalld/policies"
    return changed_root(["/etc", "/usr/sbin", "/usr/lib"], f"mkdir -p /run/systemd; {prepared}; {script or policies}", folder)


def test_a_reload_that_flushes_our_rules_does_not_keep_them_away(namespace: Namespace, tmp_path: Path) -> None:
    """As firewalld's with its iptables backend, in the run that gives it its files."""
    both = "; ".join(f"{program} -{what}" for program in ("iptables", "ip6tables") for what in "FX")
    flush = f'case "$*" in --reload) {both}; nft delete table inet agentless_overlay;; esac'
    wrapper = with_firewalld(programs(tmp_path, systemctl=ACTIVE, firewall_cmd=flush, firewall_offline_cmd="exit 0"))
    converge(namespace, EVERYTHING)
    ours, before = table(namespace), namespace.sh("iptables -S; ip6tables -S").splitlines()
    done = namespace.module("overlay_host", wrapper=wrapper, managers=MANAGED, firewall=EVERYTHING)
    assert {op.partition(":")[0] for op in done["operations"]} == {"managers"}
    assert table(namespace) == ours and sorted(namespace.sh("iptables -S; ip6tables -S").splitlines()) == sorted(before)
    # A Docker that hears of it makes its chains again, and is waited for.
    namespace.sh(DOCKER.format("iptables").replace("iptables -N DOCKER-USER;", ""))
    (tmp_path / "firewall-cmd").write_text(f"#!/bin/sh\n{flush}\n{{ sleep 1; iptables -N DOCKER; }} >/dev/null 2>&1 &\n")
    other = [{**MANAGED[0], "flows": [*MANAGED[0]["flows"], {"port": 4790}]}]
    namespace.module("overlay_host", wrapper=wrapper, managers=other, firewall=EVERYTHING)
    assert "-N DOCKER\n" in namespace.sh("iptables -S") and table(namespace) == ours
    assert all("agentless" in rule for rule in chain(namespace)) and len(chain(namespace)) == 6
    # With rules that come in the same run, and with all of it going.
    namespace.module("overlay_host", wrapper=wrapper, managers=MANAGED, firewall=[*EVERYTHING, {**DIRECT, "network": "more"}])
    assert namespace.module("overlay_host", firewall=[*EVERYTHING, {**DIRECT, "network": "more"}])["operations"] == []
    namespace.module("overlay_host", wrapper=wrapper, managers=[], firewall=[])
    assert "agentless" not in namespace.sh("nft list ruleset; iptables -S; ip6tables -S")


def test_a_firewalld_that_knows_no_policies_stands_in_the_way(namespace: Namespace, tmp_path: Path) -> None:
    asked = (
        'case "$*" in --get-active-zones) echo work; echo "  interfaces: eth0";; *=work*query-port*) exit $(cat OPEN);; esac'
    )
    folder = programs(
        tmp_path, systemctl=ACTIVE, firewall_offline_cmd="exit 0", firewall_cmd=asked.replace("OPEN", str(tmp_path / "open"))
    )
    old = with_firewalld(folder, "rm -rf /usr/lib/firewalld")
    (tmp_path / "open").write_text("1")
    answer = namespace.module("overlay_host", check=True, fails=True, wrapper=old, managers=MANAGED)
    assert (
        "firewall-cmd --permanent --zone=work --add-port=4789/udp" in answer["msg"] and "Nothing was changed" in answer["msg"]
    )
    namespace.module("overlay_host", check=True, wrapper=with_firewalld(folder), managers=MANAGED)
    (tmp_path / "open").write_text("0")
    done = namespace.module("overlay_host", check=True, wrapper=old, managers=MANAGED)
    # Each file says whose it is.
    texts = [diff["after"] for diff in done["diff"] if diff["after_header"] == "managers"]
    assert texts and texts[0].count("agentless.overlay") == len(done["operations"]), texts


UFW = """
{0} -P INPUT DROP; {0} -N {1}-before-input; {0} -N {1}-user-input; {0} -N {1}-user-limit-accept
{0} -A INPUT -j {1}-before-input; {0} -A {1}-before-input -i lo -j ACCEPT
{0} -A {1}-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
{0} -A {1}-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT; {0} -A {1}-before-input -j {1}-user-input
{0} -A {1}-user-input -p tcp -m tcp --dport 22 -j ACCEPT
"""


def test_ufw_that_lets_no_vxlan_in_stands_in_the_way(namespace: Namespace) -> None:
    namespace.sh(UFW.format("iptables", "ufw") + UFW.format("ip6tables", "ufw6"))
    with_ufw = changed_root(["/etc"], "mkdir -p /etc/ufw; touch /etc/ufw/ufw.conf")
    before = namespace.sh("iptables -S; nft list ruleset")
    answer = namespace.module("overlay_host", fails=True, wrapper=with_ufw, firewall=[ROUTED])
    assert answer["msg"].count("Run: ufw allow 4789/udp") == 2 and "ip6tables" in answer["msg"], answer["msg"]
    assert namespace.sh("iptables -S; nft list ruleset") == before
    namespace.sh("ip6tables -A ufw6-user-input -p udp -m udp --dport 4789 -j ACCEPT")
    for rule in ("-s 203.0.113.0/24 -j ACCEPT", "-p udp -m udp --dport 53 -j ACCEPT", "-p tcp -m tcp --dport 4789 -j ACCEPT"):
        namespace.sh(f"iptables -A ufw-user-input {rule}")
        assert namespace.module("overlay_host", fails=True, wrapper=with_ufw, firewall=[ROUTED])["msg"].count("ufw allow") == 1
    for rule in ("-s 192.0.2.0/24 -j ACCEPT", "-p udp -m multiport --dports 4000:5000,53 -j ACCEPT"):
        namespace.sh(f"iptables -A ufw-user-input {rule}")
        namespace.module("overlay_host", check=True, wrapper=with_ufw, firewall=[ROUTED])
        namespace.sh(f"iptables -D ufw-user-input {rule}")
    # The same rules without ufw are somebody's who knows what he does.
    converge(namespace, [ROUTED])


# Beside a Docker that runs.


def cut(lab: Lab, far: str) -> bool:
    return "100% packet loss" in lab.sh("docker2", f"docker exec c1 ping -c 2 -i 0.2 -W 1 {far}", check=False)


def mended(lab: Lab, told: list[str]) -> None:
    """Predicted, done, and no more to do."""
    predicted = lab.converge("--check", "--diff")
    assert predicted.diffs == {"docker1": {"firewall": told}}, predicted.output
    assert lab.converge("--diff", "--skip-tags", "verify").diffs == predicted.diffs
    assert set(lab.converge("--check").changed().values()) == {0}


def test_containers_are_reached_again(net: Net) -> None:
    """What was flushed, and what was put first, with a dockerd whose rules are the others."""
    lab, far = net.lab, net.addresses["docker1"]
    lab.sh("docker1", "iptables -P FORWARD DROP")
    assert not cut(lab, far)
    lab.sh("docker1", "iptables -F FORWARD")
    assert cut(lab, far)
    mended(lab, ["-iptables FORWARD: nothing leads to DOCKER-USER", "+iptables FORWARD: -j DOCKER-USER"])
    assert not cut(lab, far)
    lab.sh("docker1", "iptables -I DOCKER-USER -i vxlan.88 -j DROP")
    assert cut(lab, far)
    rule = "-s 10.88.0.0/16 -d 10.88.50.0/24 -i vxlan.88 -o docker0 -m comment --comment agentless.overlay:demo -j ACCEPT"
    mended(lab, [f"-iptables DOCKER-USER: {rule} (below -i vxlan.88 -j DROP)", f"+iptables DOCKER-USER: {rule}"])
    assert not cut(lab, far)
    # Docker takes the jump for its own.
    lab.sh("docker1", "/etc/init.d/docker restart; docker start c1")
    rules = lab.sh("docker1", "iptables -S FORWARD").splitlines()
    assert rules[1] == "-A FORWARD -j DOCKER-USER" and rules.count("-A FORWARD -j DOCKER-USER") == 1, rules
    assert not cut(lab, lab.container("docker1")) and set(lab.converge("--check").changed().values()) == {0}


def test_a_docker_without_iptables_is_told_of(net: Net) -> None:
    lab = net.lab
    lab.sh("docker1", """sed -i '1s/{/{ "iptables": false,/' /etc/docker/daemon.json; /etc/init.d/docker stop""")
    lab.sh("docker1", "iptables -F; iptables -X; iptables -P FORWARD DROP; /etc/init.d/docker start")
    before = {host: lab.state(host) for host in lab.hosts}
    played = lab.play("--limit", "docker1")
    assert played.code == 2 and '"iptables" is false in daemon.json' in played.text, played.output
    assert {host: lab.state(host) for host in lab.hosts} == before
    # One of the two ways out.
    lab.sh("docker1", """sed -i 's/"iptables": false, *//' /etc/docker/daemon.json; /etc/init.d/docker restart""")
    lab.converge()
    assert not cut(lab, lab.container("docker1"))
