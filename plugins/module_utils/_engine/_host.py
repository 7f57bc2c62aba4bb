# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The edge: what resources read from and write to. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Sequence, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    RTM_GETLINK,
    Message,
    Session,
    ifinfmsg,
    read_attributes,
)
from ansible_collections.agentless.overlay.plugins.module_utils._errors import OverlayError
from ansible_collections.agentless.overlay.plugins.module_utils._marks import MARK


def read_vxlan_data(message: Any) -> Dict[str, Any]:
    """The vxlan attributes of a decoded device by name, its remote or group as C(remote); empty for another device."""
    attrs = read_attributes(message)
    info = read_attributes(attrs["IFLA_LINKINFO"]) if "IFLA_LINKINFO" in attrs else {}
    if info.get("IFLA_INFO_KIND") != "vxlan":
        return {}
    data = read_attributes(info["IFLA_INFO_DATA"])
    data["remote"] = data.get("IFLA_VXLAN_GROUP", data.get("IFLA_VXLAN_GROUP6"))
    return data


@dataclass
class Host:
    """The edge: what resources read from and write to."""

    session: Session = field(default_factory=Session)
    # Runs a program: (arguments, standard input) to (exit code, output, error output).
    run: Any = None
    indexes: Dict[str, Optional[int]] = field(default_factory=dict)
    # Of what the number of a nexthop object is short for: the device, or the devices of a group; gateway, onlink.
    nexthops: Dict[int, Tuple[Tuple[str, ...], str, bool]] = field(default_factory=dict)
    # What a resource found out that the result should tell, by resource.
    facts: Dict[str, Dict[str, Any]] = field(default_factory=dict)
    # Of the device with an index the alias, which carries our mark or does not.
    aliases: Dict[int, str] = field(default_factory=dict)
    rolling_back: bool = False

    def index(self, device: str) -> Optional[int]:
        """The interface index of a device, or None where there is none."""
        if device not in self.indexes:
            self.link(device)
        return self.indexes[device]

    def link(self, device: str) -> Any:
        """A device as the kernel tells it now, decoded; None where there is none."""
        found = self.session.get(Message(RTM_GETLINK, 0, ifinfmsg, {}, [("IFLA_IFNAME", device)]))
        self.indexes[device] = found["index"] if found is not None else None
        if found is not None:
            self.aliases.setdefault(found["index"], read_attributes(found).get("IFLA_IFALIAS") or "")
        return found

    def kind(self, device: str) -> str:
        """What the kernel calls the kind of a device; empty where there is none."""
        found = self.link(device)
        attrs = read_attributes(found) if found is not None else {}
        return str(read_attributes(attrs["IFLA_LINKINFO"]).get("IFLA_INFO_KIND")) if "IFLA_LINKINFO" in attrs else ""

    def vxlan(self, device: str) -> Dict[str, Any]:
        """The vxlan attributes that a device has now, as C(read_vxlan_data) gives them."""
        found = self.link(device)
        return read_vxlan_data(found) if found is not None else {}

    def name(self, index: int) -> str:
        """The name of the device with an interface index."""
        for name, known in self.indexes.items():
            if known == index:
                return name
        found = self.session.get(Message(RTM_GETLINK, 0, ifinfmsg, {"index": index}))
        if found is None:
            return "if%d" % index
        name = str(read_attributes(found)["IFLA_IFNAME"])
        self.indexes[name] = index
        return name

    def carries_mark(self, index: int) -> bool:
        """Whether the device with an interface index is ours."""
        return self.alias(index).startswith(MARK)

    def alias(self, index: int) -> str:
        """The alias of the device with an interface index, as it was when it was first asked for; empty for none."""
        if index not in self.aliases:
            found = self.session.get(Message(RTM_GETLINK, 0, ifinfmsg, {"index": index}))
            self.aliases[index] = (read_attributes(found).get("IFLA_IFALIAS") if found is not None else None) or ""
        return self.aliases[index]

    def command(self, args: Sequence[str], stdin: Optional[str] = None) -> str:
        code, out, err = self.run(list(args), stdin)
        if code:
            raise OverlayError("%s: exit code %s: %s" % (" ".join(args), code, (err or out).strip()))
        return str(out)
