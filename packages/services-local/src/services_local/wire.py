"""Messages between a caller and a service: frames over a Unix stream socket.

A frame is a header (request id, kind, number of buffers, bytes of the pickle), the sizes of the
buffers, the pickle, and the buffers. Buffers are pickle 5's out-of-band data (PEP 574): a large
array is written from where it lies and read into where it stays.

Pickles are read only after the peer has shown the key (`authenticate`, `admit`).
"""

from __future__ import annotations

import enum
import hmac
import io
import os
import pickle
import socket
import struct
import sys
from typing import Any, NamedTuple

import cloudpickle  # type: ignore[import-untyped]  # it ships no types

_HEADER = struct.Struct("!QBIQ")
_SIZE = struct.Struct("!Q")
_PEER = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)

# The kernel takes up to 1024 pieces a call (IOV_MAX).
_MAX_PIECES = 1024
_HANDSHAKE_SECONDS = 5.0


class Kind(enum.IntEnum):
    """What a frame is."""

    CALL = 1  # one call on a connection of its own: the service answers in order
    SUBMIT = 2  # one of many calls under way: answered when it is done
    STREAM = 3  # a generator method: ITEMs, then END
    STOP = 4  # run close() and end
    RESULT = 5
    ERROR = 6
    ITEM = 7
    END = 8


class Frame(NamedTuple):
    """A message: the id of its request, its kind, and its content, still pickled.

    Reading and unpickling are apart, so that a content that can't be rebuilt here fails its own
    call and leaves the connection as it was.
    """

    request: int
    kind: Kind
    payload: bytearray
    buffers: list[bytearray]

    def content(self) -> Any:
        """Unpickle the content; raises whatever the classes in it raise."""
        return pickle.loads(self.payload, buffers=self.buffers)  # noqa: S301 - from an admitted peer


def dumps(value: Any, buffers: list[pickle.PickleBuffer] | None = None) -> bytes:
    """Pickle a value; classes and functions of `__main__` go by value.

    Args:
        value: What to pickle.
        buffers: Takes large buffers out of band, if given.
    """
    collect = None if buffers is None else buffers.append
    try:
        data = pickle.dumps(value, protocol=5, buffer_callback=collect)
    except (pickle.PicklingError, AttributeError, TypeError):
        data = b"__main__"  # a lambda, say: by value
    # By reference it would be looked up in the other process's __main__, which is another.
    if b"__main__" not in data and b"__mp_main__" not in data:
        return data
    if "__mp_main__" in sys.modules:  # the main script's name in a process that it has spawned
        cloudpickle.register_pickle_by_value(sys.modules["__mp_main__"])
    if buffers is not None:
        buffers.clear()
    file = io.BytesIO()
    cloudpickle.Pickler(file, protocol=5, buffer_callback=collect).dump(value)
    return file.getvalue()


def send(connection: socket.socket, request: int, kind: Kind, content: Any) -> None:
    """Pickle a content and write it as one frame."""
    write(connection, encode(request, kind, content))


def encode(request: int, kind: Kind, content: Any) -> list[memoryview]:
    """A frame as the pieces that `write` takes; raises whatever pickling the content raises."""
    buffers: list[pickle.PickleBuffer] = []
    payload = dumps(content, buffers)
    raws = [buffer.raw() for buffer in buffers]
    header = _HEADER.pack(request, kind, len(raws), len(payload))
    sizes = b"".join(_SIZE.pack(raw.nbytes) for raw in raws)
    return [memoryview(header + sizes + payload), *raws]


def write(connection: socket.socket, pieces: list[memoryview]) -> None:
    """Write the pieces of a frame, from where they lie."""
    while pieces:
        sent = connection.sendmsg(pieces[:_MAX_PIECES])
        while pieces and sent >= pieces[0].nbytes:
            sent -= pieces.pop(0).nbytes
        if sent:
            pieces[0] = pieces[0].cast("B")[sent:]


def receive(connection: socket.socket) -> Frame:
    """Read one frame.

    Raises:
        EOFError: The peer is gone.
    """
    request, kind, count, length = _HEADER.unpack(_read(connection, _HEADER.size))
    sizes = [_SIZE.unpack(_read(connection, _SIZE.size))[0] for _ in range(count)]
    payload = _read(connection, length)
    buffers = [_read(connection, size) for size in sizes]
    return Frame(request, Kind(kind), payload, buffers)


def authenticate(connection: socket.socket, key: bytes) -> None:
    """Show the key to a service."""
    connection.sendall(key)


def admit(connection: socket.socket, key: bytes) -> bool:
    """Whether the peer is this user's and shows the key; a stranger's bytes are never unpickled."""
    if hasattr(socket, "SO_PEERCRED"):
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        if _PEER.unpack(credentials)[1] != os.geteuid():
            return False
    connection.settimeout(_HANDSHAKE_SECONDS)
    try:
        shown = bytes(_read(connection, len(key)))
    except (OSError, EOFError):
        return False
    connection.settimeout(None)
    return hmac.compare_digest(shown, key)


def _read(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    filled = 0
    while filled < size:
        count = connection.recv_into(view[filled:])
        if not count:
            raise EOFError("the peer closed the connection")
        filled += count
    return data
