"""Timing in turns: what a noisy machine does in one moment, it does to all that are compared."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Block = Callable[[], list[float]]
"""One contestant's share of a round: seconds of each thing that it timed, or what else counts."""


def times_of(call: Callable[[], object], count: int, pace: float = 0.0) -> list[float]:
    """Seconds of each of ``count`` calls, ``pace`` seconds apart."""
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - start) / 1e9)
        if pace:
            time.sleep(pace)
    return times


def quantile(seconds: Sequence[float], share: float) -> float:
    """The value that ``share`` of all values lie below, an observed one."""
    return sorted(seconds)[min(int(len(seconds) * share), len(seconds) - 1)]


class Ratio(NamedTuple):
    """How one contestant compares with another: the middle of the rounds, and half of them."""

    median: float
    low: float
    high: float


@dataclass
class Samples:
    """What one contestant took, by rounds."""

    rounds: list[list[float]] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Seconds that ``share`` of all calls stay below."""
        return quantile([each for times in self.rounds for each in times], share)

    @property
    def p50(self) -> float:
        """The median of all calls, in seconds."""
        return statistics.median(each for times in self.rounds for each in times)

    def relative_to(self, other: Samples | float, share: float = 0.5) -> Ratio:
        """Compare with a contestant of the same rounds, round by round, or with one value.

        Args:
            other: Whom or what it is compared with.
            share: Which quantile of a round's values is compared.
        """
        mine = self.of_rounds(share)
        theirs = other.of_rounds(share) if isinstance(other, Samples) else [other] * len(mine)
        ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
        return Ratio(statistics.median(ratios), quantile(ratios, 0.25), quantile(ratios, 0.75))

    def of_rounds(self, share: float) -> list[float]:
        """That quantile of each round."""
        if share == 0.5:
            return [statistics.median(times) for times in self.rounds]
        return [quantile(times, share) for times in self.rounds]


def interleave(
    blocks: Mapping[str, Block],
    rounds: int,
    *,
    warm_up: bool = True,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Samples]:
    """Let the contestants take turns; each round another one begins.

    Args:
        blocks: The contestants by name.
        rounds: How many turns each gets.
        warm_up: Whether each gets one more before, which doesn't count: connections are opened and
            caches filled.
        advance: Called after each round.
    """
    if warm_up:
        for block in blocks.values():
            block()
    samples = {name: Samples() for name in blocks}
    order = list(blocks)
    # What lives by now is left out of the collections before each turn, which makes them short.
    gc.collect()
    gc.freeze()
    try:
        for number in range(rounds):
            first = number % len(order)
            for name in order[first:] + order[:first]:
                samples[name].rounds.append(_undisturbed(blocks[name]))
            advance()
    finally:
        gc.unfreeze()
    return samples


def _undisturbed(block: Block) -> list[float]:
    gc.collect()
    gc.disable()
    try:
        return block()
    finally:
        gc.enable()
