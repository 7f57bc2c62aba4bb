# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Vxlan devices. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple, cast

from ansible_collections.agentless.overlay.plugins.module_utils._engine import _netlink
from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import (
    parse_address,
    parse_device_name,
    parse_mac,
    require_option,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host, read_vxlan_data
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import Message, NetlinkError
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Coming,
    Effects,
    Failure,
    Key,
    Op,
    OverlayError,
    Resource,
    Spec,
)
from ansible_collections.agentless.overlay.plugins.module_utils._marks import MARK
from ansible_collections.agentless.overlay.plugins.module_utils._resources import (
    _kept,
    _masters,
    _ports,
    _ra,
    _settings,
    _underlays,
)
from ansible_collections.agentless.overlay.plugins.module_utils._resources._addresses import leave_groups
from ansible_collections.agentless.overlay.plugins.module_utils._resources._ownership import (
    list_strangers,
    list_wrong_kinds,
    make_device,
    remember_aliases,
)
from ansible_collections.agentless.overlay.plugins.module_utils._resources._standing import list_affected, list_dependents
from ansible_collections.agentless.overlay.plugins.module_utils._resources._vxlan import (
    DEFAULT_AGEING,
    IFF_UP,
    Link,
    LinkSpec,
    decode_link,
    encode_data,
    list_link_commands,
    list_option_names,
    must_recreate,
)
from ansible_collections.agentless.overlay.plugins.module_utils._resources._vxlan_options import (
    OPTIONS,
    RULES,
    check_link_options,
)

_UNTIL_PEERS = "each peer has been converged too"


class Links(Resource[Link]):
    name = section = "vxlan_link"
    shakes = True
    remedies = {
        "EEXIST": "another device of this host has the same VNI and port, or the name is taken: ip -d link show type vxlan",
        "EAFNOSUPPORT": "local and remote or group have to be of one family",
    }
    options = OPTIONS
    alone = True
    nothing = ({"entries": [], "purge": True},)
    rules = RULES

    def parse(self, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec[Link]:
        spec = LinkSpec(kind="vxlan")
        for part in sections.get(self.section, ()):
            plain = part.get("entries") is None
            spec.purge_owned = spec.purge_owned or bool(part.get("purge"))
            for item in [part] if plain else part["entries"]:
                parse_device_name(self.name, item)
                values = {name: item[name] for name in list_option_names() if item.get(name) is not None}
                outer = {name: parse_address(self.name, item, name) for name in ("local", "remote", "group")}
                check_link_options({**item, **outer})
                outer["remote"] = outer.pop("group") or outer["remote"]
                values.update((name, value) for name, value in outer.items() if value is not None)
                if item.get("srcport_min") is not None:
                    values["srcport"] = (item["srcport_min"], item["srcport_max"])
                if values.get("ageing") == 0:
                    # What the kernel takes it for, and tells.
                    values["ageing"] = DEFAULT_AGEING
                if "mac" in values:
                    values["mac"] = parse_mac(self.name, values, "mac")
                state = item.get("state") or part.get("state") or "present"
                require_option(self.name, item, "vni", values.get("vni"), state)
                if item.get("adopt") or part.get("adopt"):
                    spec.adopted.add(values["name"])
                spec.add(Link(**values), state, self.name)
        return spec

    def derive(self, spec: Spec[Link], specs: Mapping[str, Spec[Any]]) -> None:
        bridges = specs["bridge"].present.values() if "bridge" in specs else ()
        cast(LinkSpec, spec).bridge_macs = {bridge.name: bridge.mac for bridge in bridges if bridge.mac}

    def devices(self, spec: Spec[Link]) -> Set[str]:
        return {key[0] for key in set(spec.present) | spec.absent}

    def reach(self, spec: Spec[Link], devices: Set[str]) -> Set[str]:
        # Of these more is read than their options: none of them is to go yet.
        return set()

    def reach_back(self, spec: Spec[Link], devices: Set[str], snapshot: Mapping[Key, Link], keys: Set[Key]) -> Set[str]:
        return {key[0] for key in keys | set(snapshot)}

    def shaken(self, effects: Effects) -> Set[str]:
        return effects.lost | effects.removed | effects.interrupted

    def read(self, host: Host, spec: Spec[Link], devices: Set[str]) -> Dict[Key, Link]:
        found: Dict[Key, Link] = {}
        links = []
        for device in sorted(self.devices(spec) | devices):
            msg = host.link(device)
            if msg is not None:
                links.append(msg)
        if spec.purge_owned:
            seen = {msg["index"] for msg in links}
            for msg in self._all(host):
                attrs = _netlink.read_attributes(msg)
                if msg["index"] not in seen and (attrs.get("IFLA_IFALIAS") or "").startswith(MARK):
                    links.append(msg)
                    host.indexes[attrs["IFLA_IFNAME"]] = msg["index"]
        for msg in links:
            link = decode_link(host, msg)
            if link is not None and link.name in devices:
                kept, port = _kept.read_kept(host, link.name, link.index), _ports.read_port(host, link.index)
                link = replace(link, kept=kept, port_kept=port)
            if link is not None:
                given = link.master in cast(LinkSpec, spec).bridge_macs
                found[link.key] = link if given else replace(link, bridge=_masters.read_master(host, link.master))
        return found

    @staticmethod
    def _all(host: Host) -> List[Any]:
        """Every vxlan device of the host."""
        kind = [("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "vxlan")]})]
        return host.session.dump(Message(_netlink.RTM_GETLINK, 0, _netlink.ifinfmsg, {}, kind))

    def foresee(self, host: Host, spec: Spec[Link], found: Mapping[Key, Link], wanted: Dict[Key, Link]) -> Dict[Key, Link]:
        macs = cast(LinkSpec, spec).bridge_macs
        joining = {key: link for key, link in wanted.items() if key not in found or found[key].master != link.master}
        for key, link in joining.items():
            joining[key] = replace(link, bridge=_masters.read_master(host, link.master, macs.get(link.master or "")))
        return {**wanted, **joining}

    def obstacles(self, host: Host, spec: Spec[Link], found: Mapping[Key, Link], wanted: Mapping[Key, Link]) -> Iterable[str]:
        yield from list_wrong_kinds(host, self.name, self.devices(spec), found, "vxlan device")
        yield from list_strangers(self.name, spec, found, cast(LinkSpec, spec).adopted)
        coming = {key: link for key, link in wanted.items() if key not in found or found[key].tunnel != link.tunnel}
        others = [decode_link(host, msg) for msg in self._all(host)] if coming else []
        staying = [link for link in others if link is not None and link.key not in found]
        for key, link in sorted(coming.items()):
            for other in [*staying, *(one for one in wanted.values() if one.key != key)]:
                if other.tunnel == link.tunnel:
                    whose = other.name if other.owned else other.name + ", which is not ours"
                    yield (
                        "vxlan_link: %s: VNI %s on port %d is that of %s, and no two devices can share it. Choose another vni "
                        "or port, or remove that device: ip link delete %s"
                        % (link.name, link.vni, link.tunnel[1], whose, other.name)
                    )

        yield from _underlays.list_large_mtus(host, found, wanted)
        yield from list_affected(host, self.name, found, wanted)
        yield from _masters.list_drawn_macs(self.name, wanted.values())

    def hindrances(self, host: Host, effects: Effects, found: Mapping[Key, Link]) -> Iterable[str]:
        return list_dependents(host, self.name, effects, {link.name: link.index for link in found.values()})

    def settle(self, found: Mapping[Key, Link], spec: Spec[Link]) -> Dict[Key, Link]:
        # One that is no longer wished goes, taken over or not: its entries would lead to peers for ever.
        return super().settle(found, remember_aliases(found, spec))

    def merge(self, found: Optional[Link], entry: Link) -> Link:
        if found is None:
            return entry
        # What counts as 0 because there is no IPv6 has to be so when a larger MTU brings it.
        given = [name for name in _ra.OPTIONS if getattr(entry, name) is not None]
        return replace(found, **{**found.lacks(entry), **{name: getattr(entry, name) for name in given}})

    def extra(self, entry: Link, spec: Spec[Link]) -> bool:
        return spec.purge_owned and entry.owned

    def diff(self, found: Mapping[Key, Link], wanted: Mapping[Key, Link]) -> List[Op[Link]]:
        # What others set on a device is known of those only that are to go, and then it counts.
        unknown = {key for key, link in wanted.items() if key in found and None in (link.kept, found[key].kept)}
        found = {key: _strip_link(link) if key in unknown else link for key, link in found.items()}
        wanted = {key: _strip_link(link) if key in unknown else link for key, link in wanted.items()}
        ops = super().diff(found, wanted)
        # Two devices cannot share VNI and port, so a device that takes over another's
        # cannot be made before the other is gone.
        taken = {op.after.tunnel for op in ops if op.after is not None}
        result = []
        for op in ops:
            if op.before is not None and op.after is not None:
                op = replace(op, recreate=must_recreate(op.before, op.after))
            elif op.before is not None:
                # Where the MAC of a bridge goes with it, what is on that is put back afterwards.
                op = replace(op, early=op.before.tunnel in taken or bool(_masters.list_new_macs(op.before, None)))
            result.append(op)
        return _underlays.order_links(result)

    def show(self, op: Op[Link]) -> Tuple[List[str], List[str]]:
        if op.before is None or op.after is None:
            return super().show(op)
        changed = op.before.delta(op.after)
        return (
            [line for option in changed for line in op.before.line(option)],
            [line for option in changed for line in op.after.line(option)],
        )

    def effects(self, ops: Sequence[Op[Link]]) -> Effects:
        effects = Effects(made={op.entry.name for op in ops if op.after is not None})
        for op in ops:
            bridge = {op.before.master} if op.before is not None and op.before.master else set()
            effects.bridges |= bridge | ({op.after.master} if op.after is not None and op.after.master else set())
            effects.new_mac |= _masters.list_new_macs(op.before, op.after, op.recreate)
            if op.after is None:
                effects.removed.add(op.entry.name)
                # It may be its last port, for good.
                effects.interrupted |= bridge
                effects.left |= bridge
            elif op.recreate:
                effects.blinked |= bridge
                effects.lost.add(op.entry.name)
            elif op.before is not None:
                effects.add_change(op.entry.name, op.before, op.after)
                if op.before.up and not op.after.up:
                    # A port that is down is as good as none.
                    effects.interrupted |= bridge
                    effects.left |= bridge
                if op.before.master != op.after.master:
                    # What was set on the port goes with it.
                    effects.interrupted.add(op.entry.name)
                    effects.blinked |= bridge
        return effects

    def impact(self, op: Op[Link], coming: Coming) -> Tuple[str, str]:
        return _masters.add_impact(*self._find_own_impact(op), _masters.list_new_macs(op.before, op.after))

    @staticmethod
    def _find_own_impact(op: Op[Link]) -> Tuple[str, str]:
        before, after = op.before, op.after
        if before is None or after is None:
            # Its routes say which packets.
            return "", ""
        both_ways = "packets over %s, both ways" % after.name
        if (before.vni, before.port) != (after.vni, after.port):
            return both_ways, _UNTIL_PEERS + "; parallel in overlay_networks avoids that"
        if op.recreate:
            return both_ways, "it is made again with all its entries, some milliseconds later"
        if before.mac != after.mac:
            return "packets over %s to this host" % after.name, _UNTIL_PEERS
        if before.local != after.local:
            return both_ways, _UNTIL_PEERS
        if before.up and not after.up:
            return both_ways, "it is up again"
        return "", ""

    def apply(self, host: Host, ops: Sequence[Op[Link]]) -> List[Failure]:
        coming = {op.after.tunnel: op for op in ops if op.after is not None}
        try:
            # Two that change places, or one that takes the place of another: all that stand in the way go first.
            for op in ops:
                if op.recreate and op.before is not None and coming.get(op.before.tunnel, op) is not op:
                    self._delete(host, op.entry.name)
        except (NetlinkError, OSError) as error:
            return [Failure(op, str(error))]
        for op in ops:
            try:
                self._apply(host, op)
            except (NetlinkError, OverlayError, OSError) as error:
                return [Failure(op, str(error))]
        return []

    def shell(self, entries: Iterable[Link]) -> List[str]:
        made: List[Op[Link]] = [Op(self.name, None, entry) for entry in entries]
        return [line for op in _underlays.order_links(made) for line in list_link_commands(op.entry)]

    @staticmethod
    def _delete(host: Host, name: str) -> None:
        index = host.index(name)
        if index is not None:
            leave_groups(host, index)
            host.session.write_one(Message(_netlink.RTM_DELLINK, 0, _netlink.ifinfmsg, {"index": index}))
            host.indexes[name] = None

    def _apply(self, host: Host, op: Op[Link]) -> None:
        link = op.after
        if link is None:
            self._delete(host, op.entry.name)
            return
        before = op.before if not op.recreate else None
        if before is None:
            self._make(host, link, op.before.index if op.before is not None else link.index)
            changed = ["up", "master", "neigh_suppress"]
        else:
            # Of a living device only what differs: the kernel refuses the mere presence of the rest, and an MTU beside it.
            changed = before.delta(link)
            data = encode_data(host, link, changed)
            if data:
                self._set(host, link.name, {}, [_encode_link_info(data)])
        kept = link.kept if before is None or before.kept != link.kept else None
        if kept is not None:
            _kept.put_kept(host, link.name, kept)
        attrs = self._attributes(host, link, changed)
        if attrs:
            self._set(host, link.name, {}, attrs)
            _settings.keep_mtu6(host, link.name, before, link)
        if link.localbypass is False and (before is None or "localbypass" in changed):
            self._require_localbypass(host, link.name)
        # Before it is up, and after an MTU that brings IPv6, with the kernel's own settings.
        _ra.write_ra_settings(link.name, link, op.before)
        if "up" in changed:
            self._set(host, link.name, {"flags": IFF_UP if link.up else 0, "change": IFF_UP}, [])
        if kept is not None:
            _kept.put_again(link.name, kept)
        if link.master is not None:
            self._set_port(host, op, changed)

    def _make(self, host: Host, link: Link, index: int) -> None:
        """Make a device, in the place of one that is there."""
        # Before that is removed: this may find that there is no such underlay device.
        attrs = [_encode_link_info(encode_data(host, link)), *self._device(link, ("mac", "mtu"))]
        self._delete(host, link.name)
        make_device(host, link, index, attrs)

    def _attributes(self, host: Host, link: Link, changed: Sequence[str]) -> List[Any]:
        """What is not vxlan's own of some options."""
        attrs = self._device(link, changed)
        if "alias" in changed and link.alias is None:
            # Only in an undo.
            attrs.append(("IFLA_IFALIAS", ""))
        if "master" in changed:
            master = host.index(link.master) if link.master is not None else 0
            if master is None:
                raise OverlayError("vxlan_link: %s: there is no bridge %s for master" % (link.name, link.master))
            attrs.append(("IFLA_MASTER", master))
        return attrs

    def _set_port(self, host: Host, op: Op[Link], changed: Sequence[str]) -> None:
        """What is set on it as a port, where the port is a new one."""
        link = cast(Link, op.after)
        if link.neigh_suppress is not None and ("neigh_suppress" in changed or "master" in changed):
            suppress = [("IFLA_BRPORT_NEIGH_SUPPRESS", int(link.neigh_suppress))]
            slave = [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", {"attrs": suppress})]
            self._set(host, link.name, {}, [("IFLA_LINKINFO", {"attrs": slave})])
        # One that changes bridges has nothing yet on the other one.
        there = op.before
        its = host.rolling_back or there is not None and there.master == link.master
        anew = there is None or op.recreate or there.port_kept != link.port_kept
        if link.port_kept is not None and its and anew:
            flags = tuple(one for one in link.port_kept.flags if one[0] != _ports.NEIGH_SUPPRESS)
            port = replace(link.port_kept, flags=flags)
            _ports.put_port(host, host.index(link.name) or 0, port, host.index(link.master or "") or 0)

    @staticmethod
    def _require_localbypass(host: Host, name: str) -> None:
        """A kernel passes over an option that it does not have, which would then be a difference for ever."""
        made = host.session.get(Message(_netlink.RTM_GETLINK, 0, _netlink.ifinfmsg, {"index": host.index(name)}))
        if made is not None and "IFLA_VXLAN_LOCALBYPASS" not in read_vxlan_data(made):
            raise OverlayError(
                "vxlan_link: %s: the kernel of this host cannot switch localbypass off, which Linux 6.5 and later can. "
                "Take localbypass out of the options of the device" % name
            )

    def _set(self, host: Host, name: str, flags: Dict[str, int], attrs: List[Any]) -> None:
        host.session.write_one(Message(_netlink.RTM_NEWLINK, 0, _netlink.ifinfmsg, dict(flags, index=host.index(name)), attrs))

    @staticmethod
    def _device(link: Link, options: Sequence[str]) -> List[Any]:
        names = {"mac": "IFLA_ADDRESS", "mtu": "IFLA_MTU", "alias": "IFLA_IFALIAS"}
        return [
            (names[option], getattr(link, option))
            for option in options
            if option in names and getattr(link, option) is not None
        ]


def _strip_link(link: Link) -> Link:
    """A device without what others set on it. Pure."""
    return replace(link, kept=None, port_kept=None)


def _encode_link_info(data: List[Any]) -> Any:
    return ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "vxlan"), ("IFLA_INFO_DATA", {"attrs": data})]})
