"""Sessions in the queue: one cell at a time in each, in the order of calls, and no slot idle."""

from __future__ import annotations

from collections import defaultdict
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from python_executor import PoolClosedError, PoolSaturatedError
from python_executor._queue import NAMELESS, SlotQueue, Ticket
from python_executor._slot import Slot

Entry = tuple[Ticket, int]


def slots_of(count: int) -> list[Slot]:
    """The queue does nothing with a slot but hand it on."""
    return cast("list[Slot]", [object() for _ in range(count)])


class TurnsMachine(RuleBasedStateMachine):
    """Callers with cells of three sessions, without sessions, and for a turn alone."""

    in_turn = False

    def __init__(self) -> None:
        super().__init__()
        self.slots = slots_of(3)
        self.queue = SlotQueue(self.slots, None, in_turn=self.in_turn)
        self.tickets: list[Ticket] = []
        self.lines: dict[str, list[Entry]] = defaultdict(list)  # all that aren't over, in order
        self.counter = 0

    @rule(sessions=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=6))
    def enter(self, sessions: list[str | None]) -> None:
        ids = [f"{self.counter}/{index}" for index in range(len(sessions))]
        self.counter += 1
        ticket = Ticket(ids, {i: name for i, name in enumerate(sessions) if name is not None})
        self.begin(ticket)

    @rule(session=st.sampled_from("abc"))
    def wait_for_turn(self, session: str) -> None:
        self.begin(Ticket(NAMELESS, {0: session}, slotless=True))

    def begin(self, ticket: Ticket) -> None:
        self.queue.enter(ticket)
        self.tickets.append(ticket)
        for index, session in ticket.sessions.items():
            self.lines[session].append((ticket, index))

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.tickets))
        self.queue.take(ticket)

    @precondition(lambda self: any(ticket.held for ticket in self.tickets))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from([t for t in self.tickets if t.held]))
        slot = data.draw(st.sampled_from(list(ticket.held)))
        self.forget(ticket, ticket.held[slot])
        self.queue.give_back(ticket, slot)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.tickets))
        index = data.draw(st.integers(0, len(ticket.ids) - 1))
        name = ticket.ids[index]
        if name is not None and self.queue.cancel(name) and index in ticket.rejected:
            self.forget(ticket, index)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.tickets))
        self.tickets.remove(ticket)
        for index in ticket.sessions:
            self.forget(ticket, index)
        self.queue.leave(ticket)

    @precondition(lambda self: self.tickets)
    @rule()
    def repair(self) -> None:
        self.queue._repair(None)

    def forget(self, ticket: Ticket, index: int) -> None:
        session = ticket.sessions.get(index)
        if session is not None and (ticket, index) in self.lines[session]:
            self.lines[session].remove((ticket, index))

    def served(self, ticket: Ticket) -> list[int]:
        return [*ticket.held.values(), *dict(ticket.granted)]

    @invariant()
    def only_the_first_of_each_session_is_served(self) -> None:
        for line in self.lines.values():
            for ticket, index in line[1:]:
                assert index not in self.served(ticket)
            for ticket, index in line[:1]:
                assert self.queue._turns.has(ticket, index)
                if ticket.slotless:
                    assert self.queue.has_turn(ticket)

    @invariant()
    def what_could_run_waits_for_no_idle_slot(self) -> None:
        for ticket in self.tickets:
            for index in range(0 if ticket.slotless else len(ticket.ids)):
                session = ticket.sessions.get(index)
                line = self.lines[session] if session is not None else [(ticket, index)]
                waits = index not in self.served(ticket) and line[:1] == [(ticket, index)]
                if waits and index not in ticket.rejected and self.unfinished(ticket, index):
                    assert not self.queue._line_of(ticket.first + index).idle

    def unfinished(self, ticket: Ticket, index: int) -> bool:
        return any(index in indices for indices in ticket.waiting.values())

    @invariant()
    def pending_counts_what_waits(self) -> None:
        stands = sum(len(i) for t in self.tickets for i in t.waiting.values())
        blocked = sum(not t.slotless for line in self.lines.values() for t, _ in line[1:])
        assert self.queue.pending == stands + blocked

    def teardown(self) -> None:
        for ticket in self.tickets:
            self.queue.leave(ticket)
        assert (self.queue.idle, self.queue.pending) == (3, 0)
        assert not self.queue._turns._lines
        assert not any(line.tickets for line in self.queue._lines)


class TurnsInTurnMachine(TurnsMachine):
    in_turn = True


for machine in (TurnsMachine, TurnsInTurnMachine):
    machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTurns = TurnsMachine.TestCase
TestTurnsInTurn = TurnsInTurnMachine.TestCase


def test_what_waits_for_its_turn_counts_as_waiting() -> None:
    queue = SlotQueue(slots_of(4), 2)
    first = Ticket([None] * 3, {0: "a", 1: "a", 2: "a"})
    queue.enter(first)
    assert queue.pending == 2
    late = Ticket([None], {0: "a"})
    with pytest.raises(PoolSaturatedError):
        queue.enter(late)
    queue.enter(other := Ticket([None], {0: "b"}))
    queue.enter(turn := Ticket(NAMELESS, {0: "a"}, slotless=True))
    assert queue.pending == 2
    for ticket in (first, other, turn):
        queue.leave(ticket)
    assert (queue.idle, queue.pending) == (4, 0)


def test_who_waits_for_a_turn_learns_that_the_pool_closes() -> None:
    queue = SlotQueue(slots_of(1), None)
    holder = Ticket(NAMELESS, {0: "a"}, slotless=True)
    queue.enter(holder)
    assert holder.descriptor == -1
    queue.enter(waiter := Ticket(NAMELESS, {0: "a"}, slotless=True))
    assert not queue.has_turn(waiter)
    queue.close()
    with pytest.raises(PoolClosedError):
        queue.has_turn(waiter)
    queue.leave(holder)
    queue.leave(waiter)
    assert queue.drained(0.0)
