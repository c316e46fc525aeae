"""Reading frames (`services_local.wire`), as they come.

Nothing that a frame says of lengths is believed: memory is taken for what has come.
"""

from __future__ import annotations

import array
import os
import pickle
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

from services_local.errors import WireError
from services_local.segments import AVAILABLE, Exchange
from services_local.wire import (
    HEADER,
    KINDS,
    MAX_DESCRIPTORS,
    MAX_PICKLE,
    MOST_GIVEN_BACK,
    NUMBER,
    SEGMENT,
)

# One read takes many small frames, or a part of a large one.
_CHUNK = 1 << 16
_LARGE_CHUNK = 1 << 20

_DESCRIPTOR_SPACE = (
    socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize) if AVAILABLE else 0
)
_CLOSE_ON_EXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_TRUNCATED = int(socket.MSG_CTRUNC)


class Frame:
    """A message that has come, its content still pickled.

    Reading and unpickling are apart, so that a content that can't be rebuilt here fails its own
    call and leaves the connection as it was.

    Attributes:
        request: The id of its request.
        kind: What it is.
    """

    __slots__ = ("_buffers", "_payload", "kind", "request")

    def __init__(self, request: int, kind: int, payload: Any, buffers: Sequence[Any]) -> None:
        self.request = request
        self.kind = kind
        self._payload = payload
        self._buffers = buffers

    def take_content(self) -> Any:
        """Unpickle the content, once; raises whatever the classes in it raise.

        It is let go of: a large array shall be nobody's but whose it is given to.
        """
        payload, buffers = self._payload, self._buffers
        self._payload = self._buffers = ()
        return pickle.loads(payload, buffers=buffers)  # noqa: S301 - from an admitted peer


class Reader:
    """Takes frames from a socket.

    Args:
        connection: The socket, blocking or not.
        exchange: Where the segments of the connection come and go.

    Attributes:
        has_more: Whether more has been read than frames were made of.
    """

    def __init__(self, connection: socket.socket, exchange: Exchange) -> None:
        self._receive = connection.recvmsg
        self._exchange = exchange
        self._data: bytes | bytearray = b""
        self._start = 0
        self._needed = HEADER.size
        self._descriptors: deque[int] = deque()
        self.has_more = False

    def read(self) -> Frame | None:
        """Read once what has come, and return the first frame of it that is complete.

        Raises:
            EOFError: The peer is gone.
            WireError: It sends what makes no sense.
        """
        size = _CHUNK if self._needed <= _CHUNK else _LARGE_CHUNK
        chunk, ancillary, flags, _ = self._receive(size, _DESCRIPTOR_SPACE, _CLOSE_ON_EXEC)
        if ancillary or flags & _TRUNCATED:
            self._keep(ancillary, flags)
        if not chunk:
            raise EOFError("the peer closed the connection")
        if not self.has_more:
            self._data = chunk
            self.has_more = True
        elif isinstance(self._data, bytearray) and not self._start:
            self._data += chunk
        else:
            self._data = bytearray(self._data[self._start :])
            self._data += chunk
        self._start = 0
        return self.take()

    def take(self) -> Frame | None:
        """The next frame of what has been read, if it is complete.

        Raises:
            WireError: It makes no sense.
        """
        data, start = self._data, self._start
        available = len(data) - start
        if available < self._needed:
            return None
        request, kind, segments, given_back, length = HEADER.unpack_from(data, start)
        if (
            kind not in KINDS
            or segments > MAX_DESCRIPTORS
            or given_back > MOST_GIVEN_BACK
            or length > MAX_PICKLE
            or not (length or segments)
        ):
            raise WireError("what comes is no frame")
        body = start + HEADER.size + segments * SEGMENT.size + given_back * NUMBER.size
        end = body + length
        if available < end - start:
            self._needed = end - start
            return None
        if segments or given_back:
            buffers = self._segments(start + HEADER.size, segments, given_back)
        else:
            buffers = []
        payload = memoryview(data)[body:end] if length else buffers.pop()
        self._start = end
        self._needed = HEADER.size
        self.has_more = end < len(data)
        return Frame(request, kind, payload, buffers)

    def close(self) -> None:
        """Close descriptors that nobody has asked for."""
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def _keep(self, ancillary: list[tuple[int, int, bytes]], flags: int) -> None:
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors = array.array("i")
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
                self._descriptors.extend(descriptors)
        if flags & _TRUNCATED or len(self._descriptors) > 2 * MAX_DESCRIPTORS:
            raise WireError("more descriptors than there may be")

    def _segments(self, start: int, segments: int, given_back: int) -> list[Any]:
        numbers = start + segments * SEGMENT.size
        self._exchange.take_back(
            NUMBER.unpack_from(self._data, numbers + index * NUMBER.size)[0]
            for index in range(given_back)
        )
        if len(self._descriptors) < segments:
            raise WireError("a frame without its descriptors")
        holds_enough = self._exchange.holds_enough
        return [
            self._exchange.receive(
                self._descriptors.popleft(),
                *SEGMENT.unpack_from(self._data, start + index * SEGMENT.size),
                copy=holds_enough,
            )
            for index in range(segments)
        ]
