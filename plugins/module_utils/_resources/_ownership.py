# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has our name and is not ours. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Collection, Dict, Iterator, Mapping, Sequence, Set, Tuple

from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_NEWLINK,
    Message,
    ifinfmsg,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import E, Entry, Key, Spec
from ansible_collections.agentless.overlay.plugins.module_utils._marks import ADOPTED, MARK, network_of_alias


@dataclass(frozen=True)
class Device(Entry):
    """A device that carries our mark in its alias, where it is ours."""

    name: str

    @property
    def mark(self) -> str:
        """Its alias; empty where it has none."""
        return getattr(self, "alias", None) or ""

    @property
    def owned(self) -> bool:
        return self.mark.startswith(MARK)

    @property
    def adopted(self) -> bool:
        """Whether it was somebody else's."""
        return self.mark.endswith(ADOPTED)

    @property
    def overlay(self) -> str:
        return network_of_alias(self.mark)


def make_device(host: Host, entry: Device, index: int, attrs: Sequence[Tuple[str, Any]]) -> None:
    """Make a device, with its alias."""
    name = ("IFLA_IFNAME", entry.name)
    messages = [Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ifinfmsg, {"index": index}, [name, *attrs])]
    if entry.mark:
        # The kernel gives no alias to a device that it makes. In one call, so that there never is one without our mark.
        messages.append(Message(RTM_NEWLINK, 0, ifinfmsg, {}, [name, ("IFLA_IFALIAS", entry.mark)]))
    for _number, error in sorted(host.session.write(messages).items()):
        raise error
    host.indexes.pop(entry.name, None)


@dataclass
class DeviceSpec(Spec[E]):
    """And what the kernel calls their kind, and the names of those that may be taken over from somebody else."""

    kind: str = ""
    adopted: Set[str] = field(default_factory=set)


def remember_aliases(found: Mapping[Key, Any], spec: Spec[Any]) -> Spec[Any]:
    """The wish, in which the alias of what is somebody else's, or was, says so. Pure."""
    taken: Dict[Key, Any] = {
        key: replace(entry, alias="%s%s" % (entry.alias, ADOPTED))
        for key, entry in spec.present.items()
        if key in found and entry.owned and (not found[key].owned or found[key].adopted)
    }
    return replace(spec, present={**spec.present, **taken}) if taken else spec


def give_up_devices(found: Mapping[Key, Any], wanted: Dict[Key, Any], spec: Spec[Any]) -> Dict[Key, Any]:
    """What shall be there, with what was taken over and is no longer wished: without our mark it is its owner's again. Pure."""
    left = {
        key: replace(entry, alias="")
        for key, entry in found.items()
        if key not in wanted and key not in spec.absent and entry.adopted
    }
    return {**wanted, **left}


def list_wrong_kinds(host: Host, section: str, names: Collection[str], found: Mapping[Key, Any], kind: str) -> Iterator[str]:
    """Names that another kind of device has."""
    for name in sorted(names):
        if (name,) not in found and host.index(name) is not None:
            yield "%s: %s exists and is not a %s. Remove it or choose another name" % (section, name, kind)


def list_strangers(section: str, spec: Spec[Any], found: Mapping[Key, Any], adopted: Collection[str]) -> Iterator[str]:
    """Devices that do not carry our mark, where one is wished that does."""
    for key, entry in sorted(spec.present.items()):
        there = found.get(key)
        if there is not None and entry.owned and not there.owned and entry.name not in adopted:
            yield (
                "%s: %s exists and does not carry our mark: it is somebody else's. Remove or rename it, or set adopt: true "
                "(variable overlay_adopt) to take it over" % (section, entry.name)
            )
