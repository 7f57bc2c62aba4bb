# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules that an overlay needs on one host, as data. Pure. PRIVATE to the collection."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Entry, Key
from ansible_collections.agentless.overlay.plugins.module_utils._marks import MARK

TABLE = "agentless_overlay"
CHAIN = "DOCKER-USER"
# Tunnels without ports, as /etc/protocols names them, and where a packet's header has the number.
PROTOCOLS = {"ipencap": 4, "gre": 47, "esp": 50, "ah": 51}
_PROTOCOL_BITS = {"ip": "@nh,72,8", "ip6": "@nh,48,8"}
_POSTROUTING = "type nat hook postrouting priority 100; policy accept;"
# What goes to many has to keep its sender, by which those many know whom to answer.
_MANY = {"ip": "ip daddr != 224.0.0.0/4", "ip6": "ip6 daddr != ff00::/8"}


@dataclass(frozen=True)
class Rule(Entry):
    """A rule, an element of a set, or the head of a chain or set.

    C(rule) is its canonical form and its line in a difference: for nft what L(_nft.py) makes of the numbers that nft tells,
    never what some version of nft prints; for iptables the arguments of C(-A DOCKER-USER).
    """

    where: str
    rule: str
    # Of one in DOCKER-USER: what stands before it and may take its packets.
    below: str = ""
    # The same once more: the second one, the third ...
    copy: int = 0

    @property
    def key(self) -> Key:
        if self.copy:
            return (self.where, self.rule, self.copy)
        # Of heads there is one each, so that another one is a change.
        return (self.where, "" if self.is_head else self.rule)

    @property
    def is_head(self) -> bool:
        return (not self.rule or self.rule[0] in "t{" and self.rule.startswith(("type ", "{"))) and self.where[:4] == "nft "

    @property
    def overlay(self) -> str:
        return next((word[len(MARK) :] for word in self.rule.split() if word.startswith(MARK)), "")

    def __str__(self) -> str:
        text = ("%s: %s" % (self.where, self.rule)).rstrip(": ")
        if self.copy:
            text += " (once more)"
        return text + (" (below %s)" % self.below if self.below else "")


# Where a host talks to itself.
_OWN = {"ip": "127.0.0.0/8", "ip6": "::1"}


def find_family(cidr: str) -> Tuple[str, str]:
    """What nft and iptables call the family of an address or network."""
    return ("ip6", "ip6tables") if ":" in cidr else ("ip", "iptables")


def group_by_family(vteps: Sequence[str]) -> Dict[str, List[str]]:
    """Senders by the program of their family."""
    return {"iptables": [one for one in vteps if ":" not in one], "ip6tables": [one for one in vteps if ":" in one]}


def list_network_rules(network: Mapping[str, Any]) -> List[Rule]:
    """The rules that one network needs on one host."""
    rules: List[Rule] = []
    if network.get("leases"):
        for cidr, lease in zip(network["cidrs"], network["leases"]):
            rules += _list_forward_rules(network, _write_canonical(cidr), _write_canonical(lease))
    elif network.get("cidrs"):
        rules += _list_bridge_rules(network)
    for tunnel in network.get("tunnels") or ():
        rules += _list_sender_rules(tunnel, network["vteps"])
    return rules


def _write_canonical(network: str) -> str:
    """An address or network as nft and iptables tell it."""
    made = ipaddress.ip_network(network, strict=False)
    return str(made.network_address if made.prefixlen == made.max_prefixlen else made)


def _make_comment(network: Mapping[str, Any]) -> str:
    return "-m comment --comment %s%s -j ACCEPT" % (MARK, network["network"])


def _list_forward_rules(network: Mapping[str, Any], cidr: str, lease: str) -> List[Rule]:
    """Containers of one host and those of the others: let through, with their own addresses.

    Where no bridge is known, its runtime's rules let them through, and only addresses are our concern.
    """
    family, program = find_family(cidr)
    where, bridge, comment = "%s %s" % (program, CHAIN), network["bridge"], _make_comment(network)
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
        Rule(
            "nft chain postrouting",
            "%s saddr %s %s daddr != %s %s masquerade" % (family, lease, family, cidr, _MANY[family]),
        ),
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


def _list_bridge_rules(network: Mapping[str, Any]) -> List[Rule]:
    """What Docker's own rules do for a bridge of its own: forward, masquerade, map ports."""
    bridge = network["bridge"]
    rules = [
        Rule("iptables " + CHAIN, "-i %s %s" % (bridge, _make_comment(network))),
        Rule("iptables " + CHAIN, "-o %s %s" % (bridge, _make_comment(network))),
        Rule("nft chain postrouting", _POSTROUTING),
    ]
    for cidr in map(_write_canonical, network["cidrs"]):
        family = find_family(cidr)[0]
        text = '%s saddr %s %s oifname != "%s" masquerade' % (family, cidr, _MANY[family], bridge)
        rules.append(Rule("nft chain postrouting", text))
    for mapping in network.get("publish") or ():
        # An IPv6 address is in brackets here.
        family = "ip6" if mapping["to"].startswith("[") else "ip"
        text = "fib daddr type local tcp dport %d dnat %s to %s" % (mapping["port"], family, mapping["to"])
        rules += [
            Rule("nft chain prerouting", "type nat hook prerouting priority -100; policy accept;"),
            Rule("nft chain prerouting", text),
            Rule("nft chain output", "type nat hook output priority -100; policy accept;"),
            Rule("nft chain output", "%s daddr != %s %s" % (family, _OWN[family], text)),
        ]
    return rules


def _match_tunnel(tunnel: Mapping[str, Any], family: str) -> Tuple[str, str]:
    """What a tunnel's packets are known by, and the name of the set of those who may send them.

    Bits 96 to 119 after the start of the UDP header are the VNI (RFC 7348, 5): other networks on the same port are not ours to
    filter. A protocol by its bits, which every nft prints alike, and not by its name.
    """
    ending = "" if family == "ip" else "_v6"
    if tunnel["protocol"] != "udp":
        number = PROTOCOLS[tunnel["protocol"]]
        return "%s 0x%x" % (_PROTOCOL_BITS[family], number), "vteps_%s%s" % (tunnel["protocol"], ending)
    if not tunnel.get("vni"):
        return "udp dport %d" % tunnel["port"], "vteps_udp_%d%s" % (tunnel["port"], ending)
    return "udp dport %d @th,96,24 0x%x" % (tunnel["port"], tunnel["vni"]), "vteps_%d%s" % (tunnel["vni"], ending)


def _list_sender_rules(tunnel: Mapping[str, Any], vteps: Sequence[str]) -> List[Rule]:
    """The kernel takes tunnels' packets at any address and from anybody; we only those of the peers.

    In the input hook, where fragments have been joined, so that no part of a header can hide in another one.
    """
    rules = [Rule("nft chain input", "type filter hook input priority -10; policy accept;")]
    senders = {family: found for family, found in group_by_family(vteps).items() if found or not vteps}
    for program, found in senders.items():
        family = program[: -len("tables")]
        match, name = _match_tunnel(tunnel, family)
        rules += [
            Rule(
                "nft chain input",
                "%s %s saddr != @%s counter drop" % (match, family, name),
            ),
            Rule("nft set " + name, "type %s" % ("ipv4_addr" if family == "ip" else "ipv6_addr")),
        ]
        where = "nft set " + name
        # Those of IPv4 have one way to be written.
        rules += [Rule(where, vtep if family == "ip" else _write_canonical(vtep)) for vtep in found]
    return rules
