"""Who gets which slot: properties of the queue, whatever its callers do and in whichever order."""

from __future__ import annotations

import os
import random
import select
import threading
from collections import defaultdict
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from python_executor import ExecutionExistsError, PoolClosedError, PoolSaturatedError
from python_executor._queue import SlotQueue, Ticket
from python_executor._slot import Slot


class FakeSlot:
    """A slot of which the queue knows no more than that it is one."""


def slots_of(count: int) -> list[Slot]:
    return cast("list[Slot]", [FakeSlot() for _ in range(count)])


def readable(ticket: Ticket) -> bool:
    return bool(select.select([ticket.descriptor], [], [], 0)[0])


class QueueMachine(RuleBasedStateMachine):
    """Callers who enter, take, give back, leave, cancel and close at any time."""

    in_turn = False

    def __init__(self) -> None:
        super().__init__()
        self.slots = slots_of(3)
        self.queue = SlotQueue(self.slots, 6, in_turn=self.in_turn)
        self.tickets: dict[Ticket, int] = {}  # living ones, with the number of their first
        self.number = 0  # of the next execution
        self.counter = 0
        self.granted: dict[Ticket, list[tuple[int, Slot]]] = defaultdict(list)
        # (who waits, at which line) -> how often each other was served there meanwhile
        self.overtaken: dict[tuple[Ticket, int], dict[Ticket, int]] = {}
        self.peak = 0
        self.served_late: set[Ticket] = set()

    def line_of(self, ticket: Ticket, index: int) -> int:
        return (self.tickets[ticket] + index) % len(self.slots) if self.in_turn else 0

    def waiting(self, ticket: Ticket) -> dict[int, list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for indices in ticket.waiting.values():
            for index in indices:
                found[self.line_of(ticket, index)].append(index)
        return found

    def notice(self, *, entering: bool = False) -> None:
        """Take note of new grants, and check whose turn it was."""
        new: dict[tuple[Ticket, int], int] = defaultdict(int)
        for ticket in self.tickets:
            for index, slot in ticket.granted:
                if (index, slot) in self.granted[ticket]:
                    continue
                line = self.line_of(ticket, index)
                if self.in_turn:
                    assert slot is self.slots[line]
                earlier = [i for i, _ in self.granted[ticket] if self.line_of(ticket, i) == line]
                assert all(i < index for i in earlier)
                self.granted[ticket].append((index, slot))
                new[ticket, line] += 1
                if not entering:
                    self.served_late.add(ticket)
        for (waiter, line), times in self.overtaken.items():
            for ticket in self.tickets:
                if waiter in self.tickets and ticket is not waiter:
                    times[ticket] += new[ticket, line]
                    assert times[ticket] <= 1 + new[waiter, line], "served twice meanwhile"
                    if new[waiter, line]:
                        times[ticket] = 0
        still = {(ticket, line) for ticket in self.tickets for line in self.waiting(ticket)}
        for key in still:
            self.overtaken.setdefault(key, defaultdict(int))
        for key in self.overtaken.keys() - still:
            del self.overtaken[key]

    @rule(count=st.integers(1, 7), named=st.booleans())
    def enter(self, count: int, named: bool) -> None:
        ids = [f"{self.counter}/{i}" if named else None for i in range(count)]
        self.counter += 1
        ticket = Ticket(ids)
        before = self.queue.pending
        lines = [(self.number + i) % 3 if self.in_turn else 0 for i in range(count)]
        free = [len(line.idle) for line in self.queue._lines]
        waits = sum(max(0, lines.count(n) - idle) for n, idle in enumerate(free))
        if self.queue.closed or waits + before > 6:
            with pytest.raises((PoolClosedError, PoolSaturatedError)) as caught:
                self.queue.enter(ticket)
            assert isinstance(caught.value, PoolClosedError) == self.queue.closed
            if isinstance(caught.value, PoolSaturatedError):
                assert (caught.value.wanted, caught.value.pending) == (waits, before)
            self.queue.leave(ticket)
            assert self.queue.pending == before
            return
        self.queue.enter(ticket)
        assert self.queue.pending == before + waits
        self.peak = max(self.peak, self.queue.pending)
        self.tickets[ticket] = self.number
        self.number += count
        self.notice(entering=True)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(list(self.tickets)), "ticket")
        expected = ticket.granted[0] if ticket.granted else None
        try:
            assert self.queue.take(ticket) == expected
        except PoolClosedError:
            assert self.queue.closed

    @precondition(lambda self: any(ticket.held for ticket in self.tickets))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from([t for t in self.tickets if t.held]), "ticket")
        slot = data.draw(st.sampled_from(list(ticket.held)), "slot")
        index = ticket.held[slot]
        assert self.queue.give_back(ticket, slot) == (index in ticket.stopped)
        name = ticket.ids[index]
        if name is not None:
            assert not self.queue.cancel(name)
        self.notice()

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(list(self.tickets)), "ticket")
        del self.tickets[ticket]
        self.queue.leave(ticket)
        for name in ticket.ids:
            assert name is None or not self.queue.cancel(name)
        self.notice()

    @precondition(lambda self: any(ticket.ids[0] for ticket in self.tickets))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from([t for t in self.tickets if t.ids[0]]), "ticket")
        index = data.draw(st.integers(0, len(ticket.ids) - 1), "index")
        name = ticket.ids[index]
        assert name is not None
        runs = index in ticket.held.values()
        waits = any(i == index for i, _ in ticket.granted) or any(
            index in indices for indices in ticket.waiting.values()
        )
        done = self.queue.cancel(name)
        assert done == ((runs or waits) and not self.queue.closed)
        if done:
            assert readable(ticket)
            assert (index in ticket.stopped) == runs
            assert (index in ticket.rejected) == waits
        self.notice()

    @precondition(lambda self: self.counter > 10)
    @rule()
    def close(self) -> None:
        first = not self.queue.closed
        assert self.queue.close() == first
        assert self.queue.drained(0.0) == (not self.tickets)

    @invariant()
    def every_slot_is_in_one_place(self) -> None:
        places = [slot for line in self.queue._lines for slot in line.idle]
        assert len(places) == self.queue.idle
        for ticket in self.tickets:
            places += ticket.held
            places += [slot for _, slot in ticket.granted]
        assert sorted(map(id, places)) == sorted(map(id, self.slots))

    @invariant()
    def every_execution_is_in_one_place(self) -> None:
        for ticket in self.tickets:
            places = [index for indices in ticket.waiting.values() for index in indices]
            places += [index for index, _ in ticket.granted]
            places += list(ticket.held.values())
            places += list(ticket.rejected)
            assert len(places) == len(set(places))

    @invariant()
    def nobody_waits_for_an_idle_slot(self) -> None:
        assert not any(line.idle and line.tickets for line in self.queue._lines)

    @invariant()
    def those_who_wait_are_counted(self) -> None:
        waiting = sum(len(i) for ticket in self.tickets for i in ticket.waiting.values())
        assert self.queue.pending == waiting
        assert self.queue.peak == self.peak

    @invariant()
    def who_waited_and_got_something_is_woken(self) -> None:
        for ticket in self.tickets:
            waits = any(ticket.waiting.values())
            if ticket.descriptor >= 0 and (
                ticket in self.served_late or (self.queue.closed and waits)
            ):
                assert readable(ticket)

    def teardown(self) -> None:
        for ticket in self.tickets:
            self.queue.leave(ticket)
        assert self.queue.idle == len(self.slots)
        assert self.queue.pending == 0
        assert self.queue.drained(0.0)
        assert self.queue.descriptors() == set()


class QueueInTurnMachine(QueueMachine):
    in_turn = True


for machine in (QueueMachine, QueueInTurnMachine):
    machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestQueue = QueueMachine.TestCase
TestQueueInTurn = QueueInTurnMachine.TestCase


def entered(queue: SlotQueue, *ids: str | None) -> Ticket:
    ticket = Ticket(ids)
    queue.enter(ticket)
    return ticket


def test_a_name_is_that_of_one_living_execution_only() -> None:
    queue = SlotQueue(slots_of(1), None)
    first = entered(queue, "a", "b")
    for ids in (["b"], ["c", "c"], ["d", None, "a"]):
        ticket = Ticket(ids)
        with pytest.raises(ExecutionExistsError, match="uuid") as caught:
            queue.enter(ticket)
        assert caught.value.execution_id in ("a", "b", "c")
        queue.leave(ticket)
    for name in ("c", "d"):
        assert not queue.cancel(name)
    queue.leave(first)
    queue.leave(entered(queue, "a", "b"))


def test_slots_in_turn_are_waited_for_one_by_one() -> None:
    slots = slots_of(2)
    queue = SlotQueue(slots, None, in_turn=True)
    batch = entered(queue, *[None] * 5)
    single = entered(queue, None)
    assert [queue.take(batch), queue.take(batch)] == [(0, slots[0]), (1, slots[1])]
    queue.give_back(batch, slots[1])
    assert queue.take(batch) == (3, slots[1])  # before number 2, which waits for its own slot
    queue.give_back(batch, slots[1])
    assert queue.take(single) == (0, slots[1])
    queue.leave(batch)
    queue.leave(single)
    assert queue.idle == 2


@pytest.mark.parametrize("in_turn", [False, True])
def test_threads_never_share_a_slot_and_lose_none(in_turn: bool) -> None:
    slots = slots_of(3)
    queue = SlotQueue(slots, 20, in_turn=in_turn)
    users: dict[Any, int] = dict.fromkeys(slots, 0)
    failures: list[str] = []
    counts = {"done": 0, "cancelled": 0, "saturated": 0}

    def call(worker: int) -> None:
        chance = random.Random(worker)
        for number in range(150):
            count = chance.choice((1, 1, 2, 5))
            names = [f"{worker}/{number}/{i}" for i in range(count)]
            ticket = Ticket([chance.choice((name, None)) for name in names])
            try:
                queue.enter(ticket)
                ended = 0
                while ended + len(ticket.rejected) < count:
                    if (grant := queue.take(ticket)) is None:
                        select.select([ticket.descriptor], [], [])
                        os.eventfd_read(ticket.descriptor)
                        continue
                    slot = grant[1]
                    users[slot] += 1
                    if users[slot] != 1:
                        failures.append("two use a slot")
                    if chance.random() < 0.05:
                        users[slot] -= 1
                        break  # leaves in the middle
                    users[slot] -= 1
                    queue.give_back(ticket, slot)
                    ended += 1
                counts["done"] += 1
            except PoolSaturatedError:
                counts["saturated"] += 1
            finally:
                queue.leave(ticket)

    def cancel() -> None:
        chance = random.Random(99)
        while any(worker.is_alive() for worker in workers):
            name = f"{chance.randrange(6)}/{chance.randrange(150)}/{chance.randrange(5)}"
            counts["cancelled"] += queue.cancel(name)

    workers = [threading.Thread(target=call, args=(i,)) for i in range(6)]
    canceller = threading.Thread(target=cancel)
    for worker in workers:
        worker.start()
    canceller.start()
    for thread in (*workers, canceller):
        thread.join()
    assert not failures
    assert counts["done"]
    assert (queue.idle, queue.pending) == (3, 0)
    assert queue.close()
    assert queue.drained(0.0)
