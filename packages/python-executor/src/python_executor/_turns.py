"""Whose turn it is in each session: its cells run one after the other, first come, first served.

::

    session "x":  [ A/0  A/1  C/0 ]    A/0 runs, or waits for a slot; the others wait for it
    session "y":  [ B/0 ]
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Generic, Protocol, TypeVar


class Caller(Protocol):
    """What has turns: a ticket of the queue."""

    @property
    def sessions(self) -> Mapping[int, str]:
        """By index, the sessions of its executions that have one."""

    @property
    def turns(self) -> set[int]:
        """Indices of its executions that wait for their turn, or have it."""

    @property
    def rejected(self) -> set[int]:
        """Indices of its executions that will never run."""


C = TypeVar("C", bound=Caller)


class Turns(Generic[C]):
    """The lines of all sessions in which something waits or runs. Nothing here locks.

    KeyboardInterrupt may come between any two steps: what a caller's ``turns`` says counts, and
    ``repair`` makes the lines agree.
    """

    def __init__(self) -> None:
        self._lines: dict[str, deque[tuple[C, int]]] = {}

    def join(self, caller: C, index: int) -> bool:
        """Stand in the line of an execution's session; whether its turn has come at once."""
        caller.turns.add(index)
        line = self._lines.setdefault(caller.sessions[index], deque())
        line.append((caller, index))
        return len(line) == 1

    def leave(self, caller: C, index: int) -> tuple[C, int] | None:
        """Leave the line; returns whose turn has come by that, if anybody's."""
        name = caller.sessions[index]
        line = self._lines[name]
        first = line[0] == (caller, index)
        line.remove((caller, index))
        if not line:
            del self._lines[name]
        caller.turns.discard(index)
        return line[0] if first and line else None

    def drop(self, caller: C) -> list[tuple[C, int]]:
        """Leave all lines; returns whose turns have come by that."""
        come = []
        for name in {caller.sessions[index] for index in caller.turns}:
            line = self._lines[name]
            rest = deque(entry for entry in line if entry[0] is not caller)
            if not rest:
                del self._lines[name]
                continue
            self._lines[name] = rest
            if rest[0] != line[0]:
                come.append(rest[0])
        caller.turns.clear()
        return come

    def has(self, caller: C, index: int) -> bool:
        """Whether it is the turn of an execution."""
        line = self._lines.get(caller.sessions[index])
        # An interrupted ``join`` may have left an empty one.
        return line is not None and len(line) > 0 and line[0] == (caller, index)

    def busy(self, session: str) -> bool:
        """Whether anything waits or runs in a session."""
        return session in self._lines

    def first(self) -> Iterator[tuple[C, int]]:
        """Those whose turn it is."""
        for line in self._lines.values():
            yield line[0]

    def repair(self, callers: Collection[C]) -> None:
        """Rebuild the lines from what the callers say; all others are gone."""
        before = self._lines
        places = {entry: n for line in before.values() for n, entry in enumerate(line)}
        self._lines = {}
        for caller in callers:
            caller.turns.difference_update(caller.rejected)
            for index in sorted(caller.turns):
                self._lines.setdefault(caller.sessions[index], deque()).append((caller, index))
        for name, line in self._lines.items():
            self._lines[name] = deque(sorted(line, key=lambda e: places.get(e, len(places))))
