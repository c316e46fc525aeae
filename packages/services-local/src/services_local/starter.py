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
from services_local import forks, wire
from services_local.launch import GO, Outcome, report


class Starter:
    """The process that started this one.

    Args:
        control: The socket to it.
    """

    def __init__(self, control: socket.socket) -> None:
        control.set_inheritable(False)
        forks.keep_private(control)
        self._control = control
        self._lock = threading.Lock()
        self._constructed = False
        self._told = threading.Event()
        self._go = False
        self._when_gone: Callable[[], None] | None = None
        threading.Thread(target=self._listen, name="service-starter", daemon=True).start()

    def failed(self, error: BaseException) -> None:
        """Report that the constructor raised."""
        report(self._control, Outcome.FAILED, pickle.dumps(pack_error(error, wire.dumps)))

    def ready(self) -> bool:
        """Report that the service is constructed; whether the starter then says go."""
        with self._lock:
            self._constructed = True
        report(self._control, Outcome.READY)
        self._told.wait()
        return self._go

    def published(self, when_gone: Callable[[], None] | None) -> None:
        """Report that lookups see the service.

        Args:
            when_gone: Called in a thread when the starter's process has ended, if given.
        """
        with self._lock:
            self._when_gone = when_gone
        report(self._control, Outcome.PUBLISHED)

    def _listen(self) -> None:
        while True:
            word = self._read()
            with self._lock:
                if word == GO:
                    self._go = True
                elif not self._constructed:
                    # Nothing is there yet that could be closed, and the name must not stay taken.
                    os._exit(1)
                self._told.set()
                if word != GO:
                    break
        if self._when_gone is not None:
            self._when_gone()

    def _read(self) -> bytes:
        try:
            return self._control.recv(1)
        except OSError:
            return b""
