"""Files of a program's working directory: those that it is given, and those that it makes."""

from __future__ import annotations

import binascii
import builtins
import os
import time
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from typing import TYPE_CHECKING, NamedTuple

from . import frames

if TYPE_CHECKING:
    from collections.abc import Iterable

# A program may patch ``builtins`` and ``os``: what it made is found by copies.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_close, _fstat, _listdir, _mkdir, _open = os.close, os.fstat, os.listdir, os.mkdir, os.open
_read, _scandir, _stat, _unlink, _write = os.read, os.scandir, os.stat, os.unlink, os.write
_now = time.time_ns
_to_base64 = binascii.b2a_base64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO that took the place of a file must not keep us waiting.
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# As the host has them: it ends an interpreter that sends more, or smaller pieces.
COUNT = 1000
NAME_LIMIT = 1024
PIECE = 256 * 1024
# Entries of directories that are looked at for one program.
ENTRIES = 10_000
# Two changes of a file within so many nanoseconds may leave it with the same time (the kernel's
# tick is 10 ms at most).
TICK = 20_000_000
_KINDS = {S_IFDIR: "a directory", S_IFLNK: "a symbolic link", S_IFREG: "a file"}


class _State(NamedTuple):
    """A file as it was seen; with a hash of its content if its time alone may not tell."""

    inode: int
    size: int
    time: int
    content: int | None


class WorkingFiles:
    """The files of one interpreter's directory.

    Args:
        directory: where the interpreter begins.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._known: dict[str, _State] = {}

    def place(self, descriptor: int, entries: Iterable[tuple[str, int]]) -> str | None:
        """Read files from the control socket and write them into the directory.

        An earlier cell may have left anything there. A regular file is replaced, which leaves other
        names of it as they are; no symbolic link is followed.

        Args:
            descriptor: the socket.
            entries: names, which the host has checked, and sizes in bytes.

        Returns:
            What is in the way, or None. Nothing more is written then, but all is read.

        Raises:
            EOFError: the host is gone.
        """
        problem = None
        for name, size in entries:
            target = None
            if problem is None:
                try:
                    target = self._create(name)
                except OSError as error:
                    problem = _describe(name, error)
            content = 0
            left = size
            while left:
                piece = frames.read_exactly(descriptor, min(left, PIECE))
                if piece is None:
                    raise EOFError
                left -= len(piece)
                content = hash((content, piece))
                if target is not None and problem is None:
                    try:
                        _write_all(target, piece)
                    except OSError as error:
                        problem = _describe(name, error)
            if target is not None:
                self._known[name] = _state(_fstat(target), content)
                _close(target)
        return problem

    def move(self, directory: str) -> None:
        """Go on in a directory that holds a copy of all, of which nothing counts as made there."""
        self._directory = directory

    def _create(self, name: str) -> int:
        """Open a new file, and make the directories above it."""
        *parts, last = name.split("/")
        folder = _open(self._directory, _DIRECTORY)
        try:
            for part in parts:
                try:
                    _mkdir(part, 0o777, dir_fd=folder)
                except FileExistsError:
                    _expect(S_IFDIR, part, folder)
                inner = _open(part, _DIRECTORY, dir_fd=folder)
                _close(folder)
                folder = inner
            try:
                return _open(last, _NEW, 0o666, dir_fd=folder)
            except FileExistsError:
                _expect(S_IFREG, last, folder)
                _unlink(last, dir_fd=folder)
                return _open(last, _NEW, 0o666, dir_fd=folder)
        finally:
            _close(folder)

    def send_changed(self, descriptor: int, most: int) -> bool:
        """Send what is new or changed since the program or cell began.

        Args:
            descriptor: the control socket.
            most: bytes of all files together.

        Returns:
            Whether nothing was left out.
        """
        known, self._known = self._known, {}
        try:
            if not _listdir(self._directory):
                return True  # as after most programs
        except OSError:
            return True  # it removed the directory
        found, complete = self._scan()
        count = COUNT
        for name in sorted(found):
            status = found[name]
            state = known.get(name)
            if state is not None and self._is_unchanged(name, status, state):
                self._known[name] = _state(status, state.content)
                continue
            sent = None
            if count > 0 and status.st_size <= most:
                sent = self._send(descriptor, name, status.st_size)
            if sent is None:
                complete = False
                self._known[name] = _state(status, None)
            else:
                count -= 1
                most -= sent[0]
                complete = complete and sent[0] == status.st_size
                self._known[name] = _state(status, sent[1])
        return complete

    def _scan(self) -> tuple[dict[str, os.stat_result], bool]:
        """Find the regular files; the second value says whether there are no others."""
        found: dict[str, os.stat_result] = {}
        complete = True
        left = ENTRIES
        waiting = [""]
        for prefix in waiting:
            try:
                entries = _scandir(f"{self._directory}/{prefix}")
            except OSError:
                complete = False
                continue
            with entries:
                for entry in entries:
                    if left == 0:
                        return found, False
                    left -= 1
                    name = prefix + entry.name
                    if name[0] == "." or entry.name == "__pycache__":
                        continue
                    try:
                        status = entry.stat(follow_symlinks=False)
                        fits = len(name.encode()) <= NAME_LIMIT
                    except (OSError, UnicodeEncodeError):
                        complete = False  # removed meanwhile; or no name that the host could take
                        continue
                    kind = S_IFMT(status.st_mode)
                    if kind not in (S_IFDIR, S_IFREG):
                        continue
                    if not fits:
                        complete = False
                    elif kind == S_IFREG:
                        found[name] = status
                    else:
                        waiting.append(f"{name}/")
        return found, complete

    def _is_unchanged(self, name: str, status: os.stat_result, state: _State) -> bool:
        if (status.st_ino, status.st_size, status.st_mtime_ns) != state[:3]:
            return False
        if state.content is None:
            return True
        source = self._open(name)
        if source is None:
            return False
        try:
            content = 0
            while piece := _read(source, PIECE):
                content = hash((content, piece))
        except OSError:
            return False
        finally:
            _close(source)
        return content == state.content

    def _open(self, name: str) -> int | None:
        """Open a file to read it; None if that can't be done, or it isn't one any more."""
        try:
            source = _open(f"{self._directory}/{name}", _OLD)
        except OSError:
            return None
        if S_IFMT(_fstat(source).st_mode) == S_IFREG:
            return source
        _close(source)
        return None

    def _send(self, descriptor: int, name: str, size: int) -> tuple[int, int] | None:
        """Send a file; returns its bytes and the hash of its content, None if it can't be read."""
        source = self._open(name)
        if source is None:
            return None
        content = sent = 0
        more = True
        try:
            while more:
                try:
                    piece = _read(source, min(PIECE, size - sent))
                    more = len(piece) == PIECE and sent + PIECE < size
                    frame = _piece(name, piece, more=more)
                except (OSError, MemoryError):
                    if not sent:
                        return None
                    piece, more = b"", False  # the host has the first pieces: end it there
                    frame = _piece(name, piece, more=more)
                frames.write(descriptor, frame)
                if piece:
                    sent += len(piece)
                    content = hash((content, piece))
        finally:
            _close(source)
        return sent, content


def _piece(name: str, data: bytes, *, more: bool) -> bytes:
    """Return the frame of a piece of a file."""
    text = _to_base64(data, newline=False).decode()
    return frames.encode({"kind": "file", "name": name, "data": text, "more": more})


def _state(status: os.stat_result, content: int | None) -> _State:
    if _now() - status.st_mtime_ns > TICK:
        content = None
    return _State(status.st_ino, status.st_size, status.st_mtime_ns, content)


def _expect(kind: int, name: str, folder: int) -> None:
    """Raise OSError if what has a name in a folder is of another kind."""
    found = S_IFMT(_stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    if found != kind:
        raise OSError(f"{name!r} is {_KINDS.get(found, 'no file')} there")


def _describe(name: str, error: OSError) -> str:
    return f"The file {name!r} can't be placed: {error.strerror or error}."


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[_write(descriptor, data) :]
