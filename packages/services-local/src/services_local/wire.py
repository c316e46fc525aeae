"""Messages between a caller and a service: frames over a Unix stream socket, and their writing.

    request id, kind, segments, given back, bytes of the pickle      HEADER
    bytes and number of each segment                                 SEGMENT, and its descriptor
    number of each segment that is given back                        NUMBER
    the pickle                                                       or it is the last segment

Descriptors come with the first bytes of their frame (SCM_RIGHTS, unix(7)). What reads them is in
`services_local.reading`.
"""

from __future__ import annotations

import array
import errno
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

from services_local.pickling import Apart, dumps
from services_local.segments import AVAILABLE, Exchange, Segment

HEADER = struct.Struct("!QBBHQ")
SEGMENT = struct.Struct("!QQ")
NUMBER = struct.Struct("!Q")

# Nobody has as much memory: whoever says so speaks something else.
MAX_PICKLE = 1 << 42
MOST_GIVEN_BACK = 64

# The last one holds the pickle, where that is large itself.
MAX_DESCRIPTORS = Apart.most + 1

# What a frame is. Plain numbers: a member of an Enum takes longer to look up than a frame to pack.
CALL = 1  # one call on a connection of its own: the service answers in order
SUBMIT = 2  # one of many calls under way: answered when it is done
STREAM = 3  # a generator method: ITEMs, then END
RESULT = 4
ERROR = 5
ITEM = 6
END = 7
KINDS = range(CALL, END + 1)


class Outgoing:
    """A frame, or what is left of it, that can't be written at once, or has segments.

    Args:
        data: What goes through the socket.
        exchange: Where the segments of the connection come and go.
        segments: What goes along.
        plain: Makes the same frame without segments.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        exchange: Exchange | None = None,
        segments: Sequence[Segment] = (),
        plain: Callable[[], bytes] = bytes,
    ) -> None:
        self._data = data
        self._exchange = exchange
        self._segments = segments
        self._plain = plain

    def write(self, connection: socket.socket, flags: int = 0) -> bool:
        """Write as much as the socket takes; whether that was all."""
        if self._segments:
            sent = self._write_first(connection, flags)
        else:
            sent = connection.send(self._data, flags)
        self._data = memoryview(self._data)[sent:]
        return not self._data

    def cancel(self) -> None:
        """Let go of the segments: the frame won't be written."""
        if self._exchange is not None:
            segments, self._segments = self._segments, ()
            self._exchange.cancel(segments)

    def _write_first(self, connection: socket.socket, flags: int) -> int:
        assert self._exchange is not None
        descriptors = array.array("i", [segment.descriptor for segment in self._segments])
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)
        try:
            sent = connection.sendmsg([self._data], [rights], flags)
        except OSError as error:
            if error.errno != errno.ETOOMANYREFS:
                raise
            # Other processes of this user have as much under way as there may be.
            self.cancel()
            self._data = self._plain()
            return connection.send(self._data, flags)
        segments, self._segments = self._segments, ()
        self._exchange.sent(segments)
        return sent


Encoded = bytes | Outgoing
"""A frame that is to be written; nearly all are small, and plain bytes."""


def encode(request: int, kind: int, content: Any, exchange: Exchange) -> Encoded:
    """Make a frame; raises whatever pickling the content raises."""
    if not AVAILABLE:
        return _join(request, kind, dumps(content), exchange)
    apart = Apart()
    payload = dumps(content, apart)
    if not apart.buffers and len(payload) < apart.least:
        return _join(request, kind, payload, exchange)
    return _encode_large(request, kind, content, exchange, payload, apart.buffers)


def write(connection: socket.socket, frame: Encoded, flags: int = 0) -> Outgoing | None:
    """Write a frame, as much as the socket takes, and return what is left.

    Raises:
        OSError: Nothing was written.
    """
    if isinstance(frame, bytes):
        sent = connection.send(frame, flags)
        return None if sent == len(frame) else Outgoing(memoryview(frame)[sent:])
    return None if frame.write(connection, flags) else frame


def cancel(frame: Encoded) -> None:
    """Let go of a frame that won't be written."""
    if not isinstance(frame, bytes):
        frame.cancel()


def _encode_large(
    request: int,
    kind: int,
    content: Any,
    exchange: Exchange,
    payload: bytes,
    raws: list[memoryview],
) -> Encoded:
    def plain() -> bytes:
        return _join(request, kind, dumps(content), exchange)

    if len(payload) >= Apart.least:
        raws.append(memoryview(payload))
        payload = b""
    try:
        segments = exchange.send(raws)
    except OSError:  # no descriptor or no memory left for them
        return plain()
    data = _join(request, kind, payload, exchange, segments)
    return Outgoing(data, exchange, segments, plain)


def _join(
    request: int,
    kind: int,
    payload: bytes,
    exchange: Exchange,
    segments: Sequence[Segment] = (),
) -> bytes:
    if not segments and not exchange.let_go:
        return HEADER.pack(request, kind, 0, 0, len(payload)) + payload
    count = min(len(exchange.let_go), MOST_GIVEN_BACK)
    given_back = [exchange.let_go.popleft() for _ in range(count)]
    return b"".join(
        (
            HEADER.pack(request, kind, len(segments), count, len(payload)),
            *(SEGMENT.pack(segment.size, segment.number) for segment in segments),
            *map(NUMBER.pack, given_back),
            payload,
        )
    )
