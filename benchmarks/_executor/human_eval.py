"""Real programs: the 164 of HumanEval with their solutions and tests."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from _figures import Against, Figure
from _timing import Block

from _executor import peers
from _executor.limits import BARE_FORK, Forks, bare_fork, cores
from _executor.ours import pools
from _executor.peers import SUBPROCESS
from _executor.preloads import Preload
from python_executor import PythonExecutorService

POOL_SIZE = 32
NAME = "HumanEval.jsonl.gz"


def programs_in(folder: Path) -> list[str]:
    """Each solution with its tests."""
    with gzip.open(folder / NAME, "rt") as file:
        problems = [json.loads(line) for line in file]
    return [
        f"{p['prompt']}{p['canonical_solution']}\n{p['test']}\ncheck({p['entry_point']})"
        for p in problems
    ]


@contextmanager
def human_eval(
    wanted: list[str], preload: Preload, programs: Sequence[str]
) -> Iterator[list[Figure]]:
    """All programs as one batch, beside new processes one after the other and as many at once.

    The limit is what forks of a warm process take that do nothing else than run them.
    """
    in_turn, at_once = f"{SUBPROCESS}, in turn", f"{SUBPROCESS}, {POOL_SIZE} at once"
    with ExitStack() as stack:
        pool_of = stack.enter_context(pools(POOL_SIZE, preload))
        forks = [stack.enter_context(bare_fork(preload)) for _ in range(cores())]
        limit = f"{BARE_FORK}, {len(forks)} loops"
        blocks: dict[str, Block] = {
            f"{name}, one batch": partial(_batch, pool, programs) for name, pool in pool_of.items()
        }
        blocks[limit] = partial(_forks, forks, programs)
        if "subprocess" in wanted:
            blocks[in_turn] = partial(_in_turn, programs)
            blocks[at_once] = partial(_at_once, programs)
        comparisons = [Against(limit, peer, faster=True) for peer in (in_turn, at_once)]
        for name in pool_of:
            comparisons += [
                Against(f"{name}, one batch", limit, faster=True),
                Against(f"{name}, one batch", in_turn, 10.0, faster=True),
                Against(f"{name}, one batch", at_once, 5.0, faster=True),
            ]
        title = f"All {len(programs)} programs of HumanEval, {preload.title}, in a row"
        yield [Figure(title, blocks, comparisons, second="slowest", every=3)]


def _batch(pool: PythonExecutorService, programs: Sequence[str]) -> list[float]:
    start = time.perf_counter()
    results = pool.execute_batch(programs)
    seconds = time.perf_counter() - start
    assert all(result["success"] for result in results)
    return [seconds]


def _forks(loops: Sequence[Forks], programs: Sequence[str]) -> list[float]:
    """One loop a core; each takes the next program."""
    idle: SimpleQueue[Forks] = SimpleQueue()
    for loop in loops:
        idle.put(loop)

    def run(program: str) -> None:
        loop = idle.get()
        loop(1, 0.0, program)
        idle.put(loop)

    with ThreadPoolExecutor(len(loops)) as executor:
        return _seconds(lambda: list(executor.map(run, programs)))


def _in_turn(programs: Sequence[str]) -> list[float]:
    return _seconds(lambda: [peers.new_process(program) for program in programs])


def _at_once(programs: Sequence[str]) -> list[float]:
    with ThreadPoolExecutor(POOL_SIZE) as executor:
        return _seconds(lambda: list(executor.map(peers.new_process, programs)))


def _seconds(work: Callable[[], object]) -> list[float]:
    start = time.perf_counter()
    work()
    return [time.perf_counter() - start]
