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
from typing import TYPE_CHECKING

from . import linux, syscalls

if TYPE_CHECKING:
    from collections.abc import Callable

_CLONE_PARENT, _CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID = 0x8000, 0x200000, 0x1000000
FLAGS = _CLONE_PARENT | _CLONE_CHILD_CLEARTID | _CLONE_CHILD_SETTID | int(signal.SIGCHLD)
_PR_GET_TID_ADDRESS = 40
_SIGNAL_SET = 8  # bytes, as the kernel has it
_NUMBERS = ("clone", "setsid", "prctl", "getppid", "write", "rt_sigtimedwait", "exit_group")
_api = ctypes.pythonapi
# With the interpreter's lock held: no other thread may run Python code meanwhile.
_syscall = ctypes.PyDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


class Cloning:
    """Prepares the calls; made in a server, where all may be asked.

    The clone begins to lead a session of its own, with SIGKILL as the signal that it gets when its
    server dies, and tells the server, by a message that it has been given. What it does until
    then, it does without Python's help: each page that it writes to is copied for it.

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
        clone, setsid, prctl, getppid, write, wait, leave = numbers
        where = ctypes.c_void_p()
        linux.call("prctl", _PR_GET_TID_ADDRESS, ctypes.byref(where), 0, 0, 0)
        thread_id = where.value
        # Flags, stack, where the parent finds the pid, where the child does; x86-64 has the
        # thread-local storage last, others before.
        last = (thread_id, 0) if os.uname().machine == "x86_64" else (0, thread_id)
        self._message = ctypes.create_string_buffer(message, len(message))
        self._signals = ctypes.c_uint64(1 << (signal.SIGINT - 1))
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

    def __call__(self, remember: Callable[[], object], *, asleep: bool = False) -> bool:
        """Fork; returns whether this is the process that was there before.

        Args:
            remember: called in the child before it is told that it is one.
            asleep: whether the child waits for SIGINT, which is blocked, before it goes on.

        Raises:
            OSError: the kernel or the server refused.
        """
        _api.PyOS_BeforeFork()
        pid: int = _syscall(*self._clone)
        if pid == 0:
            for call in self._begin:
                _syscall(*call)
            if _syscall(*self._parent) != self._server:
                _syscall(*self._leave)  # the server died before its end was to be ours
            _syscall(*self._tell)
            if asleep:
                _syscall(*self._wait)
            remember()
            _api.PyOS_AfterFork_Child()
            return False
        _api.PyOS_AfterFork_Parent()
        if pid < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return True


def _prepared(*arguments: int | None) -> tuple[ctypes.c_long, ...]:
    return tuple(map(ctypes.c_long, arguments))  # type: ignore[arg-type]
