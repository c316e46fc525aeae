"""How long a copy of a session takes, how many there are in a second, and their memory."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from _executor import footprints
from _executor.limits import BARE_FORK, bare_fork
from _figures import Against, Figure
from _timing import Block

from _sessions.ours import (
    AUTO,
    MB,
    NOTHING,
    SIZES,
    WITHOUT,
    cell,
    megabytes,
    new_pool,
    open_session,
    settle,
)
from python_executor import PythonExecutorService

CELL = "len(state)"
FORK, FIRST, BOTH = "fork_session", "first cell in the branch", "both"
# Seconds, and up to which size of the state that is promised.
TARGET, PROMISED = 0.005, 100 * MB
COUNT = 2
IN_A_ROW = 20
FORKS = 100
# How many branches a session has whose memory is taken, and what it holds.
BRANCHES, STATE = 64, 100 * MB

_numbers = itertools.count(1)


def branch_off(pool: PythonExecutorService, source: str) -> str:
    """Copy a session; returns the name of the copy."""
    name = f"branch {next(_numbers)}"
    pool.fork_session(source, name)
    return name


@contextmanager
def branches(wanted: list[str]) -> Iterator[list[Figure]]:
    """A branch, its first cell, and the two together, by the size of the state."""
    del wanted  # no peer copies sessions
    with new_pool(AUTO) as pool:
        blocks: dict[str, Block] = {}
        comparisons = []
        for size in SIZES:
            session = open_session(pool, megabytes(size), size)
            for what in (FORK, FIRST, BOTH):
                blocks[f"{megabytes(size)}, {what}"] = partial(_times, pool, session, size, what)
            if size <= PROMISED:
                comparisons.append(Against(f"{megabytes(size)}, {FORK}", TARGET, 1.0))
        title = f"A branch of a session, {AUTO}, {NOTHING.title}, paced"
        yield [Figure(title, blocks, comparisons)]


def _times(pool: PythonExecutorService, source: str, size: int, what: str) -> list[float]:
    """Seconds of a part of what a branch takes to its first result; closing it isn't timed."""
    times = []
    for _ in range(COUNT):
        settle(size)
        start = time.perf_counter()
        branch = branch_off(pool, source)
        forked = time.perf_counter()
        cell(pool, branch, CELL)
        ended = time.perf_counter()
        pool.close_session(branch)
        times.append({FORK: forked - start, FIRST: ended - forked, BOTH: ended - start}[what])
    return times


@contextmanager
def branch_throughput(wanted: list[str]) -> Iterator[list[Figure]]:
    """Branches of one cell, one after the other, beside sessions that begin with nothing."""
    del wanted  # as above
    with ExitStack() as stack:
        blocks: dict[str, Block] = {}
        comparisons = []
        for name in (WITHOUT, AUTO):
            pool = stack.enter_context(new_pool(name))
            source = open_session(pool, "source", 0)
            branch, session = f"{name}, a branch", f"{name}, a session"
            blocks[branch] = partial(_in_a_row, pool, partial(branch_off, pool, source))
            blocks[session] = partial(_in_a_row, pool, partial(open_session, pool, "session", 0))
            comparisons += [Against(branch, session), Against(branch, BARE_FORK)]
        forks = stack.enter_context(bare_fork(NOTHING))
        blocks[BARE_FORK] = partial(forks, FORKS, 0.0)
        title = f"Branch or open, one cell, close, one caller, {NOTHING.title}, back to back"
        yield [Figure(title, blocks, comparisons, second="a second")]


def _in_a_row(pool: PythonExecutorService, begin: Callable[[], str]) -> list[float]:
    start = time.perf_counter()
    for _ in range(IN_A_ROW):
        session = begin()
        cell(pool, session, CELL)
        pool.close_session(session)
    return [(time.perf_counter() - start) / IN_A_ROW]


@contextmanager
def branch_memory(wanted: list[str]) -> Iterator[list[Figure]]:
    """Branches of a session with a large state, which have run a cell, and the session alone."""
    del wanted  # as above
    blocks: dict[str, Block] = {
        "the session alone": partial(_bytes, 0),
        f"{BRANCHES} branches": partial(_bytes, BRANCHES),
    }
    title = (
        f"Memory (PSS) of a pool with {BRANCHES} branches of a session of {megabytes(STATE)}, "
        f"{AUTO}, {NOTHING.title}"
    )
    yield [
        footprints.figure(title, blocks, [Against(f"{BRANCHES} branches", float(BRANCHES * STATE))])
    ]


def _bytes(count: int) -> list[float]:
    with new_pool(AUTO) as pool:
        source = open_session(pool, "source", STATE)
        for _ in range(count):
            cell(pool, branch_off(pool, source), CELL)
        size = footprints.of_pool(pool)
        assert pool.stats()["sessions"] == count + 1
        return [size]
