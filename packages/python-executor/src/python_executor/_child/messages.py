"""Messages between host and servers: one JSON object a SEQPACKET message, descriptors beside."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# The largest message (bytes): a report of a failed preload, a configuration with many paths.
MESSAGE_LIMIT = 65536
# The largest that comes after the first: a number with its name.
_REQUEST_LIMIT = 512
# The most descriptors that a message carries.
DESCRIPTOR_LIMIT = 8
# Made ready, and in C: what a slot server runs here, its interpreters' memory is copied for.
_SPACE = socket.CMSG_SPACE(DESCRIPTOR_LIMIT * struct.calcsize("i"))
_CLOSE_ON_EXEC = int(socket.MSG_CMSG_CLOEXEC)
_unpack = [struct.Struct(f"{count}i").unpack for count in range(DESCRIPTOR_LIMIT + 1)]
_decode: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def receive(sock: socket.socket) -> tuple[dict[str, Any], Sequence[int]] | None:
    """Take one message and its descriptors; None when the host has closed its side or died."""
    try:
        data, ancillary, _, _ = sock.recvmsg(_REQUEST_LIMIT, _SPACE, _CLOSE_ON_EXEC)
    except ConnectionResetError:
        return None  # the host ended with a message of ours unread
    descriptors: Sequence[int] = ()
    for _, _, content in ancillary:  # SCM_RIGHTS: nothing else was asked for
        descriptors = _unpack[len(content) // 4](content)
    if not data:
        for descriptor in descriptors:
            os.close(descriptor)
        return None
    return _decode(data.decode(), 0)[0], descriptors


def receive_configuration(sock: socket.socket) -> dict[str, Any] | None:
    """Take the first message, which may be long; None when the host has died."""
    data = sock.recv(MESSAGE_LIMIT)
    return json.loads(data) if data else None


def send(sock: socket.socket, message: dict[str, Any]) -> None:
    """Send one message; a host that is gone is no error here: ``receive`` will tell."""
    _send(sock, json.dumps(message).encode())


def tell_forked(sock: socket.socket, generation: int, pid: int, server: int) -> None:
    """Tell the host of a new interpreter: ``send``, in one step."""
    _send(
        sock, b'{"kind":"forked","generation":%d,"pid":%d,"server":%d}' % (generation, pid, server)
    )


def tell_exited(sock: socket.socket, generation: int, returncode: int) -> None:
    """Tell the host that an interpreter has ended by itself."""
    send(sock, {"kind": "exited", "generation": generation, "returncode": returncode})


def tell_restored(sock: socket.socket, generation: int, pid: int, server: int) -> None:
    """Tell the host that a checkpoint goes on; ``pid`` is 0 if there was none."""
    send(sock, {"kind": "restored", "generation": generation, "pid": pid, "server": server})


def _send(sock: socket.socket, data: bytes) -> None:
    try:
        sock.send(data)
    except (BrokenPipeError, ConnectionResetError):
        return
