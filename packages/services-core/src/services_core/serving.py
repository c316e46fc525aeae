"""Which service the code that runs now belongs to, and what it must not wait for.

A service that waits for itself waits for ever when one call runs at a time, and an event loop that
waits for anything stops every other coroutine of its service. Backends whose services run in
processes of ours note here whom they serve; others override `Connection.refuse_blocking`.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, NamedTuple

from services_core.errors import BlockingCallError

if TYPE_CHECKING:
    from services_core.connections import ServiceKey


class Serving(NamedTuple):
    """A service whose code runs, and the event loop that it runs on if it is a coroutine's."""

    key: ServiceKey
    loop: asyncio.AbstractEventLoop | None


_serving: ContextVar[Serving | None] = ContextVar("services_core_serving", default=None)


def enter(key: ServiceKey, loop: asyncio.AbstractEventLoop | None = None) -> Token[Serving | None]:
    """Note that what this thread or task runs from now on is a method of that service.

    Args:
        key: The service.
        loop: The event loop that all its coroutines run on, if this is one of them. Another loop
            that runs in this thread is the caller's own, as in a notebook.
    """
    return _serving.set(Serving(key, loop))


def leave(token: Token[Serving | None]) -> None:
    """Undo one `enter`, in the same thread or task."""
    _serving.reset(token)


def refuse_blocking(key: ServiceKey, method: str) -> None:
    """Raise if the running code belongs to a service that a blocking call would hold up.

    Args:
        key: The service that is to be called.
        method: The method that is to be called.

    Raises:
        BlockingCallError: It is the caller itself, or the caller is a coroutine of a service.
    """
    caller = _serving.get()
    if caller is None:
        return
    if caller.key == key:
        raise BlockingCallError(key.name, method, "the service would wait for itself")
    if caller.loop is not None and caller.loop is _running_loop():
        raise BlockingCallError(
            key.name, method, f"it would stop the event loop of {caller.key.name!r}"
        )


def in_event_loop() -> bool:
    """Whether this thread runs an event loop at the moment."""
    return _running_loop() is not None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
