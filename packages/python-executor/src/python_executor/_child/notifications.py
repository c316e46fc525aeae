"""System calls that a server decides on, one by one (seccomp_unotify(2)).

A filter can only compare numbers. Whether a pid is the caller's own, after forks that inherit the
filter, or whether this is the fork that was agreed on, only somebody beside it can tell.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import select
from typing import NamedTuple

# ioctl(2): SECCOMP_IOCTL_NOTIF_RECV and _SEND.
RECEIVE, SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1


class _Data(ctypes.Structure):
    """``struct seccomp_data``."""

    _fields_ = (
        ("number", ctypes.c_int),
        ("architecture", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    )


class _Notification(ctypes.Structure):
    """``struct seccomp_notif``."""

    _fields_ = (
        ("id", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("data", _Data),
    )


class _Response(ctypes.Structure):
    """``struct seccomp_notif_resp``."""

    _fields_ = (
        ("id", ctypes.c_uint64),
        ("value", ctypes.c_int64),
        ("error", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
    )


class Question(NamedTuple):
    """A call that waits for an answer.

    Args:
        id: of the notification.
        thread: who calls.
        number: of the system call.
        arguments: the first two, as the kernel has them.
    """

    id: int
    thread: int
    number: int
    arguments: tuple[int, int]


def receive(listener: int) -> Question | None:
    """Take a question; None if who asked is gone."""
    asked = select.poll()
    asked.register(listener, select.POLLIN)
    # A listener without processes hangs up, which wakes who waits for questions. Before Linux 6.11,
    # to receive one from it then took for ever.
    if not any(events & select.POLLIN for _, events in asked.poll(0)):
        return None
    notification = _Notification()
    try:
        fcntl.ioctl(listener, RECEIVE, notification)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    data = notification.data
    return Question(
        notification.id, notification.pid, data.number, (data.arguments[0], data.arguments[1])
    )


def answer(listener: int, question: Question, *, allowed: bool) -> None:
    """Let the call go on, or fail with EPERM.

    What it compares are numbers in registers, which nobody can change meanwhile.
    """
    response = _Response(id=question.id)
    if allowed:
        response.flags = _CONTINUE
    else:
        response.error = -errno.EPERM
    try:
        fcntl.ioctl(listener, SEND, response)
    except OSError as error:
        if error.errno != errno.ENOENT:  # who asked is gone
            raise
