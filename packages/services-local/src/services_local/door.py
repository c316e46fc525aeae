"""Where a service lets its callers in: a thread that turns strangers away.

    connect  ->  is it this user's?  ->  does it show the key in time?  ->  what has it come for?

Nobody who waits here holds up those who are in, or the others who wait.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from services_local import forks, handshake
from services_local.handshake import Purpose

_log = logging.getLogger("services_local")

# Time to show the key. A caller does it at once, unless its machine is very busy.
_SECONDS = 5.0

# Callers that connect at the same time; more wait in connect(2).
_BACKLOG = 512

# Waiting here at the same time; the oldest goes first. It leaves most of the descriptors that a
# process may have (often 1024) to those who are in.
_MOST_WAITING = 256

# After a failed accept, such as for want of descriptors (seconds).
_PAUSE = 0.01


class Door:
    """Listens on a service's socket.

    Args:
        path: Where. What is left there of an earlier process is removed.
        key: What a caller must show.
        admit: Called in the door's thread with who has come in, and what for.
    """

    def __init__(
        self, path: Path, key: bytes, admit: Callable[[socket.socket, Purpose], None]
    ) -> None:
        self._key = key
        self._admit = admit
        self._waiting: dict[socket.socket, tuple[float, bytes]] = {}
        with forks.no_fork():
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._selector = selectors.DefaultSelector()
            # A process that the service forks must not keep callers waiting when the service dies.
            forks.keep_private(self._listener)
            forks.keep_private(self._selector)
        path.unlink(missing_ok=True)
        self._listener.bind(str(path))
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)  # noqa: FBT003 - takes no keyword
        self._selector.register(self._listener, selectors.EVENT_READ)
        threading.Thread(target=self._watch, name="service-door", daemon=True).start()

    def _watch(self) -> None:
        while True:
            for key, _ in self._selector.select(self._patience()):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._hear(key.fileobj)
            now = time.monotonic()
            for stranger in [s for s, (until, _) in self._waiting.items() if until <= now]:
                self._turn_away(stranger)

    def _patience(self) -> float | None:
        """Seconds until the next one has waited long enough."""
        if not self._waiting:
            return None
        first, _ = next(iter(self._waiting.values()))
        return max(0.0, first - time.monotonic())

    def _accept(self) -> None:
        try:
            with forks.no_fork():
                stranger, _ = self._listener.accept()
                forks.keep_private(stranger)
        except BlockingIOError:
            return  # it has given up
        except OSError as error:
            _log.warning("accept failed: %r", error)
            time.sleep(_PAUSE)
            return
        stranger.setblocking(False)  # noqa: FBT003 - as above
        if not handshake.is_own(stranger):
            close(stranger)
            return
        if len(self._waiting) == _MOST_WAITING:
            self._turn_away(next(iter(self._waiting)))
        self._waiting[stranger] = (time.monotonic() + _SECONDS, b"")
        self._selector.register(stranger, selectors.EVENT_READ)
        self._hear(stranger)  # what a caller shows comes right after its connect

    def _hear(self, stranger: socket.socket) -> None:
        until, shown = self._waiting[stranger]
        try:
            # No more than that: what follows is for who reads frames.
            more = stranger.recv(handshake.LENGTH - len(shown))
        except BlockingIOError:
            return
        except OSError:
            more = b""
        shown += more
        if not more:
            self._turn_away(stranger)
        elif len(shown) < handshake.LENGTH:
            self._waiting[stranger] = (until, shown)
        elif (purpose := handshake.purpose_of(shown, self._key)) is None:
            self._turn_away(stranger)
        else:
            self._leave(stranger)
            try:
                self._admit(stranger, purpose)
            except RuntimeError as error:  # no thread can be started for it
                _log.warning("a caller was turned away: %r", error)
                close(stranger)

    def _turn_away(self, stranger: socket.socket) -> None:
        self._leave(stranger)
        close(stranger)

    def _leave(self, stranger: socket.socket) -> None:
        del self._waiting[stranger]
        self._selector.unregister(stranger)


def close(caller: socket.socket) -> None:
    """Close the socket of somebody who came through a door."""
    forks.forget(caller)
    with contextlib.suppress(OSError):
        caller.close()
