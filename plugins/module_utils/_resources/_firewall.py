# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules that let an overlay through: our own nft table, and our rules in DOCKER-USER. PRIVATE to the collection.

Docker keeps the content of DOCKER-USER over a restart, and asks it before its
own rules; a rule in FORWARD would come too late. The nft table holds what
Docker has no place for: masquerading that spares the overlay, and who may send
us vxlan packets.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Entry,
    Failure,
    Key,
    Op,
    Options,
    OverlayError,
    Resource,
    Spec,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._shell import words
from ansible_collections.agentless.overlay.plugins.module_utils._marks import MARK

TABLE = "agentless_overlay"
CHAIN = "DOCKER-USER"
_POSTROUTING = "type nat hook postrouting priority 100; policy accept;"


@dataclass(frozen=True)
class Rule(Entry):
    """A rule, or the head of a chain, as nft or iptables prints it."""

    where: str
    rule: str

    @property
    def key(self) -> Key:
        return (self.where, self.rule)

    def __str__(self) -> str:
        return "%s: %s" % (self.where, self.rule)


def _family(cidr: str) -> Tuple[str, str]:
    """What nft and iptables call the family of an address or network."""
    return ("ip6", "ip6tables") if ":" in cidr else ("ip", "iptables")


def rules_of(network: Mapping[str, Any]) -> List[Rule]:
    """The rules that one network needs on one host."""
    rules: List[Rule] = []
    if network.get("leases"):
        for cidr, lease in zip(network["cidrs"], network["leases"]):
            rules += _through(network, cidr, lease)
    elif network.get("cidrs"):
        rules += _by_hand(network)
    for tunnel in network.get("vxlan") or ():
        rules += _senders(tunnel, network["vteps"])
    return rules


def _comment(network: Mapping[str, Any]) -> str:
    return "-m comment --comment %s%s -j ACCEPT" % (MARK, network["network"])


def _through(network: Mapping[str, Any], cidr: str, lease: str) -> List[Rule]:
    """Containers of one host and those of the others: let through, with their own addresses.

    Where no bridge is known, its runtime's rules let them through, and only addresses are our concern.
    """
    family, program = _family(cidr)
    where, bridge, comment = "%s %s" % (program, CHAIN), network["bridge"], _comment(network)
    rules = []
    for device in network["devices"] if bridge else ():
        # Without a tunnel a packet comes by whatever device leads to the peer.
        come, go = ("-i %s " % device, "-o %s " % device) if device else ("", "")
        rules += [
            Rule(where, "-s %s -d %s %s-o %s %s" % (cidr, lease, come, bridge, comment)),
            Rule(where, "-s %s -d %s -i %s %s%s" % (lease, cidr, bridge, go, comment)),
        ]
    rules += [
        Rule("nft chain postrouting", _POSTROUTING),
        Rule("nft chain postrouting", "%s saddr %s %s daddr != %s masquerade" % (family, lease, family, cidr)),
    ]
    # What enters the overlay here from outside has to come back here, and the far host lets in the overlay only.
    foreign = "%s saddr != %s %s daddr %s" % (family, cidr, family, cidr)
    if "" in network["devices"]:
        # No device has an address of the overlay: the lease's first one, which no container gets, is routed here.
        elsewhere = 'oifname != "%s"' % bridge if bridge else "%s daddr != %s" % (family, lease)
        snat = "%s %s snat %s to %s" % (foreign, elsewhere, family, lease.partition("/")[0])
        return rules + [Rule("nft chain postrouting", snat)]
    masquerades = ('%s oifname "%s" masquerade' % (foreign, device) for device in network["devices"])
    return rules + [Rule("nft chain postrouting", rule) for rule in masquerades]


def _by_hand(network: Mapping[str, Any]) -> List[Rule]:
    """What Docker's own rules do for a bridge of its own: forward, masquerade, map ports."""
    bridge = network["bridge"]
    rules = [
        Rule("iptables " + CHAIN, "-i %s %s" % (bridge, _comment(network))),
        Rule("iptables " + CHAIN, "-o %s %s" % (bridge, _comment(network))),
        Rule("nft chain postrouting", _POSTROUTING),
    ]
    for cidr in network["cidrs"]:
        family = _family(cidr)[0]
        rules.append(Rule("nft chain postrouting", '%s saddr %s oifname != "%s" masquerade' % (family, cidr, bridge)))
    for mapping in network.get("publish") or ():
        rules += [
            Rule("nft chain prerouting", "type nat hook prerouting priority -100; policy accept;"),
            Rule("nft chain prerouting", "fib daddr type local tcp dport %(port)d dnat ip to %(to)s" % mapping),
            Rule("nft chain output", "type nat hook output priority -100; policy accept;"),
            Rule(
                "nft chain output",
                "ip daddr != 127.0.0.0/8 fib daddr type local tcp dport %(port)d dnat ip to %(to)s" % mapping,
            ),
        ]
    return rules


def _senders(tunnel: Mapping[str, Any], vteps: Sequence[str]) -> List[Rule]:
    """The kernel takes vxlan packets at any address and from anybody; we only those of the peers.

    In the input hook, where fragments have been joined, so that no part of a header can hide in another one. Bits 96 to 119
    after the start of the UDP header are the VNI (RFC 7348, 5): other networks on the same port are not ours to filter.
    """
    rules = [Rule("nft chain input", "type filter hook input priority -10; policy accept;")]
    families = sorted({_family(vtep)[0] for vtep in vteps} or {"ip", "ip6"})
    for family in families:
        name = "vteps_%d%s" % (tunnel["vni"], "" if family == "ip" else "_v6")
        rules += [
            Rule(
                "nft chain input",
                "udp dport %d @th,96,24 0x%x %s saddr != @%s counter drop" % (tunnel["port"], tunnel["vni"], family, name),
            ),
            Rule("nft set " + name, "type %s" % ("ipv4_addr" if family == "ip" else "ipv6_addr")),
        ]
        rules += [Rule("nft set " + name, vtep) for vtep in vteps if _family(vtep)[0] == family]
    return rules


def nft_script(rules: Iterable[Rule]) -> str:
    """What makes nft replace our table as a whole, in one transaction of the kernel's."""
    script = "table inet %s\ndelete table inet %s\n" % (TABLE, TABLE)
    blocks: Dict[str, List[str]] = {}
    for rule in rules:
        if rule.where.startswith("nft "):
            blocks.setdefault(rule.where[4:], []).append(rule.rule)
    if not blocks:
        return script
    script += "table inet %s {\n" % TABLE
    elements: List[str] = []
    # Sets come before the chains that look into them, and the head of each before the rest.
    for where, texts in sorted(blocks.items(), reverse=True):
        head = [text for text in texts if text.startswith("type ")]
        rest = sorted(text for text in texts if not text.startswith("type "))
        if where.startswith("set "):
            elements += ["add element inet %s %s { %s }\n" % (TABLE, where[4:], element) for element in rest]
            rest = []
        script += "  %s {\n%s  }\n" % (where, "".join("    %s\n" % text for text in head + rest))
    # A line each, so that a difference between two scripts is of the elements that differ.
    return script + "}\n" + "".join(elements)


_OPTIONS: Options = {
    "network": {"type": "str", "required": True},
    "cidrs": {"type": "list", "elements": "str"},
    "leases": {"type": "list", "elements": "str"},
    "devices": {"type": "list", "elements": "str"},
    "bridge": {"type": "str", "default": "docker0"},
    "vxlan": {
        "type": "list",
        "elements": "dict",
        "options": {"vni": {"type": "int", "required": True}, "port": {"type": "int", "default": 4789}},
    },
    "vteps": {"type": "list", "elements": "str"},
    "publish": {
        "type": "list",
        "elements": "dict",
        "options": {"port": {"type": "int", "required": True}, "to": {"type": "str", "required": True}},
    },
}
_RULES = {"required_by": {"leases": ["cidrs", "devices"], "vxlan": ["vteps"], "publish": ["cidrs"]}}


class Firewall(Resource[Rule]):
    name = section = "firewall"
    atomic = True
    options = _OPTIONS
    rules = _RULES
    stops = False

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Rule]:
        spec: Spec[Rule] = Spec(purge_owned=self.section in sections)
        for network in sections.get(self.section, ()):
            for rule in rules_of(network):
                spec.present[rule.key] = rule
        return spec

    def read(self, host: Host, spec: Spec[Rule], devices: Set[str]) -> Dict[Key, Rule]:
        if not spec.purge_owned:
            return {}
        rules = self._read_nft(host) + self._read_iptables(host, "iptables")
        rules += self._read_iptables(host, "ip6tables", any(key[0].startswith("ip6tables ") for key in spec.present))
        return {rule.key: rule for rule in rules}

    @staticmethod
    def _run(host: Host, args: List[str]) -> Any:
        try:
            return host.run(args, None)
        except FileNotFoundError as error:
            package = "nftables" if args[0] == "nft" else "iptables"
            raise OverlayError(
                "firewall: the program %s is missing on this host; install the package %s (Debian, Fedora, SUSE: the same name)"
                % (args[0], package)
            ) from error

    def _read_nft(self, host: Host) -> List[Rule]:
        code, out, err = self._run(host, ["nft", "-y", "-s", "list", "table", "inet", TABLE])
        if code and "No such file" in err:
            return []
        if code:
            raise OverlayError("firewall: nft cannot list our table: %s" % err.strip())
        rules, where, elements = [], "", ""
        for line in (line.strip() for line in out.splitlines()):
            if line.startswith(("chain ", "set ")):
                where = "nft " + " ".join(line.split()[:2])
            elif line.startswith("elements = {") or elements:
                # As many lines as nft likes; the last one ends in a brace.
                elements += line
                if line.endswith("}"):
                    inside = elements[elements.index("{") + 1 : -1]
                    rules += [Rule(where, element.strip()) for element in inside.split(",")]
                    elements = ""
            elif line and not line.startswith(("table ", "}")):
                rules.append(Rule(where, line))
        return rules

    def _read_iptables(self, host: Host, program: str, needed: bool = True) -> List[Rule]:
        # The whole table: what iptables says of a chain that is not there differs between its versions.
        try:
            code, out, err = self._run(host, [program, "-w", "-S"])
        except OverlayError:
            if needed:
                raise
            return []
        if code and needed:
            raise OverlayError("firewall: %s cannot list its filter table: %s" % (program, err.strip()))
        prefix = "-A %s " % CHAIN
        lines = [line[len(prefix) :] for line in out.splitlines() if line.startswith(prefix)]
        # iptables quotes a comment only where it thinks it must.
        return [Rule("%s %s" % (program, CHAIN), " ".join(shlex.split(line))) for line in lines if MARK in line]

    def extra(self, entry: Rule, spec: Spec[Rule]) -> bool:
        return spec.purge_owned

    def apply(self, host: Host, ops: Sequence[Op[Rule]]) -> List[Failure]:
        failures = []
        try:
            if any(op.entry.where.startswith("nft ") for op in ops):
                self._apply_nft(host, ops)
        except OverlayError as error:
            failures += [Failure(op, str(error)) for op in ops if op.entry.where.startswith("nft ")]
        for op in ops:
            program = op.entry.where.split()[0]
            if program == "nft":
                continue
            try:
                if op.after is None:
                    host.command([program, "-w", "-D", CHAIN] + op.entry.rule.split())
                    continue
                # Before Docker's first start there is no such chain; Docker keeps the one it finds.
                host.run([program, "-w", "-N", CHAIN], None)
                host.command([program, "-w", "-I", CHAIN] + op.entry.rule.split())
            except OverlayError as error:
                failures.append(Failure(op, str(error)))
        return failures

    def shell(self, entries: Iterable[Rule]) -> List[str]:
        rules = list(entries)
        lines = ["try nft -f - <<'END'", *nft_script(rules).splitlines(), "END"]
        for program in ("iptables", "ip6tables"):
            chain = [words(rule.rule.split()) for rule in rules if rule.where.startswith(program + " ")]
            if chain:
                # Docker keeps the chain that it finds at its start.
                lines.append("%s -w -N %s 2>/dev/null" % (program, CHAIN))
            for rule in chain:
                check, insert = ("%s -w -%s %s %s" % (program, how, CHAIN, rule) for how in "CI")
                lines.append("%s 2>/dev/null || try %s" % (check, insert))
        return lines

    def _apply_nft(self, host: Host, ops: Sequence[Op[Rule]]) -> None:
        """Replace our table as a whole, in one transaction of the kernel's, after nft has checked it."""
        rules = {rule.key: rule for rule in self._read_nft(host)}
        for op in ops:
            if op.entry.where.startswith("nft "):
                if op.after is None:
                    rules.pop(op.entry.key, None)
                else:
                    rules[op.entry.key] = op.after
        script = nft_script(rules.values())
        host.command(["nft", "-c", "-f", "-"], script)
        host.command(["nft", "-f", "-"], script)
