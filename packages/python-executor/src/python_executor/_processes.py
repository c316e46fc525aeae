"""What /proc tells of processes that may end, or be hostile, while it is read."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress

# Descendants of one program that are looked at; beyond it the sum is only larger.
PROCESSES = 1024

# Bytes that are read of what a process has mapped: ordinary ones have a tenth at most, and a line
# may be as long as a path.
MAPS = 4 * 1024 * 1024

# Private and shared memory, wherever it is, and the page tables, which a huge mapping fills by
# being read only. Not RssFile: pages of libraries, which the kernel can drop at any time.
_MEMORY = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap|VmPTE|HugetlbPages):\s+(\d+) kB", re.MULTILINE)
_THREADS = re.compile(rb"^Threads:\s+(\d+)", re.MULTILINE)
_DELETED_MAP = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) \S+ [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) (\d+) .*\(deleted\)$",
    re.MULTILINE,
)
_SHARE = re.compile(rb"^(?:Pss_Anon|Pss_Shmem|SwapPss):\s+(\d+) kB", re.MULTILINE)


_libc = ctypes.CDLL(None)
_PF_EXITING = 0x4


class UnseenError(Exception):
    """A process hides what it has. Never leaves the package."""


def memory_of(pid: int) -> int:
    """Bytes of memory that a process has for itself or shares; 0 if it is gone."""
    for path in _living(pid, "status"):
        if found := _MEMORY.findall(_read(path)):
            return 1024 * sum(map(int, found))
    return 0


def threads_of(pid: int) -> int:
    """How many threads a process has; 0 if it is gone."""
    return sum(int(number) for number in _THREADS.findall(_read(f"/proc/{pid}/status")))


def growth_of(members: Sequence[int], warm: int, enough: int) -> int:
    """Bytes that the processes of a program have beyond what they began with.

    What processes share counts once, but exactly only if it may matter: the exact figure is dear.

    Args:
        members: their pids.
        warm: bytes of the warm parent.
        enough: bytes from which on it must be exact.
    """
    if len(members) == 1:
        return memory_of(members[0]) - warm
    grown = sum(max(0, memory_of(pid) - warm) for pid in members)
    if grown <= enough:
        return grown
    shares = 0
    for pid in members:
        # Nothing is to be seen without permission, nor of a process that is gone meanwhile.
        shares += _sum(_SHARE, f"/proc/{pid}/smaps_rollup") or max(0, memory_of(pid) - warm)
    return min(grown, max(0, shares - warm))


def deleted_files(pid: int, unknown: int) -> dict[tuple[int, int], int]:
    """The files without a name that a process has open or mapped: (device, inode) and bytes in use.

    They still take space.

    Args:
        pid: the process.
        unknown: bytes at least to count for a file that is mapped but not open: how large it is
            beyond its map, only root can tell.

    Raises:
        UnseenError: the process hides what it has.
    """
    found: dict[tuple[int, int], int] = {}
    maps = _read_living(pid, "maps", MAPS)
    if len(maps) == MAPS:
        raise UnseenError(f"{MAPS // 2**20} MiB of names of mapped files")
    for line in _DELETED_MAP.finditer(maps):
        start, end, major, minor, inode = line.groups()
        device = os.makedev(int(major, 16), int(minor, 16))
        size = max(int(end, 16) - int(start, 16), unknown)
        with suppress(OSError):
            path = f"/proc/{pid}/map_files/{start.decode()}-{end.decode()}"
            size = os.stat(path).st_blocks * 512  # noqa: PTH116
        found[device, int(inode)] = size
    for folder in _living(pid, "fd"):
        try:
            names = os.listdir(folder)  # noqa: PTH208  (plain names)
        except PermissionError as error:
            # It executed a file that may not be read. If it is ending, nothing is to be seen.
            if not _is_ending(pid):
                raise UnseenError("descriptors of a process that may not be looked at") from error
            continue
        except OSError:
            continue
        for name in names:
            with suppress(OSError):  # closed meanwhile
                status = os.stat(f"{folder}/{name}")  # noqa: PTH116
                if status.st_nlink == 0 and stat.S_ISREG(status.st_mode):
                    found[status.st_dev, status.st_ino] = status.st_blocks * 512
        if names:
            break
    return found


def descendants(pid: int, enough: int = PROCESSES) -> list[int]:
    """All processes below one, as seen while they come and go; not much more than ``enough``."""
    found: list[int] = []
    pending = [pid]
    while pending and len(found) < enough:
        children = _children(pending.pop())
        found += children
        pending += children
    return found


def _children(pid: int) -> list[int]:
    """A process's children: of all its threads (proc_tid_children(5))."""
    found: list[int] = []
    for thread in _threads(pid):
        found += [int(child) for child in _read(f"/proc/{pid}/task/{thread}/children").split()]
    return found


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")  # noqa: PTH208  (plain names)
    except OSError:
        return []


def _sum(pattern: re.Pattern[bytes], path: str) -> int:
    return 1024 * sum(int(number) for number in pattern.findall(_read(path)))


def _living(pid: int, name: str) -> Iterator[str]:
    """Paths of a file of a process: its first thread's, then those of others.

    If its first thread has ended, nothing is told under the process's own path; others may go on.
    """
    yield f"/proc/{pid}/{name}"
    for thread in _threads(pid):
        yield f"/proc/{pid}/task/{thread}/{name}"


def _read_living(pid: int, name: str, most: int) -> bytes:
    """A file of a process, of the first thread that has one (see ``_living``).

    Args:
        pid: the process.
        name: the file.
        most: bytes to read of it.
    """
    for path in _living(pid, name):
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                if content := file.read(most):
                    return content
        except OSError:
            continue
    return b""


def _read(path: str) -> bytes:
    """A file of /proc; empty if it isn't there or not to be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 65536)
    except OSError:  # it ended in between
        return b""
    finally:
        os.close(descriptor)


def interrupt(pid: int, parent: int | None) -> bool:
    """Send SIGINT to the first thread of a process; False if it is gone.

    Not to the process: another thread could take it, and the first would sleep on.

    Args:
        pid: the process.
        parent: its parent, so that no stranger that got its pid is meant.
    """
    if _parent(pid) != parent:
        return False
    failed: int = _libc.tgkill(pid, pid, int(signal.SIGINT))
    return not failed


def _parent(pid: int) -> int | None:
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else None


def is_stopped(pid: int | None) -> bool:
    """Whether a process was stopped by a signal and does nothing until it gets SIGCONT."""
    return pid is not None and _state(pid) == b"T"


def _is_ending(pid: int) -> bool:
    """Whether a process is gone or about to be: without memory of its own, it may not be seen."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    # The state, and the flags of the kernel's (sched.h), from the moment on when it begins to end.
    return len(fields) < 7 or fields[0] in (b"Z", b"X") or int(fields[6]) & _PF_EXITING != 0


def _state(pid: int) -> bytes:
    """The letter of a process's state; empty if it is gone."""
    # The name in parentheses may hold anything; the state is the first field after it.
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2][1:2]
