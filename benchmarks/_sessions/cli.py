"""Time the sessions of the executor beside TorchRL's process, a Jupyter kernel, and the limits.

    python benchmarks/sessions.py
    python benchmarks/sessions.py --quick --figures cells restores
    python benchmarks/sessions.py --figures cells --rounds 60 --peers jupyter

Contestants take turns in one run, each round another one first, so that what disturbs the machine
disturbs all alike: compare the ratios, not the times. The table shows the median of the rounds'
ratios, and between which two values the middle half of them lies. "12.0x" is how many times faster
than the peer: more is better. A ratio without the x is ours by the peer's: less is better. A
target is "met" if the median keeps it; if the target lies within the half, take more rounds. Two
targets are times, not ratios, and depend on the machine: those of `restores` and `branches`.

The figures:

    cells              an expression, and a printed line, of what an earlier cell has assigned,
                       paced (20 ms apart), and back to back. The target without a checkpoint holds
                       for both; the one of "auto" for paced cells, since back to back a cell waits
                       for the checkpoint of the one before
    restores           the first cell after one that killed its process, less the cell before that,
                       by the size of the state, with checkpoint=True. Only what is named is back to
                       back, all other cells find the checkpoint made. The target is for the median
                       difference, at each size. A cell after a cell waits for the checkpoint
    arrays             arrays of 10 and 100 MB incremented in place, for each way to make
                       checkpoints, paced, beside the same in this process (needs numpy)
    memory             128 sessions with a small state over a pool of 32, servers and idle
                       interpreters included, nothing and numpy preloaded, beside 128 processes
                       with the same modules and state: all are started and measured
    branches           fork_session, and the first cell in the branch, by the size of the state,
                       paced; the target is that of fork_session alone, up to 100 MB
    branch-throughput  branches of one cell, one after the other, beside sessions and bare forks
    branch-memory      64 branches of a session that holds 100 MB, each of which has run a cell,
                       the pool included, beside 64 times 100 MB

The contestants:

    checkpoint=...   sessions of ours, by what the pool was told; sandbox on
    bare round trip  a process that evaluates what it gets over a socket, and sends back the repr
    bare fork        a process as warm as our fork server forks, the child exits, it waits
    TorchRL          its PersistentPythonProcess, without Ray
    Jupyter kernel   one kernel; a cell takes until it has replied and is idle

What isn't installed is named and left out. Ctrl-C ends all that was started.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager

from _executor.peers import why_not
from _executor.preloads import PRELOADS
from _figures import Figure
from _session import Session, add_figures, add_peers, add_rounds, new_parser, run

from _sessions import peers
from _sessions.arrays import arrays
from _sessions.branches import branch_memory, branch_throughput, branches
from _sessions.cells import cells
from _sessions.memory import memory
from _sessions.restores import restores

# What opens all that a figure needs, for the peers that take part.
FIGURES: dict[str, Callable[[list[str]], AbstractContextManager[list[Figure]]]] = {
    "cells": cells,
    "restores": restores,
    "arrays": arrays,
    "memory": memory,
    "branches": branches,
    "branch-throughput": branch_throughput,
    "branch-memory": branch_memory,
}
VERSIONS = ("python-executor", "torchrl", "torch", "ipykernel", "jupyter-client", "numpy")


def play(options: argparse.Namespace, session: Session) -> None:
    """Time all figures that were asked for."""
    wanted = session.those_that_can(options.peers, why_not)
    missing = PRELOADS["numpy"].missing
    for name in options.figures:
        if missing and name in ("arrays", "memory"):
            session.leave_out(f"{name} with numpy. To have it: python -m pip install numpy")
        if missing and name == "arrays":
            continue
        with FIGURES[name](wanted) as figures:
            for figure in figures:
                session.time(figure)
    session.sum_up()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser("sessions.py", __doc__)
    add_figures(parser, FIGURES)
    add_peers(parser, peers.NAMES)
    add_rounds(parser, default=12)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    return run(parse(arguments), VERSIONS, play)
