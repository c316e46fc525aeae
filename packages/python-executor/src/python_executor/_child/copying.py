"""Copying a directory that a program filled: files, links, pipes; what can't be copied is left out.

By descriptors, and through no symbolic link, as it is removed (see ``directories``).
"""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH101
from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from .directories import FOLDER

# Directories within directories; each level that is being copied takes two descriptors.
DEPTH_LIMIT = 100
_PIECE = 2**30  # the most bytes that are copied by one call
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def copy(source: str, target: str, old: str, new: str) -> None:
    """Copy all that is in a directory into an empty one.

    Links that lead into the one lead into the other afterwards. Files with several names have as
    many again; holes stay holes.

    Args:
        source: a directory whose ``home`` is copied.
        target: one with an empty ``home``.
        old: what programs call the first.
        new: what they call the second.

    Raises:
        OSError: it is nested too deeply, or there is no room.
    """
    _Copier(f"{source}/home", f"{target}/home", old, new).copy()


class _Copier:
    """One copy. The arguments are those of ``copy``."""

    def __init__(self, source: str, target: str, old: str, new: str) -> None:
        self._source = source
        self._target = target
        self._old = old
        self._new = new
        self._linked: dict[tuple[int, int], str] = {}  # the first copy of what has several names

    def copy(self) -> None:
        source = os.open(self._source, FOLDER)
        try:
            target = os.open(self._target, FOLDER)
            try:
                self._copy_folder(source, target, "", 0)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _copy_folder(self, source: int, target: int, path: str, depth: int) -> None:
        """Copy what is in an open directory into another.

        Args:
            source: the open one.
            target: the other.
            path: of the other, from the top; empty, or with a slash at the end.
            depth: how deep that is.
        """
        if depth > DEPTH_LIMIT:
            raise OSError(errno.ELOOP, f"directories are nested deeper than {DEPTH_LIMIT} levels")
        with os.scandir(source) as entries:
            for entry in entries:
                name = entry.name
                status = entry.stat(follow_symlinks=False)
                kind = stat.S_IFMT(status.st_mode)
                if status.st_nlink > 1 and kind != stat.S_IFDIR:
                    key = status.st_dev, status.st_ino
                    if (known := self._linked.get(key)) is not None:
                        first = f"{self._target}/{known}"
                        os.link(first, name, dst_dir_fd=target, follow_symlinks=False)
                        continue
                    self._linked[key] = path + name
                if kind == stat.S_IFREG:
                    _copy_file(source, target, name, status)
                elif kind == stat.S_IFLNK:
                    os.symlink(self._follow(os.readlink(name, dir_fd=source)), name, dir_fd=target)
                elif kind == stat.S_IFIFO:
                    os.mkfifo(name, stat.S_IMODE(status.st_mode), dir_fd=target)
                elif kind == stat.S_IFDIR:
                    self._copy_subfolder(source, target, path, name, depth)

    def _copy_subfolder(self, source: int, target: int, path: str, name: str, depth: int) -> None:
        inner = _open(name, FOLDER, source, stat.S_IRWXU)
        try:
            mode = stat.S_IMODE(os.fstat(inner).st_mode)
            os.mkdir(name, stat.S_IRWXU, dir_fd=target)
            copy = os.open(name, FOLDER, dir_fd=target)
            try:
                self._copy_folder(inner, copy, f"{path}{name}/", depth + 1)
                os.fchmod(copy, mode)
            finally:
                os.close(copy)
        finally:
            os.close(inner)

    def _follow(self, link: str) -> str:
        """Where the copy of a symbolic link leads."""
        if link == self._old or link.startswith(f"{self._old}/"):
            return self._new + link[len(self._old) :]
        return link


def _copy_file(source: int, target: int, name: str, status: os.stat_result) -> None:
    old = _open(name, _OLD, source, stat.S_IRUSR)
    try:
        new = os.open(name, _NEW, stat.S_IRUSR | stat.S_IWUSR, dir_fd=target)
        try:
            _copy_content(old, new, status.st_size)
            os.fchmod(new, stat.S_IMODE(status.st_mode))
        finally:
            os.close(new)
    finally:
        os.close(old)


def _copy_content(old: int, new: int, size: int) -> None:
    """Copy the bytes of an open file into an empty one, but for its holes.

    Raises:
        OSError: there is no room.
    """
    position = 0
    while position < size:
        try:
            position = os.lseek(old, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but a hole is left
                raise
            break
        end = min(os.lseek(old, position, os.SEEK_HOLE), size)
        while position < end:
            count = os.copy_file_range(old, new, min(end - position, _PIECE), position, position)
            if count == 0:
                return  # it was cut off meanwhile
            position += count
    os.ftruncate(new, size)


def _open(name: str, flags: int, folder: int, needed: int) -> int:
    """Open what its owner may have no right to open, because it has an odd mode."""
    try:
        return os.open(name, flags, dir_fd=folder)
    except PermissionError:
        handle = os.open(name, _HANDLE, dir_fd=folder)
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        path = f"/proc/self/fd/{handle}"
        os.chmod(path, mode | needed)
        try:
            return os.open(name, flags, dir_fd=folder)
        finally:
            with suppress(OSError):
                os.chmod(path, mode)
    finally:
        os.close(handle)
