"""What a pool has done, in bounded memory and at little cost for each execution."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from typing import TypedDict

# Buckets for each doubling: the borders of one are 5% apart, so a percentile is exact to 2.5%.
_FINENESS = 14
# The shortest time that is told apart: 2 ** -20 s, about a microsecond; the longest: 36 hours.
_LOWEST = -20
_HIGHEST = 17


class Percentiles(TypedDict):
    """How long something took, in seconds, to within 2.5%; None if it never happened."""

    p50: float | None
    p95: float | None
    p99: float | None


class Durations:
    """A histogram with logarithmic buckets, of everything ever added. Not thread-safe."""

    def __init__(self) -> None:
        self._counts = [0] * ((_HIGHEST - _LOWEST) * _FINENESS)
        self._total = 0

    def add(self, seconds: float) -> None:
        """Count one."""
        place = int((math.log2(seconds) - _LOWEST) * _FINENESS) if seconds > 2.0**_LOWEST else 0
        self._counts[min(place, len(self._counts) - 1)] += 1
        self._total += 1

    def percentiles(self) -> Percentiles:
        """Return the times that 50%, 95% and 99% did not exceed."""
        return {"p50": self._at(0.50), "p95": self._at(0.95), "p99": self._at(0.99)}

    def _at(self, part: float) -> float | None:
        left = max(1, math.ceil(self._total * part))
        for place, count in enumerate(self._counts):
            left -= count
            if left <= 0:
                return math.exp2((place + 0.5) / _FINENESS + _LOWEST)  # the bucket's middle
        return None


class Recorder:
    """Counts the executions of a pool. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = time.monotonic()
        self._by_status: Counter[str] = Counter()
        self._wait = Durations()
        self._run = Durations()

    def add(self, status: str, wait: float | None, run: float) -> None:
        """Count one execution.

        Args:
            status: how it ended.
            wait: seconds from the call until it began; None if it never did.
            run: seconds from then until it ended.
        """
        with self._lock:
            self._by_status[status] += 1
            if wait is not None:
                self._wait.add(wait)
                self._run.add(run)

    @property
    def uptime(self) -> float:
        """Seconds since this began to record."""
        return time.monotonic() - self._since

    def summary(self) -> tuple[dict[str, int], Percentiles, Percentiles]:
        """Return the number of executions by status, how long they waited, how long they ran."""
        with self._lock:
            return dict(self._by_status), self._wait.percentiles(), self._run.percentiles()
