"""Time the registry beside TorchRL's, raw Ray, raw multiprocessing and a bare socket.

    python benchmarks/registry.py
    python benchmarks/registry.py --quick --backends local
    python benchmarks/registry.py --figures lookup ray-calls --rounds 60

Contestants take turns in one run, each round another one first, so that what disturbs the machine
disturbs all alike: compare the ratios, not the times. A ratio is the time of ours by that of the
peer, round by round; the table shows the median of the rounds, and between which two values the
middle half of them lies. Less is better. A target is "met" if the median is not above it; if the
target lies within the half, take more rounds.

The figures:

    local-calls            blocking, .submit and .aio of the local backend, beside a bare round trip
                           (pickle, send, receive, unpickle over a socket of the same kind) and raw
                           multiprocessing.connection; caller and service share a core, which is
                           the steadiest
    local-calls-two-cores  the same with a core for each: waking the other core is most of it
    threads                8 threads with one handle, beside one thread: time by number of calls
    arrays                 64 MB as argument and as result, beside a copy of the array in memory
    kept-arrays            the same as argument, where the service keeps it
    ray-calls              blocking, .remote, .aio and .submit, beside raw Ray's same form
    lookup                 services["name"], TorchRL's get, ray.get_actor, of a name seen before, in
                           a row and with pauses
    outstanding            128 calls submitted, then all waited for
    register               a service until it can be used, beside TorchRL's register and first call,
                           a named actor that is ready, a spawned process that is connected

Those of the local backend alone come first, before Ray's own processes run beside them.

What isn't installed is named and left out. Ctrl-C ends all that was started.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib import metadata

from _timing import interleave
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress

from _registry import figures
from _registry.contestants import LocalSide, RaySide, local_side, ray_side
from _registry.figures import Figure
from _registry.placing import cores_to_choose
from _registry.report import comparisons, is_met, ratio_of, table_of
from services_core import BackendNotInstalledError
from services_core.backends import load_backend

BACKENDS = ("local", "ray")

OF_LOCAL: dict[str, Callable[[LocalSide], Figure]] = {
    "local-calls": partial(figures.local_calls, cores=1),
    "local-calls-two-cores": partial(figures.local_calls, cores=2),
    "threads": figures.local_threads,
    "arrays": figures.local_arrays,
    "kept-arrays": figures.local_kept_arrays,
}
OF_BOTH: dict[str, Callable[[LocalSide | None, RaySide | None], Figure]] = {
    "lookup": figures.lookups,
    "outstanding": figures.outstanding,
    "register": figures.registers,
}
OF_RAY: dict[str, Callable[[RaySide], Figure]] = {"ray-calls": figures.ray_calls}
FIGURES = (*OF_LOCAL, *OF_RAY, *OF_BOTH)

QUICK_ROUNDS = 3
VERSIONS = ("services-core", "services-local", "services-ray", "ray", "torchrl", "numpy")


class Run:
    """One run: what was asked for, and what came out.

    Args:
        options: The command line.
        console: Where it is told.
    """

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self._rounds: int = options.rounds
        self._wanted: list[str] = options.figures
        self._console = console
        self._verdicts: list[tuple[str, bool]] = []

    def leave_out(self, what: str) -> None:
        """Say that something doesn't take part."""
        self._console.print(f"[yellow]Left out:[/] {escape(what)}", soft_wrap=True)

    def play(self, backends: list[str]) -> None:
        """Time all figures; those of the local backend alone before Ray runs beside it."""
        with ExitStack() as stack:
            local = stack.enter_context(local_side()) if "local" in backends else None
            if local is not None:
                for name in self._those_of(OF_LOCAL):
                    if reason := why_not(name):
                        self.leave_out(f"{name}. {reason}")
                    else:
                        self._time(OF_LOCAL[name](local))
            ray = None
            if "ray" in backends and self._those_of(OF_RAY | OF_BOTH):
                self._console.print("\nRay and its peers are started, which takes some seconds.")
                ray = stack.enter_context(ray_side(self.leave_out))
                for name in self._those_of(OF_RAY):
                    self._time(OF_RAY[name](ray))
            for name in self._those_of(OF_BOTH):
                self._time(OF_BOTH[name](local, ray))
        self._sum_up()

    def _those_of(self, group: dict[str, Callable[..., Figure]]) -> list[str]:
        return [name for name in group if name in self._wanted]

    def _time(self, figure: Figure) -> None:
        rounds = max(self._rounds // figure.every, min(self._rounds, QUICK_ROUNDS))
        console = self._console
        console.print(f"\n[bold]{figure.title}[/] ({rounds} rounds)")
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
                self._verdicts.append((f"{figure.title}: {each.row}", met))

    def _sum_up(self) -> None:
        missed = [what for what, met in self._verdicts if not met]
        self._console.print(f"Targets: {len(self._verdicts)}, missed: {len(missed)}")
        for what in missed:
            self._console.print(f"  {what}")


def why_not(name: str) -> str | None:
    """What is missing for a figure, if anything is."""
    if name in ("arrays", "kept-arrays") and importlib.util.find_spec("numpy") is None:
        return "To have it: python -m pip install numpy"
    if name == "local-calls-two-cores" and len(cores_to_choose()) == 1:
        return "There is one core"
    return None


def available(backends: list[str], run: Run) -> list[str]:
    """Those backends that are installed."""
    found = []
    for backend in backends:
        try:
            load_backend(backend)
        except BackendNotInstalledError as error:
            run.leave_out(str(error))
        else:
            found.append(backend)
    return found


def machine() -> str:
    """What the figures were taken with."""
    versions = []
    for name in VERSIONS:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {', '.join(versions)}"


def at_least_one(text: str) -> int:
    """A number of rounds, from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="registry.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--backends",
        nargs="+",
        choices=BACKENDS,
        default=list(BACKENDS),
        help="which of ours take part, with their peers (default: both)",
    )
    parser.add_argument(
        "--figures",
        nargs="+",
        choices=FIGURES,
        default=list(FIGURES),
        metavar="FIGURE",
        help="which of those above (default: all)",
    )
    rounds = parser.add_mutually_exclusive_group()
    rounds.add_argument(
        "--rounds",
        type=at_least_one,
        default=20,
        help="how many turns each contestant gets, of what takes long fewer (default: 20)",
    )
    rounds.add_argument(
        "--quick",
        dest="rounds",
        action="store_const",
        const=QUICK_ROUNDS,
        help=f"{QUICK_ROUNDS} rounds: a look, no measurement",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    options = parse(arguments)
    # A pipe has no width of its own.
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    # A polite kill is Ctrl-C: what was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run = Run(options, console)
    try:
        backends = available(options.backends, run)
        if not backends:
            return 1
        console.print(machine(), soft_wrap=True)
        run.play(backends)
    except KeyboardInterrupt:
        console.print("Interrupted. What was started has been ended.")
        return 130
    return 0
