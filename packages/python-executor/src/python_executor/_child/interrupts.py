"""Interrupts of cells: SIGINT reaches a session's process only while a cell of the user's runs."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import signal
from typing import Any

from .program import Program

# In C: those of ``signal`` go through enums, and a cell may patch them.
_mask: Any = _signal.pthread_sigmask
_take: Any = _signal.sigtimedwait
_BLOCK, _UNBLOCK = int(signal.SIG_BLOCK), int(signal.SIG_UNBLOCK)
_INTERRUPT = (int(signal.SIGINT),)


def refuse() -> None:
    """Hold interrupts back, and drop one that came too late for the last cell."""
    _mask(_BLOCK, _INTERRUPT)
    while _take(_INTERRUPT, 0) is not None:
        pass


class InterruptibleCell(Program):
    """A cell that SIGINT interrupts, as Ctrl-C does, unless it has set another handler."""

    def evaluate(self) -> tuple[str | None, bool]:
        """Run it; returns its value, and whether that was cut. Raises what the cell raises."""
        try:
            _mask(_UNBLOCK, _INTERRUPT)
            return super().evaluate()
        finally:
            # A handler that is due runs in there at the latest, and raises as from the cell.
            _mask(_BLOCK, _INTERRUPT)
