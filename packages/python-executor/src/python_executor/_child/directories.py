"""Removing what a program left in its temporary directory, however deep or oddly protected."""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH101, PTH104, PTH106, PTH108
from __future__ import annotations

import errno
import os
import stat


def remove(path: str) -> None:
    """Remove a directory and all in it; does nothing if there is none.

    A subdirectory is first moved up beside the others, so neither recursion nor long paths limit
    the depth. Nobody may be writing there any more.
    """
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
    else:
        return  # empty, as most are
    waiting = _empty(path)
    moved = 0
    while waiting:
        folder = waiting.pop()
        for inner in _empty(folder):
            os.chmod(inner, stat.S_IRWXU)  # a rename rewrites its ".."
            moved += 1
            target = f"{path}/.moved-{os.getpid()}-{moved}"
            os.rename(inner, target)
            waiting.append(target)
        os.rmdir(folder)
    os.rmdir(path)


def _empty(folder: str) -> list[str]:
    """Unlink the files of a directory; returns the paths of its subdirectories."""
    os.chmod(folder, stat.S_IRWXU)
    inner = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.path)
            else:
                os.unlink(entry.path)
    return inner
