"""Signals as something to poll: the self-pipe of a server."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import select
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

# ``signal.signal`` looks its arguments and its result up in enums. In every child of a fork that
# would copy some ninety pages.
set_handler: Callable[[int, Any], object] = _signal.signal


class Wakeup:
    """Turns SIGCHLD and SIGTERM into readiness of a pipe, and polls it beside a control socket.

    ``stopping`` is set once SIGTERM has come: from a person, or from the kernel because the parent
    died.
    """

    def __init__(self, control: socket.socket) -> None:
        self.stopping = False
        self._control = control.fileno()
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        self._poll.register(self._control, select.POLLIN)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, self._note)
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            self.stopping = True

    def wait(self) -> bool:
        """Wait for a signal or a message; returns whether a message (or the end) is there."""
        message = False
        for descriptor, _ in self._poll.poll():
            if descriptor == self._read:
                os.read(self._read, 4096)
            else:
                message = True
        return message

    def close(self) -> None:
        """Restore the signals' default actions and close the pipe, in a child that won't serve."""
        signal.set_wakeup_fd(-1)
        set_handler(signal.SIGCHLD, _signal.SIG_DFL)
        set_handler(signal.SIGTERM, _signal.SIG_DFL)
        os.close(self._read)
        os.close(self._write)
