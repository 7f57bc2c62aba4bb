# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Drift, preview, matrix, firewall rules and the page, as functions of values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.agentless.overlay.plugins.module_utils._docker import _daemon_keys
from ansible_collections.agentless.overlay.plugins.module_utils._docker._docker_api import Docker
from ansible_collections.agentless.overlay.plugins.module_utils._engine._drift import make_certificate
from ansible_collections.agentless.overlay.plugins.module_utils._looking._listen import _add_ethernet, parse_ping
from ansible_collections.agentless.overlay.plugins.plugin_utils._backends import BACKENDS
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import Node
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.planner import make_plan
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.store import ReportError
from ansible_collections.agentless.overlay.plugins.plugin_utils._see import (
    diagnosis,
    drift,
    explain,
    filtering,
    matrix,
    preview,
)

NODES = [
    Node(
        f"docker{number}", f"192.168.65.{number + 2}", subnet={"demo": f"10.88.{number}.0/24", "flat": f"172.18.{number}.0/24"}
    )
    for number in (1, 2, 3)
]
NETWORKS = [
    {"name": "demo", "cidr": "10.88.0.0/16", "vni": 88},
    {"name": "flat", "backend": "l2", "cidr": "172.18.0.0/16", "vni": 200, "attach": {"docker_network": "flat"}},
]


@pytest.fixture
def plan() -> Plan:
    made = make_plan(BACKENDS, NETWORKS, NODES, {}, [], "leases", {})
    assert made.errors == []
    return made.plan


def item(resource: str, name: str, kind: str = "missing", **more: Any) -> dict[str, Any]:
    return {"resource": resource, "name": name, "kind": kind, "planned": [], "found": [], **more}


def said(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"drift": list(items), "certificate": {"planned": "a", "live": "b"}, "impact": [], "operations": [], **more}


def test_a_difference_is_of_its_network(plan: Plan) -> None:
    items = {
        "demo": [
            item("route_entry", "10.88.2.0/24"),
            item("vxlan_link", "vxlan.88"),
            item("neigh_entry", "vxlan.88 10.88.2.0"),
            item("firewall", "nft set vteps_88 192.168.65.4"),
            item("firewall", "nft chain input x", planned=["udp dport 4789 @th,96,24 0x58 ip saddr != @vteps_88 drop"]),
            item("docker_bip", "/etc/docker/daemon.json"),
        ],
        "flat": [
            item("bridge", "br.200"),
            item("docker_network", "flat"),
            item("fdb_entry", "vxlan.200 00:00:00:00:00:00 192.168.65.4"),
        ],
        "": [item("sysctl", "net.ipv4.ip_forward"), item("boot", "/etc/agentless-overlay/boot.sh")],
    }
    report = drift.make_drift_report(plan, {"docker1": said(*(one for some in items.values() for one in some))}, {}, "now")
    found = [one["network"] for one in report["hosts"]["docker1"]["drift"]]
    assert found == [name for name, some in items.items() for _one in some]
    assert report["summary"]["not_looked_at"] == ["docker2", "docker3"]


def test_certificates_are_equal_without_drift_only() -> None:
    same = make_certificate({"sysctl": []}, [])
    other = make_certificate({"sysctl": []}, [item("sysctl", "x")])
    assert same["planned"] == same["live"] == other["planned"] != other["live"]
    assert make_certificate({"sysctl": [{}]}, [])["planned"] != same["planned"]


def test_reports_are_merged_or_refused(plan: Plan) -> None:
    one = drift.make_drift_report(plan, {"docker1": said(item("sysctl", "x"))}, {}, "2026-01-01")
    later = drift.make_drift_report(plan, {"docker1": said(), "docker2": said()}, {"docker3": "no answer"}, "2026-01-02")
    merged = drift.merge_reports([("later", later), ("one", one)])
    assert {name: host["status"] for name, host in merged["hosts"].items()} == {
        "docker1": "same",
        "docker2": "same",
        "docker3": "unknown",
    }
    assert merged["time"] == "2026-01-02" and merged["summary"]["not_looked_at"] == []
    for wrong, text in (
        ({"schema": "other"}, "is not a drift report"),
        ({**one, "version": 9}, "has version 9"),
        ({"schema": drift.SCHEMA, "version": 1}, "is not whole"),
        ({**one, "plan": "x"}, "of different plans"),
    ):
        with pytest.raises(ReportError, match=text):
            drift.merge_reports([("one", one), ("wrong", wrong)])
    with pytest.raises(ReportError, match="no report"):
        drift.merge_reports([])


def test_text_that_no_xml_can_hold(plan: Plan) -> None:
    report = drift.make_drift_report(
        plan, {"docker1": said(item("files", "a\x00<b>", found=["\x1b[1m"]))}, {"docker2": "\x07 & <no>"}, "now"
    )
    text = drift.write_drift_files(report)["xml"]
    assert "\x00" not in text and "&lt;b&gt;" in text
    assert "| docker2 | | | **not looked at** |" in drift.write_drift_files(report)["md"]


STOPPED = {"restart_required": True, "restart_reasons": [preview.NOT_RUNNING]}


def test_the_preview_counts_and_limits(plan: Plan) -> None:
    looked = {
        "docker1": said(
            item("route_entry", "10.88.2.0/24"),
            item("fdb_entry", "vxlan.200 00:00:00:00:00:00 192.168.65.5"),
            item("route_entry", "10.88.77.0/24", "extra"),
            operations=["vxlan_link: re-create vxlan.88 vni 88", "docker_network: re-create flat 172.18.0.0/16"],
        ),
        "docker5": said(operations=["docker_network: remove web 10.88.5.0/24"]),
        "docker2": said(docker_bip={"restart_required": True, "containers": ["job", "web"], "auto_removed": ["job"]}),
        "docker4": said(docker_bip={**STOPPED, "containers": [], "auto_removed": []}),
        "docker3": said(docker_bip={"restart_required": True, "containers": ["db"], "auto_removed": []}),
    }
    found = preview.preview_run(plan, looked, {"docker3": "never"})
    assert found["peers_added"] == ["docker1: docker2", "docker1: docker3"] and found["peers_removed"] == [
        "docker1: 10.88.77.0/24"
    ]
    assert found["recreated"] == ["docker1: vxlan.88", "docker1: flat"]
    assert found["networks_removed"] == ["docker5: web"]
    assert (found["restarted"], found["waiting"]) == (["docker2", "docker4"], ["docker3"])
    assert (found["containers"], found["auto_removed"], found["stopped"]) == (["docker2: web"], ["docker2: job"], ["docker4"])
    # The one constant that controller and host cannot import from each other.
    assert _daemon_keys.list_live_differences(Docker("28.5.2", False), {}) == [preview.NOT_RUNNING]
    assert preview.list_exceeded(found, None, None) == [] == preview.list_exceeded(found, 3, 2)
    assert len(preview.list_exceeded(found, 1, 0)) == 2
    # Of a play in batches those before count too, and who adds nothing goes over nothing.
    only = preview.preview_run(plan, {"docker4": looked["docker4"]}, {})
    assert preview.list_exceeded(only, None, 2, earlier=[found]) == []
    assert "restart Docker on 2 (docker2, docker4)" in (told := preview.list_exceeded(only, None, 1, earlier=[found])[0])
    assert "No further host was touched" in told and preview.list_exceeded(only, 0, None, earlier=[found]) == []
    assert preview.describe_preview({**found, "touched": [], "hosts": 1}) == ["Nothing is to be done on 1 host."]


def test_the_preview_holds_a_network_on_docker0_while_containers_run(plan: Plan) -> None:
    leaving = {"restart_required": True, "containers": ["web"], "auto_removed": [], "live_restore": False, "leaving": True}
    for docker, restart, problems in (
        (leaving, "when_idle", 1),
        ({**leaving, "containers": []}, "when_idle", 0),
        ({**leaving, "leaving": False}, "when_idle", 0),
        (leaving, "always", 0),
        (leaving, "never", 0),
        ({**leaving, "live_restore": True}, "when_idle", 0),
    ):
        found = preview.preview_run(plan, {"docker1": said(docker_bip=docker)}, {"docker1": restart})
        told = preview.list_exceeded(found, None, None)
        assert len(told) == problems, (docker, restart)
        assert not told or "docker1: web" in told[0] and "No host was touched" in told[0]


def test_the_preview_refuses_to_take_the_network_apart() -> None:
    """An inventory that lacks most hosts, for whatever reason, must not remove them from the rest."""
    nodes = [
        Node(f"h{number}", f"192.168.65.{number}", subnet=[f"10.88.{number}.0/24", f"fd88:{number}::/64"])
        for number in (1, 2, 3)
    ]
    made = make_plan(
        BACKENDS, [{"name": "demo", "cidr": ["10.88.0.0/16", "fd88::/16"], "vni": 88}], nodes, {}, [], "leases", {}
    )
    assert made.errors == []
    plan = made.plan

    def left(*numbers: int, come: tuple[int, ...] = ()) -> list[str]:
        names = [(f"10.88.{number}.0/24", f"fd88:{number}::/64") for number in (*numbers, *come)]
        kinds = ["extra"] * len(numbers) + ["missing"] * len(come)
        drift = [item("route_entry", name, kind) for pair, kind in zip(names, kinds) for name in pair]
        # Routes of a network that is no more count for nothing.
        drift += [item("route_entry", f"10.99.{number}.0/24", "extra") for number in range(9)]
        return preview.list_exceeded(preview.preview_run(plan, {"h1": said(*drift)}, {}), None, None, remove)

    remove: int | None = None
    assert left(4) == left() == []
    assert "take 2 of its 4 peers on demo from h1." in left(4, 5)[0] and "overlay_max_remove=2" in left(4, 5)[0]
    assert left(4, 5, come=(2,)) == left(4, 5, come=(2, 3)) == []
    remove = 2
    assert left(4, 5) == [] and left(4, 5, 6) != []
    remove = 0
    assert left() == [] and left(4) != []
    # A host that is to leave the whole network loses all of its peers there.
    drift = [item("route_entry", f"10.88.{number}.0/24", "extra") for number in (1, 2, 3)]
    left_whole = preview.preview_run(plan, {"h9": said(*drift)}, {})
    assert "take 3 of its 3 peers on demo from h9." in preview.list_exceeded(left_whole, None, None)[0]
    assert preview.list_exceeded(left_whole, None, None, 3) == []


SAVED = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
:OWN - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-USER -s 10.88.9.0/24 -j OWN
-A DOCKER-USER -s 10.88.0.0/16 -d 10.88.1.0/24 -i vxlan.+ -o docker0 -m comment --comment "let in" -j ACCEPT
-A DOCKER-USER -p tcp -m tcp --dport 80:90 -m strange --strange 1 -j DROP
-A OWN -p tcp -m tcp --dport 22 -j RETURN
-A OWN -j REJECT --reject-with icmp-port-unreachable
-A INPUT -p udp -m udp --dport 4789 ! -s 192.168.65.0/24 -j DROP
COMMIT
"""


@pytest.mark.parametrize(
    ("values", "hooks", "rule"),
    [
        ({"come": "docker0", "go": "vxlan.88"}, filtering.FORWARDED, None),
        ({"come": "vxlan.88", "go": "docker0"}, filtering.FORWARDED, "policy DROP"),
        ({"come": "vxlan.88", "go": "docker0", "target": "10.88.1.2"}, filtering.FORWARDED, None),
        ({"come": "vxlan.88", "go": "docker0", "state": "established"}, filtering.FORWARDED, None),
        (
            {"source": "10.88.9.2", "come": "docker0", "go": "eth0"},
            filtering.FORWARDED,
            "-j REJECT --reject-with icmp-port-unreachable",
        ),
        ({"source": "10.88.9.2", "come": "docker0", "go": "eth0", "protocol": "tcp", "port": 22}, filtering.FORWARDED, None),
        # A match that is not understood is none.
        ({"come": "docker0", "go": "eth0", "protocol": "tcp", "port": 85}, filtering.FORWARDED, None),
        ({"source": "192.168.66.1", "protocol": "udp", "port": 4789}, filtering.RECEIVED, "192.168.65.0/24"),
        ({"source": "192.168.65.1", "protocol": "udp", "port": 4789}, filtering.RECEIVED, None),
    ],
)
def test_what_iptables_would_do(values: dict[str, Any], hooks: tuple[str, ...], rule: str | None) -> None:
    packet = filtering.Packet(**{"source": "10.88.1.2", "target": "10.88.2.2", "protocol": "icmp", **values})
    found = filtering.find_stop({"iptables": SAVED, "ip6tables": "", "nft": []}, packet, hooks)
    assert found is None if rule is None else found is not None and rule in found.rule


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def payload(protocol: str, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": field}}


def test_what_nft_would_do() -> None:
    chain = {"family": "inet", "table": "t", "name": "in", "hook": "input", "type": "filter", "prio": 0, "policy": "accept"}
    place = {"family": "inet", "table": "t", "chain": "in"}
    vni = match({"payload": {"base": "th", "offset": 96, "len": 24}}, 88)
    ruleset = {
        "nftables": [
            {"chain": chain},
            {"chain": {"family": "inet", "table": "t", "name": "more"}},
            {
                "set": {
                    "family": "inet",
                    "table": "t",
                    "name": "vteps",
                    "elem": ["192.168.65.4", {"prefix": {"addr": "10.1.0.0", "len": 16}}],
                }
            },
            {"rule": {**place, "handle": 1, "expr": [match(payload("udp", "dport"), 4789), vni, {"jump": {"target": "more"}}]}},
            {
                "rule": {
                    **{**place, "chain": "more"},
                    "handle": 2,
                    "expr": [match(payload("ip", "saddr"), "@vteps", "!="), {"counter": {}}, {"drop": None}],
                }
            },
            {
                "rule": {
                    **place,
                    "handle": 3,
                    "expr": [match({"meta": {"key": "iifname"}}, {"set": ["eth7", "eth8"]}), {"drop": None}],
                }
            },
            {"rule": {**place, "handle": 4, "expr": [match({"fib": {}}, "x"), {"drop": None}]}},
        ]
    }
    tables = {"iptables": "", "ip6tables": "", "nft": ruleset}

    def stopped(**values: Any) -> str:
        packet = filtering.Packet(
            **{"source": "192.168.65.9", "target": "192.168.65.3", "protocol": "udp", "port": 4789, **values}
        )
        found = filtering.find_stop(tables, packet, filtering.RECEIVED)
        return found.where + " " + found.rule[:6] if found else ""

    assert stopped(vni=88) == "nft inet t more rule 2"
    assert stopped(vni=88, source="192.168.65.4") == stopped(vni=88, source="10.1.2.3") == stopped(vni=77) == ""
    assert stopped(vni=88, port=1) == ""
    assert stopped(vni=77, come="eth8") == "nft inet t in rule 3"
    chain["policy"] = "drop"
    assert stopped(vni=77) == "nft inet t in policy"


def test_frames_as_they_pass() -> None:
    icmp = bytes.fromhex("0800f7ff00000000")
    ip = bytes.fromhex("4500001c00000000400100000a5801020a580202")
    inner = bytes.fromhex("020000000002020000000001") + b"\x08\x00" + ip + icmp
    found = parse_ping(inner, "vxlan.88", "in", {4789})
    assert found is not None and (found.source, found.target, found.what, found.outer) == (
        "10.88.1.2",
        "10.88.2.2",
        "request",
        None,
    )
    vxlan = bytes.fromhex("0800000000005800")
    udp = bytes.fromhex("c00012b500000000")
    outer_ip = bytes.fromhex("4500005000000000401100 00c0a84103c0a84104".replace(" ", ""))
    outer = bytes.fromhex("020000000004020000000003") + b"\x08\x00" + outer_ip + udp + vxlan + inner
    found = parse_ping(outer, "eth0", "out", {4789})
    assert found is not None and (found.outer, found.vni, found.source) == (("192.168.65.3", "192.168.65.4"), 88, "10.88.1.2")
    assert parse_ping(outer, "eth0", "out", {8472}) is None
    # IP in IP, as it leaves the host and as the device without Ethernet has it.
    wrapped = bytes.fromhex("020000000004020000000003") + b"\x08\x00" + outer_ip[:9] + b"\x04" + outer_ip[10:] + ip + icmp
    found = parse_ping(wrapped, "eth0", "out", set())
    assert found is not None and (found.outer, found.vni) == (("192.168.65.3", "192.168.65.4"), 0)
    assert (found.source, found.target, found.what) == ("10.88.1.2", "10.88.2.2", "request")
    found = parse_ping(_add_ethernet(ip + icmp), "tunl0", "in", set())
    assert found is not None and (found.source, found.what, found.outer) == ("10.88.1.2", "request", None)
    arp = bytes.fromhex(
        "ffffffffffff020000000001" + "0806" + "0001080006040001" + "020000000001" + "0a580102" + "000000000000" + "0a580202"
    )
    found = parse_ping(arp, "br.200", "in", {4789})
    assert found is not None and (found.source, found.target, found.what) == ("10.88.1.2", "10.88.2.2", "arp request")
    # Whatever comes by, whole or not.
    for length in range(len(outer)):
        parse_ping(outer[:length], "eth0", "in", {4789})
        parse_ping(arp[:length], "eth0", "in", {4789})


def test_the_ends_of_a_way(plan: Plan) -> None:
    running = {
        "docker1": {"bridge": [{"name": "web", "addresses": ["10.88.1.2"]}]},
        "docker2": {"bridge": [{"name": "db", "addresses": ["10.88.2.2"]}]},
    }
    assert explain.choose_hosts(plan, "docker1/web", "10.88.2.2") == {"hosts": ["docker1", "docker2"], "error": ""}
    assert explain.choose_hosts(plan, "web", "docker2")["hosts"] == ["docker1", "docker2", "docker3"]
    # Of hosts that a limit leaves out only an end has to be there.
    assert explain.choose_hosts(plan, "web", "docker2", here=["docker2"]) == {"hosts": ["docker2"], "error": ""}
    assert "docker2 is not in this run" in explain.choose_hosts(plan, "web", "docker2", here=["docker1"])["error"]
    assert explain.choose_hosts(plan, "web", "docker2", {"protocol": "tcp", "port": "443", "probe": "no"})["error"] == ""
    for option, value in (
        ("protocol", "zzz"),
        ("port", "abc"),
        ("port", -1),
        ("port", 65536),
        ("probe", "maybe"),
        ("network", "x"),
    ):
        assert str(value) in explain.choose_hosts(plan, "web", "docker2", {option: value})["error"]
    assert explain.choose_hosts(plan, "192.168.65.3", "10.88.2.1")["hosts"] == ["docker1", "docker2"]
    found = explain.choose_ends(plan, "web", "db", "", running)
    assert [(end["host"], end["address"], end["container"]) for end in found["ends"]] == [
        ("docker1", "10.88.1.2", "web"),
        ("docker2", "10.88.2.2", "db"),
    ]
    # A host that does not answer matters where it is an end, or may have one.
    answering = {host: said for host, said in running.items() if host != "docker2"}
    assert (
        "docker2 could not be asked: gone"
        in explain.choose_ends(plan, "web", "db", "", answering, {"docker2": "gone"})["error"]
    )
    assert explain.choose_ends(plan, "docker1", "docker3", "", answering, {"docker2": "gone"})["error"] == ""
    assert explain.explain_answers(plan, found, [{"msg": "gone"}, {}])["error"] == "docker1 could not be asked: gone"
    assert "there is no network x" in explain.choose_ends(plan, "web", "db", "x", running)["error"]
    assert "no container nope runs on demo" in explain.choose_ends(plan, "nope", "db", "", running)["error"]
    assert json.dumps(found)


def row(one: str, other: str, **more: Any) -> dict[str, Any]:
    ok = more.get("ok", False)
    values = {
        "from": one,
        "to": other,
        "network": "demo",
        "endpoint": "host",
        "ok": ok,
        "reached": ok,
        "largest": 1450 if ok else 0,
    }
    return {
        **values,
        "size": 1450,
        "address": "",
        "target": other,
        "said": "",
        "source": "host",
        "loss": 0.0,
        "rtt": 1.0,
        **more,
    }


def heard(packets: list[tuple[str, str, str, str, bool]], device: str = "eth0", **more: Any) -> dict[str, Any]:
    """Pings as (way, source, target, outer target, in a tunnel)."""
    found = []
    for way, source, target, outer, tunnel in packets:
        own = {"10.88.1.2": "192.168.65.3", "10.88.2.2": "192.168.65.4"}[source]
        values = {"way": way, "source": source, "target": target, "what": "request", "count": 1}
        found.append(
            {
                **values,
                "device": device if tunnel else "vxlan.88",
                "outer": [own, outer] if tunnel else [],
                "vni": 88 if tunnel else 0,
            }
        )
    return {"packets": found, "fdb": {}, "checksum_errors": 0, **more}


A, B = "10.88.1.2", "10.88.2.2"
TO_B, TO_A = ("out", A, B, "192.168.65.4", True), ("out", B, A, "192.168.65.3", True)
AT_B, AT_A = ("in", A, B, "192.168.65.4", True), ("in", B, A, "192.168.65.3", True)
IN_B, IN_A = ("in", A, B, "", False), ("in", B, A, "", False)


@pytest.mark.parametrize(
    ("one", "other", "kind", "where"),
    [
        ([TO_B], [TO_A], "tunnel_blocked", ""),
        ([TO_B, AT_A, IN_A], [TO_A], "one_way", ""),
        ([TO_B, AT_A, IN_A], [TO_A, AT_B], "tunnel_blocked", "docker2"),
        ([], [TO_A], "one_way", ""),
        ([], [], "not_sent", "docker1"),
        ([TO_B, AT_A, IN_A], [TO_A, AT_B, IN_B], "not_sent", "docker1"),
    ],
)
def test_what_is_wrong_between_two(plan: Plan, one: list[Any], other: list[Any], kind: str, where: str) -> None:
    rows = [
        row("docker1", "docker2"),
        row("docker2", "docker1"),
        row("docker1", "docker2", network="", endpoint="underlay", ok=True),
    ]
    pairs = matrix.find_broken_pairs(rows)
    assert pairs == [("docker1", "docker2", "demo")] == matrix.choose_pairs(pairs, {"docker1", "docker2"})
    found = diagnosis.list_findings(plan, rows, pairs, {"docker1": heard(one), "docker2": heard(other)})
    assert (found[0]["fault"], found[0]["where"]) == (kind, where), found


def test_checksums_entries_and_the_underlay(plan: Plan) -> None:
    rows = [row("docker1", "docker2"), row("docker2", "docker1")]
    pairs = matrix.find_broken_pairs(rows)
    one = heard([TO_B, AT_A, IN_A])
    found = diagnosis.list_findings(plan, rows, pairs, {"docker1": one, "docker2": heard([TO_A, AT_B], checksum_errors=3)})
    assert [(item["fault"], item["where"]) for item in found] == [("checksum", "docker1")]
    mac = plan.networks["demo"].members["docker2"].macs[0]
    wrong = heard([AT_A, IN_A], fdb={"vxlan.88": [[mac, "192.168.65.99"]]})
    found = diagnosis.list_findings(plan, rows, pairs, {"docker1": wrong, "docker2": heard([TO_A])})
    assert [(item["fault"], item["where"]) for item in found] == [("fdb", "docker1")]
    found = diagnosis.list_findings(plan, rows, pairs, {"docker1": heard([TO_B]), "docker2": heard([TO_A])})
    assert [item["fault"] for item in found] == ["underlay"]
    # A host that could not be asked to listen.
    assert matrix.choose_pairs(pairs, {"docker1"}) == []
    assert [item["fault"] for item in diagnosis.list_findings(plan, rows, [], {})] == ["unreachable"]
