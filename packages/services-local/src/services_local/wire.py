"""Messages between a caller and a service: frames over a Unix stream socket.

    request id, kind, segments, given back, bytes of the pickle      _HEADER
    bytes and number of each segment                                 _SEGMENT, and its descriptor
    number of each segment that is given back                        _NUMBER
    the pickle                                                       or it is the last segment

Descriptors come with the first bytes of their frame (SCM_RIGHTS, unix(7)). Nothing that a frame
says of lengths is believed: memory is taken for what has come.
"""

from __future__ import annotations

import array
import errno
import os
import pickle
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from services_local.errors import WireError
from services_local.pickling import Apart, dumps
from services_local.segments import AVAILABLE, Exchange, Segment

_HEADER = struct.Struct("!QBBHQ")
_SEGMENT = struct.Struct("!QQ")
_NUMBER = struct.Struct("!Q")

# Nobody has as much memory: whoever says so speaks something else.
_MAX_PICKLE = 1 << 42
_MOST_GIVEN_BACK = 64

# One read takes many small frames, or a part of a large one.
_CHUNK = 1 << 16
_LARGE_CHUNK = 1 << 20

# The last one holds the pickle, where that is large itself.
_MAX_DESCRIPTORS = Apart.most + 1
_DESCRIPTOR_SPACE = (
    socket.CMSG_SPACE(_MAX_DESCRIPTORS * array.array("i").itemsize) if AVAILABLE else 0
)
_CLOSE_ON_EXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_TRUNCATED = int(socket.MSG_CTRUNC)


# What a frame is. Plain numbers: a member of an Enum takes longer to look up than a frame to pack.
CALL = 1  # one call on a connection of its own: the service answers in order
SUBMIT = 2  # one of many calls under way: answered when it is done
STREAM = 3  # a generator method: ITEMs, then END
RESULT = 4
ERROR = 5
ITEM = 6
END = 7
_KINDS = range(CALL, END + 1)


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
        return _HEADER.pack(request, kind, 0, 0, len(payload)) + payload
    count = min(len(exchange.let_go), _MOST_GIVEN_BACK)
    given_back = [exchange.let_go.popleft() for _ in range(count)]
    return b"".join(
        (
            _HEADER.pack(request, kind, len(segments), count, len(payload)),
            *(_SEGMENT.pack(segment.size, segment.number) for segment in segments),
            *map(_NUMBER.pack, given_back),
            payload,
        )
    )


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
        self._needed = _HEADER.size
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
        request, kind, segments, given_back, length = _HEADER.unpack_from(data, start)
        if (
            kind not in _KINDS
            or segments > _MAX_DESCRIPTORS
            or given_back > _MOST_GIVEN_BACK
            or length > _MAX_PICKLE
            or not (length or segments)
        ):
            raise WireError("what comes is no frame")
        body = start + _HEADER.size + segments * _SEGMENT.size + given_back * _NUMBER.size
        end = body + length
        if available < end - start:
            self._needed = end - start
            return None
        if segments or given_back:
            buffers = self._segments(start + _HEADER.size, segments, given_back)
        else:
            buffers = []
        payload = memoryview(data)[body:end] if length else buffers.pop()
        self._start = end
        self._needed = _HEADER.size
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
        if flags & _TRUNCATED or len(self._descriptors) > 2 * _MAX_DESCRIPTORS:
            raise WireError("more descriptors than there may be")

    def _segments(self, start: int, segments: int, given_back: int) -> list[Any]:
        numbers = start + segments * _SEGMENT.size
        self._exchange.take_back(
            _NUMBER.unpack_from(self._data, numbers + index * _NUMBER.size)[0]
            for index in range(given_back)
        )
        if len(self._descriptors) < segments:
            raise WireError("a frame without its descriptors")
        return [
            self._exchange.receive(
                self._descriptors.popleft(),
                *_SEGMENT.unpack_from(self._data, start + index * _SEGMENT.size),
            )
            for index in range(segments)
        ]
