"""How long a caller waits for a cell of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from _figures import Against, Figure
from _timing import Block, times_of

from _sessions import peers
from _sessions.ours import AUTO, NOTHING, PACE, WITHOUT, cell, new_pool
from _sessions.peers import JUPYTER, ROUND_TRIP, TORCHRL

SESSION = "cells"
FIRST = "x = 41"
VALUE, PRINTED = "a value", "a line"
CELLS = {VALUE: "x + 1", PRINTED: "print(x + 1)"}
# Of the cell without a checkpoint, by a bare round trip; and of one with, by the one without.
BARE_TARGET, AUTO_TARGET = 15.0, 2.0


@contextmanager
def cells(wanted: list[str]) -> Iterator[list[Figure]]:
    """An expression, and a printed line, of what an earlier cell has assigned.

    Args:
        wanted: Which peers take part.
    """
    with ExitStack() as stack:
        # What is timed, and how often in a round of paced calls.
        calls: dict[str, tuple[Callable[[], object], int]] = {}
        for checkpoint in (WITHOUT, AUTO):
            pool = stack.enter_context(new_pool(checkpoint))
            cell(pool, SESSION, FIRST)
            assert cell(pool, SESSION, CELLS[VALUE])["value"] == "42"
            assert cell(pool, SESSION, CELLS[PRINTED])["stdout"] == "42\n"
            for what, code in CELLS.items():
                calls[f"{checkpoint}, {what}"] = partial(cell, pool, SESSION, code), 10
        trip = stack.enter_context(peers.round_trip(CELLS[VALUE]))
        assert trip() == b"42"
        calls[ROUND_TRIP] = trip, 10
        for peer, name, open_peer, count in (
            ("torchrl", TORCHRL, peers.torchrl, 2),
            ("jupyter", JUPYTER, peers.jupyter, 5),
        ):
            if peer in wanted:
                run = stack.enter_context(open_peer())
                run(FIRST)
                assert run(CELLS[PRINTED]) == "42\n", name
                calls[f"{name}, {PRINTED}"] = partial(run, CELLS[PRINTED]), count
        figures = []
        for pacing, pace, more in (("paced, 20 ms apart", PACE, 1), ("back to back", 0.0, 4)):
            blocks: dict[str, Block] = {
                name: partial(times_of, call, count * more, pace)
                for name, (call, count) in calls.items()
            }
            title = f"A cell of a session, {NOTHING.title}, {pacing}"
            figures.append(Figure(title, blocks, _comparisons(paced=bool(pace))))
        yield figures


def _comparisons(*, paced: bool) -> list[Against]:
    """Back to back, the next cell waits for the checkpoint: only paced it is off the path."""
    found = [Against(f"{AUTO}, {VALUE}", f"{WITHOUT}, {VALUE}", AUTO_TARGET if paced else None)]
    for checkpoint in (WITHOUT, AUTO):
        target = BARE_TARGET if checkpoint == WITHOUT else None
        found += [
            Against(f"{checkpoint}, {VALUE}", ROUND_TRIP, target),
            Against(f"{checkpoint}, {PRINTED}", f"{TORCHRL}, {PRINTED}", faster=True),
            Against(f"{checkpoint}, {PRINTED}", f"{JUPYTER}, {PRINTED}", faster=True),
        ]
    return found
