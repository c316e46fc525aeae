"""Frames between the host and an interpreter: 4 bytes of length, big-endian, then JSON."""

from __future__ import annotations

import builtins
import json.encoder
import os
from typing import Any

# A program may patch ``builtins``, ``json`` and ``os``: its result is sent by copies. C functions,
# because json's Python functions look up the real builtins.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_make_encoder: Any = json.encoder.c_make_encoder  # type: ignore[attr-defined]
_escape = json.encoder.encode_basestring_ascii
_encode: Any = _make_encoder(None, None, _escape, None, ": ", ", ", *(False, False, True))
_decode: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_read = os.read
_write = os.write
# The longest frame that the host takes (bytes).
FRAME_LIMIT = 16 * 1024 * 1024


def receive(descriptor: int) -> dict[str, Any] | None:
    """Take one frame; None at the end of the stream."""
    header = read_exactly(descriptor, 4)
    if header is None:
        return None
    body = read_exactly(descriptor, int.from_bytes(header, "big"))
    if body is None:
        return None
    return decode(body)


def decode(body: bytes) -> dict[str, Any]:
    """Return what ``encode`` was given, from what it returned but for the length."""
    frame: dict[str, Any] = _decode(body.decode(), 0)[0]
    return frame


def read_exactly(descriptor: int, size: int) -> bytes | None:
    """Read ``size`` bytes; None at the end of the stream."""
    data = _read(descriptor, size)
    if len(data) == size:
        return data
    parts = [data]
    missing = size - len(data)
    while missing and parts[-1]:
        parts.append(_read(descriptor, missing))
        missing -= len(parts[-1])
    return None if missing else b"".join(parts)


def send(descriptor: int, frame: dict[str, Any]) -> None:
    """Send one frame.

    Raises:
        OSError: the descriptor was closed or the host is gone.
    """
    write(descriptor, encode(frame))


def encode(frame: dict[str, Any]) -> bytes:
    """Return a frame as it is sent."""
    body = "".join(_encode(frame, 0)).encode()
    return len(body).to_bytes(4, "big") + body


def write(descriptor: int, data: bytes) -> None:
    """Send encoded frames.

    Raises:
        OSError: the descriptor was closed or the host is gone.
    """
    done = _write(descriptor, data)
    while done < len(data):
        done += _write(descriptor, memoryview(data)[done:])
