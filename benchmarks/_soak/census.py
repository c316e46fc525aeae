"""Counting what a pool and its host have: memory, descriptors, processes, threads, files."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import threading
from dataclasses import dataclass, fields
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None)


def adopt_orphans() -> None:
    """Become the parent of whatever outlives its server, so that it is counted."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_CHILD_SUBREAPER) failed")


@dataclass(frozen=True)
class Census:
    """What there is at one moment. Memory is in bytes.

    Attributes:
        host_resident: This process's resident set.
        host_proportional: Its proportional set: a page that n processes share counts for 1/n.
        root_resident: The root fork server's resident set.
        slot_resident: The largest resident set of a slot server.
        host_threads: Threads of this process.
        host_descriptors: Descriptors of this process.
        root_descriptors: Those of the root.
        slot_descriptors: The most that a slot server has.
        processes: Descendants of this process.
        files: Files and folders below the folder for temporary files, and where the servers have
            theirs if that is hidden from us.
    """

    host_resident: int
    host_proportional: int
    root_resident: int
    slot_resident: int
    host_threads: int
    host_descriptors: int
    root_descriptors: int
    slot_descriptors: int
    processes: int
    files: int


def take_census(root: int | None, temporary: Path) -> Census:
    """Count.

    Args:
        root: Pid of the root; None if there is none.
        temporary: The folder for temporary files.
    """
    gc.collect()
    _libc.malloc_trim(0)  # what the allocator keeps for later is no leak
    host = os.getpid()
    _reap_orphans(root)
    slots = [] if root is None else _children(root)
    return Census(
        host_resident=_memory(host)["Rss"],
        host_proportional=_memory(host)["Pss"],
        root_resident=0 if root is None else _memory(root)["Rss"],
        slot_resident=max((_memory(slot)["Rss"] for slot in slots), default=0),
        host_threads=max(threading.active_count(), len(list(Path("/proc/self/task").iterdir()))),
        host_descriptors=_descriptors(host) - 1,  # the listing's own
        root_descriptors=0 if root is None else _descriptors(root),
        slot_descriptors=max(map(_descriptors, slots), default=0),
        processes=len(_descendants(host)),
        files=_files(temporary) + _hidden_files(root),
    )


def _memory(pid: int) -> dict[str, int]:
    """The sums of /proc/PID/smaps_rollup (proc(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {
        name: int(rest.split()[0]) * 1024 for name, _, rest in (x.partition(":") for x in lines)
    }


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def _descendants(pid: int) -> list[int]:
    found = []
    for child in _children(pid):
        found.append(child)
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += _descendants(child)
    return found


def _files(folder: Path) -> int:
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def _hidden_files(root: int | None) -> int:
    """Count in the working directory of the root, if it lies in mounts of the root's own."""
    if root is None:
        return 0
    try:
        working = Path(f"/proc/{root}/cwd")
        seen = working.readlink()
        hidden = not (seen.exists() and seen.samefile(working))
        return _files(working / ".") if hidden else 0
    except PermissionError:  # it lies in a user namespace, and we are no root
        return 0


def _reap_orphans(root: int | None) -> None:
    """Reap what came to us dead; what lives stays and is counted."""
    for child in _children(os.getpid()):
        if child != root:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)


MIB = 1024 * 1024
# How much more there may be at the end than before. Counts must be equal.
ALLOWED = {
    "host_resident": 4 * MIB,
    "host_proportional": 4 * MIB,
    "root_resident": MIB,
    "slot_resident": MIB,
}


def names() -> list[str]:
    """What is counted."""
    return [each.name for each in fields(Census)]
