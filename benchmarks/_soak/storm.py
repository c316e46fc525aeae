"""Callers that execute programs of every kind, and kill servers now and then.

::

    caller 0 ──┐                       ┌── root ──┬── slot server 0 ── interpreter
    caller 1 ──┼── the same pool ──────┤          ├── slot server 1 ── interpreter
    ...        │                       │          └── ...
    canceller ─┘   killed by a caller ─┘          └─ killed by a caller
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from _soak.kinds import BATCH, CANCELLED, Kind
from python_executor import ExecutionResult, PythonExecutorError, PythonExecutorService

# A program whose server was killed crashes: at once, or when the kernel has told it (seconds).
AFTERMATH = 3.0
# Complaints that are kept; the rest is counted.
MOST_COMPLAINTS = 20
# One killed slot server in so many calls, and one killed root.
SLOT_KILLS = 150
ROOT_KILLS = 1000


@dataclass
class Tally:
    """What came of the programs of one kind.

    Attributes:
        statuses: How often each status came.
        disturbed: How many crashed because their server was killed.
        seconds: How long each call took.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    disturbed: int = 0
    seconds: list[float] = field(default_factory=list)


class Storm:
    """Callers over one pool.

    Args:
        executor: The pool.
        callers: How many threads call.
        seed: What the draws begin with.
        kinds: What is drawn.

    Attributes:
        tallies: What came of each kind, by name.
        complaints: The first results that were not as they should be.
        wrong: How many there were.
        kills: How often a server of each kind was killed.
    """

    def __init__(
        self, executor: PythonExecutorService, callers: int, seed: int, kinds: Sequence[Kind]
    ) -> None:
        self.tallies: dict[str, Tally] = {}
        self.complaints: list[str] = []
        self.wrong = 0
        self.kills: Counter[str] = Counter()
        self._executor = executor
        self._callers = callers
        self._seed = seed
        self._kinds = [*kinds, CANCELLED, BATCH]
        self._lock = threading.Lock()
        self._left = 0
        self._calls = 0
        self._last_kill = -AFTERMATH
        self._phase = 0
        self._names = itertools.count()
        self._to_cancel: queue.SimpleQueue[tuple[str, threading.Event] | None] = queue.SimpleQueue()

    def blow(self, executions: int, *, kills: bool) -> None:
        """Execute so many programs; returns when all have ended."""
        self._left = executions
        self._phase += 1
        threads = [
            threading.Thread(target=self._call, args=(number, kills))
            for number in range(self._callers)
        ]
        canceller = threading.Thread(target=self._cancel)
        for thread in (canceller, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        self._to_cancel.put(None)
        canceller.join()

    def _call(self, number: int, kills: bool) -> None:  # noqa: FBT001
        draw = random.Random(f"{self._seed}, {self._phase}, {number}")  # noqa: S311
        shares = [kind.share for kind in self._kinds]
        while True:
            kind = draw.choices(self._kinds, shares)[0]
            with self._lock:
                if self._left <= 0:
                    return
                self._left -= 8 if kind is BATCH else 1
                self._calls += 1
                calls = self._calls
            if kills and calls % ROOT_KILLS == 1:
                self._kill_root()
            elif kills and calls % SLOT_KILLS == 1:
                self._kill_slot(draw)
            self._execute(kind)

    def _execute(self, kind: Kind) -> None:
        start = time.monotonic()
        try:
            if kind is BATCH:
                results = self._executor.execute_batch([kind.execution] * 8)
            elif kind is CANCELLED:
                results = [self._execute_cancelled(kind)]
            else:
                results = [
                    self._executor.execute(
                        kind.code, timeout=kind.timeout, stdin=kind.stdin, files=kind.files
                    )
                ]
        except PythonExecutorError as error:
            with self._lock:
                self._complain(f"{kind.name}: {error!r}")
            return
        seconds = time.monotonic() - start
        with self._lock:
            tally = self.tallies.setdefault(kind.name, Tally())
            tally.seconds.append(seconds)
            for result in results:
                tally.statuses[result["status"]] += 1
                complaint = kind.complaint(result)
                if complaint is None or (kind is CANCELLED and result["status"] == "rejected"):
                    continue
                if result["status"] == "crashed" and self._last_kill > start - AFTERMATH:
                    tally.disturbed += 1
                else:
                    self._complain(complaint)

    def _complain(self, complaint: str) -> None:
        self.wrong += 1
        if len(self.complaints) < MOST_COMPLAINTS:
            self.complaints.append(complaint)

    def _execute_cancelled(self, kind: Kind) -> ExecutionResult:
        """Execute a program that the canceller ends, while it waits or while it runs."""
        number, ended = next(self._names), threading.Event()
        name = f"{number}, {'running' if number % 2 else 'waiting'}"
        self._to_cancel.put((name, ended))
        try:
            return self._executor.execute(kind.code, execution_id=name)
        finally:
            ended.set()

    def _cancel(self) -> None:
        while (item := self._to_cancel.get()) is not None:
            name, ended = item
            if name.endswith("running"):
                ended.wait(0.02)  # most run by then; the others are cancelled as they come
            # It may not be known yet, and it may end by a kill.
            while not self._executor.cancel(name) and not ended.wait(0.001):
                continue

    def _kill_root(self) -> None:
        root = self._executor.info()["server"]
        if root is not None:
            self._kill(root, os.getpid(), "root")

    def _kill_slot(self, draw: random.Random) -> None:
        info = self._executor.info()
        if info["server"] is not None and info["slot_servers"]:
            self._kill(draw.choice(info["slot_servers"]), info["server"], "slot server")

    def _kill(self, pid: int, parent: int, what: str) -> None:
        """Kill a process if it still is a child of ``parent``, and no other of the same pid."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            handle = os.pidfd_open(pid)
            try:
                stat = Path(f"/proc/{pid}/stat").read_text()
                if int(stat.rpartition(")")[2].split()[1]) != parent:
                    return
                self._last_kill = time.monotonic()
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                self._last_kill = time.monotonic()
                with self._lock:
                    self.kills[what] += 1
            finally:
                os.close(handle)
