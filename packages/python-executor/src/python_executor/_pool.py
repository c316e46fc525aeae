"""The pool: a root fork server, its slots, and bringing both back when they die."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
import weakref
from dataclasses import replace

from python_executor._forkserver import ForkServer
from python_executor._queue import SlotQueue
from python_executor._run import Limits
from python_executor._sessions import Sessions
from python_executor._slot import Slot
from python_executor.errors import ForkServerError, PoolForkedError
from python_executor.sandbox import (
    ALWAYS_ON,
    SandboxInfo,
    SandboxMode,
    SandboxPolicy,
    check_layers,
    check_sandbox,
)

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
        limits: what a program may write; what else it may take, the sandbox says.
        max_pending: how many executions may wait; None is no limit.
        sandbox: as ``PythonExecutorService`` takes it.
        merge_stderr: whether programs write stderr to stdout.
        in_turn: whether slots are used in turn (see ``SlotQueue``).
        max_sessions: how many sessions may have a process.
        history: how many checkpoints each keeps.
        idle_timeout: seconds after which one that nobody uses loses it; None is never.
        eager: whether slots get their servers now, or when a program first needs them.
        hash_seed: what programs hash strings with; None leaves it random.

    Raises:
        ForkServerError: the fork server could not be started.
        SandboxUnavailableError: a layer of the sandbox that is insisted on can't be had.

    Attributes:
        hash_seed: as given.
        history: as given.
        restarts: how often a slot server had to be replaced.
        root_restarts: how often the root had to be.
        owner: pid of the process that made it.
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
        sandbox: SandboxMode | SandboxPolicy,
        merge_stderr: bool = False,
        in_turn: bool = False,
        max_sessions: int = 0,
        history: int = 1,
        idle_timeout: float | None = None,
        eager: bool = True,
        hash_seed: int | None = None,
    ) -> None:
        self.size = size
        self.restarts = 0
        self.root_restarts = 0
        self._python = python
        self._preload = preload
        self._startup_timeout = startup_timeout
        self._merge = merge_stderr
        self.hash_seed = hash_seed
        self.history = history
        self.owner = os.getpid()
        self._server_lock = threading.Lock()
        self._closed = threading.Event()
        self.mode, policy = check_sandbox(sandbox)
        self._plan = None if policy is None else policy.plan(size, max_sessions)
        self.limits = limits
        if policy is not None:
            self.limits = replace(
                limits,
                memory=policy.memory,
                disk=policy.disk,
                processes=policy.processes,
            )
        self.sessions = Sessions(max_sessions, size, self._new_slot, self._is_awaited, idle_timeout)
        self._server: ForkServer | None = self._start_server()
        self.slots: list[Slot] = []
        try:
            self.closing = os.eventfd(0, os.EFD_CLOEXEC)
        except OSError as error:
            self._server.kill()
            raise _no_descriptors(error) from error
        try:
            for number in range(size):
                slot = Slot(number, self.closing, merge=merge_stderr)
                self.slots.append(slot)
                if eager:
                    self._attach_surely(slot)
        except BaseException as error:
            self._close_descriptors()
            self._server.close()
            if isinstance(error, OSError):
                raise _no_descriptors(error) from error
            raise
        self.queue = SlotQueue(self.slots, max_pending, in_turn=in_turn)
        _living.add(self)

    def _new_slot(self, number: int) -> Slot:
        try:
            return Slot(number, self.closing, merge=self._merge, ahead=False)
        except OSError as error:
            raise _no_descriptors(error) from error

    def _is_awaited(self, session: str) -> bool:
        return self.queue.is_awaited(session)

    @property
    def server(self) -> ForkServer | None:
        """The root fork server; None after close, or while it is being brought back."""
        return self._server

    def sandbox(self) -> SandboxInfo:
        """The layers of protection that programs have."""
        server = self._server
        layers = [] if server is None else list(server.layers)
        if layers:
            layers += ALWAYS_ON
        return {"mode": self.mode, "layers": layers}

    @property
    def owned(self) -> bool:
        """Whether this process made the pool, and isn't a fork of the one that did."""
        return os.getpid() == self.owner

    def check(self) -> None:
        """Refuse to work in a forked child.

        Raises:
            PoolForkedError: this process is a fork of the one that made the pool.
        """
        if not self.owned:
            raise PoolForkedError(self.owner)

    def revive(self, slot: Slot, *, thoroughly: bool = False) -> None:
        """Get a slot a new server, and the pool a new root if that is gone too.

        Args:
            slot: owned by the caller.
            thoroughly: kill the root of the slot's server first: it was asked before, and nothing
                came of it.

        Raises:
            ForkServerError: it can't be done. The slot stays dead, and may be revived later.
        """
        with self._server_lock:
            self.restarts += slot.root is not None
            slot.detach()
            server = self._server
            # Others may have replaced the root in the meantime: that is not to be killed.
            failed = thoroughly and slot.root is server
            if server is not None and (failed or server.stopped):
                self._end_server()
            try:
                if self._server is None or not self._attach(slot):
                    self._end_server()
                    self.root_restarts += 1
                    self._server = self._start_server()
                    self._attach_surely(slot)
            except OSError as error:
                raise _no_descriptors(error) from error

    def _end_server(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.kill()

    def _start_server(self) -> ForkServer:
        server = ForkServer(
            self._python,
            self._preload,
            self._startup_timeout,
            self._plan,
            merge=self._merge,
            hash_seed=self.hash_seed,
        )
        try:
            check_layers(self.mode, server.layers)
        except BaseException:
            server.close()
            raise
        return server

    def _attach(self, slot: Slot) -> bool:
        """Connect a slot to a new slot server; False if the root is gone, or descriptors are."""
        assert self._server is not None
        history = 0
        if slot.number >= self.size:
            self.sessions.settle_number(slot)
            history = self.history
        sock = self._server.start_slot(slot.number, history=history)
        if sock is None:
            return False
        slot.attach(sock, self._server)
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
            drained = self.queue.drained(self._startup_timeout + _CALLERS_PATIENCE)
            self.sessions.stop()  # nobody begins any more
            if drained:
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
        for slot in (*self.slots, *self.sessions.slots()):
            slot.close()
        os.close(self.closing)

    def _forget(self) -> None:
        """Close what a forked child inherited; the servers wait for the end of their sockets."""
        for descriptor in self.queue.descriptors():
            with contextlib.suppress(OSError):  # another thread was closing it at the fork
                os.close(descriptor)
        for slot in (*self.slots, *self.sessions.slots()):
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
