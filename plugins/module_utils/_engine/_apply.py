# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying a transaction out, or leaving the host as it was. PRIVATE to the collection."""

from __future__ import annotations

from ansible_collections.agentless.overlay.plugins.module_utils._engine._entries import join_few
from ansible_collections.agentless.overlay.plugins.module_utils._engine._host import Host
from ansible_collections.agentless.overlay.plugins.module_utils._engine._resource import Failure, OverlayError
from ansible_collections.agentless.overlay.plugins.module_utils._engine._signals import Interrupted, Shield
from ansible_collections.agentless.overlay.plugins.module_utils._engine._transaction import Transaction, carry_out
from ansible_collections.agentless.overlay.plugins.module_utils._engine._undo import roll_back


def apply_transaction(host: Host, transaction: Transaction) -> None:
    """Carry it out, or leave the host as it was and raise OverlayError, which tells what is not."""
    _refuse_missing_devices(host, transaction)
    with Shield() as shield:
        try:
            with shield.open():
                failures = carry_out(host, transaction, transaction.ops)
            if not failures:
                return
            failed = "%d of %d operations failed" % (len(failures), len(transaction.ops))
        except Interrupted as interruption:
            failures, failed = [], "%s came while operations were being carried out" % interruption
            # Its answers to what was being sent are of no use to anybody.
            host.session.close()
        lines = join_few(["%s; %s" % (failure.op, failure.reason) + _find_remedy(transaction, failure) for failure in failures])
        try:
            undone = roll_back(host, transaction)
        except Exception as error:  # whatever it is, the first failure has to be told
            undone = "UNDOING FAILED, the host is in between: %s" % (str(error) or repr(error))
        raise OverlayError("\n".join(["%s. %s" % (failed, undone), *lines]))


def _refuse_missing_devices(host: Host, transaction: Transaction) -> None:
    """Not in check mode: there, an earlier task may only have predicted the device."""
    needed = {device: op.resource for op in transaction.ops if op.after is not None for device in op.after.needs}
    missing = {
        device: resource
        for device, resource in needed.items()
        if device and device not in transaction.effects.made and host.index(device) is None
    }
    if missing:
        words = ("%s: there is no device %s" % (resource, device) for device, resource in sorted(missing.items()))
        raise OverlayError("%s. List it under vxlan_link, or make it first. Nothing was changed" % "; ".join(words))


# What to do about an errno, whatever it was about; what depends on that the resource knows.
_REMEDIES = {
    "EPERM": "run the play with become: true",
    "ENODEV": "the device is gone since it was read: run again",
    "ENETDOWN": "the device is down: set up: true on it",
    "EOPNOTSUPP": "this kernel does not support the value on this kind of device",
}


def _find_remedy(transaction: Transaction, failure: Failure) -> str:
    name = failure.reason.partition(":")[0]
    text = {**_REMEDIES, **transaction.by_name[failure.op.resource].remedies}.get(name)
    return ". What to do: %s" % text if text else ""
