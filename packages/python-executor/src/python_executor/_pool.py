"""The pool: a root fork server, its slots, and bringing both back when they die."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
import weakref

from python_executor._forkserver import ForkServer
from python_executor._queue import SlotQueue
from python_executor._run import Limits
from python_executor._slot import Slot
from python_executor.errors import ForkServerError, PoolForkedError

# How long close() waits for callers in other threads to notice (seconds). They are woken, so this
# is ample.
_CALLERS_PATIENCE = 30.0


class Pool:
    """Slots over one root fork server. Thread-safe; a slot belongs to one caller at a time.

    Args:
        size: number of slots.
        python: interpreter to run programs with.
        preload: modules to import before the first fork.
        startup_timeout: seconds that the fork server may take to start.
        limits: what a program may write.
        max_pending: how many executions may wait; None is no limit.

    Raises:
        ForkServerError: the fork server could not be started.

    Attributes:
        restarts: how often a slot server had to be replaced.
        closing: descriptor that becomes readable, for good, when the pool closes.
    """

    def __init__(
        self,
        size: int,
        *,
        python: str,
        preload: tuple[str, ...],
        startup_timeout: float,
        limits: Limits,
        max_pending: int | None,
    ) -> None:
        self.size = size
        self.limits = limits
        self.restarts = 0
        self._python = python
        self._preload = preload
        self._startup_timeout = startup_timeout
        self._owner = os.getpid()
        self._server_lock = threading.Lock()
        self._closed = threading.Event()
        self._server: ForkServer | None = ForkServer(python, preload, startup_timeout)
        self.slots: list[Slot] = []
        try:
            self.closing = os.eventfd(0, os.EFD_CLOEXEC)
        except OSError as error:
            self._server.kill()
            raise _no_descriptors(error) from error
        try:
            for number in range(size):
                slot = Slot(number, self.closing)
                self.slots.append(slot)
                self._attach_surely(slot)
        except BaseException as error:
            self._close_descriptors()
            self._server.close()
            if isinstance(error, OSError):
                raise _no_descriptors(error) from error
            raise
        self.queue = SlotQueue(self.slots, max_pending)
        _living.add(self)

    @property
    def server(self) -> ForkServer | None:
        """The root fork server; None after close, or while it is being brought back."""
        return self._server

    @property
    def owned(self) -> bool:
        """Whether this process made the pool, and isn't a fork of the one that did."""
        return os.getpid() == self._owner

    def check(self) -> None:
        """Refuse to work in a forked child.

        Raises:
            PoolForkedError: this process is a fork of the one that made the pool.
        """
        if not self.owned:
            raise PoolForkedError(self._owner)

    def revive(self, slot: Slot, *, thoroughly: bool = False) -> None:
        """Get a slot a new server, and the pool a new root if that is gone too.

        Args:
            slot: owned by the caller.
            thoroughly: kill the root first: it was asked before, and nothing came of it.

        Raises:
            ForkServerError: it can't be done. The slot stays dead, and may be revived later.
        """
        with self._server_lock:
            self.restarts += 1
            slot.detach()
            if thoroughly and self._server is not None:
                self._server.kill()
                self._server = None
            try:
                if self._server is None or not self._attach(slot):
                    if self._server is not None:
                        self._server.kill()
                        self._server = None
                    self._server = ForkServer(self._python, self._preload, self._startup_timeout)
                    self._attach_surely(slot)
            except OSError as error:
                raise _no_descriptors(error) from error

    def _attach(self, slot: Slot) -> bool:
        """Connect a slot to a new slot server; False if the root is gone, or descriptors are."""
        assert self._server is not None
        sock = self._server.start_slot(slot.number)
        if sock is None:
            return False
        slot.attach(sock)
        return slot.alive

    def _attach_surely(self, slot: Slot) -> None:
        if not self._attach(slot):
            raise ForkServerError(
                f"slot {slot.number} of {self.size} can't be connected to it. "
                "Perhaps too many descriptors are open (`ulimit -n`)."
            )

    def close(self) -> None:
        """End every program and server, and wait until they are gone; calls raise PoolClosedError.

        A second close, also from another thread, waits for the first. In a forked child it does
        nothing.
        """
        if not self.owned:
            return
        if not self.queue.close():
            self._closed.wait()
            return
        try:
            os.eventfd_write(self.closing, 1)
            if self.queue.drained(self._startup_timeout + _CALLERS_PATIENCE):
                _living.discard(self)
                self._close_descriptors()
            else:
                # Their descriptors stay open: closed ones would soon be somebody else's.
                warnings.warn(
                    "callers of a closed pool do not return", RuntimeWarning, stacklevel=3
                )
            with self._server_lock:
                if self._server is not None:
                    self._server.close()
                    self._server = None
        finally:
            self._closed.set()

    def _close_descriptors(self) -> None:
        for slot in self.slots:
            slot.close()
        os.close(self.closing)

    def _forget(self) -> None:
        """Close what a forked child inherited; the servers wait for the end of their sockets."""
        for descriptor in self.queue.descriptors():
            with contextlib.suppress(OSError):  # another thread was closing it at the fork
                os.close(descriptor)
        for slot in self.slots:
            slot.forget()
        os.close(self.closing)
        if self._server is not None:
            self._server.forget()


# Pools that a fork of this process would inherit.
_living: weakref.WeakSet[Pool] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for pool in list(_living):
        pool._forget()  # noqa: SLF001
    _living.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _no_descriptors(error: OSError) -> ForkServerError:
    return ForkServerError(
        f"{error}. A pool needs about eight descriptors a slot here: see `ulimit -n`, "
        "or make a smaller pool."
    )
