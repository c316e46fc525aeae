"""The open files of a program whose process was copied: their positions are one for both."""

from __future__ import annotations

import builtins
import ctypes
import fcntl
import os
import resource
import select
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

# A cell may patch ``builtins`` and ``os``.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_close, _dup2, _fstat, _lseek, _open = os.close, os.dup2, os.fstat, os.lseek, os.open
_inheritable, _readlink, _unlink = os.get_inheritable, os.readlink, os.unlink
_ftruncate, _pread, _pwrite = os.ftruncate, os.pread, os.pwrite
_ask = ctypes.CDLL(None).poll
_get_limit, _OPEN_FILES = resource.getrlimit, resource.RLIMIT_NOFILE
# Of poll(2): an answer at once; the low byte of what tells that a descriptor isn't open.
_AT_ONCE = ctypes.c_int(0)
_ANSWER, _NOT_OPEN = 6, bytes([select.POLLNVAL])
_fcntl = fcntl.fcntl
# Above this none is looked for, where there is no sandbox and no limit.
_MOST = 1024
# What is the same for everybody who has it open.
_COPIED = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFCHR)
# What of a file's flags counts after it was opened.
_KEPT = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_SYNC
_NAMELESS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_PIECE = 2**20  # bytes
_DELETED = " (deleted)"


class _Asked(ctypes.Structure):
    """``struct pollfd``."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class Program:
    """What a program has open, but for stdout and stderr.

    It is asked after every cell, when each page that is written to has to be copied: so it takes
    one system call, and few objects.

    Args:
        first_own: the first of our own descriptors, of which there are two.
    """

    def __init__(self, first_own: int) -> None:
        self._own = (1, 2, first_own, first_own + 1)
        self._limit = -1

    def _prepare(self, limit: int) -> None:
        """Prepare to ask for descriptors below a limit; for more the kernel would not answer."""
        self._limit = limit
        self._candidates = [n for n in range(min(limit, _MOST)) if n not in self._own]
        self._asked = (_Asked * len(self._candidates))(*(_Asked(n, 0, 0) for n in self._candidates))
        self._count = ctypes.c_ulong(len(self._candidates))

    def descriptors(self) -> list[int]:
        """Return them in order."""
        limit = _get_limit(_OPEN_FILES)[0]
        if limit != self._limit:
            self._prepare(limit)
        _ask(self._asked, self._count, _AT_ONCE)
        rest = answers = bytes(self._asked)[_ANSWER :: ctypes.sizeof(_Asked)]
        found = []
        while rest := rest.lstrip(_NOT_OPEN):
            found.append(self._candidates[len(answers) - len(rest)])
            rest = rest[1:]
        return found

    def offsets(self) -> dict[int, int]:
        """Return the positions of its files."""
        return {
            descriptor: _lseek(descriptor, 0, 1)
            for descriptor in self.descriptors()
            if stat.S_ISREG(_fstat(descriptor).st_mode)
        }

    def first_uncopied(self, others: Collection[int]) -> int | None:
        """Return the first of something that two processes can't each have for itself.

        Args:
            others: those that are taken care of.
        """
        for descriptor in self.descriptors():
            kind = stat.S_IFMT(_fstat(descriptor).st_mode)
            if descriptor not in others and kind not in _COPIED:
                return descriptor
        return None

    def reopen(self, positions: dict[int, int], source: str, target: str) -> None:
        """Open files and directories anew in a copy of the process, those of its own in the copy.

        Those elsewhere too: their positions are their own then. What can't be opened again (its
        name is gone, and there is no room for a copy) is closed, so that nothing is ever shared.
        The other process goes on already: no position may be moved that is still shared.

        Args:
            positions: where the files were, by descriptor.
            source: the working directory.
            target: its copy.
        """
        source = os.path.realpath(source)  # as the kernel names it
        for descriptor in self.descriptors():
            status = _fstat(descriptor)
            if stat.S_IFMT(status.st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
                continue
            keeps = _inheritable(descriptor)
            try:
                again = _open_again(descriptor, status, source, target)
                _lseek(again, positions.get(descriptor, 0), 0)
            except OSError:
                _close(descriptor)
                continue
            _dup2(again, descriptor, keeps)
            _close(again)


def seek(positions: dict[int, int]) -> None:
    """Go to the positions of open files."""
    for descriptor, offset in positions.items():
        _lseek(descriptor, offset, 0)


def _open_again(descriptor: int, status: os.stat_result, source: str, target: str) -> int:
    path = _readlink(f"/proc/self/fd/{descriptor}")
    flags = _fcntl(descriptor, fcntl.F_GETFL) & _KEPT
    if path.endswith(_DELETED) and status.st_nlink == 0:
        return _copy_nameless(descriptor, target, flags)
    if path == source or path.startswith(f"{source}/"):
        path = target + path[len(source) :]
    return _open(path, flags | os.O_CLOEXEC)


def _copy_nameless(descriptor: int, folder: str, flags: int) -> int:
    """Copy a file that has no name any more; returns the descriptor of the copy."""
    path = f"{folder}/.nameless-{os.urandom(8).hex()}"
    copy = _open(path, _NAMELESS, 0o600)
    try:
        again = _open(path, flags | os.O_CLOEXEC)
        _unlink(path)
        size = _fstat(descriptor).st_size
        for start in range(0, size, _PIECE):
            piece = _pread(descriptor, _PIECE, start)
            if piece.strip(b"\0"):  # else it may be a hole
                _pwrite(copy, piece, start)
        _ftruncate(copy, size)
    finally:
        _close(copy)
    return again
