# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The planner: the inventory's values in, the plan or all errors out. PRIVATE to the collection.

Pure: no Ansible, no file, no host. The same values give the same plan,
whichever hosts a run is limited to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._allocation import Ledger
from ansible_collections.agentless.overlay.plugins.plugin_utils._model import (
    DEFAULT_UNDERLAY_MTU,
    EVERYWHERE,
    IPAddress,
    IPNetwork,
    Network,
    Node,
    Plan,
    PlanError,
    Underlay,
    vtep_mac,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._networks import MAX_MTU, MIN_MTU, VXLAN_OVERHEAD, Reader
from ansible_collections.agentless.overlay.plugins.plugin_utils._values import (
    as_address,
    as_integer,
    as_list,
    as_network,
    is_device,
)


def make_plan(
    networks: Any,
    nodes: Iterable[Node],
    recorded: Mapping[str, Mapping[str, Any]] | None = None,
    reserved: Any = (),
    leases_file: str = "the leases file",
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Plan:
    """Work out the plan, or every error there is.

    @param networks: overlay_networks as in the inventory
    @param recorded: leases on record: network to node to subnet, or to one subnet a family
    @param reserved: overlay_reserved_cidrs as in the inventory
    @param leases_file: where the record is, for messages
    @param groups: the inventory's groups, for members and peers
    """
    return _Planner(list(nodes), recorded or {}, leases_file, groups or {}).run(networks, reserved)


class _Planner:
    def __init__(
        self,
        nodes: Sequence[Node],
        recorded: Mapping[str, Mapping[str, Any]],
        leases_file: str,
        groups: Mapping[str, Sequence[str]],
    ) -> None:
        self.nodes = sorted(nodes, key=lambda node: node.name)
        self.recorded = recorded
        self.leases_file = leases_file
        self.groups = groups
        self.plan = Plan()
        # The names of all networks, also of those that are too wrong to be planned.
        self.names: set[str] = set()

    def error(self, host: str, variable: str, value: Any, problem: str, remedy: str) -> None:
        shown = "not set" if value is None else repr(value) if isinstance(value, str) else str(value)
        self.plan.errors.append(PlanError(host or EVERYWHERE, variable, shown, problem, remedy))

    def run(self, networks: Any, reserved: Any) -> Plan:
        if not self.nodes:
            self.error(EVERYWHERE, "hosts", None, "the group has no host", "Put the Docker hosts into the group overlay")
        self.underlay()
        self.networks(networks)
        self.overlaps(reserved)
        for network in self.plan.networks.values():
            self.subnets(network)
        self.macs()
        # A network or a node that is wrong in two ways may repeat itself.
        self.plan.errors = sorted(set(self.plan.errors))
        return self.plan

    # The nodes

    def underlay(self) -> None:
        owner: dict[str, str] = {}
        for node in self.nodes:
            addresses, subnets = self.addresses(node, owner)
            subnets.update(self.declared(node, addresses))
            mtu = as_integer(node.underlay_mtu)
            least = MIN_MTU + VXLAN_OVERHEAD[4]
            if mtu is None or not least <= mtu <= MAX_MTU:
                remedy = "Set it to the MTU of the host's underlay device"
                self.error(
                    node.name, "overlay_underlay_mtu", node.underlay_mtu, f"not an MTU from {least} to {MAX_MTU}", remedy
                )
                mtu = DEFAULT_UNDERLAY_MTU
            dev = node.underlay_dev or ""
            if dev and not is_device(dev):
                problem = "not a device name of at most 15 characters"
                self.error(node.name, "overlay_underlay_dev", dev, problem, "Name the host's underlay device, such as eth0")
                dev = ""
            if addresses:
                self.plan.underlay[node.name] = Underlay(addresses, subnets, mtu, dev)

    def addresses(self, node: Node, owner: dict[str, str]) -> tuple[dict[int, str], dict[int, str]]:
        """A node's underlay addresses, and the subnets that their prefix lengths tell, by IP version."""
        remedy = "Set overlay_underlay_ip to the host's own address on the network that joins the hosts"
        variable = "overlay_underlay_ip"
        found: dict[int, str] = {}
        subnets: dict[int, str] = {}
        values = [value for value in as_list(node.underlay_ip) if value]
        if not values:
            self.error(node.name, variable, node.underlay_ip, "no underlay address is known", remedy)
        for value in values:
            text, slash, _length = str(value).partition("/")
            address = as_address(text)
            subnet = as_network(str(value))[0] if slash else None
            if address is None or slash and subnet is None:
                self.error(node.name, variable, value, "not an IP address (names are not resolved)", remedy)
            elif address.version in found:
                problem = f"two IPv{address.version} addresses; a list is one of each family"
                self.error(node.name, variable, str(node.underlay_ip), problem, remedy)
            elif self.useless(address):
                self.error(node.name, variable, value, "not an address of a single other host", remedy)
            elif str(address) in owner:
                problem = f"{owner[str(address)]} has the same underlay address"
                self.error(node.name, variable, value, problem, "Give each host its own")
            else:
                owner[str(address)] = node.name
                found[address.version] = str(address)
                if subnet is not None:
                    subnets[address.version] = str(subnet.cidr)
        return found, subnets

    @staticmethod
    def useless(address: IPAddress) -> bool:
        if address.version == 6:
            return bool(address.is_multicast() or address.is_loopback() or address.value == 0 or address.is_link_local())
        return bool(address.is_multicast() or address.is_loopback() or address.value in (0, 2**32 - 1) or address.is_reserved())

    def declared(self, node: Node, addresses: Mapping[int, str]) -> dict[int, str]:
        found: dict[int, str] = {}
        for value in as_list(node.underlay_subnet):
            subnet, problem = as_network(str(value))
            if subnet is None or problem:
                remedy = "Write the network that the host's underlay address is in, such as 192.168.65.0/24"
                self.error(node.name, "overlay_underlay_subnet", value, problem, remedy)
            elif subnet.version in addresses and addresses[subnet.version] not in subnet:
                problem = f"the host's underlay address {addresses[subnet.version]} is not in it"
                self.error(node.name, "overlay_underlay_subnet", value, problem, "Correct one of the two")
            else:
                found[subnet.version] = str(subnet)
        return found

    # The networks

    def networks(self, items: Any) -> None:
        if not isinstance(items, list) or not items:
            self.error(
                EVERYWHERE,
                "overlay_networks",
                items,
                "a list with at least one network is needed",
                "Write for example: overlay_networks: [{name: main, cidr: 10.88.0.0/16, vni: 88}]",
            )
            return
        for number, item in enumerate(items):
            where = f"overlay_networks[{number}]"
            if not isinstance(item, dict):
                self.error(EVERYWHERE, where, item, "not a mapping", "Give name, cidr and vni")
                continue
            name = self.name(where, item)
            network = Reader(where, item, self.nodes, self.plan.underlay, self.groups, self.error).read(name)
            if network is None:
                continue
            for other in self.plan.networks.values():
                self.beside(where, item, network, other)
            self.plan.networks[network.name] = network

    def name(self, where: str, item: Mapping[str, Any]) -> str:
        name = item.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", name):
            problem = "not a name of at most 32 letters, digits, _ and -"
            self.error(EVERYWHERE, f"{where}.name", name, problem, "Name the network, for example main")
            name = where
        elif name in self.names:
            self.error(EVERYWHERE, f"{where}.name", name, "another network has this name", "Give each network its own name")
            name = where
        self.names.add(name)
        return name

    def beside(self, where: str, item: Mapping[str, Any], network: Network, other: Network) -> None:
        """What two networks cannot share."""
        # A VNI is the fleet's; a device, a bridge or a Docker network is a host's.
        vnis = {other.vni, *(item["vni"] for item in other.parallel)} - {0}
        for vni in (network.vni, *(item["vni"] for item in network.parallel)):
            if vni in vnis:
                problem = f"network {other.name} has the same VNI"
                self.error(EVERYWHERE, f"{where}.vni", vni, problem, "Give each network its own VNI")
        if not set(network.members) & set(other.members):
            return
        devices = {other.device, *(item["device"] for item in other.parallel)} - {""}
        for device in (network.device, *(item["device"] for item in network.parallel)):
            if device in devices and network.vni != other.vni:
                problem = f"network {other.name} has the same device"
                self.error(EVERYWHERE, f"{where}.device", device, problem, "Give each network its own device")
        ports = {other.port, *(item["port"] for item in other.parallel)} - {0}
        for port in sorted(ports & {network.port, *(item["port"] for item in network.parallel)}):
            # The kernel has one socket for all devices of a host on one port, and each of these makes it another one.
            for option in ("gbp", "udp6zerocsumrx"):
                mine = network.link.get(option, False)
                if network.underlay == other.underlay and mine != other.link.get(option, False):
                    problem = f"network {other.name} has port {port} too, and another {option}"
                    self.error(EVERYWHERE, f"{where}.link.{option}", mine, problem, "Give it the same, or another port")
        if network.bridge and network.bridge == other.bridge and network.attach != "docker0":
            problem = f"network {other.name} has the same bridge"
            self.error(EVERYWHERE, f"{where}.bridge", network.bridge, problem, "Give each network its own bridge")
        if {network.attach, other.attach} <= {"docker0", "docker_network"} and network.docker_network == other.docker_network:
            shown = network.docker_network or "docker0"
            problem = f"network {other.name} has {shown} already, which has room for one"
            remedy = "Attach one of them to a Docker network of its own: attach: {docker_network: NAME}"
            self.error(EVERYWHERE, f"{where}.attach", shown, problem, remedy)

        # One file a host tells its runtimes of one network. That two have docker0 has been said.
        if network.told and other.told and "host" in (network.attach, other.attach):
            problem = f"network {other.name} has /run/flannel/subnet.env already, which has room for one"
            remedy = "Attach one of them to a Docker network of its own: attach: {docker_network: NAME}"
            self.error(EVERYWHERE, f"{where}.attach", network.attach, problem, remedy)

    def overlaps(self, reserved: Any) -> None:
        networks = list(self.plan.networks.values())
        for number, network in enumerate(networks):
            for other in networks[:number]:
                for cidr, theirs in ((cidr, theirs) for cidr in network.cidrs for theirs in other.cidrs):
                    if cidr in theirs or theirs in cidr:
                        self.error(
                            EVERYWHERE,
                            f"overlay_networks: {network.name}.cidr",
                            str(cidr),
                            f"overlaps network {other.name}, {theirs}",
                            "Choose a range that no other network has",
                        )
        for node, underlay in sorted(self.plan.underlay.items()):
            for address in underlay.addresses.values():
                for network in networks:
                    for cidr in network.cidrs:
                        if IPAddress(address) in cidr:
                            problem = f"lies inside network {network.name}, {cidr}, so that the tunnel would lead into itself"
                            self.error(node, "overlay_underlay_ip", address, problem, "Choose another cidr for the network")
        if not isinstance(reserved, (list, tuple)):
            self.error(EVERYWHERE, "overlay_reserved_cidrs", reserved, "not a list", "Write a list of networks")
            return
        for number, value in enumerate(reserved):
            where = f"overlay_reserved_cidrs[{number}]"
            other_cidr, problem = as_network(str(value))
            if other_cidr is None:
                self.error(EVERYWHERE, where, value, "not a network", "Write it as 192.168.0.0/16")
                continue
            for network in networks:
                for cidr in network.cidrs:
                    if cidr in other_cidr or other_cidr in cidr:
                        self.error(
                            EVERYWHERE,
                            f"overlay_networks: {network.name}.cidr",
                            str(cidr),
                            f"overlaps the reserved {other_cidr.cidr} ({where})",
                            "Choose another range",
                        )

    # The leases

    def subnets(self, network: Network) -> None:
        members = [node for node in self.nodes if node.name in network.members]
        ledgers = [
            Ledger(network.name, cidr, length, network.leases_addresses)
            for cidr, length in zip(network.cidrs, network.subnet_lens)
        ]
        if network.attach == "namespace":
            # By hand, and each host for itself: nothing is divided.
            self.plan.subnets[network.name] = {node.name: network.cidrs for node in members if node.name in self.plan.underlay}
            self.plan.leases[network.name], self.plan.new[network.name] = {}, {}
            return
        for node in self.nodes:
            variable, pins = self.pins(node, network)
            for ledger in ledgers:
                if ledger.cidr.version in pins:
                    self.claim(ledger, node.name, pins[ledger.cidr.version], network, variable, "Pin another subnet")
        records: dict[str, Any] = dict(self.recorded.get(network.name) or {})
        refused: set[str] = set()
        for name, value in sorted(records.items()):
            variable = f"{self.leases_file}: {network.name}.{name}"
            for ledger in ledgers:
                if not self.recall(ledger, network, name, variable, value):
                    refused.add(name)
        fresh: dict[str, list[str]] = {}
        for node in members:
            for ledger in ledgers:
                if node.name in ledger.given or node.name in refused:
                    continue
                subnet = ledger.allocate(node.name)
                if subnet is None:
                    self.full(node, network, ledger)
                else:
                    fresh.setdefault(node.name, []).append(str(subnet))
        self.plan.subnets[network.name] = {
            node.name: tuple(ledger.given[node.name] for ledger in ledgers)
            for node in members
            if node.name in self.plan.underlay and all(node.name in ledger.given for ledger in ledgers)
        }
        new = {name: [*(str(value) for value in as_list(records.get(name))), *found] for name, found in fresh.items()}
        self.plan.new[network.name] = {name: found[0] if len(found) == 1 else found for name, found in new.items()}
        self.plan.leases[network.name] = {**records, **self.plan.new[network.name]}

    def recall(self, ledger: Ledger, network: Network, name: str, variable: str, value: Any) -> bool:
        """Give a node what is on record for it; whether there is nothing wrong with that."""
        remedy = "Correct the line; deleting it gives the host a new lease"
        good = True
        for text in as_list(value):
            parsed, _problem = as_network(str(text))
            if parsed is not None and parsed.version != ledger.cidr.version:
                continue
            if name in ledger.given:
                # Pinned since: what it had is kept from others, for the day the pin goes.
                if parsed is not None and parsed in ledger.cidr:
                    ledger.keep(parsed.first, parsed.last)
                continue
            # A host that is out of the inventory today may be back tomorrow: its lease stays its own.
            subnet = self.subnet_of(name, variable, text, network, ledger, remedy)
            if subnet is None:
                good = False
            else:
                self.claim(ledger, name, subnet, network, variable, "Delete one of the two lines, or change the pin")
                good = good and name in ledger.given
        return good

    def pins(self, node: Node, network: Network) -> tuple[str, dict[int, IPNetwork]]:
        """A host's pins in a network by IP version, and the variable that says so."""
        value = node.subnet
        variable = "overlay_subnet"
        if isinstance(value, dict):
            for name in sorted(set(value) - self.names):
                self.error(
                    node.name, f"{variable}.{name}", value[name], "there is no such network", "Use a name from overlay_networks"
                )
            value, variable = value.get(network.name), f"{variable}.{network.name}"
        elif value is not None and len(self.names) > 1:
            example = f"Write overlay_subnet: {{{network.name}: {value}}}"
            self.error(node.name, variable, value, "there are several networks, and it does not say which", example)
            return variable, {}
        found: dict[int, IPNetwork] = {}
        for text in as_list(value):
            versions = {cidr.version: (cidr, length) for cidr, length in zip(network.cidrs, network.subnet_lens)}
            version = 6 if ":" in str(text) else 4
            if version not in versions:
                remedy = "Remove the pin, or give the network a cidr of that family"
                self.error(node.name, variable, text, f"network {network.name} has no IPv{version}", remedy)
                continue
            cidr, length = versions[version]
            ledger = Ledger(network.name, cidr, length, network.leases_addresses)
            remedy = "Pin a subnet inside the network, or remove the pin"
            subnet = self.subnet_of(node.name, variable, text, network, ledger, remedy)
            if subnet is not None:
                found[version] = subnet
        return variable, found

    def subnet_of(
        self, host: str, variable: str, value: Any, network: Network, ledger: Ledger, remedy: str
    ) -> IPNetwork | None:
        if network.leases_addresses:
            return self.address_of(host, variable, value, network, ledger)
        subnet, problem = as_network(value)
        longest = 30 if ledger.cidr.version == 4 else 126
        if subnet is None or problem:
            self.error(host, variable, value, problem, remedy)
        elif subnet not in ledger.cidr:
            what = "the ip-range of the host is " if network.kind.flat else ""
            self.error(host, variable, value, f"{what}not inside network {network.name}, {ledger.cidr}", remedy)
        elif not ledger.cidr.prefixlen < subnet.prefixlen <= longest:
            self.error(host, variable, value, f"not from /{ledger.cidr.prefixlen + 1} to /{longest}", remedy)
        else:
            return subnet
        return None

    def address_of(self, host: str, variable: str, value: Any, network: Network, ledger: Ledger) -> IPNetwork | None:
        """A lease of one address, with or without a prefix length behind it."""
        address = as_address(str(value).partition("/")[0])
        ends = (ledger.cidr.first, ledger.cidr.last) if ledger.cidr.version == 4 else (ledger.cidr.first,)
        if address is None:
            self.error(host, variable, value, "not an IP address", f"Write an address of {ledger.cidr}")
        elif address not in ledger.cidr or address.value in ends:
            problem = f"not an address for a host of network {network.name}, {ledger.cidr}"
            self.error(host, variable, value, problem, f"Write another address of {ledger.cidr}")
        else:
            return IPNetwork(f"{address}/{ledger.length}")
        return None

    def claim(self, ledger: Ledger, name: str, subnet: IPNetwork, network: Network, variable: str, remedy: str) -> None:
        other = ledger.claim(name, subnet)
        if other:
            problem = f"overlaps {other}'s {ledger.given[other]} in network {network.name}"
            self.error(name, variable, str(subnet), problem, remedy)

    def full(self, node: Node, network: Network, ledger: Ledger) -> None:
        gone = sorted(set(ledger.given) - {node.name for node in self.nodes})
        remedy = "Choose a larger cidr or a longer subnet_len"
        if gone:
            remedy += f", or delete the leases of hosts that will not return from {self.leases_file}: {', '.join(gone)}"
        problem = f"full: all {ledger.capacity} leases of /{ledger.length} are taken"
        self.error(node.name, f"overlay_networks: {network.name}.cidr", str(ledger.cidr), problem, remedy)

    def macs(self) -> None:
        owner: dict[str, tuple[str, str]] = {}
        for name, network in self.plan.networks.items():
            if not network.kind.tunnel:
                continue
            for node in sorted(self.plan.subnets.get(name, {})):
                for vni in (network.vni, *(item["vni"] for item in network.parallel if item["vni"] != network.vni)):
                    mac = vtep_mac(name, vni, node)
                    if mac in owner:
                        other, where = owner[mac]
                        problem = f"its VTEP MAC in network {name} is that of {other} in {where}"
                        self.error(node, "inventory_hostname", node, problem, "Rename one of the hosts or change the VNI")
                    owner[mac] = (node, name)
