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
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import _backends
from _figures import Figure
from _session import Session, add_figures, add_rounds, new_parser, run

from _registry import figures
from _registry.contestants import LocalSide, RaySide, local_side, ray_side
from _registry.placing import cores_to_choose

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

VERSIONS = ("services-core", "services-local", "services-ray", "ray", "torchrl", "numpy")


def play(options: argparse.Namespace, session: Session) -> None:
    """Time all figures; those of the local backend alone before Ray runs beside it."""
    backends = session.those_that_can(options.backends, _backends.why_not)
    if not backends:
        return
    of_local, of_ray, of_both = (
        [name for name in group if name in options.figures] for group in (OF_LOCAL, OF_RAY, OF_BOTH)
    )
    with ExitStack() as stack:
        local = stack.enter_context(local_side()) if "local" in backends else None
        if local is not None:
            for name in of_local:
                if reason := why_not(name):
                    session.leave_out(f"{name}. {reason}")
                else:
                    session.time(OF_LOCAL[name](local))
        ray = None
        if "ray" in backends and of_ray + of_both:
            session.console.print("\nRay and its peers are started, which takes some seconds.")
            ray = stack.enter_context(ray_side(session.leave_out))
            for name in of_ray:
                session.time(OF_RAY[name](ray))
        for name in of_both:
            session.time(OF_BOTH[name](local, ray))
    session.sum_up()


def why_not(name: str) -> str | None:
    """What is missing for a figure, if anything is."""
    if name in ("arrays", "kept-arrays") and importlib.util.find_spec("numpy") is None:
        return "To have it: python -m pip install numpy"
    if name == "local-calls-two-cores" and len(cores_to_choose()) == 1:
        return "There is one core"
    return None


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser("registry.py", __doc__)
    parser.add_argument(
        "--backends",
        nargs="+",
        choices=BACKENDS,
        default=list(BACKENDS),
        help="which of ours take part, with their peers (default: both)",
    )
    add_figures(parser, FIGURES)
    add_rounds(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    return run(parse(arguments), VERSIONS, play)
