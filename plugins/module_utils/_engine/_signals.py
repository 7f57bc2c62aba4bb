# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signals that come in the middle of a transaction. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import Any, Dict, Iterator

# What a lost SSH session, a terminal and an administrator send.
_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal that would have ended the process. No Exception, so that nobody takes it for a failure of his own."""


class Shield:
    """Keeps off what would end the process half way; where it is open, the first signal comes through as Interrupted.

    So a transaction that is interrupted is undone, and no second signal ends the undo.
    """

    def __init__(self) -> None:
        self._former: Dict[int, Any] = {}

    def __enter__(self) -> Shield:
        # Python gives signals to the main thread, and lets no other set their handlers.
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
        return self

    def __exit__(self, *_raised: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Let one signal through."""
        self._set(self._interrupt)
        try:
            yield
        finally:
            self._set(signal.SIG_IGN)

    def _set(self, handler: Any) -> None:
        for number in self._former:
            signal.signal(number, handler)

    def _interrupt(self, number: int, _frame: Any) -> None:
        self._set(signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)
