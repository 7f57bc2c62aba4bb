# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verification matrix: what every host should reach, what it does, and where the rest is lost. Pure. PRIVATE."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

from ansible_collections.agentless.overlay.plugins.plugin_utils._drift import cell, nodes_of, plan_hash, printable
from ansible_collections.agentless.overlay.plugins.plugin_utils._preview import count_of, names_of
from ansible_collections.agentless.overlay.plugins.plugin_utils._sections import ZERO_MAC, direct_way, peers_of, probe_targets

SCHEMA = "agentless.overlay/verify"
VERSION = 1
_OVERHEAD = {4: 50, 6: 70}  # bytes that vxlan adds over IPv4 and IPv6
# Pairs that are looked at more closely, so that a fleet that is down does not keep everybody busy.
_CLOSER = 60


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def targets_of(plan: Mapping[str, Any], node: str, containers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a node is to ping: each peer's bridge or VTEP, its container, and its underlay address; each with what it is."""
    targets = []
    for name, network in plan["networks"].items():
        one = {"networks": {name: network}}
        for target in probe_targets(one, node, containers):
            peer = target["name"].partition("/")[0]
            kind = "container" if "/" in target["name"] else "host"
            targets.append({**target, "peer": peer, "overlay": name, "kind": kind})
        if node in network["nodes"] and network["attach"] != "namespace":
            for peer, record in peers_of(network, node).items():
                address = record["underlay_ip"] or next(iter(record.get("via", {}).values()), "")
                if address:
                    room = network["mtu"] + (_OVERHEAD[_version(address)] if network["vni"] else 0)
                    targets.append(
                        {
                            "name": peer,
                            "address": address,
                            "network": "",
                            "mtu": room,
                            "peer": peer,
                            "overlay": name,
                            "kind": "underlay",
                        }
                    )
    # Two networks between the same hosts share an underlay: once is enough, with the larger packet.
    once: dict[tuple[str, str], dict[str, Any]] = {}
    for target in sorted(targets, key=lambda target: target["mtu"]):
        once[(target["kind"], target["address"])] = target
    return list(once.values())


def plain(targets: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same as options of overlay_probe."""
    return [{key: target[key] for key in ("name", "address", "network", "mtu")} for target in targets]


def rows_of(plan: Mapping[str, Any], node: str, containers: Mapping[str, Any], said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each target and source of a node: what came back, how fast, how large."""
    by_key: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for probe in said["probes"]:
        by_key[(probe["source"], probe["address"])].append(probe)
    rows = []
    for target in targets_of(plan, node, containers):
        for source in ("host", "container"):
            probes = by_key.get((source, target["address"]))
            if not probes:
                continue
            small, full = min(probes, key=lambda probe: probe["size"]), max(probes, key=lambda probe: probe["size"])
            sent = small["sent"] + full["sent"]
            received = small["received"] + full["received"]
            row = {
                "from": node,
                "to": target["peer"],
                "network": "" if target["kind"] == "underlay" else target["overlay"],
                "source": source,
                "kind": target["kind"],
                "target": target["name"],
                "address": target["address"],
                "ok": full["ok"] and small["ok"],
                "reached": small["ok"],
                "loss": round(1 - received / sent, 3) if sent else 1.0,
                "rtt": small["rtt"],
                "size": full["size"],
                "largest": full["largest"] if small["ok"] else 0,
                "said": small["said"] or full["said"],
            }
            if source == "host":
                row.update(_way(plan, node, target, said.get("ways", {}).get(target["address"])))
            rows.append(row)
    return rows


def _way(plan: Mapping[str, Any], node: str, target: Mapping[str, Any], way: Mapping[str, Any] | None) -> dict[str, Any]:
    """By what the host's packets go there, and by what they should."""
    if way is None or target["kind"] == "underlay":
        return {"path": "", "expected": "", "device_mtu": way["mtu"] if way else 0, "device": way["device"] if way else ""}
    network = plan["networks"][target["overlay"]]
    own, peer = network["nodes"][node], network["nodes"][target["peer"]]
    expected = network["bridge"] if network["attach"] == "docker_network" else network["device"]
    if network["backend"] in ("vxlan", "host-gw"):
        lease = next((lease for lease in peer["leases"] if _version(lease["subnet"]) == _version(target["address"])), None)
        gateway = direct_way(network, own, peer, lease) if lease else ""
        expected = f"direct, via {gateway}" if gateway else f"tunnel, by {network['device']}"
        tunnelled = way["device"] == network["device"] or way["device"] in [item["device"] for item in network["parallel"]]
        if tunnelled and not gateway:
            return {"path": expected, "expected": expected, "device": way["device"], "device_mtu": way["mtu"]}
        path = f"direct, via {way['gateway']}" if gateway and way["gateway"] == gateway else f"by {way['device'] or 'no route'}"
    else:
        expected, path = f"layer 2, by {expected}", f"layer 2, by {way['device']}" if way["device"] else "by no route"
    return {"path": path, "expected": expected, "device": way["device"], "device_mtu": way["mtu"]}


def broken(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """The pairs of hosts, with the network, between which small packets of the overlay are lost."""
    pairs = {(*sorted((row["from"], row["to"])), row["network"]) for row in rows if row["network"] and not row["reached"]}
    return sorted(pairs)  # type: ignore[arg-type]


def closer(pairs: Collection[tuple[str, str, str]], asked: Collection[str]) -> list[tuple[str, str, str]]:
    """Those of them that are worth a closer look: both hosts are there to be asked; some of each host."""
    chosen, seen = [], defaultdict(int)  # type: ignore[var-annotated]
    for one, other, network in pairs:
        if one in asked and other in asked and len(chosen) < _CLOSER and min(seen[one], seen[other]) < 3:
            seen[one] += 1
            seen[other] += 1
            chosen.append((one, other, network))
    return chosen


class Places:
    """Which host an address of the overlay belongs to."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._nets: dict[tuple[int, int], dict[int, tuple[str, str]]] = {}
        for name, network in plan["networks"].items():
            for node, record in network["nodes"].items():
                for lease in record["leases"]:
                    net = ipaddress.ip_network(lease["subnet"])
                    self._nets.setdefault((net.version, net.prefixlen), {})[int(net.network_address)] = (node, name)

    def of(self, address: str) -> tuple[str, str]:
        """Host and network; empty where it is nobody's lease."""
        found = ipaddress.ip_address(address)
        for (version, length), nets in self._nets.items():
            if version == found.version:
                bits = found.max_prefixlen - length
                place = nets.get(int(found) >> bits << bits)
                if place:
                    return place
        return "", ""


def legs(plan: Mapping[str, Any], heard: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """What was seen of each direction of each network: on its way out, on its way in, and taken out of the tunnel.

    @param heard: by host, what overlay_listen returned
    """
    places = Places(plan)
    found: dict[tuple[str, str, str], dict[str, Any]] = defaultdict(lambda: {"sent": set(), "arrived": set(), "taken": 0})
    for host, said in heard.items():
        for packet in said.get("packets", ()):
            (source, network), (target, _network) = places.of(packet["source"]), places.of(packet["target"])
            if not source or not target or source == target:
                continue
            leg = found[(source, target, network)]
            outer = tuple(packet["outer"])
            tunnel = plan["networks"][network]["device"]
            if host == source and packet["way"] == "out" and (outer or not tunnel):
                leg["sent"].add((outer[1] if outer else "", packet["vni"]))
            elif host == target and packet["way"] == "in" and (outer or not tunnel):
                leg["arrived"].add((outer[0] if outer else "", packet["vni"]))
            elif host == target and packet["way"] == "in" and packet["device"] == tunnel:
                leg["taken"] += packet["count"]
    return dict(found)


def findings(
    plan: Mapping[str, Any],
    rows: Collection[Mapping[str, Any]],
    looked: Collection[tuple[str, str, str]],
    heard: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """What is wrong, by its name: what kind, between or on which hosts, in words, with what to do."""
    found = [*_limits(plan, rows), *_paths(rows)]
    seen = legs(plan, heard)
    for one, other, name in looked:
        network = plan["networks"][name]
        ends = [
            _end(network, seen.get((source, target, name)), source, target, heard)
            for source, target in ((one, other), (other, one))
        ]
        found += _pair(network, one, other, ends, _underlay_ok(rows, one, other))
    explained = {(item["network"], frozenset(item["pair"])) for item in found}
    for one, other, name in broken(rows):
        if (name, frozenset((one, other))) not in explained:
            text = f"{one} and {other} do not reach each other on {name}; that pair was not looked at more closely"
            found.append(_finding("unreachable", [one, other], name, text, "Look at that pair: playbooks/explain.yml"))
    return _gathered(found)


def _finding(kind: str, pair: list[str], network: str, text: str, remedy: str, where: str = "") -> dict[str, Any]:
    return {"kind": kind, "pair": pair, "network": network, "where": where, "text": text, "remedy": remedy}


def _limits(plan: Mapping[str, Any], rows: Collection[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Full-size packets that are lost where small ones pass."""
    found = []
    small = [row for row in rows if row["network"] and row["reached"] and not row["ok"]]
    devices = {row["from"]: row for row in rows if row["kind"] == "underlay" and row.get("device_mtu")}
    for one, other, name in sorted({(*sorted((row["from"], row["to"])), row["network"]) for row in small}):
        network = plan["networks"][name]
        largest = max(row["largest"] for row in small if {row["from"], row["to"]} == {one, other} and row["network"] == name)
        ends = {node: network["nodes"][node]["underlay_ip"] for node in (one, other)}
        room = network["mtu"] + (_OVERHEAD[_version(ends[one])] if network["vni"] else 0)
        culprits = [node for node in (one, other) if node in devices and devices[node]["device_mtu"] < room]
        small_ones = {
            row["from"]: row
            for row in rows
            if row["network"] == name and row["from"] in (one, other) and 0 < row.get("device_mtu", 0) < network["mtu"]
        }
        if small_ones:
            where, row = next(iter(sorted(small_ones.items())))
            text = f"packets of more than {largest} bytes are lost: {row['device']} of {where} has MTU {row['device_mtu']}"
            text += f", not {network['mtu']}"
            remedy = "ansible-playbook playbooks/overlay.yml --limit " + where
        elif culprits:
            where = culprits[0]
            device, mtu = devices[where]["device"], devices[where]["device_mtu"]
            text = f"packets of more than {largest} bytes are lost: {device} of {where} has MTU {mtu}, not {room}"
            remedy = f"ip link set {device} mtu {room} on {where}, or overlay_underlay_mtu: {mtu} for it"
        else:
            where = ""
            text = (
                f"packets of more than {largest} bytes are lost between {one} and {other}: "
                f"the underlay between them carries less than the {room} bytes that are needed, and does not say so"
            )
            remedy = (
                f"Mend the underlay's MTU, or set overlay_underlay_mtu to what it carries ({largest + room - network['mtu']})"
            )
        found.append(_finding("mtu", [one, other], name, text, remedy, where))
    return found


def _paths(rows: Collection[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Packets that take another way than planned, whether they arrive or not."""
    found = []
    for row in rows:
        if row.get("expected") and row["path"] != row["expected"] and row["kind"] == "host":
            text = f"{row['from']} sends to {row['address']} of {row['to']} {row['path']}; planned is: {row['expected']}"
            remedy = "ansible-playbook playbooks/overlay.yml --limit " + row["from"]
            found.append(_finding("path", [row["from"], row["to"]], row["network"], text, remedy, row["from"]))
    return found


def _underlay_ok(rows: Collection[Mapping[str, Any]], one: str, other: str) -> bool:
    return any(row["kind"] == "underlay" and row["reached"] and {row["from"], row["to"]} == {one, other} for row in rows)


def _end(
    network: Mapping[str, Any], leg: Mapping[str, Any] | None, source: str, target: str, heard: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """How far the packets of one direction came."""
    record = network["nodes"][target]
    expected = record["underlay_ip"]
    port = network["port"]
    if leg is not None and leg["taken"]:
        return {"stage": "ok", "text": "", "where": ""}
    entries = heard.get(source, {}).get("fdb", {}).get(network["device"]) or []
    mac = ZERO_MAC if network["backend"] == "l2" else record["vtep_mac"]
    elsewhere = sorted(str(dst) for known, dst in entries if known == mac)
    # Where there is none, plain routes may lead there, or the kernel has learnt it.
    if elsewhere and expected not in elsewhere:
        text = f"{source} sends what is for {target} to {names_of(elsewhere)}, not to {expected}: its FDB entry is wrong"
        return {"stage": "fdb", "text": text, "where": source}
    if leg is None or not (leg["sent"] or leg["arrived"]):
        return {"stage": "not_sent", "text": f"{source} sends nothing to {target}", "where": source}
    if not leg["arrived"]:
        return {"stage": "lost", "text": f"UDP packets to port {port} from {source} do not arrive at {target}", "where": ""}
    if not network["device"]:
        return {"stage": "ok", "text": "", "where": ""}
    vnis = {vni for _address, vni in leg["arrived"]}
    if network["vni"] not in vnis | {item["vni"] for item in network["parallel"]}:
        return {
            "stage": "vni",
            "text": f"{source} sends with VNI {names_of(map(str, sorted(vnis)))}, not {network['vni']}",
            "where": source,
        }
    if heard.get(target, {}).get("checksum_errors"):
        text = f"what {source} sends arrives at {target} with a wrong UDP checksum, and its kernel drops it"
        return {"stage": "checksum", "text": text, "where": source}
    text = f"UDP packets to port {port} from {source} arrive at {target} and not in {network['device']}: {target} drops them"
    return {"stage": "dropped", "text": text, "where": target}


_REMEDIES = {
    "fdb": "ansible-playbook playbooks/overlay.yml --limit {where}",
    "vni": "ansible-playbook playbooks/overlay.yml --limit {where}",
    "checksum": "ethtool -K DEVICE tx-checksum-ip-generic off on {where}: its network card computes them wrong",
    "lost": "Let UDP port {port} pass between them, in whatever is in between: cloud rules, hypervisor, switches",
    "dropped": "Let UDP port {port} in on {where}: nft list ruleset; iptables -S INPUT",
    "not_sent": "ansible-playbook playbooks/explain.yml -e src={where} -e dst={other}",
    "underlay": "Look at the underlay: ip route get {address} on {where}; ping it",
}


def _pair(network: Mapping[str, Any], one: str, other: str, ends: list[dict[str, str]], underlay: bool) -> list[dict[str, Any]]:
    """What both directions of a pair say together."""
    name, port = network["name"], network["port"]

    def found(kind: str, end: Mapping[str, str], text: str) -> dict[str, Any]:
        far = other if end["where"] == one else one
        address = network["nodes"][far]["underlay_ip"]
        remedy = _REMEDIES[kind if kind in _REMEDIES else end["stage"]].format(
            where=end["where"], port=port, address=address, other=far
        )
        return _finding(kind, [one, other], name, text, remedy, end["where"])

    stages = [end["stage"] for end in ends]
    # One that never hears a request sends no answer either: what is wrong is what came first.
    certain = [end for end in ends if end["stage"] not in ("ok", "not_sent")]
    if stages == ["lost", "lost"] and not underlay:
        text = f"nothing passes between {one} and {other}, neither the overlay's packets nor pings of their underlay addresses"
        return [found("underlay", {**ends[0], "where": one}, text)]
    if stages == ["lost", "lost"]:
        return [found("udp_blocked", ends[0], f"UDP port {port} is blocked between {one} and {other}, in both directions")]
    told = []
    for end in certain:
        kind = {"lost": "one_way", "dropped": "udp_blocked"}.get(end["stage"], end["stage"])
        text = end["text"]
        if kind == "one_way":
            text += "; the other direction " + ("passes" if "ok" in stages else "is not heard of")
        told.append(found(kind, end, text))
    if told:
        return told
    if "not_sent" in stages:
        return [found("not_sent", end, end["text"]) for end in ends if end["stage"] == "not_sent"]
    text = f"packets pass the tunnel between {one} and {other} both ways; a firewall or a route back on a host loses the pings"
    return [found("not_sent", {**ends[0], "where": one}, text)]


def _gathered(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is on one host, or between two, in one sentence, whoever notices it and on however many networks."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for item in found:
        groups[(item["kind"], *([item["where"]] if item["where"] else item["pair"]))].append(item)
    result = []
    for (kind, *_rest), items in sorted(groups.items()):
        result.append(
            {
                "kind": kind,
                "networks": sorted({item["network"] for item in items}),
                "where": items[0]["where"],
                "hosts": sorted({host for item in items for host in item["pair"]}),
                "text": items[0]["text"],
                "remedy": items[0]["remedy"],
            }
        )
    return result


def document(
    plan: Mapping[str, Any],
    rows: Collection[Mapping[str, Any]],
    problems: Mapping[str, str],
    found: Collection[Mapping[str, Any]],
    time: str,
) -> dict[str, Any]:
    """The report of a run.

    @param problems: by host that could not be asked, why
    """
    hosts = {}
    for name in sorted({row["from"] for row in rows} | set(problems)):
        bad = [row for row in rows if row["from"] == name and not row["ok"] and row["network"]]
        named = [item for item in found if name in item["hosts"]]
        status = "unknown" if name in problems else "broken" if bad or named else "ok"
        hosts[name] = {"status": status, "problem": problems.get(name, "")}
    states = [host["status"] for host in hosts.values()]
    overlay = [row for row in rows if row["network"]]
    summary = {
        "hosts": len(hosts),
        "ok": states.count("ok"),
        "broken": states.count("broken"),
        "unknown": states.count("unknown"),
        "probes": len(overlay),
        "answered": sum(row["ok"] for row in overlay),
    }
    head = {"schema": SCHEMA, "version": VERSION, "time": time, "plan": plan_hash(plan), "fleet": nodes_of(plan)}
    return {**head, "summary": summary, "hosts": hosts, "findings": list(found), "rows": list(rows)}


def verdicts(report: Mapping[str, Any]) -> dict[str, str]:
    """By host that is broken or unknown, what to say of it."""
    said = {}
    for name, host in report["hosts"].items():
        if host["status"] == "unknown":
            said[name] = host["problem"]
        elif host["status"] == "broken":
            lines = [f"{item['text']}. What to do: {item['remedy']}" for item in report["findings"] if name in item["hosts"]]
            bad = sorted({row["target"] for row in report["rows"] if row["from"] == name and not row["ok"] and row["network"]})
            said[name] = "\n".join(lines or [f"no answer, or none at full size, from {names_of(bad)}"])
    return said


def sentence(report: Mapping[str, Any]) -> str:
    summary = report["summary"]
    said = [
        f"{summary['answered']} of {summary['probes']} targets answer at full size, from {count_of(summary['hosts'], 'host')}"
    ]
    if summary["unknown"]:
        said.append(f"{count_of(summary['unknown'], 'host')} could not be asked")
    return "; ".join(said)


def markdown(report: Mapping[str, Any]) -> str:
    lines = [f"## Overlay: {sentence(report)}", ""]
    if report["findings"]:
        lines += ["| what | where | networks | what was found | what to do |", "|---|---|---|---|---|"]
        for item in report["findings"]:
            cells = [
                item["kind"],
                item["where"] or " and ".join(item["hosts"]),
                ", ".join(item["networks"]),
                item["text"],
                item["remedy"],
            ]
            lines.append("| " + " | ".join(cell(text) for text in cells) + " |")
        lines.append("")
    unknown = {name: host["problem"] for name, host in report["hosts"].items() if host["status"] == "unknown"}
    lines += [f"- {name} could not be asked: {cell(problem)}" for name, problem in unknown.items()]
    return "\n".join([*lines, f"Plan `{report['plan'][:12]}`, {report['time']}.", ""])


def junit(report: Mapping[str, Any]) -> str:
    """A test suite per host that pinged, a test case per target."""
    root = ElementTree.Element("testsuites", name="agentless.overlay verify")
    by_host = defaultdict(list)
    for row in report["rows"]:
        if row["network"]:
            by_host[row["from"]].append(row)
    for name, host in report["hosts"].items():
        rows = by_host[name]
        failed = sum(not row["ok"] for row in rows)
        unknown = host["status"] == "unknown"
        counts = {"name": name, "tests": len(rows) + unknown, "failures": failed, "errors": int(unknown)}
        suite = ElementTree.SubElement(root, "testsuite", {key: str(value) for key, value in counts.items()})
        for row in rows:
            title = f"{row['source']} to {row['target']} {row['address']} on {row['network']}"
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=title)
            if not row["ok"]:
                said = f"passes up to {row['largest']} of {row['size']} bytes" if row["reached"] else row["said"]
                ElementTree.SubElement(case, "failure", message=printable(said))
        if unknown:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name="host")
            ElementTree.SubElement(case, "error", message=printable(host["problem"]))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
