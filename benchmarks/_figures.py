"""What a benchmark times: contestants by name, and which of them are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from _timing import Block


@dataclass(frozen=True)
class Against:
    """A comparison that a table shows.

    Attributes:
        row: One contestant.
        peer: The other, or how much it is compared with, in the figure's unit.
        target: The ratio that shall be kept, if there is one.
        faster: Whether the ratio is how many times faster the row is than the peer, so that more is
            better; otherwise it is the row's time by that of the peer, and less is better.
        quantile: What is compared: of each round's values the one that this share lies below.
    """

    row: str
    peer: str | float
    target: float | None = None
    faster: bool = False
    quantile: float = 0.5


@dataclass(frozen=True)
class Figure:
    """Something to time.

    Attributes:
        title: What it is.
        blocks: Each contestant's share of a round.
        comparisons: Those whose contestants all take part are shown.
        second: The column after the median; "a second" counts calls, "" is no such column.
        warm_up: Whether a first turn doesn't count.
        every: A round in so many is played, of a figure that takes long.
        least: So many rounds are played at least, unless fewer were asked for.
        unit: What the blocks return: seconds, or bytes of memory.
    """

    title: str
    blocks: dict[str, Block]
    comparisons: list[Against]
    second: Literal["p99", "slowest", "a second", ""] = "p99"
    warm_up: bool = True
    every: int = 1
    least: int = 3
    unit: Literal["seconds", "bytes"] = "seconds"
