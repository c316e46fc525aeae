"""Tables of what was timed."""

from __future__ import annotations

from collections.abc import Mapping

from _timing import Ratio, Samples
from rich.box import SIMPLE_HEAD
from rich.table import Table

from _registry.figures import Against, Figure


def table_of(figure: Figure, samples: Mapping[str, Samples]) -> Table:
    """The times of a figure, and each comparison beside the contestant that it is about."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("")
    for title in ("p50", figure.second):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("against")
    for title in ("ratio", "target"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row, sampled in samples.items():
        cells = [row, duration(sampled.p50), _second(figure, sampled)]
        shown = [each for each in comparisons(figure, samples) if each.row == row]
        for each in shown:
            table.add_row(*cells, *_compared(each, ratio_of(each, samples)))
            cells = ["", "", ""]
        if not shown:
            table.add_row(*cells)
    return table


def comparisons(figure: Figure, samples: Mapping[str, Samples]) -> list[Against]:
    """Those comparisons of a figure whose contestants took part."""
    return [
        each
        for each in figure.comparisons
        if each.row in samples and (isinstance(each.peer, float) or each.peer in samples)
    ]


def ratio_of(against: Against, samples: Mapping[str, Samples]) -> Ratio:
    """The measured ratio of a comparison."""
    peer = samples[against.peer] if isinstance(against.peer, str) else against.peer
    return samples[against.row].relative_to(peer)


def is_met(against: Against, ratio: Ratio) -> bool:
    """Whether a ratio is within its target, as printed."""
    return against.target is not None and round(ratio.median, 2) <= against.target


def duration(seconds: float) -> str:
    """Seconds in a unit that suits them."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.2f} {unit}"
    return f"{seconds * 1e6:.1f} µs"


def _second(figure: Figure, sampled: Samples) -> str:
    if figure.second == "a second":
        return f"{1 / sampled.p50:,.0f}"
    return duration(sampled.quantile(0.99 if figure.second == "p99" else 1.0))


def _compared(against: Against, ratio: Ratio) -> list[str]:
    peer = against.peer if isinstance(against.peer, str) else duration(against.peer)
    digits = 2 if ratio.median >= 0.1 else 4
    shown = f"{ratio.median:.{digits}f} ({ratio.low:.{digits}f}-{ratio.high:.{digits}f})"
    if against.target is None:
        return [peer, shown, "", ""]
    mark = "[green]met[/]" if is_met(against, ratio) else "[red]missed[/]"
    return [peer, shown, f"{against.target:g}", mark]
