"""Frames between the host and an interpreter: 4 bytes of length, big-endian, then JSON."""

from __future__ import annotations

import json
import os
from typing import Any

# Bound here, so that a program that patches ``json`` or ``os`` doesn't change how its result is
# sent.
_encode = json.JSONEncoder(ensure_ascii=True, check_circular=False).encode
_decode = json.JSONDecoder().decode
_read = os.read
_write = os.write


def receive(descriptor: int) -> dict[str, Any] | None:
    """Take one frame; None at the end of the stream."""
    header = _read_exactly(descriptor, 4)
    if header is None:
        return None
    body = _read_exactly(descriptor, int.from_bytes(header, "big"))
    if body is None:
        return None
    frame: dict[str, Any] = _decode(body.decode(), 0)[0]
    return frame


def _read_exactly(descriptor: int, size: int) -> bytes | None:
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
    body = "".join(_encode(frame, 0)).encode()
    data = len(body).to_bytes(4, "big") + body
    while data:
        data = data[_write(descriptor, data) :]
