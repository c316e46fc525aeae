"""How many programs end in a second, and how long short ones wait behind long ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

from _figures import Against, Figure
from _timing import Block, times_of

from _executor import peers
from _executor.limits import BARE_FORK, Forks, bare_fork, cores
from _executor.ours import pools
from _executor.peers import TORCHRL
from _executor.preloads import Preload

POOL_SIZE = 32
CODE = "print(1 + 1)"
PROGRAMS = 256
FORKS = 300


@contextmanager
def throughput(wanted: list[str], preload: Preload) -> Iterator[list[Figure]]:
    """Callers that never pause, beside loops that fork, one a core."""
    with ExitStack() as stack:
        pool_of = stack.enter_context(pools(POOL_SIZE, preload))
        forks = [stack.enter_context(bare_fork(preload)) for _ in range(cores())]
        torchrl = None
        if "torchrl" in wanted:
            torchrl = stack.enter_context(peers.torchrl(POOL_SIZE, preload))
        figures = []
        for callers in (2, 32):
            blocks: dict[str, Block] = {}
            for name, pool in pool_of.items():
                blocks[f"{name}, execute"] = partial(_one_by_one, pool.execute, callers)
                blocks[f"{name}, execute_batch"] = partial(_batches, pool.execute_batch, callers)
            if torchrl is not None:
                blocks[TORCHRL] = partial(_one_by_one, torchrl, callers)
            limit = f"{BARE_FORK}, {len(forks)} loops"
            blocks[limit] = partial(_forks, forks)
            comparisons = []
            for name in pool_of:
                target = 0.35 if callers == POOL_SIZE else None
                comparisons += [
                    Against(f"{name}, execute", limit, target, faster=True),
                    Against(f"{name}, execute", TORCHRL, faster=True),
                    Against(f"{name}, execute_batch", limit, target, faster=True),
                ]
            title = f"{callers} callers of a pool of {POOL_SIZE}, {preload.title}, in a row"
            figures.append(Figure(title, blocks, comparisons, second="a second"))
        yield figures


def _one_by_one(run: Callable[[str], object], callers: int) -> list[float]:
    """Threads that each execute one program after the other."""
    return _per_program(callers, lambda _: times_of(lambda: run(CODE), PROGRAMS // callers))


def _batches(run: Callable[[Sequence[str]], object], callers: int) -> list[float]:
    """Two threads with half of all programs each, or one with all: batches that fill the pool."""
    threads = min(callers, 2)
    return _per_program(threads, lambda _: run([CODE] * (PROGRAMS // threads)))


def _per_program(threads: int, work: Callable[[int], object]) -> list[float]:
    with ThreadPoolExecutor(threads) as executor:
        start = time.perf_counter()
        for _ in executor.map(work, range(threads)):
            pass
        return [(time.perf_counter() - start) / PROGRAMS]


def _forks(loops: Sequence[Forks]) -> list[float]:
    with ThreadPoolExecutor(len(loops)) as executor:
        start = time.perf_counter()
        for _ in executor.map(lambda loop: loop(FORKS, 0.0), loops):
            pass
        return [(time.perf_counter() - start) / (FORKS * len(loops))]
