"""Removing what a program left in its temporary directory, however deep or oddly protected.

By descriptors, not by paths: another program, which may write there because its policy says so,
can't put a symbolic link in the way that leads somewhere else.
"""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH101, PTH106
from __future__ import annotations

import ctypes
import errno
import os
import stat

from . import linux, syscalls

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OWNER = stat.S_IRWXU
# What getdents64(2) returns if there are but "." and "..": two records of 24 bytes, each with its
# name from the 19th on.
_NO_ENTRIES = 48
HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: str) -> None:
    """Remove a directory and all in it; does nothing if there is none.

    Nobody may be writing there any more.
    """
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
    else:
        return  # empty, as most are
    clear(path)
    os.rmdir(path)


def remove_others(path: str, kept: str) -> None:
    """Remove all in a directory but for one.

    Args:
        path: the directory.
        kept: the path of what stays.
    """
    for name in os.listdir(path):  # noqa: PTH208
        other = f"{path}/{name}"
        if other == kept:
            continue
        try:
            remove(other)
        except NotADirectoryError:
            os.unlink(other)  # noqa: PTH108


def clear(path: str) -> None:
    """Remove all in a directory, which stays.

    A subdirectory is first moved up beside the others, so neither recursion nor long paths limit
    the depth.
    """
    top = _open_unlocked(path, None)
    try:
        waiting = _empty(top)
        token = os.urandom(8).hex() if waiting else ""  # a name that a program can't have taken
        moved = 0
        while waiting:
            name = waiting.pop()
            folder = _open_unlocked(name, top)
            try:
                for inner in _empty(folder):
                    moved += 1
                    target = f".{token}-{moved}"
                    _move(inner, folder, target, top)
                    waiting.append(target)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


class Scratch:
    """A directory that is cleared again and again, and mostly holds one that is empty.

    Listing one as Python does takes a buffer of 32 KiB from the heap, a handful of objects and
    their types: in a server that has just forked, each page of them is a fault.

    Args:
        path: the directory, which stays.
        inner: the path of the one that is usually in it.
    """

    def __init__(self, path: str, inner: str) -> None:
        self._path = path
        self._inner = inner
        self._folder = os.open(path, FOLDER)
        self._entries = ctypes.create_string_buffer(256)
        number = syscalls.number("getdents64")
        self._list = None
        if number is not None:
            where = ctypes.addressof(self._entries)
            self._list = linux.prepared_syscall(number, self._folder, where, len(self._entries))

    def clear(self) -> None:
        """Remove all that is in it, and let its owner do everything in it."""
        os.fchmod(self._folder, _OWNER)
        try:
            os.rmdir(self._inner)
            empty = self._is_empty()
        except OSError:
            empty = False
        if not empty:
            clear(self._path)

    def _is_empty(self) -> bool:
        """Whether it is sure that there is nothing."""
        if self._list is None:
            return False
        os.lseek(self._folder, 0, 0)
        function, arguments = self._list
        if function(*arguments) != _NO_ENTRIES:
            return False
        entries = self._entries.raw
        dots = entries[19:21] == b".\0" and entries[43:46] == b"..\0"
        # A name that was too long for what the buffer had left comes with the next call.
        return dots and function(*arguments) == 0


def _empty(folder: int) -> list[str]:
    """Unlink files and empty directories; returns the names of the other directories."""
    inner = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=folder)
                continue
            try:
                os.rmdir(entry.name, dir_fd=folder)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
                inner.append(entry.name)
    return inner


def _open_unlocked(name: str, parent: int | None) -> int:
    """Open a directory, and let its owner do everything in it."""
    try:
        folder = os.open(name, FOLDER, dir_fd=parent)
    except PermissionError:
        _unlock(name, parent)
        folder = os.open(name, FOLDER, dir_fd=parent)
    os.chmod(folder, _OWNER)
    return folder


def _unlock(name: str, parent: int | None) -> None:
    handle = os.open(name, HANDLE, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{handle}", _OWNER)
    finally:
        os.close(handle)


def _move(name: str, parent: int, target: str, top: int) -> None:
    """Rename a directory, which rewrites the ".." in it."""
    try:
        os.rename(name, target, src_dir_fd=parent, dst_dir_fd=top)
    except PermissionError:
        _unlock(name, parent)
        os.rename(name, target, src_dir_fd=parent, dst_dir_fd=top)
