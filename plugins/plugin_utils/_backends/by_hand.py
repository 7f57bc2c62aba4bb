# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backend none: what Docker makes for a container, made by hand on each node for itself. Pure. PRIVATE to the collection.

Sandbox, endpoint, network, SNAT, port mapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ansible_collections.agentless.overlay.plugins.plugin_utils._backends.namespace import Namespace
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.fields import Fields
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import (
    IPAddress,
    IPNetwork,
    Member,
    Plain,
    name_bridge,
    version_of,
)
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.network import Common, Network
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.part import Options, Part
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import (
    as_address,
    as_integer,
    as_list,
    drop_empty,
    find_unusable,
    hint_quotes,
)

_KNOWN = {"name", "address", "publish"}


@dataclass(frozen=True)
class Publish:
    """A port of the host that leads to one of a container, by DNAT or by a proxy."""

    port: int
    to: int
    by: str


@dataclass(frozen=True)
class Sandbox:
    """A container's network namespace."""

    name: str
    address: str
    publish: tuple[Publish, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ByHand(Network):
    backend = "none"
    options = ("bridge", "gateway", "containers")
    attachments = (Namespace,)
    shared: ClassVar[bool] = True
    joins: ClassVar[bool] = False

    bridge_name: str = ""
    gateway: str = ""
    containers: tuple[Sandbox, ...] = ()

    @classmethod
    def read(cls, item: Fields, common: Common) -> ByHand:
        if not common.cidrs:
            return cls(**common.values())
        cidr = common.cidrs[0]
        if len(common.cidrs) > 1:
            item.wrong("cidr", "a pair, while containers by hand have one address each", "Give one network of the two")
        gateway = as_address(item.item.get("gateway", str(cidr[1])))
        if gateway is None or not _has_host(cidr, gateway):
            problem = f"not an address for a host of {cidr}{hint_quotes(item.item.get('gateway'))}"
            item.wrong("gateway", problem, f"Choose one, such as {cidr[1]}")
        return cls(
            **common.values(),
            bridge_name=item.read_device("bridge", name_bridge(common.name)),
            gateway=str(gateway),
            containers=tuple(_read_containers(item, cidr, str(gateway))),
        )

    @classmethod
    def restore(cls, plain: Plain) -> dict[str, Any]:
        containers = [
            Sandbox(one["name"], one["address"], tuple(Publish(**mapping) for mapping in one["publish"]))
            for one in plain.get("containers", ())
        ]
        return {**super().restore(plain), "containers": tuple(containers)}

    @property
    def bridge(self) -> str:
        return self.bridge_name

    def list_clashes(self, other: Network) -> Iterator[tuple[str, Any, str, str]]:
        if not isinstance(other, ByHand):
            return
        names = {container.name for container in other.containers}
        ports = {mapping.port for container in other.containers for mapping in container.publish}
        for number, container in enumerate(self.containers):
            where = f"containers[{number}]"
            if container.name in names:
                yield f"{where}.name", container.name, f"network {other.name} has a namespace of that name", "Choose another"
            for mapping in container.publish:
                if mapping.port in ports:
                    problem = f"network {other.name} has port {mapping.port}"
                    yield f"{where}.publish", mapping.port, problem, "Choose another port"

    def list_words(self) -> Iterable[str]:
        yield from super().list_words()
        yield from (word for container in self.containers for word in (container.name, container.address))

    def fill(self, part: Part, own: Member) -> None:
        length = self.cidrs[0].partition("/")[2]
        bridge = {"name": self.bridge, "mtu": self.mtu, "addresses": [f"{self.gateway}/{length}"]}
        part.add_bridge(self.name, bridge)
        publish: list[Options] = []
        for container in self.containers:
            sandbox = {
                "name": container.name,
                "network": self.name,
                "bridge": self.bridge,
                "address": f"{container.address}/{length}",
                "gateway": self.gateway,
                "mtu": self.mtu,
            }
            part.add("sandbox", sandbox)
            for mapping in container.publish:
                six = version_of(container.address) == 6
                to = f"[{container.address}]:{mapping.to}" if six else f"{container.address}:{mapping.to}"
                if mapping.by == "dnat":
                    publish.append({"port": mapping.port, "to": to})
                else:
                    part.add("units", *_make_proxy(mapping.port, to, "[::]" if six else "0.0.0.0"))
        part.add("firewall", {"network": self.name, "cidrs": list(self.cidrs), "bridge": self.bridge, "publish": publish})


def _read_containers(item: Fields, cidr: IPNetwork, gateway: str) -> Sequence[Sandbox]:
    found: list[Sandbox] = []
    taken = {gateway: "the gateway"}
    ports: dict[int, str] = {}
    for number, given in enumerate(as_list(item.item.get("containers"))):
        where = f"containers[{number}]"
        options = drop_empty(given) if isinstance(given, Mapping) else {}
        if not options or set(given) - _KNOWN:
            remedy = f"Write {{name: c1, address: '{cidr[2]}'}}"
            item.wrong(where, "not a mapping of name, address and publish", remedy, value=given)
            continue
        name, given_address = options.get("name", ""), options.get("address", "")
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}", name):
            problem = f"not a name for a network namespace{hint_quotes(name)}"
            item.wrong(f"{where}.name", problem, "Choose another", value=name)
            continue
        if name in {one.name for one in found}:
            item.wrong(f"{where}.name", "another container has it", "Choose another", value=name)
        address = as_address(given_address)
        if address is None or not _has_host(cidr, address):
            problem = f"not an address for a host of {cidr}{hint_quotes(given_address)}"
            item.wrong(f"{where}.address", problem, f"Choose one, such as {cidr[2]}", value=given_address)
            continue
        if str(address) in taken:
            item.wrong(f"{where}.address", f"{taken[str(address)]} has it", "Choose another", value=str(address))
        taken[str(address)] = name
        found.append(Sandbox(name, str(address), tuple(_read_publish(item, where, options, ports))))
    return found


def _has_host(cidr: IPNetwork, address: IPAddress) -> bool:
    """Whether an address of a network is one that a host can have."""
    return address in cidr and address.value not in find_unusable(cidr)


def _read_publish(item: Fields, where: str, given: Mapping[str, Any], ports: dict[int, str]) -> Iterable[Publish]:
    """@param ports: who has which port of the host, of all containers so far."""
    for mapping in as_list(given.get("publish")):
        known: Mapping[str, Any] = drop_empty(mapping) if isinstance(mapping, Mapping) else {}
        port, to, by = as_integer(known.get("port")), as_integer(known.get("to")), known.get("by", "dnat")
        if set(known) - {"port", "to", "by"} or by not in ("dnat", "proxy") or not port or not to or max(port, to) > 65535:
            remedy = "Write {port: 9090, to: 8080, by: proxy} or by: dnat"
            item.wrong(f"{where}.publish", "not a mapping of port, to and by", remedy, value=mapping)
            continue
        if port in ports:
            item.wrong(f"{where}.publish", f"{ports[port]} has port {port}", "Choose another port", value=port)
        ports[port] = given["name"]
        yield Publish(port, to, by)


def _make_proxy(port: int, to: str, listen: str) -> list[Options]:
    """A userland proxy: systemd's own, which starts with the first connection."""
    name = f"agentless-overlay-proxy-{port}"
    return [
        {
            "name": f"{name}.service",
            "content": (
                f"[Unit]\nDescription=Port {port} of this host for {to}\nRequires={name}.socket\n\n"
                f"[Service]\nExecStart=/lib/systemd/systemd-socket-proxyd {to}\n"
            ),
            "enabled": False,
        },
        {
            "name": f"{name}.socket",
            "content": (
                f"[Unit]\nDescription=Port {port} of this host for {to}\n\n"
                f"[Socket]\nListenStream={listen}:{port}\n\n[Install]\nWantedBy=sockets.target\n"
            ),
            "enabled": True,
        },
    ]
