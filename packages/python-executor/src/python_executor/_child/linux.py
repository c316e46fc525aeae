"""The ``prctl`` calls that tie processes together (prctl(2)); Python has no binding for them."""

from __future__ import annotations

import ctypes
import os

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)
_fflush = _libc.fflush  # looked up before a program can patch what the look-up needs


def prctl(option: int, value: int) -> None:
    """Call ``prctl(option, value)``.

    Raises:
        OSError: the kernel refused.
    """
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {value}): {os.strerror(number)}")


def die_with_parent(parent: int, number: int) -> None:
    """Get signal ``number`` when ``parent`` ends, or end now if it already has.

    The signal is tied to the *thread* that forked. The servers fork from their only thread, so here
    it is safe.
    """
    prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, double forks included."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def refuse_privileges() -> None:
    """Let no descendant gain privileges: its server couldn't kill a set-user-id program."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def flush_c_streams() -> None:
    """Flush what C code left in its own stdio buffers (``fflush(NULL)``)."""
    _fflush(None)
