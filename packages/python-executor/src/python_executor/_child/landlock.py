"""Landlock: which files a process may reach, and who else (landlock(7)), by its three system calls.

A *ruleset* is made once a slot; restricting a process to it copies it into a *domain* of that
process's own. Processes in different domains can't reach each other, domains inside can be
reached from outside.
"""

from __future__ import annotations

import ctypes
import os
import stat

from . import linux

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every machine
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIRECTORY = 1 << 3
_REMOVE_DIRECTORY = 1 << 4
_REMOVE_FILE = 1 << 5
_MAKE_CHARACTER_DEVICE = 1 << 6
_MAKE_DIRECTORY = 1 << 7
_MAKE_FILE = 1 << 8
_MAKE_SOCKET = 1 << 9
_MAKE_FIFO = 1 << 10
_MAKE_BLOCK_DEVICE = 1 << 11
_MAKE_SYMLINK = 1 << 12
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_IOCTL_DEVICE = 1 << 15

READ = _READ_FILE | _READ_DIRECTORY
# Device nodes stay out: nobody makes them in a working directory.
WRITE = (
    READ | _WRITE_FILE | _REMOVE_DIRECTORY | _REMOVE_FILE | _MAKE_DIRECTORY | _MAKE_FILE
    | _MAKE_SOCKET | _MAKE_FIFO | _MAKE_SYMLINK | _REFER | _TRUNCATE
)  # fmt: skip
# A right that no grant has, and that is of no use (only a process with capabilities makes device
# nodes): Landlock lets nothing be moved to where there are more rights. What a program moved from a
# grant into its own directory, servers would remove, whose rights may be greater.
OWN = _MAKE_CHARACTER_DEVICE
# What a rule on something that is no directory may hold; the kernel refuses more (EINVAL).
_ON_FILES = EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE

_BIND_TCP, _CONNECT_TCP = 1, 2
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1, 2

# ABI 7: what is refused would otherwise be in the host's audit log, as often as a program likes.
_LOG_SAME_EXEC_OFF, _LOG_SUBDOMAINS_OFF = 1, 4

# The first ABI that scopes signals, and the highest whose features are used here.
ABI_SCOPES, ABI_KNOWN = 6, 7


class _RulesetAttributes(ctypes.Structure):
    """``struct landlock_ruleset_attr``: older kernels know only its beginning."""

    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    """``struct landlock_path_beneath_attr``."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """The kernel's Landlock ABI; 0 if it has none, or it isn't switched on."""
    try:
        return linux.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def scope_signals() -> None:
    """Let this thread, and all that it starts, send signals to nobody else, for good.

    Raises:
        OSError: the kernel refused: it can't do that before ABI 6.
    """
    attributes = _RulesetAttributes(scoped=_SCOPE_SIGNALS)
    descriptor = linux.syscall(
        _CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0
    )
    try:
        linux.syscall(_RESTRICT_SELF, descriptor, 0)
    finally:
        os.close(descriptor)


class Ruleset:
    """What is allowed; all else that this kernel can refuse is refused.

    Args:
        version: the kernel's ABI, at least 1.
        network: whether TCP is allowed.

    Raises:
        OSError: the kernel refused.

    Attributes:
        descriptor: of the ruleset.
    """

    def __init__(self, version: int, *, network: bool) -> None:
        self._version = version
        # By version: REFER came with 2, TRUNCATE with 3, IOCTL_DEVICE with 5.
        self._handled = (1 << (13, 14, 15, 15, 16)[min(version, 5) - 1]) - 1
        attributes = _RulesetAttributes(self._handled)
        size = 8
        if version >= 4:
            attributes.handled_access_net = 0 if network else _BIND_TCP | _CONNECT_TCP
            size = 16
        if version >= 6:
            attributes.scoped = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS
            size = 24
        self.descriptor = linux.syscall(_CREATE_RULESET, ctypes.byref(attributes), size, 0)

    def grant(self, path: str, access: int) -> bool:
        """Allow ``access`` to a file, or to all below a directory; False if there is none."""
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                access &= _ON_FILES
            attributes = _PathBeneath(access & self._handled, descriptor)
            linux.syscall(
                _ADD_RULE, self.descriptor, _RULE_PATH_BENEATH, ctypes.byref(attributes), 0
            )
        finally:
            os.close(descriptor)
        return True

    def restriction(self) -> linux.Call:
        """Prepare to restrict a thread to it, as ``restriction`` does."""
        return restriction(self.descriptor, self._version)


def restriction(descriptor: int, version: int) -> linux.Call:
    """Prepare to restrict a thread, and all that it starts, for good; needs no_new_privs.

    The kernel refuses when 16 domains are stacked (E2BIG).

    Args:
        descriptor: of a ruleset.
        version: the kernel's ABI.
    """
    flags = _LOG_SAME_EXEC_OFF | _LOG_SUBDOMAINS_OFF if version >= 7 else 0
    return linux.prepared_syscall(_RESTRICT_SELF, descriptor, flags)
