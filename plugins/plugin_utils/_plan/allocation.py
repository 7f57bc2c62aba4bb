# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who has which part of a network: one family of one network. Pure. PRIVATE to the collection."""

from __future__ import annotations

import hashlib
from bisect import bisect_right, insort

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.model import IPNetwork


class Ledger:
    """The leases of one length in one CIDR.

    @param address: whether a lease is one address; then the network's own and its broadcast are nobody's
    """

    def __init__(self, name: str, cidr: IPNetwork, length: int, address: bool) -> None:
        self.name, self.cidr, self.length = name, cidr, length
        self.size = 1 << ((32 if cidr.version == 4 else 128) - length)
        self.slots = 1 << (length - cidr.prefixlen)
        self.given: dict[str, IPNetwork] = {}
        # Those given, sorted, none overlapping.
        self._ranges: list[tuple[int, int, str]] = []
        # What nobody new may get: sorted, none overlapping, none touching.
        self._taken: list[tuple[int, int]] = []
        # Like flannel: the first is the network's own address, which confuses people.
        self.keep(cidr.first, cidr.first + self.size - 1)
        self.capacity = self.slots - 1
        if address and cidr.version == 4:
            self.keep(cidr.last, cidr.last)
            self.capacity -= 1

    def keep(self, first: int, last: int) -> None:
        """Give a range to nobody new."""
        position = bisect_right(self._taken, (first, first))
        start = position
        while start and self._taken[start - 1][1] >= first - 1:
            start -= 1
        end = position
        while end < len(self._taken) and self._taken[end][0] <= last + 1:
            end += 1
        joined = self._taken[start:end]
        merged = (min([first, *(low for low, _high in joined)]), max([last, *(high for _low, high in joined)]))
        self._taken[start:end] = [merged]

    def claim(self, name: str, subnet: IPNetwork) -> str:
        """Give a subnet to a node; or tell whose it overlaps, and give nothing."""
        position = bisect_right(self._ranges, (subnet.first, subnet.last, ""))
        for first, last, other in self._ranges[max(0, position - 1) : position + 1]:
            if first <= subnet.last and subnet.first <= last:
                return other
        insort(self._ranges, (subnet.first, subnet.last, name))
        self.given[name] = subnet
        self.keep(subnet.first, subnet.last)
        return ""

    def allocate(self, name: str) -> IPNetwork | None:
        """A free slot, or None. Where the search begins follows from the node's name alone,

        so that two checkouts of one inventory agree before either has recorded anything.
        """
        digest = hashlib.sha256(f"{self.name}\0{name}".encode()).digest()
        start = slot = int.from_bytes(digest[:8], "big") % self.slots
        wrapped = False
        while True:
            if slot >= self.slots:
                if wrapped:
                    return None
                slot, wrapped = 0, True
            if wrapped and slot >= start:
                return None
            first = self.cidr.first + slot * self.size
            position = bisect_right(self._taken, (first + self.size - 1, 1 << 128))
            if not position or self._taken[position - 1][1] < first:
                subnet = IPNetwork((first, self.length), version=self.cidr.version)
                self.claim(name, subnet)
                return subnet
            slot = (self._taken[position - 1][1] - self.cidr.first) // self.size + 1
