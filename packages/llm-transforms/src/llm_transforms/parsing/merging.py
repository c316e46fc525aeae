"""Blocks or calls that several readers found in one text, without those that overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar


class Span(Protocol):
    """What has a place in a text."""

    @property
    def start(self) -> int:
        """Index of its first character."""
        ...

    @property
    def end(self) -> int:
        """Index after its last character."""
        ...


SpanT = TypeVar("SpanT", bound=Span)


def in_order(spans: Iterable[SpanT], rank: Callable[[SpanT], Any]) -> list[SpanT]:
    """Return spans in the order of the text; of two that overlap, the one that starts first.

    Args:
        spans: The spans. What has no width overlaps nothing.
        rank: Of two that start at one place, the one for which this is less is taken; the first of
            them if they are equal.
    """
    taken: list[SpanT] = []
    end = 0
    for span in sorted(spans, key=lambda span: (span.start, span.end == span.start, rank(span))):
        if span.start >= end or span.start == span.end:
            taken.append(span)
            end = max(end, span.end)
    return taken
