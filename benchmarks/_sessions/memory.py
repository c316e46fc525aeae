"""What 128 sessions of a pool take, beside as many interpreters with the same state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from _executor import footprints
from _executor.preloads import PRELOADS, Preload
from _figures import Against, Figure
from _timing import Block

from _sessions.ours import AUTO, WITHOUT, new_pool
from python_executor import Execution

POOL_SIZE = 32
SESSIONS = 128
STATE = "state = {number: str(number) for number in range(1000)}\n"
SEPARATE = f"{SESSIONS} processes"


@contextmanager
def memory(wanted: list[str]) -> Iterator[list[Figure]]:
    """Sessions with a small state over a pool of 32, and processes, with numpy and without."""
    del wanted  # who takes part is plain
    yield [
        _figure(preload)
        for preload in (PRELOADS["nothing"], PRELOADS["numpy"])
        if not preload.missing
    ]


def _figure(preload: Preload) -> Figure:
    blocks: dict[str, Block] = {
        "the pool alone": partial(_sessions, WITHOUT, preload, 0),
        WITHOUT: partial(_sessions, WITHOUT, preload, SESSIONS),
        AUTO: partial(_sessions, AUTO, preload, SESSIONS),
        SEPARATE: partial(_processes, preload),
    }
    comparisons = [Against(name, SEPARATE) for name in (WITHOUT, AUTO)]
    title = f"Memory (PSS) of a pool of {POOL_SIZE} with {SESSIONS} small sessions, {preload.title}"
    return footprints.figure(title, blocks, comparisons)


def _sessions(name: str, preload: Preload, count: int) -> list[float]:
    """A pool of its own for each: what two pools share would count half."""
    with new_pool(name, POOL_SIZE, preload) as pool:
        cells = [Execution(preload.imports + STATE, session=str(n)) for n in range(count)]
        assert all(result["success"] for result in pool.execute_batch(cells))
        size = footprints.of_pool(pool)
        assert pool.stats()["sessions"] == count
        return [size]


def _processes(preload: Preload) -> list[float]:
    with footprints.processes(SESSIONS, preload.imports + STATE) as processes:
        return [footprints.settled(lambda: [process.pid for process in processes])]
