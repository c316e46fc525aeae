"""128 chat environments share 32 Python interpreters.

    python examples/llm/python_executor_service.py
    python examples/llm/python_executor_service.py --backend ray
    python examples/llm/python_executor_service.py --persistent
    python examples/llm/python_executor_service.py --replies replies.jsonl

The pool of interpreters is a service: registered once under a name, found by everybody. Each
environment plays several turns of replies as a model writes them: one program or several, none at
all, programs that fail, crash or never end. The programs of all environments of a turn are one call
to the service, and what they printed comes back into the chats as tool messages.

With --persistent each environment is a session of the service: names last from turn to turn, also
when one of its programs crashes.

With --replies the replies come from a file, one JSON object a line with the field `reply` (and
perhaps `question`). Where a reply shows the output that its program once had, in a block called
```output, that is compared with what we get: it must equal what the program printed, or its last
line if the program failed, white space around it aside.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memory import descendants, memory_of, memory_of_separate_processes
from replies import QUESTIONS, REPLIES, SYSTEM_PROMPT, Recorded, agrees, read_replies
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from llm_transforms import ChatEnv, Message, PythonInterpreter
from python_executor import PythonExecutorService
from services_core import ServiceBase, ServiceError, get_services
from services_core.backends import load_backend

NAME = "python_executor"


@dataclass
class Report:
    """What happened while the replies were played.

    Attributes:
        replies: How many were played.
        seconds: How long that took.
        compared: How many recorded outputs were compared.
        differences: Those that differ: which reply, what it shows, our answer.
        unrecorded: How many replies show no output.
        chats: The chats at the end.
    """

    replies: int = 0
    seconds: float = 0.0
    compared: int = 0
    differences: list[tuple[int, str, str]] = field(default_factory=list)
    unrecorded: int = 0
    chats: list[list[Message]] = field(default_factory=list)


def play_turns(env: ChatEnv, turns: int, played: Callable[[int], None]) -> Report:
    """Play turns of the built-in replies; each environment gets them in an order of its own."""
    count = len(env)
    env.reset([QUESTIONS[number % len(QUESTIONS)] for number in range(count)])
    report, start = Report(), time.perf_counter()
    for turn in range(turns):
        replies = [REPLIES[(number + 5 * turn) % len(REPLIES)] for number in range(count)]
        report.chats = env.step(replies)
        report.replies += count
        played(count)
    report.seconds = time.perf_counter() - start
    return report


def play_replies(
    env: ChatEnv, recorded: Sequence[Recorded], played: Callable[[int], None]
) -> Report:
    """Play replies of a file, a chat of one turn for each, and compare their outputs."""
    report, start = Report(), time.perf_counter()
    for first in range(0, len(recorded), len(env)):
        batch = recorded[first : first + len(env)]
        resting = len(env) - len(batch)
        env.reset([each.question for each in batch] + [""] * resting)
        report.chats = env.step([each.reply for each in batch] + [None] * resting)
        for number, (each, chat) in enumerate(zip(batch, report.chats, strict=False), first):
            compare(number, each, chat, report)
        report.replies += len(batch)
        played(len(batch))
    report.seconds = time.perf_counter() - start
    return report


def compare(number: int, recorded: Recorded, chat: list[Message], report: Report) -> None:
    """Compare the outputs that a reply shows with the answers that its programs got."""
    answers = [message["content"] for message in chat if message["role"] == "tool"]
    report.unrecorded += not any(output is not None for output in recorded.outputs)
    for output, answer in zip(recorded.outputs, answers, strict=True):
        if output is not None:
            report.compared += 1
            if not agrees(output, answer):
                report.differences.append((number, output, answer))


def modules_of(recorded: Sequence[Recorded]) -> tuple[list[str], list[str]]:
    """Modules outside the standard library that the programs import: installed, and missing.

    Preloading is what makes them cheap: the fork server imports them once, for all programs.
    """
    lines = re.compile(r"^[ \t]*(?:import|from)[ \t]+([A-Za-z_]\w*)", re.MULTILINE)
    programs = (program for each in recorded for program in each.programs)
    named = {name for program in programs for name in lines.findall(program)}
    outside = sorted(named - sys.stdlib_module_names)
    installed = [name for name in outside if importlib.util.find_spec(name) is not None]
    return installed, sorted(set(outside) - set(installed))


@contextmanager
def open_services(backend: str) -> Iterator[ServiceBase]:
    """A namespace of our own, ended with everything in it; Ray too, if it was started for this."""
    namespace = f"executor-example-{os.getpid()}"
    if backend != "ray":
        with get_services(backend, namespace) as services:
            yield services
        return
    load_backend(backend)  # says what to install if it isn't there
    import ray  # only if it is asked for: it takes a second

    ours = not ray.is_initialized()
    if ours:
        # A cluster that RAY_ADDRESS names, or a Ray of our own with the CPUs that there are. The
        # executor asks for one of them, whatever the size of its pool.
        config: dict[str, Any] = {"num_cpus": os.cpu_count(), "include_dashboard": False}
        ray.init(log_to_driver=False, **({} if "RAY_ADDRESS" in os.environ else config))
    try:
        with get_services(backend, namespace) as services:
            yield services
    finally:
        if ours:
            ray.shutdown()


def play(options: argparse.Namespace, console: Console) -> int:
    """Register the executor, play the replies, show what happened."""
    recorded = read_replies(options.replies) if options.replies else []
    preload, missing = modules_of(recorded)
    if missing:
        console.print(f"[yellow]Not installed, programs that need it fail: {', '.join(missing)}")
    timeout = options.timeout or (10.0 if recorded else 2.0)

    start = time.perf_counter()
    with open_services(options.backend) as services:
        opened = time.perf_counter()
        executor = services.register(
            NAME,
            PythonExecutorService,
            pool_size=options.interpreters,
            timeout=timeout,
            preload=preload,
            max_sessions=max(options.envs, options.interpreters),
            num_cpus=1,
            max_concurrency=8,
        )
        ready = time.perf_counter()
        console.print(
            f"Backend {options.backend!r} up in {opened - start:.1f} s, "
            f"{options.interpreters} interpreters in {ready - opened:.1f} s"
            + (f" (preloaded: {', '.join(preload)})." if preload else ".")
        )
        env = ChatEnv(batch_size=(options.envs,), system_prompt=SYSTEM_PROMPT).append_transform(
            PythonInterpreter(
                services=options.backend,
                namespace=services.namespace,
                persistent=options.persistent,
                timeout=timeout,
            )
        )
        # What follows is shown before the environments close, which ends their sessions.
        with env:
            report = play_all(env, options, recorded, console)
            if options.show:
                show_chat(console, report.chats[0])
            show_differences(console, report)
            console.print(table_of(options, services, executor.stats(), report, preload))
    return 0


def play_all(
    env: ChatEnv, options: argparse.Namespace, recorded: Sequence[Recorded], console: Console
) -> Report:
    """Play the replies of the file, or the built-in ones, with a bar that shows how far it is."""
    with progress_bar(console) as progress:
        total = len(recorded) or options.envs * options.turns
        task = progress.add_task("Replies", total=total)

        def played(count: int) -> None:
            progress.advance(task, count)

        if recorded:
            return play_replies(env, recorded, played)
        return play_turns(env, options.turns, played)


def progress_bar(console: Console) -> Progress:
    """A bar that counts replies."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=console)


def table_of(
    options: argparse.Namespace,
    services: ServiceBase,
    stats: dict[str, Any],
    report: Report,
    preload: list[str],
) -> Table:
    """The figures of a run."""
    table = Table(title=f"Backend {options.backend!r}", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("environments", f"{options.envs}")
    table.add_row("interpreters", f"{stats['pool_size']}")
    if options.persistent:
        table.add_row("sessions", f"{stats['sessions']}")
    table.add_row("replies", f"{report.replies:,}")
    table.add_row("executions", f"{stats['executions']:,}")
    failures = Counter(stats["by_status"])
    succeeded = failures.pop("ok", 0)
    table.add_row("  succeeded", f"{succeeded:,}")
    for status, count in failures.most_common():
        table.add_row(f"  failed: {status}", f"{count:,}")
    table.add_row("wall time", f"{report.seconds:.1f} s")
    table.add_row("executions a second", f"{stats['executions'] / report.seconds:,.0f}")
    if report.compared:
        agreed = report.compared - len(report.differences)
        share = agreed / report.compared
        table.add_row("recorded outputs", f"{agreed:,} of {report.compared:,} agree ({share:.2%})")
        table.add_row("  replies without one", f"{report.unrecorded:,}")
    add_memory(table, options, services, preload)
    return table


def add_memory(
    table: Table, options: argparse.Namespace, services: ServiceBase, preload: list[str]
) -> None:
    """Add what the service takes, and what one process for each environment would take."""
    pid = services.describe(NAME).pid
    if pid is None or pid == os.getpid():  # in this process: what the pool started is its own
        pid = services[NAME].info()["server"]
    if pid is None or not Path("/proc/self/smaps_rollup").exists():
        return
    try:
        ours = memory_of(descendants(pid))
    except PermissionError as error:
        table.add_row("memory of the service", f"unknown: {error}")
        return
    sample = memory_of_separate_processes(preload)
    separate = sample.scaled(options.envs)
    table.add_row(
        "service: processes, memory", f"{ours.processes}, {ours.proportional / 2**20:,.0f} MB (PSS)"
    )
    table.add_row(
        "a process an environment",
        f"{options.envs}, {separate / 2**20:,.0f} MB (scaled from {sample.processes} real ones)",
    )
    table.add_row("  times as much", f"{separate / ours.proportional:.1f}")


def show_chat(console: Console, chat: list[Message]) -> None:
    """Print one chat."""
    for message in chat:
        console.rule(message["role"], align="left")
        console.print(escape(message["content"]))
    console.rule()


def show_differences(console: Console, report: Report) -> None:
    """Print the first outputs that differ from the recorded ones."""
    for number, output, answer in report.differences[:5]:
        console.print(f"[red]Reply {number} differs.[/] Recorded: {output!r}; ours: {answer!r}")


def positive(text: str) -> int:
    """A whole number from 1, from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def seconds(text: str) -> float:
    """A positive number of seconds, from the command line."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be positive")
    return number


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--backend",
        default="local",
        help="where the service lives: 'local', a process of this machine that all others find "
        "(default); 'inline', this process; 'ray', an actor of a cluster",
    )
    parser.add_argument(
        "--interpreters", type=positive, default=32, help="size of the pool (default: 32)"
    )
    parser.add_argument(
        "--envs", type=positive, default=128, help="chat environments that share it (default: 128)"
    )
    parser.add_argument(
        "--turns", type=positive, default=5, help="turns of the built-in replies (default: 5)"
    )
    parser.add_argument(
        "--replies",
        type=Path,
        metavar="FILE.jsonl",
        help="play the replies of a file instead, each in a chat of its own",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        help="seconds that a program may run (default: 2, with --replies 10)",
    )
    parser.add_argument(
        "--persistent",
        action="store_true",
        help="let names last from turn to turn: each environment is a session of the service",
    )
    parser.add_argument("--show", action="store_true", help="print the first chat at the end")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Play the example."""
    options = parse(arguments)
    console = Console()
    try:
        return play(options, console)
    except KeyboardInterrupt:
        console.print("Interrupted. What was started has been ended.")
        return 130
    except (OSError, ServiceError, ValueError) as error:
        # What the command line asked for can't be had; the errors say what to do.
        console.print(f"[red]{escape(str(error))}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
