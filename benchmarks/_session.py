"""One run of a benchmark: what every script asks of its command line, times and prints."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

from _figures import Figure
from _report import comparisons, is_met, ratio_of, table_of
from _timing import interleave
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress

QUICK_ROUNDS = 3
BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared" / "data"


class Session:
    """Times figures, prints their tables, and tells in the end which targets were missed.

    Args:
        console: Where it is told.
        rounds: How many turns each contestant gets, of what takes long fewer.
    """

    def __init__(self, console: Console, rounds: int) -> None:
        self.console = console
        self._rounds = rounds
        self._verdicts: list[tuple[str, bool]] = []

    def leave_out(self, what: str) -> None:
        """Say that something doesn't take part."""
        self.console.print(f"[yellow]Left out:[/] {escape(what)}", soft_wrap=True)

    def those_that_can(
        self, names: Iterable[str], why_not: Callable[[str], str | None]
    ) -> list[str]:
        """Those that can take part; says why the others don't.

        Args:
            names: Who was asked for.
            why_not: What one of them lacks; None if nothing.
        """
        able = []
        for name in names:
            if reason := why_not(name):
                self.leave_out(reason)
            else:
                able.append(name)
        return able

    def time(self, figure: Figure) -> None:
        """Let the contestants of a figure take turns, and print the table."""
        rounds = max(self._rounds // figure.every, min(self._rounds, figure.least))
        console = self.console
        played = "1 round" if rounds == 1 else f"{rounds} rounds"
        console.print(f"\n[bold]{figure.title}[/] ({played})")
        columns = (BarColumn(), MofNCompleteColumn())
        # Drawn between the rounds: a thread that draws would disturb them.
        with Progress(
            *columns,
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not console.is_terminal,
        ) as progress:
            task = progress.add_task("Rounds", total=rounds)
            progress.refresh()

            def advance() -> None:
                progress.advance(task)
                progress.refresh()

            samples = interleave(figure.blocks, rounds, warm_up=figure.warm_up, advance=advance)
        console.print(table_of(figure, samples))
        for each in comparisons(figure, samples):
            if each.target is not None:
                met = is_met(each, ratio_of(each, samples))
                self._verdicts.append((f"{figure.title}: {each.row}, by {each.peer}", met))

    def sum_up(self) -> None:
        """Say how many targets there were, and which were missed."""
        missed = [what for what, met in self._verdicts if not met]
        self.console.print(f"Targets: {len(self._verdicts)}, missed: {len(missed)}")
        for what in missed:
            self.console.print(f"  {what}")


def new_console() -> Console:
    """Where a benchmark prints; a pipe has no width of its own."""
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def obey_signals() -> None:
    """Make a polite kill the same as Ctrl-C: what was started is ended."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def machine(distributions: Iterable[str]) -> str:
    """What the figures were taken with."""
    versions = []
    for name in distributions:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {', '.join(versions)}"


def run(
    options: argparse.Namespace,
    distributions: Iterable[str],
    play: Callable[[argparse.Namespace, Session], None],
) -> int:
    """Measure and print; returns the exit status.

    Args:
        options: The command line's, those of `add_rounds` among them.
        distributions: What the figures are taken with.
        play: Times all figures.
    """
    console = new_console()
    obey_signals()
    try:
        console.print(machine(distributions), soft_wrap=True)
        play(options, Session(console, options.rounds))
    except KeyboardInterrupt:
        console.print("Interrupted. What was started has been ended.")
        return 130
    return 0


def new_parser(script: str, description: str | None) -> argparse.ArgumentParser:
    """A command line whose help shows the description as it is written."""
    return argparse.ArgumentParser(
        prog=script,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_data(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the option that says in which folder a file of data is."""
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("SHARED_DATA", BESIDE_THE_REPOSITORY)),
        help=f"the folder of {name} (default: $SHARED_DATA, or beside the repository)",
    )


def add_peers(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Add the option that says who takes part beside the limits."""
    known = list(names)
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=known,
        default=known,
        metavar="PEER",
        help=f"who takes part beside the limits, of {', '.join(known)} (default: all)",
    )


def add_figures(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Add the option that says which figures to time, of those that the description lists."""
    known = list(names)
    parser.add_argument(
        "--figures",
        "--only",
        nargs="+",
        choices=known,
        default=known,
        metavar="FIGURE",
        help="which of those above (default: all)",
    )


def add_rounds(parser: argparse.ArgumentParser, default: int = 20) -> None:
    """Add the options that say how long to measure."""
    rounds = parser.add_mutually_exclusive_group()
    rounds.add_argument(
        "--rounds",
        type=at_least_one,
        default=default,
        help=f"how many turns each contestant gets, of what takes long fewer (default: {default})",
    )
    rounds.add_argument(
        "--quick",
        dest="rounds",
        action="store_const",
        const=QUICK_ROUNDS,
        help=f"{QUICK_ROUNDS} rounds: a look, no measurement",
    )


def at_least_one(text: str) -> int:
    """Read a positive number of the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
