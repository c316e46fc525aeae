"""What work in place on large arrays takes in a process that was copied, or wasn't."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from _executor.preloads import PRELOADS
from _figures import Against, Figure
from _timing import Block, times_of

from _sessions.ours import CHECKPOINTS, MB, PACE, WITHOUT, cell, megabytes, new_pool

PRELOAD = PRELOADS["numpy"]
SIZES = (10 * MB, 100 * MB)
SESSION = "arrays"
CELL = "a += 1"
HERE = "in this process"
COUNT = 3


@contextmanager
def arrays(wanted: list[str]) -> Iterator[list[Figure]]:
    """Each element of an array incremented by a cell, for each way to make checkpoints."""
    del wanted  # no peer makes checkpoints
    with ExitStack() as stack:
        pool_of = {
            name: stack.enter_context(new_pool(name, preload=PRELOAD)) for name in CHECKPOINTS
        }
        blocks: dict[str, Block] = {}
        comparisons = []
        for size in SIZES:
            array = megabytes(size)
            session = f"{SESSION}, {array}"
            for name, pool in pool_of.items():
                cell(pool, session, f"import numpy\na = numpy.ones({size // 8})")
                row = f"{array}, {name}"
                blocks[row] = partial(times_of, partial(cell, pool, session, CELL), COUNT, PACE)
                if name != WITHOUT:
                    comparisons.append(Against(row, f"{array}, {WITHOUT}"))
                comparisons.append(Against(row, f"{array}, {HERE}"))
            blocks[f"{array}, {HERE}"] = partial(times_of, _increment(size), COUNT, PACE)
        title = f"A cell that increments an array in place, {PRELOAD.title}, paced, 20 ms apart"
        yield [Figure(title, blocks, comparisons)]


def _increment(size: int) -> Callable[[], object]:
    """What the cell does, without a cell."""
    import numpy as np  # where it is missing, the figure is left out

    array = np.ones(size // 8)

    def call() -> None:
        nonlocal array
        array += 1

    return call
