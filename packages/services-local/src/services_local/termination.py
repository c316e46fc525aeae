"""SIGTERM, noticed wherever the main thread is.

Python runs a signal's handler in the main thread, between two instructions. A signal that comes
just before the main thread blocks in a system call, or that the kernel gives to another thread,
waits for that call to end, which may be never. The byte that `signal.set_wakeup_fd` writes is
written at once; here a thread reads it.

There is one such descriptor for a process. Where a loop of asyncio has it, or has had it, the
handler alone is left, and SIGTERM counts when the main thread comes to run it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable

from services_local import forks

# What the handler sends: no number of a signal.
_NOTED = b"\0"


class Termination:
    """Calls a function once, in a thread, when SIGTERM comes. To be made in the main thread.

    A handler that is set later takes its place, and may call it. A forked child dies of SIGTERM, as
    it would if this weren't here.

    Args:
        act: The function.
    """

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._noted = False
        with forks.no_fork():
            self._reading, self._writing = socket.socketpair()
            forks.keep_private(self._reading)
            forks.keep_private(self._writing)
        self._writing.setblocking(False)  # noqa: FBT003 - takes no keyword
        self._number = self._writing.fileno()
        self._mask = threading.local()
        os.register_at_fork(
            before=self._hold_back,
            after_in_parent=self._let_through,
            after_in_child=self._forget_in_child,
        )
        threading.Thread(target=self._listen, name="service-signals", daemon=True).start()
        signal.signal(signal.SIGTERM, self._note)
        other = signal.set_wakeup_fd(self._number, warn_on_full_buffer=False)
        if other != -1:
            signal.set_wakeup_fd(other)

    def _note(self, *_: object) -> None:
        self._noted = True
        with contextlib.suppress(BlockingIOError):  # full of what other signals wrote
            self._writing.send(_NOTED)

    def _listen(self) -> None:
        while received := self._reading.recv(4096):
            mine = signal.getsignal(signal.SIGTERM) == self._note
            if self._noted or (mine and signal.SIGTERM in received):
                self._act()
                return

    def _hold_back(self) -> None:
        # A child that gets the signal before it has forgotten this would end its parent.
        self._mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def _let_through(self) -> None:
        before = getattr(self._mask, "before", None)
        if before is not None:  # None: this was made while the fork was under way
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _forget_in_child(self) -> None:
        current = signal.set_wakeup_fd(-1)
        if current != self._number:
            signal.set_wakeup_fd(current)
        if signal.getsignal(signal.SIGTERM) == self._note:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._let_through()
