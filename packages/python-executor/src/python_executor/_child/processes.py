"""What the kernel says of other processes of the same user."""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH123
from __future__ import annotations

import re

_STATUS = re.compile(rb"^(?:RssAnon:\s+(\d+) kB|Threads:\s+(\d+))$", re.MULTILINE)
_PROCESS = re.compile(rb"^Tgid:\s+(\d+)", re.MULTILINE)


def look_at(pid: int) -> tuple[int, int]:
    """Bytes of memory of a process's own, and its threads; zeros if it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            found = _STATUS.findall(file.read())
    except OSError:
        return 0, 0
    sizes = [int(size) for size, _ in found if size]
    threads = [int(count) for _, count in found if count]
    return 1024 * sum(sizes), sum(threads)


def has_children(pid: int) -> bool:
    """Whether a process of one thread has children.

    Raises:
        OSError: it is gone.
    """
    with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
        return bool(file.read(1))


def parent_of(pid: int) -> int:
    """The parent of a process; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything.
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def process_of(thread: int) -> int:
    """The process of a thread; 0 if it is gone."""
    try:
        with open(f"/proc/{thread}/status", "rb") as file:
            found = _PROCESS.search(file.read())
    except OSError:
        return 0
    return int(found.group(1)) if found else 0
