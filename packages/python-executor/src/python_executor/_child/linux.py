"""System calls that Python has no binding for: ``prctl``, and any by its number."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_fflush = _libc.fflush  # looked up before a program can patch what the look-up needs

# A function and its arguments, converted already. A new interpreter makes its calls so: what Python
# looks up and converts on the way to a call would be more pages to copy than the call itself.
Call = tuple["Callable[..., object]", tuple[Any, ...]]


def prctl(option: int, value: int) -> None:
    """Call ``prctl(option, value)``.

    Raises:
        OSError: the kernel refused.
    """
    make([prepared_prctl(option, value)])


def prepared_prctl(option: int, value: int, structure: ctypes.Structure | None = None) -> Call:
    """Prepare ``prctl(option, value)``, or ``prctl(option, value, &structure)``."""
    pointer = ctypes.c_ulong(0) if structure is None else ctypes.byref(structure)
    zero = ctypes.c_ulong(0)
    return _libc.prctl, (ctypes.c_int(option), ctypes.c_ulong(value), pointer, zero, zero)


def prepared_syscall(number: int, *arguments: int) -> Call:
    """Prepare a system call."""
    return _syscall, tuple(map(ctypes.c_long, (number, *arguments)))


def make(calls: Iterable[Call]) -> None:
    """Make prepared calls: of the system, or of Python functions, which don't return -1.

    Raises:
        OSError: the kernel refused one.
    """
    for function, arguments in calls:
        if function(*arguments) == -1:
            shown = ", ".join(str(getattr(each, "value", "...")) for each in arguments)
            raise _failure(f"{function.__name__}({shown})")


def syscall(number: int, *arguments: Any) -> int:
    """Make a system call; integers go as longs.

    Raises:
        OSError: the kernel refused.
    """
    result: int = _syscall(
        ctypes.c_long(number),
        *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments),
    )
    if result < 0:
        raise _failure(f"system call {number}")
    return result


def call(name: str, *arguments: Any) -> None:
    """Call a function of libc that returns 0, or -1 and sets errno.

    Raises:
        OSError: it failed.
    """
    if getattr(_libc, name)(*arguments) != 0:
        raise _failure(name)


def _failure(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def death_signal(number: int) -> Call:
    """Prepare to get a signal when the parent ends. It may have ended before the call was made.

    The signal is tied to the *thread* that forked. The servers fork from their only thread, so here
    it is safe.
    """
    return prepared_prctl(PR_SET_PDEATHSIG, number)


def adoption() -> Call:
    """Prepare to become the parent of every descendant whose own parent ends."""
    return prepared_prctl(PR_SET_CHILD_SUBREAPER, 1)


def refuse_privileges() -> None:
    """Let no descendant gain privileges: its server couldn't kill a set-user-id program."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def flush_c_streams() -> None:
    """Flush what C code left in its own stdio buffers (``fflush(NULL)``)."""
    _fflush(None)
