"""Tables of what was timed."""

from __future__ import annotations

from collections.abc import Mapping

from _figures import Against, Figure
from _timing import Ratio, Samples
from rich.box import SIMPLE_HEAD
from rich.table import Table


def table_of(figure: Figure, samples: Mapping[str, Samples]) -> Table:
    """The times of a figure, and each comparison beside the contestant that it is about."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for title in ("p50", figure.second) if figure.second else ("p50",):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("against")
    for title in ("ratio", "target"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row, sampled in samples.items():
        cells = [row, *_values(figure, sampled)]
        shown = [each for each in comparisons(figure, samples) if each.row == row]
        for each in shown:
            table.add_row(*cells, *_compared(figure, each, ratio_of(each, samples)))
            cells = [""] * len(cells)
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
    ratio = samples[against.row].relative_to(peer, against.quantile)
    if against.faster:
        return Ratio(1 / ratio.median, 1 / ratio.high, 1 / ratio.low)
    return ratio


def is_met(against: Against, ratio: Ratio) -> bool:
    """Whether a ratio is within its target, as printed."""
    if against.target is None:
        return False
    if against.faster:
        return round(ratio.median, 1 if ratio.median >= 1 else 2) >= against.target
    return round(ratio.median, 2) <= against.target


def amount(figure: Figure, value: float) -> str:
    """Seconds or bytes in a unit that suits them."""
    return f"{value / 2**20:,.0f} MiB" if figure.unit == "bytes" else duration(value)


def duration(seconds: float) -> str:
    """Seconds in a unit that suits them; a difference may be negative."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if abs(seconds) * factor >= 1:
            return f"{seconds * factor:.2f} {unit}"
    return f"{seconds * 1e6:.1f} µs"


def _values(figure: Figure, sampled: Samples) -> list[str]:
    median = amount(figure, sampled.p50)
    match figure.second:
        case "":
            return [median]
        case "a second":
            return [median, f"{1 / sampled.p50:,.0f}"]
        case "p99":
            return [median, amount(figure, sampled.quantile(0.99))]
        case "slowest":
            return [median, amount(figure, sampled.quantile(1.0))]


def _compared(figure: Figure, against: Against, ratio: Ratio) -> list[str]:
    peer = against.peer if isinstance(against.peer, str) else amount(figure, against.peer)
    if against.quantile != 0.5:
        peer = f"{peer}, p{against.quantile * 100:g}"
    digits = (1 if ratio.median >= 1 else 2) if against.faster else 2 if ratio.median >= 0.1 else 4
    times = "x" if against.faster else ""
    shown = f"{ratio.median:.{digits}f}{times} ({ratio.low:.{digits}f}-{ratio.high:.{digits}f})"
    if against.target is None:
        return [peer, shown, "", ""]
    mark = "[green]met[/]" if is_met(against, ratio) else "[red]missed[/]"
    return [peer, shown, f"{against.target:g}{times}", mark]
