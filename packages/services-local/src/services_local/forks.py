"""What a forked child of this process must not keep: locks of names, sockets, pipes.

Another process waits for the end of each of them, and a child with a copy would make it wait for
the child's end too. A descriptor is made under `no_fork`, so that no child can have it before it is
noted here.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Protocol


class Closable(Protocol):
    """Something with a descriptor."""

    def close(self) -> None:
        """Close it; a second call does nothing."""


_lock = threading.RLock()
_private: set[Closable] = set()


@contextlib.contextmanager
def no_fork() -> Iterator[None]:
    """Let this process's other threads wait with `os.fork` for as long as this takes."""
    with _lock:
        yield


def keep_private(thing: Closable) -> None:
    """Have this closed in forked children."""
    _private.add(thing)


def forget(thing: Closable) -> None:
    """Say that this is closed."""
    _private.discard(thing)


def _close_in_child() -> None:
    for thing in list(_private):
        thing.close()
    _private.clear()
    _lock.release()


os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_close_in_child
)
