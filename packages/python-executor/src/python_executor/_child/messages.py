"""Messages between host and servers: one JSON object a SEQPACKET message, descriptors beside."""

from __future__ import annotations

import array
import json
import os
import socket
from typing import Any

# The largest message (bytes). Only a report of a failed preload comes near it.
MESSAGE_LIMIT = 65536
# The most descriptors that a message carries.
DESCRIPTOR_LIMIT = 8


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Take one message and its descriptors; None when the host has closed its side or died."""
    space = socket.CMSG_SPACE(DESCRIPTOR_LIMIT * array.array("i").itemsize)
    try:
        data, ancillary, _, _ = sock.recvmsg(MESSAGE_LIMIT, space, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None  # the host ended with a message of ours unread
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    if not data:
        for descriptor in descriptors:
            os.close(descriptor)
        return None
    return json.loads(data), descriptors.tolist()


def send(sock: socket.socket, message: dict[str, Any]) -> None:
    """Send one message; a host that is gone is no error here: ``receive`` will tell."""
    try:
        sock.send(json.dumps(message).encode())
    except (BrokenPipeError, ConnectionResetError):
        return
