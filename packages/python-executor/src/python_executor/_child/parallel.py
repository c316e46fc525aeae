"""``multiprocessing`` and ``threadpoolctl`` where programs may start no processes.

Thread pools, queues and shared values of ``multiprocessing`` are for threads as well, and libraries
use them so (joblib, ``multiprocessing.dummy``). They take semaphores and memory from ``/dev/shm``,
which belongs to the whole machine. A process that is alone needs neither.
"""

from __future__ import annotations

import _thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

_RECURSIVE = 0  # the kind of a lock that its owner may take again


def adapt_semaphores(module: ModuleType) -> None:
    """Replace the semaphore of ``_multiprocessing``."""
    module.__dict__["SemLock"] = SemLock


def adapt_heap(module: ModuleType) -> None:
    """Have ``multiprocessing.heap`` map files of the program's own directory."""
    arena: Any = module.__dict__["Arena"]
    arena._dir_candidates = []  # noqa: SLF001


def adapt_thread_pools(module: ModuleType) -> None:
    """Have ``threadpoolctl`` ask the dynamic linker which libraries are loaded, not ``/proc``."""
    if "_HAS_PROCFS" in module.__dict__:
        module.__dict__["_HAS_PROCFS"] = False


class SemLock:
    """What ``_multiprocessing.SemLock`` is to threads of one process.

    Args:
        kind: 0 is a lock that its owner may take again, 1 a semaphore.
        value: how often it can be taken at first.
        maxvalue: how often at most.
        name: for other processes, of which there are none.
        unlink: whether no other process will open it.
    """

    SEM_VALUE_MAX = 0x7FFFFFFF

    def __init__(self, kind: int, value: int, maxvalue: int, name: str, unlink: bool) -> None:  # noqa: FBT001
        import threading  # its hook after a fork touches a hundred pages

        self.kind = kind
        self.maxvalue = maxvalue
        self.name = None if unlink else name
        self.handle = id(self)
        self._value = value
        self._changed = threading.Condition(threading.Lock())
        self._owner = 0
        self._taken = 0  # by this process, as the original counts

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002
        """Take it; False if it can't be had, or not within ``timeout`` seconds."""
        patience = None if timeout is None else max(0.0, timeout)
        with self._changed:
            if not (self.kind == _RECURSIVE and self._is_mine()):
                if not self._changed.wait_for(lambda: self._value > 0, patience if block else 0.0):
                    return False
                self._value -= 1
            self._owner = _thread.get_ident()
            self._taken += 1
            return True

    def release(self) -> None:
        """Give it back.

        Raises:
            AssertionError: another thread has it.
            ValueError: it was given back more often than taken.
        """
        with self._changed:
            if self.kind == _RECURSIVE:
                if not self._is_mine():
                    raise AssertionError("attempt to release recursive lock not owned by thread")
                if self._taken > 1:
                    self._taken -= 1
                    return
            elif self._value >= self.maxvalue:
                raise ValueError("semaphore or lock released too many times")
            self._taken -= 1
            self._value += 1
            self._changed.notify()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _count(self) -> int:
        return self._taken

    def _is_mine(self) -> bool:
        return self._taken > 0 and self._owner == _thread.get_ident()

    def _get_value(self) -> int:
        return self._value

    def _is_zero(self) -> bool:
        return self._value == 0

    def _after_fork(self) -> None:
        self._taken = 0
