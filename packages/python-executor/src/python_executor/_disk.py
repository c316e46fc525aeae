"""How many bytes a directory holds that a hostile program may change while it is looked at.

Nothing here follows a symbolic link, leaves the directory, reads a file, or takes longer than it is
given: a look at 100,000 files is spread over many calls.
"""

# Descriptors, not pathlib: what is opened relative to a descriptor can't be swapped for a link.
# ruff: noqa: PTH101
from __future__ import annotations

import os
import stat
import time
from collections.abc import Generator, Iterator

# What a file or directory costs beside its blocks (bytes): an inode and a name. Without it a
# million empty files would cost nothing.
ENTRY_COST = 1024
# Levels of directories that are measured. No ordinary program needs as many, and what lies deeper
# could not be measured in bounded time.
DEPTH_LIMIT = 1024

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TooDeepError(Exception):
    """Directories are nested deeper than ``DEPTH_LIMIT``. Never leaves the package."""


class Measurement:
    """One walk through a directory; holds a descriptor or two until it is done or closed.

    Args:
        path: the directory; one that isn't there or can't be opened is empty.

    Attributes:
        total: bytes found so far: blocks in use, and ``ENTRY_COST`` for each entry.
        done: whether all of it was seen.
    """

    def __init__(self, path: str) -> None:
        self.total = 0
        self.done = False
        self._linked: set[tuple[int, int]] = set()
        self._walk = self._steps(path)

    def advance(self, seconds: float, enough: int) -> None:
        """Go on for about ``seconds``, or until ``total`` exceeds ``enough`` bytes.

        Raises:
            TooDeepError: it is nested too deeply.
        """
        end = time.perf_counter() + seconds
        for _ in self._walk:
            if self.total > enough or time.perf_counter() >= end:
                return
        self.done = True

    def close(self) -> None:
        """Close its descriptors."""
        self._walk.close()

    def _steps(self, path: str) -> Generator[None, None, None]:
        pending = [_Folder(None, path, 0)]
        here: tuple[_Folder, int] | None = None  # the directory looked at before: often the parent
        try:
            while pending:
                folder = pending.pop()
                descriptor = _open_folder(folder, here)
                if here is not None:
                    os.close(here[1])
                    here = None
                if descriptor is None:
                    continue
                here = folder, descriptor
                for entry in _entries(descriptor):
                    if self._count(entry):
                        if folder.depth >= DEPTH_LIMIT:
                            raise TooDeepError
                        pending.append(_Folder(folder, entry.name, folder.depth + 1))
                    yield
        finally:
            if here is not None:
                os.close(here[1])

    def _count(self, entry: os.DirEntry[str]) -> bool:
        """Add an entry to the total; whether it is a directory."""
        self.total += ENTRY_COST
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return False  # removed meanwhile
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            key = status.st_dev, status.st_ino
            if key in self._linked:
                return False
            self._linked.add(key)
        # Blocks, not the size: a sparse file takes no more than was written.
        self.total += status.st_blocks * 512
        return stat.S_ISDIR(status.st_mode)


class _Folder:
    """A directory that was seen: its name in its parent; the outermost's is its path."""

    __slots__ = ("depth", "name", "parent")

    def __init__(self, parent: _Folder | None, name: str, depth: int) -> None:
        self.parent = parent
        self.name = name
        self.depth = depth


def _open_folder(folder: _Folder, here: tuple[_Folder, int] | None) -> int | None:
    """Open a directory, component by component; None if it isn't one any more.

    Args:
        folder: which.
        here: a directory that is open, perhaps its parent.
    """
    names: list[str] = []
    step: _Folder | None = folder
    while step is not None and (here is None or step is not here[0]):
        names.append(step.name)
        step = step.parent
    base = here[1] if here is not None and step is not None else None
    current = base
    for name in reversed(names):
        following = _open_at(name, current)
        if current is not None and current != base:
            os.close(current)
        if following is None:
            return None
        current = following
    return current


def _open_at(name: str, parent: int | None) -> int | None:
    try:
        return os.open(name, _OPEN, dir_fd=parent)
    except PermissionError:
        return _open_locked(name, parent)
    except OSError:
        return None  # removed or replaced meanwhile


def _open_locked(name: str, parent: int | None) -> int | None:
    """Open a directory whose own mode forbids to read it, by adding what its owner lacks."""
    try:
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except OSError:
        return None
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.chmod(f"/proc/self/fd/{handle}", mode | stat.S_IRUSR | stat.S_IXUSR)
        return os.open(".", _OPEN, dir_fd=handle)
    except OSError:
        return None  # not ours to open
    finally:
        os.close(handle)


def _entries(descriptor: int) -> Iterator[os.DirEntry[str]]:
    """List a directory as far as it lets itself be listed."""
    try:
        with os.scandir(descriptor) as entries:
            yield from entries
    except OSError:
        return
