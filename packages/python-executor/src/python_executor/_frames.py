"""Frames from an interpreter, not to be trusted: 4 bytes of length, then JSON, into structs.

Whatever doesn't decode strictly, or is too long, is a ``FrameError``: the caller ends that
interpreter.
"""

from __future__ import annotations

import json
from typing import Annotated

import msgspec

# The longest frame from an interpreter (bytes). A value of 1 MiB characters fits, each escaped as
# \uXXXX\uXXXX.
FRAME_LIMIT = 16 * 1024 * 1024
HEADER = 4


class FrameError(Exception):
    """An interpreter sent something that is no frame. Never leaves the package."""


class Started(
    msgspec.Struct, tag="started", tag_field="kind", forbid_unknown_fields=True, frozen=True
):
    """The interpreter took the program and begins."""

    pid: int


class Failure(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An uncaught exception."""

    type: str
    message: str
    traceback: str


class Outcome(
    msgspec.Struct, tag="result", tag_field="kind", forbid_unknown_fields=True, frozen=True
):
    """The program came to its end."""

    returncode: Annotated[int, msgspec.Meta(ge=-64, le=255)]
    value: str | None
    error: Failure | None
    truncated: bool


_decoder: msgspec.json.Decoder[Started | Outcome] = msgspec.json.Decoder(
    Started | Outcome, strict=True
)
# json, not msgspec: a program may hold lone surrogates, which only json's \u escapes carry.
_encode = json.JSONEncoder(check_circular=False).encode


def run_frame(code: str, *, name: str, stdin: str | None, cell: bool, limit: int) -> bytes:
    """Encode the frame that has an interpreter run a program.

    Args:
        code: the program.
        name: what tracebacks call its file.
        stdin: text of its standard input.
        cell: whether the interpreter goes on afterwards with the state that it has then.
        limit: longest value (characters).
    """
    frame = {
        "kind": "run",
        "code": code,
        "name": name,
        "stdin": stdin,
        "cell": cell,
        "limit": limit,
    }
    body = _encode(frame).encode()
    return len(body).to_bytes(HEADER, "big") + body


class FrameReader:
    """Takes bytes as they come and gives whole frames; holds at most one frame more than it is fed.

    Args:
        limit: the longest frame (bytes).
    """

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self._limit = limit
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        self._data += data

    @property
    def empty(self) -> bool:
        """Whether nothing was received beyond the frames taken."""
        return not self._data

    def next(self) -> Started | Outcome | None:
        """Take the next whole frame, None if it hasn't arrived yet.

        Raises:
            FrameError: what arrived is too long or no frame.
        """
        if len(self._data) < HEADER:
            return None
        size = int.from_bytes(self._data[:HEADER], "big")
        if size > self._limit:
            raise FrameError(f"a frame of {size} bytes; the limit is {self._limit}")
        if len(self._data) < HEADER + size:
            return None
        body = bytes(self._data[HEADER : HEADER + size])
        del self._data[: HEADER + size]
        try:
            return _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise FrameError(f"not a frame: {error}") from error
