"""How long it takes to go back to a checkpoint after a crash."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from _figures import Against, Figure
from _timing import Block

from _sessions.ours import ALWAYS, NOTHING, SIZES, cell, megabytes, new_pool, open_session, settle
from python_executor import PythonExecutorService

CELL = "len(state)"
EXIT = "os._exit"
CRASHES = {
    EXIT: "import os\nos._exit(1)",
    "a segfault": "import ctypes\nctypes.string_at(0)",
}
# Seconds.
TARGET = 0.001
COUNT = 2


@contextmanager
def restores(wanted: list[str]) -> Iterator[list[Figure]]:
    """The first cell after a crash, less a cell before it, by the size of the state."""
    del wanted  # no peer comes back from a crash with its state
    with new_pool(ALWAYS) as pool:
        blocks: dict[str, Block] = {}
        comparisons = []
        for size in SIZES:
            state = megabytes(size)
            less = partial(_differences, pool, open_session(pool, state, size), size)
            for name, code in CRASHES.items():
                row = f"{state}, after {name}"
                blocks[row] = partial(less, code)
                comparisons.append(Against(row, TARGET, 1.0))
            blocks[f"{state}, after {EXIT}, paced"] = partial(less, CRASHES[EXIT], pause=True)
            blocks[f"{state}, after a cell"] = partial(less, CELL)
        title = f"What the next cell takes more than one before, {ALWAYS}, {NOTHING.title}"
        yield [Figure(title, blocks, comparisons)]


def _differences(
    pool: PythonExecutorService, session: str, size: int, between: str, *, pause: bool = False
) -> list[float]:
    """Seconds that a cell takes more than the one before what came between.

    Args:
        pool: Ours.
        session: The session.
        size: Bytes of its state.
        between: The cell between, which may kill the session's process.
        pause: Whether the session has time after it.
    """
    differences = []
    for _ in range(COUNT):
        settle(size)
        usual, _ = _cell(pool, session)
        settle(size)
        crashed = pool.execute(between, session=session)["status"] == "crashed"
        assert crashed == (between != CELL)
        if pause:
            settle(size)
        following, state = _cell(pool, session)
        assert state == ("restored" if crashed else "kept"), state
        differences.append(following - usual)
    return differences


def _cell(pool: PythonExecutorService, session: str) -> tuple[float, str]:
    """Seconds of a cell, and what it started from."""
    start = time.perf_counter()
    result = cell(pool, session, CELL)
    return time.perf_counter() - start, result["state"]
