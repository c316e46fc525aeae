"""Processes that were forked from one with an initialised Ray.

Ray's threads don't come along, so there every call and every lookup would wait for ever.
"""

from __future__ import annotations

import os

import ray

from services_core import HandleForkedError

_forked = False


def _note_fork() -> None:
    global _forked  # noqa: PLW0603 - a fact of the process
    _forked = _forked or ray.is_initialized()


os.register_at_fork(after_in_child=_note_fork)


def check_fork(name: str) -> None:
    """Raise in a forked child.

    Args:
        name: The service or the namespace that is to be used.

    Raises:
        HandleForkedError: This process was forked from one in which Ray was initialised.
    """
    if _forked:
        raise HandleForkedError(name, "ray")
