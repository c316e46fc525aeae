"""Signals as something to poll: the self-pipe of a server."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import operator
import os
import select
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

from . import linux

# ``signal.signal`` looks its arguments and its result up in enums. In every child of a fork that
# would copy some ninety pages.
set_handler: Callable[[int, Any], object] = _signal.signal
# A handler that does nothing, and runs no Python code for it.
_nothing: Callable[[Any, Any], object] = operator.is_


def _let_go() -> None:
    # Its result, -1 if a hook of asyncio's has done it before, is no failure.
    _signal.set_wakeup_fd(-1)


class Wakeup:
    """Turns SIGCHLD and SIGTERM into readiness of a pipe, and polls it beside a control socket.

    ``stopping`` is set once SIGTERM has come: from a person, or from the kernel because the parent
    died. From then on no message is told of: a server that was stopped, and goes on to end, has
    some waiting, and what it forked for one would begin a program, and end with it.
    """

    def __init__(self, control: socket.socket) -> None:
        self.stopping = False
        self._control = control.fileno()
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        self._poll.register(self._control, select.POLLIN)
        _signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        set_handler(int(signal.SIGCHLD), _nothing)
        set_handler(int(signal.SIGTERM), self._stop)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def wait(self) -> tuple[bool, bool]:
        """Wait; returns whether a signal came, and whether a message (or the end) is there."""
        signalled = received = False
        for descriptor, _ in self._poll.poll():
            if descriptor == self._read:
                os.read(self._read, 4096)
                signalled = True
            else:
                received = True
        return signalled, received and not self.stopping

    def watch(self, descriptor: int) -> None:
        """Have ``wait_for_any`` wait for another descriptor."""
        self._poll.register(descriptor, select.POLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Wait for a descriptor no more."""
        self._poll.unregister(descriptor)

    def wait_for_any(self, seconds: float | None) -> tuple[bool, list[int]]:
        """Wait, for so long at most; returns whether a signal came, and what is ready."""
        ready = [found for found, _ in self._poll.poll(None if seconds is None else seconds * 1000)]
        signalled = self._read in ready
        if signalled:
            os.read(self._read, 4096)
            ready.remove(self._read)
        return signalled, [] if self.stopping else ready

    def forget(self) -> None:
        """Let the signals that came until now not end the next wait. SIGTERM counts anyway."""
        try:  # not suppress(), which is Python code
            os.read(self._read, 4096)
        except BlockingIOError:
            return

    def reversal(self) -> list[linux.Call]:
        """What restores the signals' default actions, in a child that won't serve."""
        default = int(signal.SIG_DFL)
        return [
            (_let_go, ()),
            (set_handler, (int(signal.SIGCHLD), default)),
            (set_handler, (int(signal.SIGTERM), default)),
        ]

    def close(self) -> None:
        """Close the pipe, when ``reversal`` has been made."""
        os.close(self._read)
        os.close(self._write)
