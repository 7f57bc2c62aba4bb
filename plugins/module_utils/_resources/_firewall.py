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

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple, Union, cast

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
from ansible_collections.agentless.overlay.plugins.module_utils._resources import _iptables, _netfilter, _nft
from ansible_collections.agentless.overlay.plugins.module_utils._resources._rules import (
    CHAIN,
    PROTOCOLS,
    TABLE,
    Rule,
    group_by_family,
    list_network_rules,
)

# How long Docker may take to make its rules again.
_DOCKER_SECONDS = 5
_LIST = ["list", "table", "inet", TABLE]

_DOCKER_USER = """\
# Rules at the top of DOCKER-USER, in the tables where Docker's are, or will be once it has started.
docker_user() {
  rules=$(cat) program=$1
  if grep -qs filter "/proc/net/${1%tables}_tables_names"; then
    for other in "$1-legacy" "$1-nft"; do "$other" -w -S DOCKER >/dev/null 2>&1 && program=$other; done
  fi
  found=$("$program" -w -S DOCKER-USER 2>/dev/null | tr -d '"' | sed -n 's/^-A DOCKER-USER //p')
  [ "$(echo "$found" | head -n "$(echo "$rules" | wc -l)" | sort)" != "$rules" ] || return
  "$program" -w -N DOCKER-USER 2>/dev/null
  {
    echo '*filter'
    echo "$rules" | grep -Fxe "$found" | sed 's/^/-D DOCKER-USER /'
    echo "$rules" | sed 's/^/-I DOCKER-USER /'
    echo COMMIT
  } | "$program-restore" -w --noflush || failed=1
}"""


@dataclass(frozen=True)
class Way(Entry):
    """How forwarded packets of one family come to our rules in DOCKER-USER."""

    # iptables or ip6tables.
    family: str
    # The one of its programs whose tables Docker's rules are in.
    program: str
    # Whether they are in these.
    docker: bool
    # What keeps packets of ours from them, if anything.
    stop: str = ""
    # The programs whose tables have rules of Docker's, where there are several.
    several: str = ""

    @property
    def key(self) -> Key:
        return (self.family + " " + _iptables.FORWARD, "")

    def __str__(self) -> str:
        return "%s %s: %s" % (self.program, _iptables.FORWARD, self.stop or "-j " + CHAIN)


Item = Union[Rule, Way]


@dataclass
class FirewallSpec(Spec[Item]):
    """With the senders of each UDP port, by the program of their family."""

    tunnels: Dict[Tuple[str, int], List[str]] = field(default_factory=dict)


_OPTIONS: Options = {
    "network": {"type": "str", "required": True},
    "cidrs": {"type": "list", "elements": "str"},
    "leases": {"type": "list", "elements": "str"},
    "devices": {"type": "list", "elements": "str"},
    "bridge": {"type": "str", "default": "docker0"},
    "tunnels": {
        "type": "list",
        "elements": "dict",
        "options": {
            "protocol": {"type": "str", "choices": ["udp", *PROTOCOLS], "default": "udp"},
            "port": {"type": "int"},
            "vni": {"type": "int"},
        },
    },
    "vteps": {"type": "list", "elements": "str"},
    "publish": {
        "type": "list",
        "elements": "dict",
        "options": {"port": {"type": "int", "required": True}, "to": {"type": "str", "required": True}},
    },
}
_RULES = {"required_by": {"leases": ["cidrs", "devices"], "tunnels": ["vteps"], "publish": ["cidrs"]}}


class Firewall(Resource[Item]):
    name = section = "firewall"
    atomic = True
    options = _OPTIONS
    rules = _RULES
    stops = False

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Item]:
        spec = FirewallSpec(purge_owned=self.section in sections)
        for network in sections.get(self.section, ()):
            for rule in list_network_rules(network):
                spec.present[rule.key] = rule
            for tunnel in network.get("tunnels") or ():
                for family, senders in group_by_family(network["vteps"]).items() if tunnel.get("port") else ():
                    spec.tunnels.setdefault((family, tunnel["port"]), []).extend(senders)
        return spec

    # What is there.

    def read(self, host: Host, spec: Spec[Item], devices: Set[str]) -> Dict[Key, Item]:
        if not spec.purge_owned:
            return {}
        found: List[Item] = list(self._read_nft(host))
        for family in ("iptables", "ip6tables"):
            found += self._read_iptables(host, family, spec)
        return {entry.key: entry for entry in found}

    @staticmethod
    def _read_nft(host: Host) -> List[Rule]:
        if _netfilter.list_missing_program("nft"):
            return []
        code, out, err = host.run(["nft", "-j", "-s", *_LIST], None)
        if code and "No such file" in err:
            return []
        if code:
            # 1.0.6 dies of a set that 1.1 has written.
            why = err.strip() or "it ends with %d, as an older nft than the one that made the table may" % code
            raise OverlayError("firewall: nft cannot list our table (nft list table inet %s): %s" % (TABLE, why))
        return _nft.parse_nft_rules(out, lambda: host.command(["nft", "-a", "-y", "-s", *_LIST]))

    @staticmethod
    def _read_iptables(host: Host, family: str, spec: Spec[Item]) -> List[Item]:
        wanted = [rule.rule for key, rule in spec.present.items() if key[0] == "%s %s" % (family, CHAIN)]  # type: ignore[union-attr]
        tables = _netfilter.read_filter_tables(host, family)
        found: List[Item] = [rule for program, chains in tables.items() for rule in _iptables.list_own_rules(program, chains)]
        if wanted and tables:
            docker = [program for program, chains in tables.items() if _iptables.has_docker(chains)]
            program = docker[0] if docker else family
            stop = _iptables.find_iptables_stop(tables[program], [_iptables.parse_match(rule) for rule in wanted])
            several = " and ".join(docker) if len(docker) > 1 else ""
            found.append(Way(family, program, bool(docker), stop, several))
        return found

    # What shall be there.

    def settle(self, found: Mapping[Key, Item], spec: Spec[Item]) -> Dict[Key, Item]:
        """In the tables where Docker's rules are, and with a way that leads there."""
        places: Dict[str, str] = {}
        kept: Dict[Key, Item] = {}
        for key, entry in found.items():
            if isinstance(entry, Way):
                kept[key] = replace(entry, stop="") if entry.docker and entry.stop else entry
                places["%s %s" % (entry.family, CHAIN)] = "%s %s" % (entry.program, CHAIN)
        for key, entry in spec.present.items():
            where = places.get(key[0])
            if where is not None:
                entry = replace(cast(Rule, entry), where=where)
                key = entry.key
            there = found.get(key)
            kept[key] = there if there == entry else entry
        return kept

    def extra(self, entry: Item, spec: Spec[Item]) -> bool:
        return spec.purge_owned and isinstance(entry, Rule)

    def obstacles(self, host: Host, spec: Spec[Item], found: Mapping[Key, Item], wanted: Mapping[Key, Item]) -> List[str]:
        """What no rule of ours could mend."""
        programs = sorted({key[0].split()[0] for key in spec.present})
        told = [text for program in programs for text in _netfilter.list_missing_program(program)]
        for way in found.values():
            if isinstance(way, Way):
                told += [_SEVERAL % way.several] if way.several else _list_missing_ways(way)
        for (family, port), senders in sorted(cast(FirewallSpec, spec).tunnels.items()):
            told += _netfilter.list_ufw_obstacles(host, family, port, senders)
        return told

    def shell(self, entries: Iterable[Item]) -> List[str]:
        """All of it at boot, when Docker has not started: it keeps the chain that it finds."""
        rules = [entry for entry in entries if isinstance(entry, Rule)]
        lines = ["try nft -f - <<'END'", *_nft.make_nft_script(rules).splitlines(), "END"]
        for number, family in enumerate(("iptables", "ip6tables")):
            chain = sorted(rule.rule for rule in rules if rule.where == "%s %s" % (family, CHAIN))
            if chain:
                lines += [] if number and _DOCKER_USER in lines else [_DOCKER_USER]
                lines += ["docker_user %s <<'END'" % family, *chain, "END"]
        return lines

    # What is to be done.

    def apply(self, host: Host, ops: Sequence[Op[Item]]) -> List[Failure]:
        failures = []
        groups: Dict[str, List[Op[Item]]] = {}
        for op in ops:
            groups.setdefault(op.entry.program if isinstance(op.entry, Way) else op.entry.where.split()[0], []).append(op)
        for program, group in sorted(groups.items(), reverse=True):
            try:
                if program == "nft":
                    self._apply_nft(host, group)
                else:
                    self._apply_iptables(host, program, group)
            except OverlayError as error:
                failures += [Failure(op, str(error)) for op in group]
        return failures

    def _apply_nft(self, host: Host, ops: Sequence[Op[Item]]) -> None:
        """Replace our table as a whole, in one transaction of the kernel's, after nft has checked it."""
        rules = {rule.key: rule for rule in self._read_nft(host)}
        for op in ops:
            if op.after is None:
                rules.pop(op.entry.key, None)
            else:
                rules[op.entry.key] = cast(Rule, op.after)
        script = _nft.make_nft_script(rules.values())
        host.command(["nft", "-c", "-f", "-"], script)
        host.command(["nft", "-f", "-"], script)

    @staticmethod
    def _apply_iptables(host: Host, program: str, ops: Sequence[Op[Item]]) -> None:
        """In one transaction too: a rule that moves is never away."""
        chains = _iptables.parse_chains(host.command([program, "-w", "-S"]))
        lines = []
        for op in ops:
            if isinstance(op.after, Way):
                lines += _iptables.list_jump_commands(chains, op.after.stop)
        removed = [op.before for op in ops if isinstance(op.before, Rule)]
        added = [op.after for op in ops if isinstance(op.after, Rule)]
        lines += _iptables.list_rule_commands(chains, removed, added)
        if (added or lines) and CHAIN not in chains:
            # Before Docker's first start there is no such chain; Docker keeps the one it finds.
            host.command([program, "-w", "-N", CHAIN])
        if lines:
            host.command([program + "-restore", "-w", "--noflush"], "*filter\n%s\nCOMMIT\n" % "\n".join(lines))


@contextmanager
def keep_rules(host: Host) -> Iterator[None]:
    """While somebody loads his firewall anew, which may flush ours: what of ours is gone afterwards is put back."""
    firewall, spec = Firewall(), FirewallSpec(purge_owned=True)
    before, docker = firewall.read(host, spec, set()), _netfilter.find_docker_programs(host)
    yield
    # Docker hears of it too, and makes its rules again a moment later.
    deadline = time.monotonic() + _DOCKER_SECONDS
    while not docker <= _netfilter.find_docker_programs(host) and time.monotonic() < deadline:
        time.sleep(0.1)
    ops = [op for op in firewall.diff(firewall.read(host, spec, set()), before) if op.after is not None]
    for failure in firewall.apply(host, ops):
        raise OverlayError("%s; %s" % (failure.op, failure.reason))


def _list_missing_ways(way: Way) -> List[str]:
    """Where Docker has rules the way is mended; where it has none yet, it makes it at its start."""
    if way.docker or not way.stop:
        return []
    docker: Optional[bool] = _netfilter.is_docker_running()
    if docker is False:
        return []
    words = {"program": way.program, "chain": CHAIN, "stop": way.stop, "why": _NO_DOCKER}
    if docker:
        words["why"] = _NO_RULES
    return [_NO_WAY % words]


_NO_WAY = (
    "firewall: FORWARD of %(program)s keeps the overlay's packets from %(chain)s, where our rules are (%(stop)s), and %(why)s. "
    "Lead them there before all else, by whatever manages that firewall: %(program)s -I FORWARD -j %(chain)s"
)
_NO_DOCKER = "no Docker is here that would mend it at its start"
_NO_RULES = 'dockerd runs without rules there ("iptables" is false in daemon.json, or they were flushed: then restart Docker)'
_SEVERAL = (
    "firewall: the tables of both %s have rules of Docker's, and a packet has to pass both; those of one of them are left from "
    "before Docker used the other. Reboot, or flush those that Docker does not use any more"
)
