"""A service's end of the socket to the process that started it.

The starter is listened to from the first moment, by a thread: if it ends before it has told the
service to go, nobody knows of the service, which then has to end itself.
"""

from __future__ import annotations

import os
import pickle
import socket
import threading
from collections.abc import Callable

from services_core.remote_errors import pack_error
from services_local import forks
from services_local.launch import GO, Outcome, report
from services_local.pickling import dumps


class Starter:
    """The process that started this one.

    Args:
        control: The socket to it.
    """

    def __init__(self, control: socket.socket) -> None:
        forks.keep_private(control)
        self._control = control
        self._lock = threading.Lock()
        self._constructed = False
        self._told = threading.Event()
        self._go = False
        self._when_told: Callable[[], None] = _nothing
        self._when_gone: Callable[[], None] = _nothing
        threading.Thread(target=self._listen, name="service-starter", daemon=True).start()

    def failed(self, error: BaseException) -> None:
        """Report that the constructor raised."""
        report(self._control, Outcome.FAILED, pickle.dumps(pack_error(error, dumps)))

    def ready(self) -> bool:
        """Report that the service is constructed; whether the starter then says go."""
        with self._lock:
            self._constructed = True
        report(self._control, Outcome.READY)
        self._told.wait()
        return self._go

    def stop_waiting(self) -> None:
        """Have `ready` return."""
        self._told.set()

    def published(
        self, when_told: Callable[[], None], when_gone: Callable[[], None] | None
    ) -> None:
        """Report that lookups see the service.

        Args:
            when_told: Called in a thread when the starter says that the service shall end.
            when_gone: Called in a thread when the starter has let go, or has ended.
        """
        with self._lock:
            self._when_told = when_told
            self._when_gone = when_gone or _nothing
        report(self._control, Outcome.PUBLISHED)

    def _listen(self) -> None:
        while (word := self._read()) == GO:
            self._go = True
            self._told.set()
        with self._lock:
            if not self._constructed:
                # Nothing is there yet that could be closed, and the name must not stay taken.
                os._exit(1)
            act = self._when_told if word else self._when_gone
        self._told.set()
        act()

    def _read(self) -> bytes:
        try:
            return self._control.recv(1)
        except OSError:
            return b""


def _nothing() -> None:
    """Nothing is to be done."""
