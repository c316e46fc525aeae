"""The processes of sessions, beyond the slots of the pool: who has one, and who has to give it up.

A session's process costs memory and no slot: its cells wait for a slot of the queue like all
programs, and leave that one's own interpreter idle while they run.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from python_executor._idle import IdleThread
from python_executor._slot import Slot
from python_executor.errors import (
    ForkServerError,
    PythonExecutorError,
    SessionCopyError,
    SessionExistsError,
    SessionNotFoundError,
)
from python_executor.results import SessionInfo, State

# Sessions without a process whose names are kept, so that their next result can say ``lost``.
_REMEMBERED = 65536


class Session:
    """What is known of a session.

    Args:
        name: the session.

    Attributes:
        slot: its process; None if it has none, or has lost it.
        cells: how many cells have begun since it was opened.
        running: whether somebody whose turn it is uses it.
        use: what for: to run its cells, to branch it, or to make it a branch.
        used: when its last use ended (``time.monotonic``).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.slot: Slot | None = None
        self.cells = 0
        self.running = False
        self.use: Literal["cells", "source", "branch"] = "cells"
        self.used = 0.0

    @property
    def state(self) -> State:
        """What its next cell starts from, if its process lives."""
        if self.slot is not None and self.slot.cells:
            return "restored" if self.slot.restored else "kept"
        return "lost" if self.cells else "fresh"


class Sessions:
    """The sessions of a pool. Thread-safe; each is used by one caller at a time, whose turn it is.

    Args:
        most: how many may have a process; at least as many as can run at a time.
        first: the number of their first slot; those below are the pool's own.
        new_slot: makes a slot of a number, without a server.
        is_awaited: whether somebody uses a session, or waits for it.
        idle_timeout: seconds after which one that nobody uses loses its process; None is never.

    Attributes:
        evictions: how often one lost its process to another.
        expirations: how often one lost its process because nobody used it.
    """

    def __init__(
        self,
        most: int,
        first: int,
        new_slot: Callable[[int], Slot],
        is_awaited: Callable[[str], bool],
        idle_timeout: float | None = None,
    ) -> None:
        self.most = most
        self.idle_timeout = idle_timeout
        self.evictions = 0
        self.expirations = 0
        self._first = first
        self._new_slot = new_slot
        self._is_awaited = is_awaited
        self._idle_thread = None if idle_timeout is None else IdleThread(self.expire)
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)  # one is in use no more
        self._by_name: OrderedDict[str, Session] = OrderedDict()  # the last used one at the end

    def begin(self, name: str, *, new: bool = True) -> Slot:
        """Open a session, or take it up again, for its caller's turn; returns its process.

        To be followed by ``end`` or ``abandon``.

        Args:
            name: the session.
            new: whether it is opened if it has no process.

        Raises:
            SessionNotFoundError: it has no process, and is not to be opened.
            ForkServerError: no descriptors are to be had, or no thread for ``idle_timeout``.
        """
        with self._lock:
            if self._idle_thread is not None:
                self._start(self._idle_thread)
            session = self._by_name.get(name)
            if not new and (session is None or session.slot is None):
                raise SessionNotFoundError(name, lost=session is not None)
            if session is None:
                session = self._by_name[name] = Session(name)
                self._forget()
            session.running = True
            if session.slot is None:
                session.slot = self._new_slot(self._free_number())
            return session.slot

    def _start(self, thread: IdleThread) -> None:
        try:
            thread.start()
        except RuntimeError as error:
            raise ForkServerError(f"{error}. With an idle_timeout, a pool needs one.") from error

    def _forget(self) -> None:
        """Forget the oldest names of sessions without a process, if there are too many."""
        if len(self._by_name) <= self.most + _REMEMBERED:
            return
        idle = (s.name for s in self._by_name.values() if s.slot is None and not s.running)
        for name in [name for name, _ in zip(idle, range(_REMEMBERED // 2), strict=False)]:
            del self._by_name[name]

    def _free_number(self) -> int:
        """A number that no session has; the least recently used one gives its own if need be."""
        while not self._make_room():
            # As many cells as can run have room. What is in use beside is copied, or rolled back,
            # which is soon done, and waits for nobody.
            self._freed.wait()
        return self._first_but({slot.number for slot in self.slots()})

    def _first_but(self, taken: set[int]) -> int:
        return next(n for n in range(self._first, self._first + self.most) if n not in taken)

    def _make_room(self) -> bool:
        """Take the least recently used session's process, if there are as many as may be.

        Returns:
            Whether there is room now; not if all are in use.
        """
        living = [session for session in self._by_name.values() if session.slot is not None]
        if len(living) < self.most:
            return True
        victim = next((session for session in living if not session.running), None)
        if victim is None:
            return False
        self.evictions += 1
        _close(victim)
        return True

    def settle_number(self, slot: Slot) -> None:
        """Give a session's slot a number of its own, for a server of its own.

        Branches have the number of the session that they come from.
        """
        with self._lock:
            taken = {each.number for each in self.slots() if each is not slot}
            if slot.number in taken:
                slot.number = self._first_but(taken)

    def begin_branch(self, source: str, name: str) -> tuple[Slot, Slot]:
        """Take up a session to branch it, for a caller who has the turns of both.

        To be followed by ``end_branch`` or ``abandon``.

        Returns:
            The process of the session, and a slot for that of the branch.

        Raises:
            SessionNotFoundError: it has no process.
            SessionExistsError: the branch has one.
            SessionCopyError: as many as may have a process are in use.
            ForkServerError: no descriptors are to be had.
        """
        with self._lock:
            session = self._by_name.get(source)
            if session is None or session.slot is None:
                raise SessionNotFoundError(source, lost=session is not None)
            branch = self._by_name.get(name)
            if branch is not None and branch.slot is not None:
                raise SessionExistsError(name)
            session.use, session.running = "source", True
            if branch is None:
                branch = self._by_name[name] = Session(name)
                self._forget()
            branch.use, branch.running = "branch", True
            try:
                if not self._make_room():
                    raise SessionCopyError(
                        source,
                        f"max_sessions is {self.most}, and all that have a process are in use",
                    )
                # It never has a server of that number: it gets one from the other's.
                branch.slot = self._new_slot(session.slot.number)
            except PythonExecutorError:
                for each in (session, branch):
                    each.use, each.running = "cells", False
                raise
            return session.slot, branch.slot

    def end_branch(self, source: str, name: str, *, done: bool) -> None:
        """End what ``begin_branch`` began; ``done`` says whether there is a branch now."""
        with self._lock:
            session, branch = self._by_name[source], self._by_name[name]
            if done:
                branch.cells = session.cells
            elif not branch.cells:
                _close(self._by_name.pop(name))
            else:
                _close(branch)  # lost, as it was
            for each in (session, branch):
                each.use, each.running = "cells", False
                each.used = time.monotonic()
            self._by_name.move_to_end(source)
            if done:
                self._by_name.move_to_end(name)
            self._freed.notify_all()

    def state(self, name: str) -> State:
        """What the next cell of an open session starts from."""
        return self._by_name[name].state

    def end(self, name: str, *, begun: bool) -> None:
        """End the use of a session.

        Args:
            name: the session.
            begun: whether a cell began.
        """
        with self._lock:
            session = self._by_name[name]
            session.cells += begun
            session.used = time.monotonic()
            self._by_name.move_to_end(name)
            session.running = False
            self._freed.notify_all()

    def abandon(self, name: str) -> None:
        """End whatever runs in a session, after an exception in a call whose turn it is."""
        with self._lock:
            session = self._by_name.get(name)
            if session is None or not session.running:
                return
            slot = session.slot
            if session.use == "branch":
                _close(session)  # perhaps it isn't one yet
            elif slot is not None and slot.root is not None:
                if slot.changing:
                    slot.reset()
                elif session.use == "cells" and not slot.restoring:
                    slot.restore()
                session.cells += session.use == "cells"  # perhaps one had begun
            session.used = time.monotonic()
            session.use, session.running = "cells", False
            self._freed.notify_all()

    def close(self, name: str) -> bool:
        """Close a session, whose turn the caller has; whether there was one."""
        with self._lock:
            session = self._by_name.pop(name, None)
            if session is None:
                return False
            _close(session)
            return True

    def expire(self) -> float:
        """End the processes of sessions that nobody used for ``idle_timeout``.

        Returns:
            Seconds until the next can be due.
        """
        assert self.idle_timeout is not None
        with self._lock:
            now = oldest = time.monotonic()
            for session in self._by_name.values():
                if session.slot is None or session.running or self._is_awaited(session.name):
                    continue
                if now - session.used < self.idle_timeout:
                    oldest = min(oldest, session.used)
                else:
                    self.expirations += 1
                    _close(session)
        # Those that are in use now are due later than that.
        return oldest + self.idle_timeout - now

    def stop(self) -> None:
        """Let none expire any more; nobody may begin to use one afterwards."""
        if self._idle_thread is not None:
            self._idle_thread.stop()

    def living(self) -> list[SessionInfo]:
        """The sessions that have a process, the least recently used first."""
        now = time.monotonic()
        with self._lock:
            return [
                {
                    "session": session.name,
                    "cells": session.cells,
                    "checkpoints": sorted(set(session.slot.points.values())),
                    "running": session.running,
                    "idle": 0.0 if session.running else now - session.used,
                }
                for session in self._by_name.values()
                if session.slot is not None
            ]

    def slots(self) -> list[Slot]:
        """The slots of all sessions."""
        sessions = list(self._by_name.values())
        return [session.slot for session in sessions if session.slot is not None]

    def __len__(self) -> int:
        return len(self.slots())


def _close(session: Session) -> None:
    slot, session.slot = session.slot, None
    if slot is not None:
        slot.close()
