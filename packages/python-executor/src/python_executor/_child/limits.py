"""Limits of a program's resources (setrlimit(2)), set once in the slot server and inherited."""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH123
from __future__ import annotations

import _thread
import mmap
import os
import resource
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import linux

# Between the soft limit of memory, where a MemoryError can be told about, and the hard one (bytes).
_RESERVE = 32 * 1024 * 1024
# Of a thread's stack (bytes): enough for Python's recursion limit.
_THREAD_STACK = 1024 * 1024
# Beyond what the host allows (seconds of processor time).
_CPU_GRACE = 5
# What is pending at a time: timers and queued signals. Kernel memory, a few hundred bytes each.
_PENDING_SIGNALS = 256
# Looked up before a fork: what is looked up after it is copied.
_getrlimit, _setrlimit = resource.getrlimit, resource.setrlimit
_CPU, _INFINITY = resource.RLIMIT_CPU, resource.RLIM_INFINITY
_affinity, _process_time = os.sched_getaffinity, time.process_time
# The soft limits of memory before the reserve was used, the first of them first.
_used: list[int] = []
# Without a byte left not even the limit can be changed: this goes first (bytes). Nobody touches it,
# so it takes no memory.
_BALLAST = 4 * 1024 * 1024


def _ballast() -> mmap.mmap:
    return mmap.mmap(-1, _BALLAST, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


_ballasts = [_ballast()]


def data_in_use() -> int:
    """Bytes that RLIMIT_DATA counts in this process: private, writable memory, used or not."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[5]) * resource.getpagesize()


def limit(plan: dict[str, Any], warm: int) -> None:
    """Set the limits of this process and all that it starts. What is lower already stays.

    Args:
        plan: ``memory`` and ``disk`` (bytes).
        warm: bytes of memory that come from the root, on top of which programs get theirs.
    """
    memory = warm + plan["memory"]
    _set(resource.RLIMIT_DATA, memory, memory + _RESERVE)
    _set(resource.RLIMIT_FSIZE, plan["disk"])
    # Not 0, with which a kernel that pipes core dumps to a program still does: core(5).
    _set(resource.RLIMIT_CORE, 1)
    _set(resource.RLIMIT_MEMLOCK, 0)
    _set(resource.RLIMIT_SIGPENDING, _PENDING_SIGNALS)
    for kind in (resource.RLIMIT_MSGQUEUE, resource.RLIMIT_NICE, resource.RLIMIT_RTPRIO):
        _set(kind, 0)
    # What threads reserve counts as memory, whether used or not; the C library's 8 MiB would let a
    # program have hardly any.
    _thread.stack_size(_THREAD_STACK)


def files_limit(count: int) -> linux.Call:
    """Prepare to limit the open files of a program. Those with greater numbers stay open."""
    return resource.setrlimit, (resource.RLIMIT_NOFILE, _within(resource.RLIMIT_NOFILE, count))


def limit_cpu(seconds: float) -> None:
    """Give the process as much processor time as it can use in ``seconds``, and some.

    The host ends a program in time. This is for the case that the host is stuck.
    """
    most = int(_process_time() + seconds * len(_affinity(0))) + _CPU_GRACE
    _setrlimit(_CPU, _within(_CPU, most))


def use_reserve() -> None:
    """Let a program that ran out of memory take what is left, to tell about it."""
    if _ballasts:
        _ballasts[0].close()
        _ballasts.clear()
    with suppress(ValueError, OSError):
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        _used.append(soft)


def renew_reserve() -> None:
    """Take the reserve back, if it was used: another cell may come."""
    while _used:
        soft = _used.pop()
        with suppress(ValueError, OSError):
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    if not _ballasts:
        with suppress(MemoryError, OSError):
            _ballasts.append(_ballast())


def _set(kind: int, soft: int, hard: int | None = None) -> None:
    resource.setrlimit(kind, _within(kind, soft, hard))


def _within(kind: int, soft: int, hard: int | None = None) -> tuple[int, int]:
    """Return a soft and a hard limit, lowered to what this process may set."""
    _, most = _getrlimit(kind)
    wanted = soft if hard is None else hard
    if most != _INFINITY:
        wanted = min(wanted, most)
    return min(soft, wanted), wanted
