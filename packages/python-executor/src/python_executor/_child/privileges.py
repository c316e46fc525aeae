"""Giving privileges up: capabilities(7), and a user of its own for each slot."""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH123
from __future__ import annotations

import ctypes
import os
from contextlib import suppress

from . import linux

_CHOWN, _DAC_OVERRIDE, _FOWNER, _KILL, _SETGID, _SETUID, _SETPCAP = 0, 1, 3, 5, 6, 7, 8
# What the root needs to start, end and clear up slots that run as other users.
OVER_OTHER_USERS = frozenset({_CHOWN, _DAC_OVERRIDE, _FOWNER, _KILL, _SETGID, _SETUID, _SETPCAP})
# What the host needs to see which files and memory processes of other users hold.
_SYS_PTRACE = 19

_LAST_POSSIBLE = 63
_VERSION_3 = 0x20080522
_AMBIENT_CLEAR_ALL = 4
# Root's uid gives no capabilities at exec, and this can't be undone.
_NOROOT_FOR_GOOD = 0b11


class _Header(ctypes.Structure):
    """``struct __user_cap_header_struct``."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    """``struct __user_cap_data_struct``: one half of the sets."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop_capabilities(keep: frozenset[int] = frozenset()) -> None:
    """Drop all capabilities but ``keep`` for good: from every set, and from what exec could give.

    Raises:
        OSError: the kernel refused.
    """
    with suppress(OSError):  # without CAP_SETPCAP: no_new_privs keeps exec from giving any
        linux.prctl(linux.PR_SET_SECUREBITS, _NOROOT_FOR_GOOD)
        _bound(keep)
    with suppress(OSError):  # a kernel before 4.3 has no ambient set
        linux.prctl(linux.PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    bits = sum(1 << capability for capability in keep)
    halves = (_Data * 2)(
        *(_Data(word, word, 0) for word in (bits & 0xFFFFFFFF, bits >> 32)),
    )
    linux.call("capset", ctypes.byref(_Header(_VERSION_3, 0)), ctypes.byref(halves))


def _bound(keep: frozenset[int]) -> None:
    """Keep exec from ever giving more than these, as far as the kernel knows others."""
    for capability in range(_LAST_POSSIBLE + 1):
        if capability not in keep:
            linux.prctl(linux.PR_CAPBSET_DROP, capability)  # EINVAL past the last


def status() -> dict[bytes, bytes]:
    """What the kernel says of this process, field by field (proc_pid_status(5))."""
    with open("/proc/self/status", "rb") as file:
        return dict(line.split(b":", 1) for line in file if b":" in line)


def sees_other_users() -> bool:
    """Whether this process can look into those of other users: root in most containers can't."""
    return bool(int(status()[b"CapEff"], 16) >> _SYS_PTRACE & 1)


def become(user: int) -> None:
    """Become another user, with a group of the same number and no other, and no capability.

    Raises:
        OSError: this process may not, or its user namespace has no such user.
    """
    with suppress(OSError):
        _bound(frozenset())  # while it may
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
