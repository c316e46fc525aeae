"""The first bytes of a connection: a caller shows the key, and says what it has come for.

Both sides' ends of it. A service unpickles nothing of a peer that has not been admitted.
"""

from __future__ import annotations

import enum
import hmac
import os
import socket
import struct
from pathlib import Path

from services_local.runtime import KEY_BYTES, RuntimeDirectory

_PEER = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)


class Purpose(bytes, enum.Enum):
    """What a connection is for."""

    CALLS = b"c"
    STOP = b"s"  # run close() and end; the answer comes when close() has returned


LENGTH = KEY_BYTES + 1


def introduce(connection: socket.socket, path: Path, purpose: Purpose) -> None:
    """Show the key of the directory that the service's socket is in."""
    connection.sendall(RuntimeDirectory.of_socket(path).key() + purpose.value)


def purpose_of(shown: bytes, key: bytes) -> Purpose | None:
    """What a peer has come for, or None if it is to be turned away.

    Args:
        shown: Its first bytes, `LENGTH` of them.
        key: What it must show.
    """
    if not hmac.compare_digest(shown[:KEY_BYTES], key):
        return None
    try:
        return Purpose(shown[KEY_BYTES:])
    except ValueError:
        return None


def is_own(connection: socket.socket) -> bool:
    """Whether the peer is a process of this user, where the system tells."""
    peer = _peer_of(connection)
    return peer is None or peer[1] == os.geteuid()


def peer_pid(connection: socket.socket) -> int | None:
    """The process on the other end, where the system tells: for a caller, the one that listens."""
    peer = _peer_of(connection)
    return None if peer is None else peer[0]


def _peer_of(connection: socket.socket) -> tuple[int, int] | None:
    if not hasattr(socket, "SO_PEERCRED"):  # macOS
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, uid, _ = _PEER.unpack(credentials)
    return pid, uid
