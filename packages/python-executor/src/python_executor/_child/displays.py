"""What a program shows, sent to the host at once: so it survives a kill that comes later."""

from __future__ import annotations

import _thread
import builtins
import os
from typing import Any

from . import frames

# A program may patch ``builtins`` and ``os``.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_getpid = os.getpid
# As the host has it: it ends an interpreter that sends more.
COUNT = 100


class Outlet:
    """Sends displays of the program that runs, from whatever thread.

    Attributes:
        left_out: whether a display of this program was too much.
    """

    def __init__(self) -> None:
        self.left_out = False
        self._descriptor = -1
        self._process = 0
        self._characters_left = 0
        self._count_left = 0
        self._lock = _thread.allocate_lock()

    def is_open(self) -> bool:
        """Whether displays get through."""
        return self._process == _getpid()

    def open(self, descriptor: int, characters: int) -> None:
        """Let displays through until ``close``, from this process alone.

        Args:
            descriptor: the control socket.
            characters: how many the host takes, of all displays.
        """
        self._descriptor = descriptor
        self._process = _getpid()
        self._characters_left = characters
        self._count_left = COUNT
        self.left_out = False

    def close(self) -> None:
        """Let nothing through any more; when this returns, nothing is being sent either."""
        with self._lock:
            self._process = 0

    def show(self, bundle: dict[str, Any]) -> None:
        """Send a MIME bundle, or leave it out if the host would not take it.

        A process that the program has forked shows nothing: its frames would come between ours.
        """
        if not self.is_open():  # a fork of this process may have the lock as somebody held it
            return
        frame = frames.encode({"kind": "display", "data": bundle})
        with self._lock:
            if not self.is_open():
                return
            if len(frame) > min(self._characters_left, frames.FRAME_LIMIT) or self._count_left == 0:
                self.left_out = True
                return
            self._characters_left -= len(frame)
            self._count_left -= 1
            frames.write(self._descriptor, frame)


# The only one: what a program shows comes from wherever it is.
outlet = Outlet()
