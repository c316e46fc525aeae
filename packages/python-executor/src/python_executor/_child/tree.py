"""Ending every descendant of a server, exactly.

The server is a subreaper: a process whose parent ends becomes the server's own child, whatever
session or process group it moved to. So it is enough to kill *direct* children until none is left.
A direct child that nobody has waited for can't lose its pid to a stranger, hence no kill here can
hit the wrong process.
"""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH123, PTH208
from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

_KILL = int(signal.SIGKILL)  # members of enums are looked up in Python code
# Only a fork at the process limit is retried this long, in seconds: killed trees need a moment to
# vanish.
FORK_PATIENCE = 5.0


def children() -> list[int]:
    """The pids of this one-threaded process's children, zombies too (proc_tid_children(5))."""
    try:
        with open("/proc/thread-self/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return _children_by_scan()


def _children_by_scan() -> list[int]:
    me = os.getpid()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The name in parentheses may hold anything; the parent is the second field
                    # after it.
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == me:
                found.append(int(name))
    return found


def end_children(keep: Callable[[int], bool] | None = None) -> None:
    """Kill and reap children, and orphans as they become children, but for those to keep.

    Args:
        keep: says which children stay; None keeps none.
    """
    while True:
        doomed = [pid for pid in children() if keep is None or not keep(pid)]
        if not doomed:
            return
        for pid in doomed:
            kill(pid)
        for pid in doomed:
            reap(pid)


def end_all() -> None:
    """Kill and reap at one stroke all that this process may send a signal to.

    No fork can outrun that, as a bomb outruns ``end_children``: a process with a deadly signal
    can't fork any more. Only for a process that was kept from sending signals to others.
    """
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def end(pids: Iterable[int]) -> None:
    """Kill and reap children, one after the other."""
    for pid in pids:
        kill(pid)
        reap(pid)


def kill(pid: int) -> None:
    """SIGKILL a child and, at one stroke, its process group if it leads one."""
    # A leader can't leave its group: who was reached as one needs no second signal.
    try:
        os.killpg(pid, _KILL)
    except ProcessLookupError:
        with suppress(ProcessLookupError):  # a zombie
            os.kill(pid, _KILL)


def reap(pid: int) -> int | None:
    """Wait for a child; returns its status as ``subprocess`` gives it, None if it isn't ours."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return None


def reap_any() -> tuple[int, int] | None:
    """Reap one child that has ended: (pid, status as ``subprocess`` gives it), or None."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def has_children() -> bool:
    """Whether any child, living or zombie, is left. Reaps at most one on the way."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def fork() -> int:
    """``os.fork`` that waits out a process limit for a while.

    Raises:
        BlockingIOError: the limit (RLIMIT_NPROC, pids cgroup) still held after ``FORK_PATIENCE``
            seconds.
    """
    try:
        return os.fork()
    except BlockingIOError:
        return _fork_patiently()


def _fork_patiently() -> int:
    deadline = time.monotonic() + FORK_PATIENCE
    while True:
        try:
            return os.fork()
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
