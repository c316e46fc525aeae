"""Who takes part: rows of the tables, and how each is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from _figures import Against, Figure
from _ray import own_ray
from _timing import Block

from _chat_env import peers
from _chat_env.ours import (
    MODES,
    NAMESPACE_MODE,
    SESSIONS,
    STATELESS,
    OurChats,
    OurTransform,
    interpreter,
    options_of,
    services_on,
)
from _chat_env.replies import Reply
from _chat_env.steps import FEW, OpenChats, Tally
from services_core import ServiceBase

TORCHRL = "TorchRL, Ray"
OURS_THERE = "ours in TorchRL's ChatEnv, Ray"
NO_CODE = "ours, no code"
THEIR_NO_CODE = "TorchRL, no code"

LABELS = {"local": "local", "ray": "Ray"}
# How many times faster than TorchRL a step of so many environments over Ray shall be.
_TARGETS = {128: {STATELESS: 6.0, SESSIONS: 20.0, NAMESPACE_MODE: 40.0}}
# A contestant's share of a round are steps of about so many environments; the slow peer has fewer.
_SHARE, _PEERS_SHARE = 64, 32


def row_of(backend: str, mode: str) -> str:
    """As tables name our environment."""
    return f"ours, {LABELS[backend]}, {mode}"


@contextmanager
def contestants(
    backends: Sequence[str], sessions: int, preload: Sequence[str], *, torchrl: bool
) -> Iterator[dict[str, OpenChats]]:
    """Start all services; gives what opens each contestant's chats.

    Args:
        backends: Ours that take part; with Ray, the peer that runs on it.
        sessions: How many environments there will be.
        preload: Modules that our services import once, for all programs.
        torchrl: Whether TorchRL takes part.
    """
    rows: dict[str, OpenChats] = {}
    with ExitStack() as stack:
        if torchrl or "ray" in backends:
            stack.enter_context(own_ray())
        for backend in backends:
            services = stack.enter_context(services_on(backend, sessions, preload))
            for mode in MODES:
                rows[row_of(backend, mode)] = _ours(services, mode)
            rows[f"ours, {LABELS[backend]}, no ChatEnv"] = _transform(services)
            rows.setdefault(NO_CODE, _ours(services, STATELESS))
            if torchrl and backend == "ray" and peers.why_not_ours_there() is None:
                rows[OURS_THERE] = _ours_there(services)
        if torchrl:
            peers.start_service()
            rows[TORCHRL] = rows[THEIR_NO_CODE] = _torchrl
        yield rows


def _ours(services: ServiceBase, mode: str) -> OpenChats:
    sessions = mode == SESSIONS
    return lambda replies: OurChats(interpreter(services, mode), replies, sessions)


def _transform(services: ServiceBase) -> OpenChats:
    return lambda replies: OurTransform(interpreter(services, STATELESS), replies)


def _ours_there(services: ServiceBase) -> OpenChats:
    return lambda replies: peers.TorchRLChats(
        peers.our_interpreter(**options_of(services, STATELESS)), replies
    )


def _torchrl(replies: Sequence[Reply]) -> peers.TorchRLChats:
    return peers.TorchRLChats(peers.their_interpreter(), replies)


def referees(rows: Mapping[str, OpenChats]) -> dict[str, OpenChats]:
    """Who decides which replies take part: one of ours, and the peer if there is one."""
    first = next(name for name in rows if name.startswith("ours"))
    return {name: rows[name] for name in (first, TORCHRL) if name in rows}


@contextmanager
def step(
    rows: Mapping[str, OpenChats], replies: Sequence[Reply], preload: Sequence[str]
) -> Iterator[tuple[Figure, Tally]]:
    """Open everybody's chats for a step of these replies, one an environment.

    Gives what to time, and how often the peer answered otherwise than when it was asked first.
    """
    count = len(replies)
    codeless = [each.without_code for each in replies]
    theirs = Tally(replies)
    blocks: dict[str, Block] = {}
    with ExitStack() as stack:
        for name, open_chats in rows.items():
            without_code = name in (NO_CODE, THEIR_NO_CODE)
            chats = open_chats(codeless if without_code else replies)
            stack.callback(chats.close)
            share = _PEERS_SHARE if name == TORCHRL else _SHARE
            tally = theirs if name == TORCHRL else Tally(codeless if without_code else replies)
            times = max(1, share // count)
            blocks[name] = tally.block(chats, times, strict=name != TORCHRL)
        figure = Figure(
            f"A step of {count:,} environments, {', '.join(preload) or 'nothing'} preloaded",
            blocks,
            _comparisons(blocks, count),
            second="slowest",
            # A large step is played less often; what it needs is warm from the replies' choice.
            warm_up=count <= FEW,
            every=1 if count <= FEW else 4,
            least=2,
        )
        yield figure, theirs


def _comparisons(rows: Mapping[str, Block], count: int) -> list[Against]:
    targets = {row_of("ray", mode): each for mode, each in _TARGETS.get(count, {}).items()}
    compared = [
        Against(row, TORCHRL, targets.get(row), faster=True)
        for row in rows
        if row not in (TORCHRL, NO_CODE, THEIR_NO_CODE)
    ]
    return [*compared, Against(NO_CODE, THEIR_NO_CODE, faster=True)]
