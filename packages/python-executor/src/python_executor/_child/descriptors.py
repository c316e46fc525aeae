"""The open files of a program whose process was copied: their positions are one for both."""

from __future__ import annotations

import builtins
import fcntl
import os
import resource
import select
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# A cell may patch ``builtins`` and ``os``.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_close, _dup2, _fstat, _lseek, _open = os.close, os.dup2, os.fstat, os.lseek, os.open
_inheritable, _readlink, _unlink = os.get_inheritable, os.readlink, os.unlink
_ftruncate, _pread, _pwrite = os.ftruncate, os.pread, os.pwrite
_poll = select.poll
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


def _program_descriptors(first_own: int) -> Iterator[int]:
    """The descriptors that the program has open, stdin included.

    Args:
        first_own: of ours, of which there are two.
    """
    most = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _MOST)
    candidates = [0, *(n for n in range(3, most) if not first_own <= n < first_own + 2)]
    asked = _poll()
    for descriptor in candidates:
        asked.register(descriptor, 0)
    closed = {descriptor for descriptor, event in asked.poll(0) if event & select.POLLNVAL}
    for descriptor in candidates:
        if descriptor not in closed:
            yield descriptor


def offsets(first_own: int) -> dict[int, int]:
    """The positions of the program's open files.

    Args:
        first_own: the first of our own descriptors.
    """
    return {
        descriptor: _lseek(descriptor, 0, 1)
        for descriptor in _program_descriptors(first_own)
        if stat.S_ISREG(_fstat(descriptor).st_mode)
    }


def seek(positions: dict[int, int]) -> None:
    """Go to the positions of open files."""
    for descriptor, offset in positions.items():
        _lseek(descriptor, offset, 0)


def first_uncopied(first_own: int, others: Collection[int]) -> int | None:
    """The first descriptor of something that two processes can't each have for itself.

    Args:
        first_own: the first of our own descriptors.
        others: those that are taken care of.
    """
    for descriptor in _program_descriptors(first_own):
        if descriptor not in others and stat.S_IFMT(_fstat(descriptor).st_mode) not in _COPIED:
            return descriptor
    return None


def reopen(first_own: int, positions: dict[int, int], source: str, target: str) -> None:
    """Open files and directories anew in a copy of the process, those of its directory in the copy.

    Those elsewhere too: their positions are their own then. What can't be opened again (its name
    is gone, and there is no room for a copy) is closed, so that nothing is ever shared. The other
    process goes on already: no position may be moved that is still shared.

    Args:
        first_own: the first of our own descriptors.
        positions: where the files were, by descriptor.
        source: the directory.
        target: its copy.
    """
    source = os.path.realpath(source)  # as the kernel names it
    for descriptor in list(_program_descriptors(first_own)):
        status = _fstat(descriptor)
        kind = stat.S_IFMT(status.st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
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
