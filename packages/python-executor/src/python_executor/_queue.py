"""Who gets the next slot: first come, first served; one at a time for those that want several."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable

from python_executor._slot import Slot
from python_executor.errors import PoolClosedError, PoolSaturatedError


class Ticket:
    """A caller's place in the queue.

    Attributes:
        slots: granted and not taken yet.
        wanted: how many more are wanted.
        descriptor: an eventfd that is readable when something was granted or the pool closes; -1
            for a caller that never had to wait.
    """

    __slots__ = ("descriptor", "slots", "wanted")

    def __init__(self, wanted: int) -> None:
        self.slots: deque[Slot] = deque()
        self.wanted = wanted
        self.descriptor = -1


class SlotQueue:
    """Hands the slots of a pool to callers. Thread-safe.

    A caller that wants several slots goes to the back of the queue with each that it gets, so a
    large batch doesn't keep single executions waiting.

    Args:
        slots: all of them, idle.
        max_pending: how many executions may wait; None is no limit.
    """

    def __init__(self, slots: Iterable[Slot], max_pending: int | None) -> None:
        self._idle = deque(slots)
        self._waiting: deque[Ticket] = deque()
        self._max_pending = max_pending
        self._callers = 0
        self._changed = threading.Condition()
        self.closed = False

    @property
    def idle(self) -> int:
        """Slots that nobody uses."""
        return len(self._idle)

    @property
    def pending(self) -> int:
        """Executions that wait for a slot."""
        with self._changed:
            return self._pending()

    def _pending(self) -> int:
        return sum(ticket.wanted for ticket in self._waiting)

    def enter(self, wanted: int) -> Ticket:
        """Queue up for ``wanted`` slots, one for each execution. To be paired with ``leave``.

        Raises:
            PoolClosedError: the pool is closed.
            PoolSaturatedError: too many would wait.
        """
        ticket = Ticket(wanted)
        with self._changed:
            if self.closed:
                raise PoolClosedError
            # Idle slots and waiting callers never exist at the same time.
            waits = wanted - len(self._idle)
            if waits > 0 and self._max_pending is not None:
                pending = self._pending()
                if pending + waits > self._max_pending:
                    raise PoolSaturatedError(waits, pending, self._max_pending)
            while ticket.wanted and self._idle:
                ticket.slots.append(self._idle.popleft())
                ticket.wanted -= 1
            if ticket.wanted:
                ticket.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                self._waiting.append(ticket)
            self._callers += 1
        return ticket

    def take(self, ticket: Ticket) -> Slot | None:
        """Take a granted slot; None if there is none at the moment.

        Raises:
            PoolClosedError: the pool is closed.
        """
        with self._changed:
            if self.closed:
                raise PoolClosedError
            return ticket.slots.popleft() if ticket.slots else None

    def release(self, slot: Slot) -> None:
        """Give a slot back."""
        with self._changed:
            self._hand_on(slot)

    def _hand_on(self, slot: Slot) -> None:
        if not self._waiting:
            self._idle.append(slot)
            return
        ticket = self._waiting.popleft()
        ticket.slots.append(slot)
        ticket.wanted -= 1
        if ticket.wanted:
            self._waiting.append(ticket)
        os.eventfd_write(ticket.descriptor, 1)

    def leave(self, ticket: Ticket) -> None:
        """Leave the queue, with everything or without; what was granted goes to the next."""
        with self._changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            while ticket.slots:
                self._hand_on(ticket.slots.popleft())
            if ticket.descriptor >= 0:
                # Under the lock: nobody may write to the descriptor of the same number that comes
                # next.
                os.close(ticket.descriptor)
                ticket.descriptor = -1
            self._callers -= 1
            self._changed.notify_all()

    def close(self) -> bool:
        """Let nobody in any more, wake everybody up; False if it was closed already."""
        with self._changed:
            if self.closed:
                return False
            self.closed = True
            for ticket in self._waiting:
                os.eventfd_write(ticket.descriptor, 1)
            return True

    def drained(self, patience: float) -> bool:
        """Wait until all callers have left; False if some haven't after ``patience`` seconds."""
        deadline = time.monotonic() + patience
        with self._changed:
            while self._callers:
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    return not self._callers
        return True

    def descriptors(self) -> list[int]:
        """The eventfds of those who wait, for a forked child to close."""
        return [ticket.descriptor for ticket in self._waiting]
