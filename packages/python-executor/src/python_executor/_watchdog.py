"""Watching what a running program takes: memory beyond its warm parent's, bytes in its directory.

The kernel's limits don't see all: RLIMIT_DATA misses shared mappings, RLIMIT_FSIZE bounds one file.
So the thread that drives a program looks once in a while: not at all at a program that is
done within ``INTERVAL``, and the more rarely the longer a look takes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from python_executor._disk import DEPTH_LIMIT, Measurement, TooDeepError
from python_executor._processes import (
    UnseenError,
    deleted_files,
    descendants,
    growth_of,
    threads_of,
)

# How often to look (seconds). A program can take what it gets hold of in between.
INTERVAL = 0.05
# ... while a directory is too large to be measured in one slice.
INTERVAL_MEASURING = 0.02
# How long one look at a directory may take (seconds): meanwhile the same thread can't serve its
# other programs.
SLICE = 0.002
# Threads that a program may have, with those of its processes. They are the kernel's memory.
TASKS = 1024
# Files without a name that are mapped but not open, and whose size can't be seen: so many are one
# too many.
HIDDEN_FILES = 16
# Looking takes at most one part in so many of the time, up to a pause of LONGEST seconds.
DUTY = 20
LONGEST = 1.0


@dataclass(frozen=True, slots=True)
class Excess:
    """What a program took too much of.

    Args:
        kind: ``tasks``, ``memory`` or ``disk``.
        message: for the user.
    """

    kind: str
    message: str


class Watchdog:
    """Looks at one program. Does nothing by itself: ``look`` is to be called when ``due``.

    Args:
        pid: the interpreter.
        family: whose descendants count beside it: its slot server, which adopts them; None where
            programs can't start processes.
        warm: bytes that the warm parent has (see ``memory_of``).
        processes: how many the program may have beside its own.
        memory: bytes that it may have beyond ``warm``; None is no limit.
        disk: bytes that it may have in its directory; None is no limit.
        directory: its directory, as the host sees it; None if it doesn't.

    Attributes:
        due: when to look next (``time.monotonic``).
    """

    def __init__(
        self,
        pid: int,
        *,
        family: int | None,
        warm: int,
        processes: int,
        memory: int | None,
        disk: int | None,
        directory: str | None,
    ) -> None:
        self.due = 0.0
        self._pid = pid
        self._family = family
        self._warm = warm
        self._processes = processes
        self._memory = memory
        self._disk = disk
        self._directory = directory
        self._measurement: Measurement | None = None

    def look(self) -> Excess | None:
        """Look once; returns what there is too much of, if anything. Never raises."""
        begin = time.perf_counter()
        members = [self._pid]
        if self._family is not None:
            # No more than it takes: of a fork bomb there are more with every moment.
            members = descendants(self._family, self._processes + 2)
        excess = (
            self._look_at_tasks(members)
            or self._look_at_memory(members)
            or self._look_at_disk(members)
        )
        spent = time.perf_counter() - begin
        pause = INTERVAL if self._measurement is None else INTERVAL_MEASURING
        self.due = time.monotonic() + min(max(pause, DUTY * spent), LONGEST)
        return excess

    def close(self) -> None:
        """Let go of the directory."""
        if self._measurement is not None:
            self._measurement.close()
            self._measurement = None

    def _look_at_tasks(self, members: Sequence[int]) -> Excess | None:
        if self._memory is None:
            return None
        if len(members) - 1 > self._processes:
            return Excess(
                "tasks",
                f"The program had more than {self._processes} processes beside its own. "
                "It was ended.",
            )
        tasks = sum(map(threads_of, members))
        if tasks <= TASKS:
            return None
        return Excess(
            "tasks",
            f"The program had {tasks} threads and processes; {TASKS} are the most. It was ended.",
        )

    def _look_at_memory(self, members: Sequence[int]) -> Excess | None:
        if self._memory is None:
            return None
        grown = growth_of(members, self._warm, self._memory)
        if grown <= self._memory:
            return None
        return Excess(
            "memory",
            f"The program took {_mib(grown)} of memory; the limit is {_mib(self._memory)}. "
            "It was ended.",
        )

    def _look_at_disk(self, members: Sequence[int]) -> Excess | None:
        if self._disk is None or self._directory is None:
            return None
        if self._measurement is None:
            try:
                nameless = _bytes_without_name(members, self._disk)
            except UnseenError as error:
                return Excess("disk", f"The program hides files: {error}. It was ended.")
            self._measurement = Measurement(self._directory)
            self._measurement.total = nameless
        measurement = self._measurement
        try:
            measurement.advance(SLICE, self._disk)
        except TooDeepError:
            return Excess(
                "disk",
                f"The program nested directories deeper than {DEPTH_LIMIT} levels. It was ended.",
            )
        if measurement.total > self._disk:
            return Excess(
                "disk",
                f"The program's files take more than {_mib(self._disk)}. It was ended.",
            )
        if measurement.done:
            self._measurement = None
        return None


def _bytes_without_name(members: Iterable[int], disk: int) -> int:
    files: dict[tuple[int, int], int] = {}
    for pid in members:
        files |= deleted_files(pid, disk // HIDDEN_FILES)
    return sum(files.values())


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
