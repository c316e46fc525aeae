"""The queue when KeyboardInterrupt comes between any two of its steps."""

from __future__ import annotations

import itertools
import linecache
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pytest

from python_executor._queue import NAMELESS, SlotQueue, Ticket
from python_executor._slot import Slot


def slots_of(count: int) -> list[Slot]:
    """The queue does nothing with a slot but hand it on."""
    return cast("list[Slot]", [object() for _ in range(count)])


class Interruption(BaseException):
    """In the place of KeyboardInterrupt, which would end the tests."""


class Interrupt:
    """An interrupt at the n-th line of the queue that is reached."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.raised = False

    def during(self, step: Callable[[], object]) -> None:
        """Run a step, perhaps not to its end."""
        sys.settrace(self._trace)
        try:
            step()
        except Interruption:
            self.raised = True
        finally:
            sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        file = frame.f_code.co_filename
        if not file.endswith(("_queue.py", "_turns.py")):
            return None
        # No real interrupt comes between a lock and its block, nor before what opens a block.
        line = linecache.getline(file, frame.f_lineno).strip()
        if event == "line" and not line.startswith(("with", "try")):
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise Interruption
        return self._trace


class Scene:
    """Three slots; ``own`` has taken one and been granted one, ``other`` one; all three wait.

    With sessions, ``a`` is that of most, and ``turn`` waits for it without a slot.
    """

    def __init__(self, *, in_turn: bool, sessions: bool) -> None:
        self.slots = slots_of(3)
        self.queue = SlotQueue(self.slots, None, in_turn=in_turn)
        where: list[dict[int, str]] = [{}, {}, {}, {}]
        if sessions:
            where = [{0: "a", 1: "b"}, {1: "a", 2: "a"}, {0: "a"}, {0: "a", 1: "c", 3: "c"}]
        self.own = self.enter(["o1", "o2"], where[0])
        self.queue.take(self.own)
        self.other = self.enter(["x1", "x2", "x3"], where[1])
        self.queue.take(self.other)
        self.third = self.enter(["t1"], where[2])
        self.late = Ticket(["l1", None, "l3", "l4"], where[3])
        self.turn = Ticket(NAMELESS, {0: "a"}, slotless=True)
        if sessions:
            self.queue.enter(self.turn)

    def enter(self, ids: list[str | None], sessions: dict[int, str]) -> Ticket:
        ticket = Ticket(ids, sessions)
        self.queue.enter(ticket)
        return ticket

    def serve(self, ticket: Ticket) -> int:
        """Serve what is granted; how many."""
        served = 0
        if ticket.slotless:
            return int(self.queue.has_turn(ticket))
        while (grant := self.queue.take(ticket)) is not None:
            self.queue.give_back(ticket, grant[1])
            served += 1
        for slot in list(ticket.held):
            self.queue.give_back(ticket, slot)
            served += 1
        return served

    def check(self, gone: Ticket | None) -> None:
        """Everybody but the one who is gone is served completely, and all is as it was."""
        tickets = [self.own, self.other, self.third, self.late, self.turn]
        tickets = [t for t in tickets if t is not gone and t in self.queue._living]
        waiting = [
            index
            for ticket in tickets
            for index in range(len(ticket.ids))
            if index not in ticket.rejected
            and index not in ticket.held.values()
            and index not in dict(ticket.granted)
        ]
        assert self.queue.pending == len(waiting) - (self.turn in tickets)
        left = {t: len(t.ids) - len(t.rejected) for t in tickets}
        while any(left.values()):
            served = {t: self.serve(t) for t in tickets if left[t]}
            assert any(served.values()), "somebody waits for ever"
            if served.get(self.turn):
                self.queue.leave(self.turn)
            left = {t: left[t] - served.get(t, 0) for t in tickets}
        assert set(left.values()) <= {0}
        for ticket in tickets:
            self.queue.leave(ticket)
        assert (self.queue.idle, self.queue.pending) == (3, 0)
        assert not self.queue._named
        assert not self.queue._turns._lines
        assert self.queue.drained(0.0)


def descriptors() -> set[int]:
    """All that are open, but for the one that lists them."""
    found = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
    return {number for number in found if Path(f"/proc/self/fd/{number}").exists()}


STEPS: dict[str, tuple[str, Callable[[Scene], object]]] = {
    "enter": ("late", lambda scene: scene.queue.enter(scene.late)),
    "take": ("own", lambda scene: scene.queue.take(scene.own)),
    "give back": (
        "own",
        lambda scene: scene.queue.give_back(scene.own, next(iter(scene.own.held))),
    ),
    "leave": ("own", lambda scene: scene.queue.leave(scene.own)),
    "cancel a waiting one": ("", lambda scene: scene.queue.cancel("x3")),
    "cancel a granted one": ("", lambda scene: scene.queue.cancel("o2")),
    "cancel a running one": ("", lambda scene: scene.queue.cancel("x1")),
    "cancel one that waits for its turn": ("", lambda scene: scene.queue.cancel("x2")),
    "leave before the turn": ("turn", lambda scene: scene.queue.leave(scene.turn)),
}


@pytest.mark.parametrize("sessions", [False, True])
@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize("name", STEPS)
def test_an_interrupt_at_any_line_loses_no_slot_and_no_execution(
    name: str, in_turn: bool, sessions: bool
) -> None:
    whose, step = STEPS[name]
    for number in itertools.count(1):
        before = descriptors()
        scene = Scene(in_turn=in_turn, sessions=sessions)
        interrupt = Interrupt(number)
        interrupt.during(lambda: step(scene))  # noqa: B023
        ticket: Ticket | None = getattr(scene, whose) if whose else None
        if interrupt.raised and ticket is not None:
            assert len(scene.queue.sessions_of(ticket)) <= 2
            scene.queue.recover(ticket)
        if ticket is not None:
            scene.queue.leave(ticket)
        scene.check(ticket)
        # A descriptor that was just being closed stays open, rather than to be closed twice.
        left = descriptors() - before
        assert len(left) <= interrupt.raised
        for descriptor in left:
            os.close(descriptor)
        if not interrupt.raised:
            break
    assert number > 4 or not sessions
