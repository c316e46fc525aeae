"""What a forked child must not keep open: it would hold locks, and hide that its parent is gone."""

from __future__ import annotations

import os
from typing import Protocol, TypeVar
from weakref import WeakSet


class _Closeable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=_Closeable)

_open: WeakSet[_Closeable] = WeakSet()


def close_in_forks(resource: T) -> T:
    """Have forked children of this process close their copy of a resource; returns it."""
    _open.add(resource)
    return resource


def _close_all() -> None:
    for resource in list(_open):
        resource.close()


os.register_at_fork(after_in_child=_close_all)
