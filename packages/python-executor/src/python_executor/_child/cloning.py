"""Forking a process whose parent is the caller's own: its server, which can kill and reap it.

``os.fork`` makes a child of the caller, which may end before it, and which runs code that nobody
has read: nobody else could then be sure whose pid it is. So this calls clone(2) with CLONE_PARENT
itself, for a process that has one thread: what the C library's ``fork`` does beside that is about
the locks of other threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from typing import TYPE_CHECKING

from . import linux, syscalls

if TYPE_CHECKING:
    from collections.abc import Callable

_CLONE_PARENT, _CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID = 0x8000, 0x200000, 0x1000000
FLAGS = _CLONE_PARENT | _CLONE_CHILD_CLEARTID | _CLONE_CHILD_SETTID | int(signal.SIGCHLD)
_PR_GET_TID_ADDRESS = 40
_SIGNAL_SET = 8  # bytes, as the kernel has it
_NUMBERS = (
    "clone", "setsid", "prctl", "getppid", "write", "rt_sigtimedwait", "recvfrom", "exit_group",
)  # fmt: skip
_DRAINED = 4096  # bytes at a time
_api = ctypes.pythonapi
# With the interpreter's lock held: no other thread may run Python code meanwhile.
_syscall = ctypes.PyDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


class Cloning:
    """Prepares the calls; made in a server, where all may be asked.

    The clone begins to lead a session of its own, with SIGKILL as the signal that it gets when its
    server dies, and tells the server, by a message that it has been given. What it does until
    then, and as long as it sleeps, it does without Python: each page that it writes to is copied.

    Args:
        private: the descriptor of the socket to the server.
        message: what it tells.

    Raises:
        OSError: it can't be done here: the kernel doesn't tell where the C library keeps the
            thread's id (CONFIG_CHECKPOINT_RESTORE), or this machine isn't known.
    """

    def __init__(self, private: int, message: bytes) -> None:
        numbers = [syscalls.number(name) for name in _NUMBERS]
        if None in numbers:
            raise OSError(f"no system calls are known for {os.uname().machine}")
        clone, setsid, prctl, getppid, write, wait, receive, leave = numbers
        where = ctypes.c_void_p()
        linux.call("prctl", _PR_GET_TID_ADDRESS, ctypes.byref(where), 0, 0, 0)
        thread_id = where.value
        # Flags, stack, where the parent finds the pid, where the child does; x86-64 has the
        # thread-local storage last, others before.
        last = (thread_id, 0) if os.uname().machine == "x86_64" else (0, thread_id)
        self._message = ctypes.create_string_buffer(message, len(message))
        self._signals = ctypes.c_uint64(1 << (signal.SIGINT - 1))
        self._room = ctypes.create_string_buffer(_DRAINED)
        room = ctypes.addressof(self._room)
        self._server = os.getpid()
        self._clone = _prepared(clone, FLAGS, 0, 0, *last)
        self._begin = (
            _prepared(setsid),
            _prepared(prctl, linux.PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0),
        )
        self._parent = _prepared(getppid)
        self._leave = _prepared(leave, 1)
        self._tell = _prepared(write, private, ctypes.addressof(self._message), len(message))
        self._wait = _prepared(wait, ctypes.addressof(self._signals), 0, 0, _SIGNAL_SET)
        self._drain = _prepared(receive, private, room, _DRAINED, int(socket.MSG_DONTWAIT), 0, 0)

    def branch(self, remember: Callable[[], object]) -> bool:
        """Fork; returns whether this is the process that was there before.

        Args:
            remember: called in the child before Python is told that it is one.

        Raises:
            OSError: the kernel or the server refused.
        """
        _api.PyOS_BeforeFork()
        pid: int = _syscall(*self._clone)
        if pid == 0:
            self._settle()
            remember()
            _api.PyOS_AfterFork_Child()
            return False
        _go_on(pid)
        return True

    def leave_asleep(self, remember: Callable[[], object]) -> bool | None:
        """Fork a child that sleeps until SIGINT, which is blocked, and then leaves another behind.

        Args:
            remember: as above.

        Returns:
            None in the process that was there before; in one that has woken, whether the server
            will be told of the other.

        Raises:
            OSError: the kernel or the server refused, in the process that was there before.
        """
        _api.PyOS_BeforeFork()
        pid: int = _syscall(*self._clone)
        if pid != 0:
            _go_on(pid)
            return None
        while pid == 0:
            self._settle()
            _syscall(*self._wait)
            # What the process that is gone was told, and did not read.
            while _syscall(*self._drain) > 0:
                pass
            pid = _syscall(*self._clone)
        remember()
        _api.PyOS_AfterFork_Child()
        return pid > 0

    def _settle(self) -> None:
        """Begin to be a clone, and tell the server."""
        for call in self._begin:
            _syscall(*call)
        if _syscall(*self._parent) != self._server:
            _syscall(*self._leave)  # the server died before its end was to be ours
        _syscall(*self._tell)


def _go_on(pid: int) -> None:
    """Go on in the process that was there before, unless there is no other."""
    _api.PyOS_AfterFork_Parent()
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _prepared(*arguments: int | None) -> tuple[ctypes.c_long, ...]:
    return tuple(map(ctypes.c_long, arguments))  # type: ignore[arg-type]
