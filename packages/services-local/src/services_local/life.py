"""The end of a service: who may bring it about, and that it comes once.

A `STOP` connection, a signal, the end of the registrar or of the lease each have a thread here. The
first runs `close()`, the others wait for it, and the process exits when the last has done what it
had to do.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from services_core.hosting import ServiceHost
from services_core.remote_errors import pack_error
from services_local import documents, door, wire
from services_local.handshake import Purpose
from services_local.pickling import dumps
from services_local.records import Record
from services_local.segments import Exchange
from services_local.wire import Encoded

_log = logging.getLogger("services_local")

# What a caller that stops a service gets to read the answer (seconds).
_ANSWER_SECONDS = 5.0


class Calls(Protocol):
    """How the calls of a service are run."""

    @property
    def stuck(self) -> bool:
        """Whether, once it was ended, something doesn't give the main thread back."""

    def admit(self, caller: socket.socket) -> None:
        """Take the calls of somebody who has been let in; from any thread."""

    def run(self) -> None:
        """Return when the service has ended; in the main thread."""

    def end(self, grace: float) -> BaseException | None:
        """Run the service's `close()`, and return what it raised; from any other thread."""


class Life:
    """Ends a service once.

    Args:
        name: The service's name.
        calls: What runs its calls.
        close_timeout: Seconds that its `close()` may take, and before that a method that runs.
    """

    def __init__(self, name: str, calls: Calls, close_timeout: float) -> None:
        self._name = name
        self._calls = calls
        self._close_timeout = close_timeout
        self._ending = threading.Lock()
        self._ended = False
        self._noting = threading.Lock()
        self._is_ending = False
        self._record: Path | None = None
        self._problem: BaseException | None = None
        self._busy = 0
        self._asked = False
        self._over = threading.Condition()

    def admit(self, caller: socket.socket, purpose: Purpose) -> None:
        """Take somebody who has been let in."""
        if purpose is Purpose.CALLS:
            self._calls.admit(caller)
        else:
            threading.Thread(
                target=self._stop, args=(caller,), name="service-stop", daemon=True
            ).start()

    def publish(self, path: Path, record: Record) -> bool:
        """Let lookups see the service; False if it is to end before that."""
        with self._noting:
            if not self._is_ending:
                record.write(path)
                self._record = path
            return not self._is_ending

    def note(self, **facts: Any) -> None:
        """Change what the record says."""
        with self._noting:
            if self._record is not None:
                documents.change(self._record, **facts)

    def end_soon(self) -> None:
        """End the service, and don't wait for it."""
        threading.Thread(target=self._end_alone, name="service-end", daemon=True).start()

    @contextlib.contextmanager
    def end(self) -> Iterator[BaseException | None]:
        """End the service, or wait until somebody else has; the process stays for the `with`.

        Gives what `close()` raised, or None.
        """
        with self._over:
            self._busy += 1
        try:
            with self._ending:
                if not self._ended:
                    self._announce()
                    self._problem = self._calls.end(self._close_timeout)
                    self._ended = True
                    if self._problem is not None:
                        _log.warning("close() of %r failed: %r", self._name, self._problem)
            yield self._problem
        finally:
            with self._over:
                self._busy -= 1
                self._over.notify_all()
                if not self._busy and self._calls.stuck:
                    # The main thread, which would have to exit, isn't given back.
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(0)

    def wait(self) -> None:
        """Return when the service has ended, and nobody has anything to do about it any more."""
        with self._over:
            self._over.wait_for(lambda: self._ended and not self._busy)

    @property
    def asked(self) -> bool:
        """Whether a caller has ended the service, and been told: it then removes the files."""
        return self._asked

    def _announce(self) -> None:
        """Have nobody start it again, nor tell callers that it will be back."""
        with self._noting:
            self._is_ending = True
        try:
            self.note(state="ending")
        except OSError as error:  # no room, say
            _log.warning("the record can't be changed: %r", error)

    def _end_alone(self) -> None:
        with self.end():
            pass

    def _stop(self, caller: socket.socket) -> None:
        with self.end() as problem, contextlib.suppress(OSError):
            if problem is None:
                answer = wire.encode(0, wire.RESULT, None, Exchange())
            else:
                answer = wire.encode(0, wire.ERROR, pack_error(problem, dumps), Exchange())
            caller.settimeout(_ANSWER_SECONDS)
            rest: Encoded | None = answer
            while rest is not None:
                rest = wire.write(caller, rest)
            self._asked = True
        door.close(caller)


def check_method(host: ServiceHost, name: object) -> None:
    """Raise `AttributeError` for what is no public method of the service."""
    if name not in host.methods:
        raise AttributeError(f"service {host.name!r} has no method {name!r}")
