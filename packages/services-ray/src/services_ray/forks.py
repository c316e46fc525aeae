"""Processes that were forked from one with an initialised Ray.

Ray's threads don't come along, so there every call and every lookup would wait for ever.
"""

from __future__ import annotations

import os
from typing import Any

import ray

from services_core import HandleForkedError

_forked = False


def _note_fork() -> None:
    global _forked  # noqa: PLW0603 - a fact of the process
    _forked = _forked or ray.is_initialized()


os.register_at_fork(after_in_child=_note_fork)


class ForkCheck:
    """Pickles as a call of `check_fork`: in a child Ray hangs already when it unpickles an actor.

    Args:
        name: The service or the namespace that is to be used.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return check_fork, (self._name,)


def check_fork(name: str) -> None:
    """Raise in a forked child.

    Args:
        name: The service or the namespace that is to be used.

    Raises:
        HandleForkedError: This process was forked from one in which Ray was initialised.
    """
    if _forked:
        raise HandleForkedError(name, "ray")
