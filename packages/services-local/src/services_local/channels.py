"""A caller's sockets: connected, introduced, and used by one thread at a time."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from typing import Any

from services_local import forks, handshake, wire
from services_local.handshake import Purpose
from services_local.reading import Frame, Reader
from services_local.segments import Exchange
from services_local.wire import Encoded

# Between two tries to connect to a service that has too many callers waiting (seconds).
_TRY_SECONDS = 0.005


class Channel:
    """One socket to a service; at a time one thread writes, and one reads.

    Args:
        path: The service's socket.
        purpose: What it is for.
        give_up: When to stop waiting, by `time.monotonic()`; None waits while the service lives.

    Attributes:
        socket: The socket.
        peer_pid: The process that this leads to, where the system tells.

    Raises:
        OSError: The service is gone.
        TimeoutError: It didn't let anybody in, in time.
    """

    def __init__(self, path: Path, purpose: Purpose, give_up: float | None = None) -> None:
        with forks.no_fork():
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            # In a forked child it would keep the service from seeing that this end was closed.
            forks.keep_private(self)
        self._timeout: float | None = None
        self._exchange = Exchange()
        self._reader = Reader(self.socket, self._exchange)
        try:
            self._connect(str(path), give_up)
            self.peer_pid = handshake.peer_pid(self.socket)
            handshake.introduce(self.socket, path, purpose)
        except BaseException:
            self.close()
            raise

    def encode(self, request: int, kind: int, content: Any) -> Encoded:
        """Make a frame; raises whatever pickling the content raises."""
        return wire.encode(request, kind, content, self._exchange)

    def write(self, frame: Encoded, give_up: float | None = None) -> None:
        """Write a frame.

        Args:
            frame: What `encode` made.
            give_up: When to stop waiting, by `time.monotonic()`.

        Raises:
            OSError: The service is gone.
            TimeoutError: It didn't take all of it in time.
        """
        rest: Encoded | None = frame
        try:
            while rest is not None:
                if give_up is not self._timeout:
                    self._allow(give_up)
                rest = wire.write(self.socket, rest)
        except BaseException:
            wire.cancel(frame)
            raise

    def receive(self, give_up: float | None = None) -> Frame:
        """Read one frame.

        Args:
            give_up: When to stop waiting, by `time.monotonic()`.

        Raises:
            EOFError: The service is gone.
            OSError: Likewise.
            TimeoutError: None came in time.
        """
        frame = self._reader.take() if self._reader.has_more else None
        while frame is None:
            if give_up is not self._timeout:
                self._allow(give_up)
            frame = self._reader.read()
        return frame

    def is_open(self) -> bool:
        """Whether the service lives; asked while no answer is due."""
        if self._timeout is not None:
            self._allow(None)
        try:
            # There is nothing to read but the end.
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def hang_up(self) -> None:
        """End the waiting of whoever reads or writes."""
        with contextlib.suppress(OSError):  # the peer was faster
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket; a second call does nothing."""
        forks.forget(self)
        self.socket.close()
        self._reader.close()
        self._exchange.close()

    def _connect(self, path: str, give_up: float | None) -> None:
        while True:
            self._allow(give_up)
            try:
                return self.socket.connect(path)
            except BlockingIOError:
                time.sleep(_TRY_SECONDS)

    def _allow(self, give_up: float | None) -> None:
        """Have the next operation end in time."""
        if give_up is None:
            timeout = None
        else:
            timeout = give_up - time.monotonic()
            if timeout <= 0:
                raise TimeoutError
        self.socket.settimeout(timeout)
        self._timeout = timeout
