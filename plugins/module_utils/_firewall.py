# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules that let an overlay through: our own nft table, and our rules in DOCKER-USER. PRIVATE to the collection.

Docker keeps the content of DOCKER-USER over a restart, and asks it before its
own rules; a rule in FORWARD would come too late. The nft table holds what
Docker has no place for: masquerading that spares the overlay.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Set

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
    return [
        Rule("iptables " + CHAIN, "-s %s -d %s -i %s -o %s %s -j ACCEPT" % (cidr, lease, device, bridge, comment)),
        Rule("iptables " + CHAIN, "-s %s -d %s -i %s -o %s %s -j ACCEPT" % (lease, cidr, bridge, device, comment)),
        Rule("nft postrouting", "type nat hook postrouting priority 100; policy accept;"),
        Rule("nft postrouting", "ip saddr %s ip daddr != %s masquerade" % (lease, cidr)),
        # What enters the overlay here from outside has to come back here.
        Rule("nft postrouting", 'ip saddr != %s ip daddr %s oifname "%s" masquerade' % (cidr, cidr, device)),
    ]


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
        rules, chain = [], ""
        for line in (line.strip() for line in out.splitlines()):
            if line.startswith("chain "):
                chain = line.split()[1]
            elif line and not line.startswith(("table ", "}")):
                rules.append(Rule("nft " + chain, line))
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
        script = "table ip %s\ndelete table ip %s\n" % (TABLE, TABLE)
        if rules:
            script += "table ip %s {\n" % TABLE
            for where in sorted({rule.where for rule in rules.values()}):
                # The head of the chain comes before its rules.
                texts = sorted(
                    (rule.rule for rule in rules.values() if rule.where == where),
                    key=lambda text: (not text.startswith("type "), text),
                )
                script += "  chain %s {\n%s  }\n" % (where.split()[1], "".join("    %s\n" % text for text in texts))
            script += "}\n"
        host.command(["nft", "-c", "-f", "-"], script)
        host.command(["nft", "-f", "-"], script)
