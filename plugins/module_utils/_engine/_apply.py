# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying a transaction out, or leaving the host as it was. PRIVATE to the collection."""

from __future__ import annotations

from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import (
    Failure,
    Host,
    OverlayError,
)
from ansible_collections.agentless.overlay.plugins.module_utils._engine._transaction import Transaction, carry_out
from ansible_collections.agentless.overlay.plugins.module_utils._engine._undo import SHOWN, roll_back
from ansible_collections.agentless.overlay.plugins.module_utils._resources._bridges import Bridges
from ansible_collections.agentless.overlay.plugins.module_utils._resources._links import Links


def apply(host: Host, transaction: Transaction) -> None:
    """Carry it out, or leave the host as it was and raise OverlayError, which tells what is not."""
    _refuse_missing_devices(host, transaction)
    failures, begun = carry_out(host, transaction.ops)
    if not failures:
        return
    lines = ["%s; %s" % (failure.op, failure.reason) + _remedy(failure) for failure in failures[:SHOWN]]
    if len(failures) > SHOWN:
        lines.append("and %d more" % (len(failures) - SHOWN))
    try:
        undone = roll_back(host, transaction, begun)
    except Exception as error:  # whatever it is, the first failure has to be told
        undone = "UNDOING FAILED, the host is in between: %s" % (str(error) or repr(error))
    raise OverlayError("%d of %d operations failed. %s\n%s" % (len(failures), len(transaction.ops), undone, "\n".join(lines)))


def _refuse_missing_devices(host: Host, transaction: Transaction) -> None:
    """Not in check mode: there, an earlier task may only have predicted the device."""
    makers = (Links.name, Bridges.name)
    made = {op.entry.name for op in transaction.ops if op.resource in makers and op.after is not None}
    needed = {getattr(op.after, "device", None): op.resource for op in transaction.ops if op.after is not None}
    missing = {
        device: resource for device, resource in needed.items() if device and device not in made and host.index(device) is None
    }
    if missing:
        words = ("%s: there is no device %s" % (resource, device) for device, resource in sorted(missing.items()))
        raise OverlayError("%s. List it under vxlan_link, or make it first. Nothing was changed" % "; ".join(words))


_REMEDIES = (
    ("EPERM", "run the play with become: true"),
    ("EEXIST", "another device of this host has the same VNI and port, or the name is taken: ip -d link show type vxlan"),
    ("EAFNOSUPPORT", "the address must be of the same family as the device's own outer address"),
    ("ENODEV", "the device is gone since it was read: run again"),
    ("ENETDOWN", "the device is down: set up: true on it"),
    ("ENETUNREACH", "the gateway is not reachable through the device: set onlink: true"),
    ("EOPNOTSUPP", "this kernel does not support the value on this kind of device"),
    ("ENOBUFS", "the kernel's table is full: raise net.ipv4.neigh.default.gc_thresh3"),
)


def _remedy(failure: Failure) -> str:
    for name, text in _REMEDIES:
        if failure.reason.startswith(name + ":"):
            return ". What to do: %s" % text
    return ""
