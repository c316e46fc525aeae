"""Time the executor beside TorchRL's, new processes, a Jupyter kernel, and the limits.

    python benchmarks/executor.py
    python benchmarks/executor.py --quick --only latency --preload nothing
    python benchmarks/executor.py --only throughput human-eval --rounds 40 --peers subprocess

Contestants take turns in one run, each round another one first, so that what disturbs the machine
disturbs all alike: compare the ratios, not the times. The table shows the median of the rounds'
ratios, and between which two values the middle half of them lies. "12.0x" is how many times faster
than the peer: more is better. A ratio without the x is ours by the peer's: less is better. A
target is "met" if the median keeps it; if the target lies within the half, take more rounds.

The figures:

    latency     a program of one printed line and one of ten, 20 ms apart and in a row, with
                nothing, numpy, and numpy, sympy and pandas preloaded
    throughput  2 and 32 callers that never pause, each in a thread with `execute`, and with
                `execute_batch`, beside loops that fork, one a core
    human-eval  the 164 programs of HumanEval (needs --data)
    skew        1% of all programs run 100 times longer: how long the short ones take
    start-up    a pool of 32, constructed, and when all 32 have served
    memory      32 interpreters with numpy, sympy and pandas, idle and after use, beside processes

The contestants:

    ours              sandbox="auto", the default
    ours, no sandbox  sandbox="off"
    bare fork         a process as warm as our fork server forks, the child exits, it waits
    bare round trip   a message to another process and back over a socket
    TorchRL           its PythonExecutorService, in this process, without Ray
    Jupyter kernel    one kernel; as TorchRL's, it keeps state between programs
    subprocess.run    a new interpreter for each program

What isn't installed is named and left out. Ctrl-C ends all that was started.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from _figures import Figure
from _session import Session, add_data, add_figures, add_peers, add_rounds, new_parser, run

from _executor import peers
from _executor.human_eval import NAME, human_eval, programs_in
from _executor.latency import latency
from _executor.memory import memory
from _executor.preloads import PRELOADS, Preload
from _executor.skew import skew
from _executor.start_up import start_up
from _executor.throughput import throughput

Opens = Callable[[list[str], Preload], AbstractContextManager[list[Figure]]]
"""Opens all that figures need: for the peers that take part, and for what is preloaded."""

# What is preloaded for each, unless the command line says.
FIGURES = {
    "latency": ["nothing", "numpy", "science"],
    "throughput": ["nothing"],
    "human-eval": ["nothing"],
    "skew": ["nothing"],
    "start-up": ["nothing"],
    "memory": ["science"],
}
VERSIONS = (
    *("python-executor", "torchrl", "torch", "ipykernel", "jupyter-client"),
    *("numpy", "sympy", "pandas"),
)


def play(options: argparse.Namespace, session: Session) -> None:
    """Time all figures that were asked for."""
    wanted = session.those_that_can(options.peers, peers.why_not)
    opens: dict[str, Opens] = {
        "latency": latency,
        "throughput": throughput,
        "skew": skew,
        "start-up": start_up,
        "memory": memory,
    }
    if (options.data / NAME).exists():
        opens["human-eval"] = partial(human_eval, programs=programs_in(options.data))
    for name in options.figures:
        if name not in opens:
            session.leave_out(f"{name}: no {NAME} in {options.data}. Say where: --data FOLDER")
            continue
        for preload in options.preload or FIGURES[name]:
            if missing := PRELOADS[preload].missing:
                session.leave_out(f"{name}, {preload}: no {', '.join(missing)} here")
                continue
            with opens[name](wanted, PRELOADS[preload]) as figures:
                for figure in figures:
                    session.time(figure)
    session.sum_up()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser("executor.py", __doc__)
    add_figures(parser, FIGURES)
    parser.add_argument(
        "--preload",
        nargs="+",
        choices=PRELOADS,
        metavar="PRELOAD",
        help=f"what is preloaded, of {', '.join(PRELOADS)} (default: as above, otherwise nothing)",
    )
    add_peers(parser, peers.NEEDS)
    add_data(parser, NAME)
    add_rounds(parser, default=12)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    return run(parse(arguments), VERSIONS, play)
