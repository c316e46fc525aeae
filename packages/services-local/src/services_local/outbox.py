"""Frames of several threads for one peer, none of which waits for that to read.

On a service's side the answers to one caller, on a caller's the calls that it submits.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque

from services_local import wire
from services_local.wire import Encoded


class Outbox:
    """Writes frames in the order in which they come.

    Args:
        connection: The socket to the peer, a blocking one.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        # Not empty: a thread of its own writes the first, and waits for the peer to read.
        self._frames: deque[Encoded] = deque()
        self._empty = threading.Event()
        self._empty.set()
        self._error: OSError | None = None

    def put(self, frame: Encoded) -> None:
        """Write a frame, now or when those before it have been read."""
        with self._lock:
            if self._frames:
                self._frames.append(frame)
            elif (rest := self._write(frame, socket.MSG_DONTWAIT)) is not None:
                self._frames.append(rest)
                self._empty.clear()
                threading.Thread(target=self._drain, name="service-writer", daemon=True).start()

    def wait(self) -> None:
        """Wait until all has been written.

        Raises:
            OSError: The peer is gone.
        """
        self._empty.wait()
        if self._error is not None:
            raise self._error

    def _write(self, frame: Encoded, flags: int = 0) -> Encoded | None:
        """What is left of the frame then."""
        try:
            return wire.write(self._connection, frame, flags)
        except BlockingIOError:
            return frame
        except OSError as error:
            wire.cancel(frame)
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)  # who reads from it sees the end, too
            self._error = error.with_traceback(None)  # which holds what was called, and with what
            return None

    def _drain(self) -> None:
        while True:
            rest: Encoded | None = self._frames[0]
            while rest is not None:
                rest = self._write(rest)
            with self._lock:
                self._frames.popleft()
                if not self._frames:
                    self._empty.set()
                    return
