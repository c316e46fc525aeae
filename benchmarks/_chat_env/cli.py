"""Time a step of many chat environments beside TorchRL's, over Ray and on one machine.

    python benchmarks/chat_env.py
    python benchmarks/chat_env.py --quick --environments 16 128
    python benchmarks/chat_env.py --environments 128 --rounds 30 --backends ray

Contestants take turns in one run, each round another one first, so that what disturbs the machine
disturbs all alike: compare the ratios, not the times. "12.0x" is how many times faster than the
peer: the median of the rounds' ratios, and between which two values the middle half of them lies.
More is better. A target is "met" if the median keeps it; if the target lies within the half, take
more rounds. A step of 1,024 environments takes TorchRL half a minute: of it there are fewer rounds.

What is timed is one `env.step(replies)` of chats that have just begun, after a pause shorter
than a model takes to write (0.1 s, and 2 ms for each environment). Each environment plays
another reply of a model, with one program in it. Before the timing each reply is played by one of
ours and by TorchRL: what fails, and what they answer differently, is left out for all. In the timed
steps the answers are compared again.

Some programs import sympy. TorchRL's interpreters run one program after the other, and have it
since that choice; our pools import it each time, unless `--preload sympy` has them do it once. That
makes every process larger, and pays from some hundred environments on.

The contestants:

    ours, ..., stateless   ChatEnv and PythonInterpreter, over a service with a pool of 32
    ours, ..., sessions    the same with persistent=True; a turn before has opened the sessions
    ours, ..., namespace   stateless, over a service with isolation="namespace", for trusted code
    ours, ..., no ChatEnv  the stateless interpreter alone, asked for its answers
    ours in TorchRL's ...  our stateless interpreter in TorchRL's ChatEnv
    TorchRL, Ray           its ChatEnv and PythonInterpreter(services="ray"), with its own pool of
                           32 and max_concurrency=32 on the same Ray; what its policy does to the
                           data before a step isn't timed
    ..., no code           the environments of both alone: the same texts, in which nothing is run

What isn't installed is named and left out. Ctrl-C ends all that was started.
"""

from __future__ import annotations

import argparse
from itertools import cycle, islice
from pathlib import Path

import _backends
from _executor.peers import why_not
from _session import (
    Session,
    add_data,
    add_peers,
    add_rounds,
    at_least_one,
    new_parser,
    run,
)

from _chat_env import peers
from _chat_env.contestants import LABELS, contestants, referees, step
from _chat_env.replies import NAME, Reply, replies_in
from _chat_env.steps import OpenChats, agree

ENVIRONMENTS = (16, 128, 1024)
VERSIONS = (
    *("llm-transforms", "python-executor", "services-local", "services-ray"),
    *("ray", "torchrl", "torch"),
)


def play(options: argparse.Namespace, session: Session) -> None:
    """Time a step of each number of environments that was asked for."""
    if not (options.data / NAME).exists():
        session.leave_out(f"everything: no {NAME} in {options.data}. Say where: --data FOLDER")
        return
    backends = session.those_that_can(options.backends, _backends.why_not)
    if not backends:
        return
    torchrl = "torchrl" in options.peers and "ray" in backends
    for reason in (why_not("torchrl"), peers.why_not_ours_there()):
        if torchrl and reason:
            session.leave_out(reason)
    torchrl = torchrl and why_not("torchrl") is None
    session.console.print("The services are started, which takes some seconds.")
    most = max(options.environments)
    with contestants(backends, most, options.preload, torchrl=torchrl) as rows:
        replies = chosen(rows, options.data, most, session)
        for count in options.environments:
            played = list(islice(cycle(replies), count))
            with step(rows, played, options.preload) as (figure, theirs):
                session.time(figure)
                if theirs.differing:
                    session.console.print(
                        f"TorchRL answered {theirs.differing:,} of {theirs.played:,} replies "
                        "otherwise than when they were chosen: its interpreters share names."
                    )
    session.sum_up()


def chosen(rows: dict[str, OpenChats], data: Path, most: int, session: Session) -> list[Reply]:
    """The replies that take part; says which don't."""
    with session.console.status("Replies are played once, to choose those that all answer alike."):
        agreed = agree(referees(rows), replies_in(data), most)
    session.console.print(
        f"{len(agreed.replies):,} replies take part. Left out: {agreed.failed} whose programs "
        f"fail, {agreed.differing} that TorchRL answers otherwise.",
        soft_wrap=True,
    )
    return agreed.replies


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser("chat_env.py", __doc__)
    parser.add_argument(
        "--environments",
        nargs="+",
        type=at_least_one,
        default=list(ENVIRONMENTS),
        metavar="COUNT",
        help="how many environments a step has (default: 16 128 1024)",
    )
    parser.add_argument(
        "--backends",
        nargs="+",
        choices=LABELS,
        default=list(LABELS),
        help="which of ours take part; TorchRL does with Ray (default: both)",
    )
    parser.add_argument(
        "--preload",
        nargs="*",
        default=[],
        metavar="MODULE",
        help="what our pools import once, for all programs (default: nothing)",
    )
    add_peers(parser, ["torchrl"])
    add_data(parser, NAME)
    add_rounds(parser, default=12)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    return run(parse(arguments), VERSIONS, play)
