"""Messages between host and servers: one JSON object a SEQPACKET message, descriptors beside."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

import msgspec

# As in _child/messages.py, which can't be imported from there: it must not need this package.
MESSAGE_LIMIT = 65536


class Layer(msgspec.Struct, frozen=True):
    """A layer of the sandbox, as the root found it."""

    layer: str
    on: bool
    detail: str


class Ready(msgspec.Struct, tag="ready", tag_field="kind", frozen=True):
    """The root has imported everything."""

    pid: int
    python: str
    layers: list[Layer]
    """Of the sandbox."""
    hidden: bool
    """Whether the programs' directories can't be seen from here."""


class Failed(msgspec.Struct, tag="failed", tag_field="kind", frozen=True):
    """An import failed in the root, which ends."""

    reason: str


class Forked(msgspec.Struct, tag="forked", tag_field="kind", frozen=True):
    """A slot server has forked an interpreter, or has one that was cloned."""

    generation: int
    pid: int
    server: int
    home: str | None = None
    """Of a branch: its working directory, below that of the slot."""


class Refused(msgspec.Struct, tag="refused", tag_field="kind", frozen=True):
    """A session can't be branched."""

    reason: str


class Exited(msgspec.Struct, tag="exited", tag_field="kind", frozen=True):
    """An interpreter has ended by itself."""

    generation: int
    returncode: int


class Restored(msgspec.Struct, tag="restored", tag_field="kind", frozen=True):
    """A session's server has brought a checkpoint back; ``pid`` is 0 if there was none."""

    generation: int
    pid: int
    server: int


Message = Ready | Failed | Forked | Refused | Exited | Restored
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_encoder = msgspec.json.Encoder()


def receive(sock: socket.socket, *, wait: bool = False) -> Message | None:
    """Take one message.

    Raises:
        BlockingIOError: none is there (only without ``wait``).
        EOFError: the server is gone, or sends what it never would.
    """
    try:
        data = sock.recv(MESSAGE_LIMIT, 0 if wait else socket.MSG_DONTWAIT)
    except ConnectionResetError as error:
        raise EOFError from error
    if not data:
        raise EOFError
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise EOFError(str(error)) from error


def send(sock: socket.socket, message: dict[str, int], descriptors: Sequence[int]) -> bool:
    """Send one message with descriptors; False if the server is gone or takes no more."""
    try:
        socket.send_fds(sock, [_encoder.encode(message)], descriptors, socket.MSG_DONTWAIT)
    except OSError as error:
        # The last: programs of this user have sent as many descriptors as may be under way.
        if error.errno in {errno.EAGAIN, errno.EPIPE, errno.ECONNRESET, errno.ETOOMANYREFS}:
            return False
        raise
    return True
