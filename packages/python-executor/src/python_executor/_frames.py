"""Frames from an interpreter, not to be trusted: 4 bytes of length, then JSON, into structs.

Whatever doesn't decode strictly, or is too long, is a ``FrameError``: the caller ends that
interpreter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

import msgspec

# The longest frame from an interpreter (bytes). A value of 1 MiB characters fits, each escaped as
# \uXXXX\uXXXX.
FRAME_LIMIT = 16 * 1024 * 1024
HEADER = 4
# Characters of a value, and of an error's type, message or traceback (as in _child/failures.py).
VALUE_LIMIT = 1024 * 1024
TEXT_LIMIT = 65536
# What says in a text that its middle was left out takes no more (characters).
_MARKS = 128
# Bytes of files that come back unless a pool says otherwise.
MAX_FILES = 16 * 1024 * 1024
# A display holds at most this many forms of the same thing.
_FORMS = msgspec.Meta(max_length=16)
# That is counted when all of them are decoded, and a million take a second, and ten times the
# frame's memory. So a frame of more bytes than SMALL is refused if it has more quotes than this;
# those within strings are escaped.
_SMALL, _QUOTES = 65536, 128


_Text = Annotated[str, msgspec.Meta(max_length=TEXT_LIMIT + _MARKS)]


class FrameError(Exception):
    """An interpreter sent something that is no frame. Never leaves the package."""


class Started(
    msgspec.Struct, tag="started", tag_field="kind", forbid_unknown_fields=True, frozen=True
):
    """The interpreter took the program and begins.

    ``unprotected`` tells why its session couldn't go back to what is now, if that is so.
    """

    unprotected: Annotated[str, msgspec.Meta(max_length=256)] | None = None


class Display(
    msgspec.Struct, tag="display", tag_field="kind", forbid_unknown_fields=True, frozen=True
):
    """The program shows something: a MIME bundle."""

    data: Annotated[dict[Annotated[str, msgspec.Meta(max_length=255)], str], _FORMS]


class File(msgspec.Struct, tag="file", tag_field="kind", forbid_unknown_fields=True, frozen=True):
    """A file that the program made, or the next piece of it; base64 on the way."""

    name: str
    data: bytes
    more: bool


class Failure(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An uncaught exception.

    ``memory`` tells whether it is a MemoryError, or comes from one.
    """

    type: _Text
    message: _Text
    traceback: _Text
    memory: bool = False


class Outcome(
    msgspec.Struct, tag="result", tag_field="kind", forbid_unknown_fields=True, frozen=True
):
    """The program came to its end."""

    returncode: Annotated[int, msgspec.Meta(ge=-64, le=255)]
    value: Annotated[str, msgspec.Meta(max_length=VALUE_LIMIT + _MARKS)] | None
    error: Failure | None
    truncated: bool


Frame = Started | Display | File | Outcome
_decoder: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame, strict=True)
_encode_fast = msgspec.json.Encoder().encode
# A program may hold lone surrogates, which only json's \u escapes carry.
_encode = json.JSONEncoder(check_circular=False).encode


def run_frame(
    code: str,
    *,
    name: str | None,
    stdin: str | None,
    cell: bool,
    limit: int,
    fresh: bool = False,
    files: Mapping[str, bytes] | None = None,
    max_files: int = MAX_FILES,
    seconds: float | None = None,
    seed: int | None = None,
) -> bytes:
    """Encode the frame that has an interpreter run a program, with its files behind it.

    Args:
        code: the program.
        name: what tracebacks call its file; None has the interpreter number its cells.
        stdin: text of its standard input.
        cell: whether the interpreter goes on afterwards with the state that it has then.
        limit: longest value (characters).
        fresh: with ``cell``: whether it gets a ``__main__`` of its own nevertheless. The
            interpreter then says that it begins the first of its programs only.
        files: what is to be in its working directory. They follow the frame as they are, one after
            the other, so that the interpreter can write them without holding them.
        max_files: bytes of files that may come back.
        seconds: how long the program may run, as far as processor time can tell; None is no limit.
        seed: of the global random generators; None is none.
    """
    frame = {
        "kind": "run",
        "code": code,
        "name": name,
        "stdin": stdin,
        "files": [(path, len(data)) for path, data in files.items()] if files else (),
        "cell": cell,
        "fresh": fresh,
        "limit": limit,
        "max_files": max_files,
        "seconds": seconds,
        "seed": seed,
    }
    try:
        body = _encode_fast(frame)
    except UnicodeEncodeError:
        body = _encode(frame).encode()
    return b"".join((len(body).to_bytes(HEADER, "big"), body, *(files or {}).values()))


def keep_frame(most: int, tag: int, delay: int) -> bytes:
    """Encode the frame that has a session's interpreter leave a checkpoint behind.

    Args:
        most: how many bytes of memory of its own it may have for that.
        tag: what the checkpoint is to be known by.
        delay: milliseconds until then, unless something else is asked of it before.
    """
    body = b'{"kind":"keep","most":%d,"tag":%d,"delay":%d}' % (most, tag, delay)
    return len(body).to_bytes(HEADER, "big") + body


def branch_frame() -> bytes:
    """Encode the frame that has a session's interpreter make a branch of itself."""
    body = b'{"kind":"branch"}'
    return len(body).to_bytes(HEADER, "big") + body


def total_of(max_files: int) -> int:
    """The most bytes that an interpreter can have to send for one program.

    Args:
        max_files: bytes of files and characters of displays that may come back. Escaped or in
            base64, with their frames around them, they take less than thrice that, and names and
            a result come on top.
    """
    return 2 * FRAME_LIMIT + 3 * max_files


class FrameReader:
    """Takes bytes as they come and gives whole frames; holds at most one frame more than it is fed.

    Args:
        limit: the longest frame (bytes).
        total: the most bytes of all frames: of what is taken apart and thrown away, too, a program
            could send without end.
    """

    def __init__(self, limit: int = FRAME_LIMIT, total: int = FRAME_LIMIT) -> None:
        self._limit = limit
        self._left = total
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        self._data += data
        self._left -= len(data)

    @property
    def empty(self) -> bool:
        """Whether nothing was received beyond the frames taken."""
        return not self._data

    def next(self) -> Frame | None:
        """Take the next whole frame, None if it hasn't arrived yet.

        Raises:
            FrameError: what arrived is too long, too much or no frame.
        """
        if self._left < 0:
            raise FrameError("more than all frames together may have")
        if len(self._data) < HEADER:
            return None
        size = int.from_bytes(self._data[:HEADER], "big")
        if size > self._limit:
            raise FrameError(f"a frame of {size} bytes; the limit is {self._limit}")
        if len(self._data) < HEADER + size:
            return None
        body = bytes(self._data[HEADER : HEADER + size])
        del self._data[: HEADER + size]
        if size > _SMALL and body.count(b'"') - body.count(b'\\"') > _QUOTES:
            raise FrameError("more strings than any frame has")
        try:
            return _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise FrameError(f"not a frame: {error}") from error
