"""Who gets which slot next: first come, first served; one at a time for those that want several.

::

    idle-first:   one line for all slots      tickets ──> [ A B A C ] ──> any slot
    round-robin:  one line for each slot      tickets ──> [ A C ] ──> slot 0
                                                     └──> [ A B ] ──> slot 1

A cell of a session waits for its turn there (see ``_turns.py``) before it stands in line.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from python_executor._slot import Slot
from python_executor._turns import Turns
from python_executor.errors import ExecutionExistsError, PoolClosedError, PoolSaturatedError

_NO_SESSIONS: Mapping[int, str] = MappingProxyType({})


class Ticket:
    """A caller's place in the queue, for one execution or for several.

    Args:
        ids: of each execution, its name for ``cancel``, or None.
        sessions: by index, the sessions of those executions that have one.
        slotless: whether it is for turns in sessions alone, and no slot.

    Attributes:
        first: number of its first execution among all of the queue.
        turns: indices of executions that wait for their turn in a session, or have it.
        granted: (index of the execution, slot), not taken yet.
        held: slots taken and not given back, with the index of the execution.
        rejected: indices of executions that were cancelled before they got a slot.
        stopped: indices of executions that were cancelled since.
        descriptor: an eventfd that is readable when something was granted or cancelled, or the pool
            closes; -1 for a caller that needs none.
    """

    __slots__ = (
        "descriptor", "first", "granted", "held", "ids", "rejected", "sessions", "slotless",
        "stopped", "turns", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        ids: Sequence[str | None],
        sessions: Mapping[int, str] = _NO_SESSIONS,
        *,
        slotless: bool = False,
    ) -> None:
        self.ids = ids
        self.sessions = sessions
        self.slotless = slotless
        self.first = 0
        self.turns: set[int] = set()
        self.granted: deque[tuple[int, Slot]] = deque()
        self.held: dict[Slot, int] = {}
        self.waiting: dict[_Line, deque[int]] = {}
        self.rejected: set[int] = set()
        self.stopped: set[int] = set()
        self.descriptor = -1


# The ids of a ticket for one execution that can't be cancelled.
NAMELESS = (None,)


class _Line:
    """Slots that are idle or tickets that wait for them, never both."""

    __slots__ = ("idle", "tickets")

    def __init__(self, slots: Iterable[Slot]) -> None:
        self.idle = deque(slots)
        self.tickets: deque[Ticket] = deque()


class SlotQueue:
    """Hands the slots of a pool to callers. Thread-safe.

    KeyboardInterrupt may come between any two steps of the main thread: what is written here comes
    in an order from which ``recover`` can tell whose a slot is.

    A caller that wants several slots goes to the back of a line with each that it gets, so a large
    batch doesn't keep single executions waiting. Its own executions are served in their order.

    Args:
        slots: all of them, idle.
        max_pending: how many executions may wait; None is no limit.
        in_turn: execution k gets slot k modulo their number, and waits for it; otherwise whichever
            is free.

    Attributes:
        closed: whether nobody is let in any more.
        pending: executions that wait for a slot, or for their turn in a session.
        peak: the most that ever waited.
    """

    def __init__(
        self, slots: Sequence[Slot], max_pending: int | None, *, in_turn: bool = False
    ) -> None:
        self._lines = [_Line([slot]) for slot in slots] if in_turn else [_Line(slots)]
        self._home = {slot: self._lines[i % len(self._lines)] for i, slot in enumerate(slots)}
        self._next = 0  # number of the next execution
        self._max_pending = max_pending
        self._living: dict[Ticket, None] = {}
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._named: dict[str, tuple[Ticket, int]] = {}
        self._turns: Turns[Ticket] = Turns()
        self.closed = False
        self.pending = 0
        self.peak = 0

    @property
    def idle(self) -> int:
        """Slots that nobody uses."""
        return sum(len(line.idle) for line in self._lines)

    def enter(self, ticket: Ticket) -> None:
        """Queue up for a slot for each execution. To be followed by ``leave``, whatever happens.

        Raises:
            PoolClosedError: the pool is closed.
            PoolSaturatedError: too many would wait.
            ExecutionExistsError: an execution of one of the names lives.
        """
        with self._lock:
            if self.closed:
                raise PoolClosedError
            count = len(ticket.ids)
            if self._max_pending is not None:
                self._check_room(ticket, self._max_pending)
            named = [] if ticket.ids is NAMELESS else self._check_names(ticket)
            self._living[ticket] = None
            for name, index in named:
                self._named[name] = ticket, index
            ticket.first = self._next
            for index in range(count):
                if index not in ticket.sessions or self._turns.join(ticket, index):
                    self._line_up(ticket, index)
            if not ticket.slotless:
                self._next += count
                self.pending += count - len(ticket.granted)
                self.peak = max(self.peak, self.pending)
            if named or (len(ticket.granted) < count and not self.has_turn(ticket)):
                ticket.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def _line_of(self, number: int) -> _Line:
        return self._lines[number % len(self._lines)]

    def _line_up(self, ticket: Ticket, index: int) -> bool:
        """Give an execution a slot that is idle, or let it stand in line; whether it got one."""
        if ticket.slotless:
            return False
        line = self._line_of(ticket.first + index)
        if line.idle:
            ticket.granted.append((index, line.idle[0]))
            line.idle.popleft()
            return True
        if line in ticket.waiting:
            ticket.waiting[line].append(index)
        else:
            ticket.waiting[line] = deque([index])
            line.tickets.append(ticket)
        return False

    def _check_room(self, ticket: Ticket, most: int) -> None:
        """Refuse a ticket of which more would wait than may."""
        idle = {line: len(line.idle) for line in self._lines}
        waits = 0
        begun: set[str] = set()  # sessions that have this ticket's turn
        for index in range(0 if ticket.slotless else len(ticket.ids)):
            line = self._line_of(self._next + index)
            session = ticket.sessions.get(index)
            blocked = session is not None and (session in begun or self._turns.busy(session))
            if blocked or not idle[line]:
                waits += 1
            else:
                idle[line] -= 1
            if session is not None:
                begun.add(session)
        if waits and self.pending + waits > most:
            raise PoolSaturatedError(waits, self.pending, most)

    def _check_names(self, ticket: Ticket) -> list[tuple[str, int]]:
        """Return the names of a ticket's executions, with their indices."""
        named: dict[str, int] = {}
        for index, name in enumerate(ticket.ids):
            if name is None:
                continue
            if name in named or name in self._named:
                raise ExecutionExistsError(name)
            named[name] = index
        return list(named.items())

    def take(self, ticket: Ticket) -> tuple[int, Slot] | None:
        """Take a granted slot, with the index of the execution that it is for; None if none is.

        Raises:
            PoolClosedError: the pool is closed.
        """
        with self._lock:
            if self.closed:
                raise PoolClosedError
            if not ticket.granted:
                return None
            index, slot = ticket.granted[0]
            ticket.held[slot] = index
            return ticket.granted.popleft()

    def has_turn(self, ticket: Ticket) -> bool:
        """Whether all turns of a slotless ticket have come.

        Raises:
            PoolClosedError: the pool is closed.
        """
        if not ticket.slotless:
            return False
        if self.closed:
            raise PoolClosedError
        return all(self._turns.has(ticket, index) for index in ticket.sessions)

    def sessions_of(self, ticket: Ticket) -> list[str]:
        """The sessions in which it is a caller's turn."""
        with self._lock:
            turns = [index for index in ticket.turns if self._turns.has(ticket, index)]
            return [ticket.sessions[index] for index in turns]

    def is_awaited(self, session: str) -> bool:
        """Whether it is anybody's turn in a session, whether or not they have a slot yet."""
        return self._turns.busy(session)  # one look at a dict: that needs no lock

    def give_back(self, ticket: Ticket, slot: Slot) -> bool:
        """Give a slot back at the end of an execution; whether that was cancelled meanwhile."""
        with self._lock:
            index = ticket.held[slot]
            name = ticket.ids[index]
            if name is not None:
                self._named.pop(name, None)
            self._hand_on(slot)
            if index in ticket.turns:
                self._end_turn(ticket, index)
            del ticket.held[slot]
            return index in ticket.stopped

    def _end_turn(self, ticket: Ticket, index: int) -> None:
        """Take an execution out of its session's line; whose turn it is then stands in line."""
        entry = self._turns.leave(ticket, index)
        if entry is not None:
            self._begin_turn(*entry)

    def _begin_turn(self, ticket: Ticket, index: int) -> None:
        if self._line_up(ticket, index):
            self.pending -= 1
        os.eventfd_write(ticket.descriptor, 1)

    def _hand_on(self, slot: Slot) -> None:
        line = self._home[slot]
        if not line.tickets:
            line.idle.append(slot)
            return
        ticket = line.tickets[0]
        indices = ticket.waiting[line]
        ticket.granted.append((indices[0], slot))
        indices.popleft()
        self.pending -= 1
        line.tickets.popleft()
        if indices:
            line.tickets.append(ticket)
        else:
            del ticket.waiting[line]
        os.eventfd_write(ticket.descriptor, 1)

    def cancel(self, name: str) -> bool:
        """Cancel an execution that waits or runs; False if there is none of that name.

        What waited or had not begun is ``rejected`` and never begins. What runs is ``stopped``: its
        caller, who is woken up, ends it.
        """
        with self._lock:
            if self.closed or name not in self._named:
                return False
            ticket, index = self._named[name]
            try:
                if index in ticket.held.values():
                    ticket.stopped.add(index)
                else:
                    ticket.rejected.add(index)
                    del self._named[name]
                    self._withdraw(ticket, index)
                os.eventfd_write(ticket.descriptor, 1)
            except BaseException:
                self._repair(None)
                raise
            return True

    def _withdraw(self, ticket: Ticket, index: int) -> None:
        """Take an execution that has not begun out of all lines."""
        granted = next((grant for grant in ticket.granted if grant[0] == index), None)
        if granted is not None:
            self._hand_on(granted[1])
            ticket.granted.remove(granted)
        else:
            self.pending -= 1
            self._leave_line(ticket, index)
        if index in ticket.turns:
            self._end_turn(ticket, index)

    def _leave_line(self, ticket: Ticket, index: int) -> None:
        for line, indices in ticket.waiting.items():
            if index in indices:
                indices.remove(index)
                if not indices:
                    del ticket.waiting[line]
                    line.tickets.remove(ticket)
                return

    def recover(self, ticket: Ticket) -> list[Slot]:
        """Put everything in order after an exception in a call for this ticket.

        Returns:
            Its slots, those that it had not taken included; to be given back with ``leave``.
        """
        with self._lock:
            if ticket not in self._living:
                return []
            self._repair(ticket)
            return list(ticket.held)

    def _repair(self, heir: Ticket | None) -> None:
        """Rebuild the lines from what the tickets hold.

        Args:
            heir: leaves next. It gets the slots that are nowhere, and waits for nothing any more.
        """
        others = [ticket for ticket in self._living if ticket is not heir]
        taken: set[Slot] = set()
        for ticket in others:
            granted = (grant for grant in ticket.granted if grant[0] not in ticket.rejected)
            ticket.granted = deque(granted)
            taken |= ticket.held.keys()
            taken.update(slot for _, slot in ticket.granted)
            settled = ticket.rejected.union(ticket.held.values(), [i for i, _ in ticket.granted])
            for line, indices in tuple(ticket.waiting.items()):
                ticket.waiting[line] = deque(index for index in indices if index not in settled)
                if not ticket.waiting[line]:
                    del ticket.waiting[line]
        for line in self._lines:
            line.idle = deque(slot for slot in dict.fromkeys(line.idle) if slot not in taken)
            taken.update(line.idle)
            lost = [ticket for ticket in others if line in ticket.waiting]
            kept = [ticket for ticket in dict.fromkeys(line.tickets) if ticket in lost]
            line.tickets = deque(dict.fromkeys((*(t for t in lost if t not in kept), *kept)))
        orphans = [slot for slot in self._home if slot not in taken]
        if heir is not None:
            heir.turns.clear()
            heir.waiting.clear()
            heir.granted.clear()
            heir.held = dict.fromkeys(orphans, -1)
            orphans = []
        for line in self._lines:
            spare, line.idle = line.idle, deque()
            orphans += spare
        self._turns.repair(others)
        self.pending = sum(len(t.turns) for t in others if not t.slotless)
        for ticket, index in self._turns.first():
            self.pending -= not ticket.slotless
            if index not in ticket.held.values() and index not in dict(ticket.granted):
                self._leave_line(ticket, index)
                self._line_up(ticket, index)
        self.pending += sum(len(i) for ticket in others for i in ticket.waiting.values())
        for slot in orphans:
            self._hand_on(slot)
        for ticket in others:
            if ticket.descriptor >= 0:
                os.eventfd_write(ticket.descriptor, 1)  # it may have missed something

    def leave(self, ticket: Ticket) -> None:
        """Leave the queue, with everything or without; slots that are left go to the next."""
        with self._lock:
            if ticket not in self._living:
                return
            if ticket.waiting:
                for line, indices in ticket.waiting.items():
                    line.tickets.remove(ticket)
                    self.pending -= len(indices)
                ticket.waiting.clear()
            for slot in ticket.held:
                self._hand_on(slot)
            for _, slot in ticket.granted:
                self._hand_on(slot)
            if ticket.turns:
                self._leave_turns(ticket)
            ticket.held.clear()
            ticket.granted.clear()
            if self._named:
                self._forget_names(ticket)
            descriptor, ticket.descriptor = ticket.descriptor, -1
            del self._living[ticket]
            if descriptor >= 0:
                # Under the lock: nobody may write to the descriptor of the same number that comes
                # next.
                os.close(descriptor)
            if self.closed:
                self._left.notify_all()

    def _leave_turns(self, ticket: Ticket) -> None:
        if not ticket.slotless:
            self.pending -= sum(not self._turns.has(ticket, index) for index in ticket.turns)
        for entry in self._turns.drop(ticket):
            self._begin_turn(*entry)

    def _forget_names(self, ticket: Ticket) -> None:
        for name in ticket.ids:
            if name is not None and self._named.get(name, (None,))[0] is ticket:
                del self._named[name]

    def close(self) -> bool:
        """Let nobody in any more, wake everybody up; False if it was closed already."""
        with self._lock:
            if self.closed:
                return False
            self.closed = True
            for ticket in self._living:
                if ticket.descriptor >= 0:
                    os.eventfd_write(ticket.descriptor, 1)
            return True

    def drained(self, patience: float) -> bool:
        """Wait until all callers have left; False if some haven't after ``patience`` seconds."""
        with self._left:
            return self._left.wait_for(lambda: not self._living, patience)

    def descriptors(self) -> set[int]:
        """The eventfds of callers, for a forked child to close."""
        return {ticket.descriptor for ticket in self._living if ticket.descriptor >= 0}
