"""Namespaces, where this process may make them: no network, and a file system all its own.

Only the root makes them, once; slot servers and programs are born in them. Where a container or a
distribution forbids namespaces, the other layers do without.
"""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH102, PTH112, PTH123
from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

from . import linux, syscalls

_NEW_MOUNTS, _NEW_UTS, _NEW_IPC, _NEW_USER, _NEW_NETWORK = (
    0x20000, 0x4000000, 0x8000000, 0x10000000, 0x40000000,
)  # fmt: skip
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY = 1
# Kernel memory bounds the number of files as their size bounds that of their content.
_INODES = 16384
# Hidden beneath a file system of our own: the host never sees what is in it, and it is gone with
# the last process. This folder, because nobody keeps on it what programs should read.
SHARED_MEMORY = "/dev/shm"  # noqa: S108


class _MountAttributes(ctypes.Structure):
    """``struct mount_attr``."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


def enter_user_namespace() -> None:
    """Make a user namespace in which this process has all capabilities, unless it has them anyway.

    The process must have one thread.

    Raises:
        OSError: it may not.
    """
    if _may_mount():
        return
    user, group = os.getuid(), os.getgid()
    linux.call("unshare", _NEW_USER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _may_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN."""
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"CapEff:"):
                return bool(int(line.split()[1], 16) & 1 << 21)
    return False


def hides(plan: dict[str, Any]) -> bool:
    """Whether mounts can be of our own: nothing that is granted lies where they would be."""
    granted = (*plan["read"], *plan["write"], sys.prefix, sys.base_prefix)
    return os.path.isdir(SHARED_MEMORY) and not any(_below(p, SHARED_MEMORY) for p in granted)


def enter(plan: dict[str, Any], name: str, users: list[int] | None) -> str | None:
    """Leave the host's network, IPC and mounts; every mount becomes read-only but for the slots'.

    Args:
        plan: ``network``, ``read`` and ``write`` (granted paths; the latter stay writable),
            ``processes``, ``disk`` (bytes of a slot's file system), ``slots`` (how many).
        name: of the folder to make.
        users: owners of the slots' file systems; None is this process's own user.

    Returns:
        The folder that holds a file system of its own for each slot, by number; None if mounts
        stay the host's (see ``hides``).

    Raises:
        OSError: something isn't permitted. The process may be half in: try it in a child first.
    """
    linux.call("unshare", _NEW_UTS | _NEW_IPC | (0 if plan["network"] else _NEW_NETWORK))
    if not hides(plan):
        return None
    linux.call("unshare", _NEW_MOUNTS)
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    for path in plan["write"]:
        _mount(path, path, None, _MS_BIND | _MS_REC)
    _set_read_only("/", on=True)
    for path in plan["write"]:
        _set_read_only(path, on=False)
    kind = _MS_NOSUID | _MS_NODEV | (0 if plan["processes"] else _MS_NOEXEC)
    _mount("tmpfs", SHARED_MEMORY, "tmpfs", kind, "mode=755,size=4m")
    folder = f"{SHARED_MEMORY}/{name}"
    os.mkdir(folder, 0o711)
    options = f"size={plan['disk']},nr_inodes={_INODES},mode=700"
    for slot in range(plan["slots"]):
        place = f"{folder}/{slot}"
        os.mkdir(place, 0o700)
        owner = "" if users is None else f",uid={users[slot]},gid={users[slot]}"
        _mount("tmpfs", place, "tmpfs", kind, options + owner)
    return folder


def _below(path: str, folder: str) -> bool:
    return (os.path.realpath(path) + "/").startswith(folder + "/")


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    arguments = (None if text is None else text.encode() for text in (source, target, kind))
    data = None if options is None else options.encode()
    try:
        linux.call("mount", *arguments, ctypes.c_ulong(flags), data)
    except OSError as error:
        raise OSError(error.errno, f"mount {target}: {os.strerror(error.errno or 0)}") from error


def _set_read_only(path: str, *, on: bool) -> None:
    """Switch the flag of a mount and all below it (mount_setattr(2), Linux 5.12)."""
    attributes = _MountAttributes(set=_ATTR_RDONLY) if on else _MountAttributes(clear=_ATTR_RDONLY)
    linux.syscall(
        syscalls.MOUNT_SETATTR,
        _AT_FDCWD,
        path.encode(),
        _AT_RECURSIVE,
        ctypes.byref(attributes),
        ctypes.sizeof(attributes),
    )
