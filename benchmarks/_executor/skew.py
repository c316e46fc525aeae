"""Whether short programs wait behind long ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

from _figures import Against, Figure
from _timing import Block

from _executor import peers
from _executor.ours import pools, runner
from _executor.peers import TORCHRL, Runner
from _executor.preloads import Preload

POOL_SIZE = 8
PROGRAMS = 300
# They sleep, so that no program takes another one's core: what is seen is who waits for whom.
SHORT, LONG = 0.01, 1.0
# Every 100th, not at the start.
LONG_ONES = range(50, PROGRAMS, 100)


@contextmanager
def skew(wanted: list[str], preload: Preload) -> Iterator[list[Figure]]:
    """As many callers as interpreters; one in 100 programs runs 100 times longer."""
    with ExitStack() as stack:
        runners = {
            name: runner(pool)
            for name, pool in stack.enter_context(pools(POOL_SIZE, preload)).items()
        }
        if "torchrl" in wanted:
            runners[TORCHRL] = stack.enter_context(peers.torchrl(POOL_SIZE, preload))
        blocks: dict[str, Block] = {
            name: partial(_short_ones, run) for name, run in runners.items()
        }
        comparisons = [
            Against(name, TORCHRL, faster=True, quantile=share)
            for name in runners
            if name != TORCHRL
            for share in (0.5, 0.99)
        ]
        title = (
            f"Short programs ({SHORT * 1e3:g} ms) among 1% of long ones ({LONG:g} s), "
            f"{POOL_SIZE} callers of a pool of {POOL_SIZE}, {preload.title}"
        )
        yield [Figure(title, blocks, comparisons, every=4, warm_up=False)]


def _short_ones(run: Runner) -> list[float]:
    """Seconds that the callers of short programs waited."""

    def call(number: int) -> float | None:
        seconds = LONG if number in LONG_ONES else SHORT
        start = time.perf_counter()
        run(f"import time; time.sleep({seconds})")
        return time.perf_counter() - start if seconds == SHORT else None

    with ThreadPoolExecutor(POOL_SIZE) as executor:
        return [took for took in executor.map(call, range(PROGRAMS)) if took is not None]
