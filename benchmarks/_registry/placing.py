"""On which cores processes run.

Where the scheduler puts two processes that wait for each other makes more of a difference than what
they do: a bare round trip is 10 microseconds on one core and 40 between two, of which one has to be
woken. So that is decided here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from _timing import Block


def cores_to_choose() -> list[int]:
    """The cores that this process may run on; none where it has no say (macOS)."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def placed(blocks: Mapping[str, Block], services: Iterable[int], cores: int) -> dict[str, Block]:
    """The same blocks with this process on one core, and services on that one or another.

    Where there aren't that many cores to choose, they run where the scheduler puts them.

    Args:
        blocks: By contestant.
        services: The process ids of the services.
        cores: 1 for the same core, 2 for another.
    """
    pids = list(services)
    allowed = cores_to_choose()
    if len(allowed) < cores:
        return dict(blocks)

    def place(block: Block) -> Block:
        def there() -> list[float]:
            with _on_cores(pids, cores, allowed):
                return block()

        return there

    return {name: place(block) for name, block in blocks.items()}


@contextmanager
def _on_cores(services: Sequence[int], cores: int, allowed: list[int]) -> Iterator[None]:
    try:
        _keep(os.getpid(), allowed[:1])
        for pid in services:
            _keep(pid, allowed[cores - 1 : cores])
        yield
    finally:
        for pid in (os.getpid(), *services):
            _keep(pid, allowed)


def _keep(pid: int, cores: Iterable[int]) -> None:
    """Keep every thread of a process on these cores, and thereby those that they start."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread.name), cores)
