"""How long it takes from nothing to a pool, and to the first result of each of its interpreters."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from _figures import Against, Figure
from _timing import Block

from _executor import peers
from _executor.ours import SANDBOXES, new_pool
from _executor.peers import JUPYTER, TORCHRL
from _executor.preloads import Preload

POOL_SIZE = 32
TARGET = 0.3


@contextmanager
def start_up(wanted: list[str], preload: Preload) -> Iterator[list[Figure]]:
    """A pool of 32 that can be used, and one that has served 32 programs."""
    blocks: dict[str, Block] = {}
    comparisons = []
    for name in SANDBOXES:
        constructed, served = f"{name}, constructed", f"{name}, {POOL_SIZE} served"
        blocks[constructed] = partial(_ours, name, preload, 0)
        blocks[served] = partial(_ours, name, preload, POOL_SIZE)
        comparisons += [
            Against(constructed, TARGET, 1.0),
            Against(constructed, f"{TORCHRL}, constructed", faster=True),
            Against(served, TARGET, 1.0),
            Against(served, f"{TORCHRL}, {POOL_SIZE} served", faster=True),
        ]
    if "torchrl" in wanted:
        blocks[f"{TORCHRL}, constructed"] = partial(_torchrl, preload, 0)
        blocks[f"{TORCHRL}, {POOL_SIZE} served"] = partial(_torchrl, preload, POOL_SIZE)
    if "jupyter" in wanted:
        blocks[f"one {JUPYTER}"] = partial(_kernel, preload)
    title = f"Start of a pool of {POOL_SIZE}, {preload.title}"
    yield [Figure(title, blocks, comparisons, second="slowest", every=4)]


def _ours(name: str, preload: Preload, programs: int) -> list[float]:
    start = time.perf_counter()
    with new_pool(name, POOL_SIZE, preload) as pool:
        pool.execute_batch(["1"] * programs)
        return [time.perf_counter() - start]


def _torchrl(preload: Preload, programs: int) -> list[float]:
    start = time.perf_counter()
    with peers.torchrl(POOL_SIZE, preload) as run, ThreadPoolExecutor(POOL_SIZE) as callers:
        for _ in callers.map(run, ["1"] * programs):
            pass
        return [time.perf_counter() - start]


def _kernel(preload: Preload) -> list[float]:
    start = time.perf_counter()
    with peers.jupyter_kernel(preload):
        return [time.perf_counter() - start]
