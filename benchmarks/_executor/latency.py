"""How long a caller waits for a short program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from _figures import Against, Figure
from _timing import Block, times_of

from _executor import peers
from _executor.limits import BARE_FORK, ROUND_TRIP, bare_fork, round_trip
from _executor.ours import SANDBOXES, pools, runner
from _executor.peers import JUPYTER, SUBPROCESS, TORCHRL, Runner
from _executor.preloads import Preload

POOL_SIZE = 4
PACE = 0.02

ONE, TEN = "one line", "ten lines"
PROGRAMS = {
    ONE: ("print(1 + 1)", "2\n"),
    TEN: ("for i in range(10):\n    print(i)", "".join(f"{i}\n" for i in range(10))),
}


@contextmanager
def latency(wanted: list[str], preload: Preload) -> Iterator[list[Figure]]:
    """Programs of one printed line and of ten, 20 ms apart and in a row.

    The programs begin with the imports of what is preloaded.

    Args:
        wanted: Which peers take part.
        preload: What all have imported before.
    """
    with ExitStack() as stack:
        # Runner, and how many calls a round.
        runners: dict[str, tuple[Runner, int]] = {}
        for name, pool in stack.enter_context(pools(POOL_SIZE, preload)).items():
            runners[name] = runner(pool), 10
        fork = stack.enter_context(bare_fork(preload))
        trip = stack.enter_context(round_trip())
        if "torchrl" in wanted:
            runners[TORCHRL] = stack.enter_context(peers.torchrl(POOL_SIZE, preload)), 2
        if "jupyter" in wanted:
            runners[JUPYTER] = stack.enter_context(peers.jupyter_kernel(preload)), 5
        if "subprocess" in wanted:
            runners[SUBPROCESS] = peers.new_process, 1
        figures = []
        for pacing, pace, more in (("20 ms apart", PACE, 1), ("in a row", 0.0, 4)):
            blocks: dict[str, Block] = {}
            for program, (code, printed) in PROGRAMS.items():
                whole = preload.imports + code
                for name, (run, count) in runners.items():
                    assert run(whole) == printed, name
                    blocks[f"{name}, {program}"] = _block(run, whole, count * more, pace)
            blocks[BARE_FORK] = partial(fork, 10 * more, pace)
            blocks[ROUND_TRIP] = partial(times_of, trip, 10 * more, pace)
            title = f"A short program, {preload.title}, {pacing}"
            figures.append(Figure(title, blocks, _comparisons(paced=bool(pace))))
        yield figures


def _block(run: Runner, code: str, count: int, pace: float) -> Block:
    return lambda: times_of(lambda: run(code), count, pace)


def _comparisons(*, paced: bool) -> list[Against]:
    """The targets are those of paced calls: in a row, a caller waits for the next interpreter."""
    found = []
    for name in SANDBOXES:
        one, ten = f"{name}, {ONE}", f"{name}, {TEN}"
        found += [
            Against(one, BARE_FORK, 1.2 if paced else None),
            Against(one, ROUND_TRIP),
            Against(one, f"{TORCHRL}, {ONE}", 12.0 if paced else None, faster=True),
            Against(one, f"{JUPYTER}, {ONE}", faster=True),
            Against(one, f"{SUBPROCESS}, {ONE}", faster=True),
            Against(ten, f"{TORCHRL}, {TEN}", 60.0 if paced else None, faster=True),
            Against(ten, f"{JUPYTER}, {TEN}", faster=True),
            Against(ten, f"{SUBPROCESS}, {TEN}", faster=True),
        ]
    return found
