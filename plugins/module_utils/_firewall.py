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
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set

from ansible_collections.agentless.overlay.plugins.module_utils._resource import (
    MARK,
    Entry,
    Failure,
    Host,
    Key,
    Op,
    OverlayError,
    Resource,
    Spec,
)

TABLE = "agentless_overlay"
CHAIN = "DOCKER-USER"


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


def rules_of(network: Mapping[str, Any]) -> List[Rule]:
    """The rules that one network needs on one host."""
    cidr, lease, device, bridge = (network[name] for name in ("cidr", "lease", "device", "bridge"))
    comment = "-m comment --comment %s%s" % (MARK, network["network"])
    rules = [
        Rule("iptables " + CHAIN, "-s %s -d %s -i %s -o %s %s -j ACCEPT" % (cidr, lease, device, bridge, comment)),
        Rule("iptables " + CHAIN, "-s %s -d %s -i %s -o %s %s -j ACCEPT" % (lease, cidr, bridge, device, comment)),
        Rule("nft chain postrouting", "type nat hook postrouting priority 100; policy accept;"),
        Rule("nft chain postrouting", "ip saddr %s ip daddr != %s masquerade" % (lease, cidr)),
        # What enters the overlay here from outside has to come back here.
        Rule("nft chain postrouting", 'ip saddr != %s ip daddr %s oifname "%s" masquerade' % (cidr, cidr, device)),
    ]
    if network["vteps"] is None:
        return rules
    # The kernel takes vxlan packets at any address and from anybody. In the input hook, where fragments
    # have been joined, so that no part of a header can hide in another one. Bits 96 to 119 after the start
    # of the UDP header are the VNI (RFC 7348, 5): other networks on the same port are not ours to filter.
    vteps = "vteps_%d" % network["vni"]
    rules += [
        Rule("nft chain input", "type filter hook input priority -10; policy accept;"),
        Rule(
            "nft chain input",
            "udp dport %d @th,96,24 0x%x ip saddr != @%s counter drop" % (network["port"], network["vni"], vteps),
        ),
        Rule("nft set " + vteps, "type ipv4_addr"),
    ]
    return rules + [Rule("nft set " + vteps, address) for address in network["vteps"]]


def nft_script(rules: Iterable[Rule]) -> str:
    """What makes nft replace our table as a whole, in one transaction of the kernel's."""
    script = "table ip %s\ndelete table ip %s\n" % (TABLE, TABLE)
    blocks: Dict[str, List[str]] = {}
    for rule in rules:
        if rule.where.startswith("nft "):
            blocks.setdefault(rule.where[4:], []).append(rule.rule)
    if not blocks:
        return script
    script += "table ip %s {\n" % TABLE
    elements: List[str] = []
    # Sets come before the chains that look into them, and the head of each before the rest.
    for where, texts in sorted(blocks.items(), reverse=True):
        head = [text for text in texts if text.startswith("type ")]
        rest = sorted(text for text in texts if not text.startswith("type "))
        if where.startswith("set "):
            elements += ["add element ip %s %s { %s }\n" % (TABLE, where[4:], element) for element in rest]
            rest = []
        script += "  %s {\n%s  }\n" % (where, "".join("    %s\n" % text for text in head + rest))
    # A line each, so that a difference between two scripts is of the elements that differ.
    return script + "}\n" + "".join(elements)


class Firewall(Resource[Rule]):
    name = section = "firewall"

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Rule]:
        spec: Spec[Rule] = Spec(purge_owned=self.section in sections)
        for network in sections.get(self.section, ()):
            for rule in rules_of(network):
                spec.present[rule.key] = rule
        return spec

    def read(self, host: Host, spec: Spec[Rule], devices: Set[str]) -> Dict[Key, Rule]:
        if not spec.purge_owned:
            return {}
        rules = self._read_nft(host) + self._read_iptables(host)
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
        code, out, err = self._run(host, ["nft", "-y", "-s", "list", "table", "ip", TABLE])
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

    def _read_iptables(self, host: Host) -> List[Rule]:
        # The whole table: what iptables says of a chain that is not there differs between its versions.
        code, out, err = self._run(host, ["iptables", "-w", "-S"])
        if code:
            raise OverlayError("firewall: iptables cannot list its filter table: %s" % err.strip())
        prefix = "-A %s " % CHAIN
        lines = [line[len(prefix) :] for line in out.splitlines() if line.startswith(prefix)]
        # iptables quotes a comment only where it thinks it must.
        return [Rule("iptables " + CHAIN, " ".join(shlex.split(line))) for line in lines if MARK in line]

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
            if not op.entry.where.startswith("iptables "):
                continue
            try:
                if op.after is None:
                    host.command(["iptables", "-w", "-D", CHAIN] + op.entry.rule.split())
                    continue
                # Before Docker's first start there is no such chain; Docker keeps the one it finds.
                host.run(["iptables", "-w", "-N", CHAIN], None)
                host.command(["iptables", "-w", "-I", CHAIN] + op.entry.rule.split())
            except OverlayError as error:
                failures.append(Failure(op, str(error)))
        return failures

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
