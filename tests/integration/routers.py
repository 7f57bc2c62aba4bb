# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A site of a lab: hosts on a switch of their own, and a router that gives each of them an address outside (1:1 NAT)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from labs import Lab, run


class Site:
    """Its router is a host of the lab's by its name, so that lab.sh removes it with the others."""

    def __init__(self, lab: Lab, name: str, inside: Iterable[str], outside: Iterable[str]) -> None:
        """The addresses of the router, with their lengths, on the site's own switch and on the lab's."""
        self.underlay, self.switch, self.router = f"{lab.prefix}-underlay", f"br.{name}", f"{lab.prefix}-{name}"
        self.lab, self.gateways = lab, [address.partition("/")[0] for address in inside]
        run("ip", "netns", "add", self.router)
        self._sh(self.underlay, f"ip link add {self.switch} type bridge; ip link set {self.switch} up")
        for device, switch, addresses in (("eth0", "br0", outside), ("in0", self.switch, inside)):
            port = f"{name}.{device}"
            self._sh(self.underlay, f"ip link add {port} type veth peer {device} netns {self.router}")
            self._sh(self.underlay, f"ip link set {port} master {switch} up")
            self._sh(self.router, f"ip link set {device} up")
            for address in addresses:
                self._sh(self.router, f"ip address add {address} dev {device}{' nodad' if ':' in address else ''}")
        self._sh(self.router, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")

    def _sh(self, namespace: str, command: str) -> None:
        run("nsenter", f"--net=/run/netns/{namespace}", "sh", "-c", f"set -e; {command}")

    def take(self, *hosts: str) -> None:
        """Put hosts on its switch, with the router as their way to all else."""
        for host in hosts:
            self._sh(self.underlay, f"ip link set {host} master {self.switch}")
            for gateway in self.gateways:
                self._sh(
                    f"{self.lab.prefix}-{host}", f"ip {'-6 ' if ':' in gateway else ''}route replace default via {gateway}"
                )

    def translate(self, addresses: Mapping[str, str]) -> None:
        """Give each address inside one outside; nothing leads from inside to one outside and back in."""
        for family, length in (("ip", 32), ("ip6", 128)):
            pairs = {own: public for own, public in addresses.items() if (":" in own) == (family == "ip6")}
            if not pairs:
                continue
            come = ", ".join(f"{public} : {own}" for own, public in pairs.items())
            go = ", ".join(f"{own} : {public}" for own, public in pairs.items())
            for public in pairs.values():
                self._sh(self.router, f"ip address add {public}/{length} dev eth0{' nodad' if length == 128 else ''}")
            chains = {
                "come": f"hook prerouting priority dstnat; iifname eth0 dnat to {family} daddr map {{ {come} }};",
                "go": f"hook postrouting priority srcnat; oifname eth0 snat to {family} saddr map {{ {go} }};",
            }
            rules = " ".join(f"chain {name} {{ type nat {rule} }};" for name, rule in chains.items())
            self._sh(self.router, f"nft 'table {family} nat {{ {rules} }}'")
