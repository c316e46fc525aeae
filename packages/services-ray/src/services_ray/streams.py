"""Generators: how far they run ahead of whoever reads them, and what ends them.

By itself Ray runs a generator to its end, as fast as it can, and whether anybody reads it or not.
Here it goes one item at a time and ends with its reader, as a generator of Python does, and those
of the other backends do.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from typing import Any

import ray
from ray.actor import ActorMethod
from ray.exceptions import RayError

# An option of a call that Ray doesn't document: how many items nobody has taken yet there may be.
_PACE = "_generator_backpressure_num_objects"
_HAS_PACE = _PACE in inspect.signature(ActorMethod._remote).parameters  # noqa: SLF001 - guarded

# From 2.57 on Ray paces the generators of async actors too, and ends those that are cancelled.
_IS_2_57 = tuple(int(part) for part in ray.__version__.split(".")[:2]) >= (2, 57)


def can_be_paced(cls: type) -> bool:
    """Whether the installed Ray can hold up the generators of a class.

    Args:
        cls: Class of a service.
    """
    return _HAS_PACE and (_IS_2_57 or not any(_is_async(getattr(cls, name)) for name in dir(cls)))


def with_pace(native: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a call, with the pace of a generator of Python unless they say otherwise."""
    return {_PACE: 1, **native}


def end(references: ray.ObjectRefGenerator) -> None:
    """Let a generator end that nobody reads any more; one that has ended already doesn't mind."""
    if _IS_2_57:
        with contextlib.suppress(RayError, ValueError):  # Ray was shut down meanwhile
            ray.cancel(references)


def _is_async(attribute: object) -> bool:
    return inspect.iscoroutinefunction(attribute) or inspect.isasyncgenfunction(attribute)
