"""Removing a pool's directory whose servers were killed, whatever modes directories in it have."""

# ruff: noqa: PTH101
from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Callable

_HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(top: str) -> None:
    """Remove a directory with all in it, as far as that can be done; call again if it is left."""
    real = os.path.realpath(top)

    def unlock(_function: Callable[..., object], path: str, _problem: object) -> None:
        """Let the owner do everything in a directory that could not be listed or emptied."""
        _unlock(os.path.dirname(path), real)  # noqa: PTH120
        _unlock(path, real)

    if sys.version_info >= (3, 12):
        shutil.rmtree(top, onexc=unlock)
    else:
        shutil.rmtree(top, onerror=unlock)


def _unlock(folder: str, top: str) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(folder, _HANDLE)
        try:
            # Not the path itself: a program that is just being ended may put a link there.
            where = os.readlink(f"/proc/self/fd/{handle}")  # noqa: PTH115
            if f"{where}/".startswith(f"{top}/"):
                os.chmod(f"/proc/self/fd/{handle}", stat.S_IRWXU)
        finally:
            os.close(handle)
