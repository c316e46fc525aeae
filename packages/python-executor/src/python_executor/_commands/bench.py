"""``python-executor bench``: how fast it is here, in a few seconds and with nothing else."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from python_executor._commands.arguments import CommandError, add_interpreter, count, describe
from python_executor.results import ExecutionResult
from python_executor.service import PythonExecutorService

_DESCRIPTION = """\
Time a program of one printed line: how long a caller waits for it (calls are 20 ms apart), and how
many run in a second (as many at a time as there are cores). With the sandbox on and off, and beside
a new interpreter by subprocess.run; all take turns, so that what disturbs one disturbs all. What is
preloaded, the program imports.
"""

_EXAMPLES = (
    ("python-executor bench", "some five seconds"),
    ("python-executor bench --preload numpy", "programs that use numpy"),
    ("python-executor bench --rounds 30", "longer, and steadier"),
    ("python-executor bench --json", "for programs"),
)

_PACE = 0.02
_CALLS_A_ROUND = 8
_BATCH = 64
_PROCESSES = 8


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("bench", help="time a short program on this machine")
    describe(parser, _DESCRIPTION, _EXAMPLES)
    parser.set_defaults(main=main)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", metavar="N", type=count, default=5, help="turns of each (5)")
    add_interpreter(parser)


@dataclass(slots=True)
class _Contestant:
    """A way to run the program.

    Args:
        name: in the table.
        once: runs it once.
        many: runs it ``batch`` times, in parallel.
        batch: how often.
    """

    name: str
    once: Callable[[], None]
    many: Callable[[], None]
    batch: int
    waits: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def take_turn(self) -> None:
        """Take one round's measurements."""
        for _ in range(_CALLS_A_ROUND):
            time.sleep(_PACE)
            start = time.perf_counter()
            self.once()
            self.waits.append(time.perf_counter() - start)
        start = time.perf_counter()
        self.many()
        self.rates.append(self.batch / (time.perf_counter() - start))

    def figures(self) -> dict[str, Any]:
        """Its row, in seconds and programs a second."""
        ordered = sorted(self.waits)
        return {
            "name": self.name,
            "p50": statistics.median(ordered),
            "p95": ordered[int(len(ordered) * 0.95)],
            "rate": statistics.median(self.rates),
        }


def main(options: argparse.Namespace) -> int:
    """Measure and report; returns the exit status.

    Raises:
        CommandError: the program fails.
        PythonExecutorError: a pool can't be started.
    """
    cores = len(os.sched_getaffinity(0))
    lines = [*(f"import {name}" for name in options.preload), "print(1 + 1)"]
    code = "\n".join(lines)
    with ExitStack() as stack:
        contestants = []
        for sandbox in ("auto", "off"):
            executor = stack.enter_context(
                PythonExecutorService(
                    cores,
                    60.0,
                    python=options.python,
                    preload=options.preload,
                    sandbox="auto" if sandbox == "auto" else "off",
                )
            )
            contestants.append(_executor(f"sandbox {sandbox}", executor, code))
        threads = stack.enter_context(ThreadPoolExecutor(cores))
        contestants.append(_processes(options.python or sys.executable, threads, code))
        for contestant in contestants:
            contestant.once()
        for number in range(options.rounds):
            first = number % len(contestants)
            for contestant in contestants[first:] + contestants[:first]:
                contestant.take_turn()
    figures = [contestant.figures() for contestant in contestants]
    if options.json:
        print(json.dumps({"cores": cores, "program": code, "figures": figures}, indent=2))
    else:
        print(_table(figures, cores, options))
    return 0


def _executor(name: str, executor: PythonExecutorService, code: str) -> _Contestant:
    def check(result: ExecutionResult) -> None:
        if result["stdout"] != "2\n":
            raise CommandError(f"the program failed in {name}: {result['stderr'].strip()}")

    def many() -> None:
        for result in executor.execute_batch([code] * _BATCH):
            check(result)

    return _Contestant(name, lambda: check(executor.execute(code)), many, _BATCH)


def _processes(python: str, threads: ThreadPoolExecutor, code: str) -> _Contestant:
    def once(_: object = None) -> None:
        done = subprocess.run(  # noqa: S603
            [python, "-c", code], capture_output=True, text=True, check=False
        )
        if done.stdout != "2\n":
            raise CommandError(f"the program failed in subprocess.run: {done.stderr.strip()}")

    def many() -> None:
        list(threads.map(once, range(_PROCESSES)))

    return _Contestant("subprocess.run", once, many, _PROCESSES)


def _table(figures: list[dict[str, Any]], cores: int, options: argparse.Namespace) -> str:
    preloaded = ", ".join(options.preload) or "nothing"
    calls = options.rounds * _CALLS_A_ROUND
    where = f"{platform.system()} {platform.release()} {platform.machine()}, {cores} cores"
    lines = [
        f"python-executor {version('python-executor')}, {where}, {preloaded} preloaded",
        "",
        f"One printed line: {calls} calls 20 ms apart, then {cores} at a time",
        "",
        f"{'':18}{'p50 ms':>8}{'p95 ms':>9}{'programs/s':>12}",
    ]
    yardstick = figures[-1]
    for row in figures:
        times = f"{row['p50'] * 1e3:8.2f}{row['p95'] * 1e3:9.2f}{row['rate']:12.0f}"
        faster, more = yardstick["p50"] / row["p50"], row["rate"] / yardstick["rate"]
        compared = "" if row is yardstick else f"   {faster:.0f} x faster, {more:.0f} x as many"
        lines.append(f"  {row['name']:<16}{times}{compared}")
    return "\n".join(lines)
