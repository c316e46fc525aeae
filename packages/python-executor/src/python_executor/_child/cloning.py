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

from . import linux, syscalls

_CLONE_PARENT, _CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID = 0x8000, 0x200000, 0x1000000
FLAGS = _CLONE_PARENT | _CLONE_CHILD_CLEARTID | _CLONE_CHILD_SETTID | int(signal.SIGCHLD)
_PR_GET_TID_ADDRESS = 40
_api = ctypes.pythonapi
# With the interpreter's lock held: no other thread may run Python code meanwhile.
_syscall = ctypes.PyDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


class Cloning:
    """Prepares the call; made in a server, where all may be asked.

    Raises:
        OSError: it can't be done here: the kernel doesn't tell where the C library keeps the
            thread's id (CONFIG_CHECKPOINT_RESTORE), or this machine isn't known.
    """

    def __init__(self) -> None:
        number = syscalls.number("clone")
        if number is None:
            raise OSError(f"no system call is known for {os.uname().machine}")
        where = ctypes.c_void_p()
        linux.call("prctl", _PR_GET_TID_ADDRESS, ctypes.byref(where), 0, 0, 0)
        thread_id = where.value
        # Flags, stack, where the parent finds the pid, where the child does; x86-64 has the
        # thread-local storage last, others before.
        last = (thread_id, 0) if os.uname().machine == "x86_64" else (0, thread_id)
        self._arguments = tuple(map(ctypes.c_long, (number, FLAGS, 0, 0, *last)))

    def __call__(self) -> int:
        """Fork; returns the child's pid, and 0 in the child.

        Raises:
            OSError: the kernel or the server refused.
        """
        _api.PyOS_BeforeFork()
        pid: int = _syscall(*self._arguments)
        if pid == 0:
            _api.PyOS_AfterFork_Child()
        else:
            _api.PyOS_AfterFork_Parent()
            if pid < 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        return pid
