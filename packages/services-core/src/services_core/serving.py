"""Which service the code that runs now belongs to, and what it must not wait for.

A service that waits for itself waits for ever when one call runs at a time, and an event loop that
waits for anything stops every other coroutine of its service. Backends whose services run in
processes of ours note here whom they serve; others override `Connection.refuse_blocking`.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

from services_core.errors import BlockingCallError

if TYPE_CHECKING:
    from services_core.connections import ServiceKey

_serving: ContextVar[ServiceKey | None] = ContextVar("services_core_serving", default=None)


def enter(key: ServiceKey) -> Token[ServiceKey | None]:
    """Note that what this thread or task runs from now on is a method of that service."""
    return _serving.set(key)


def leave(token: Token[ServiceKey | None]) -> None:
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
    if caller == key:
        raise BlockingCallError(key.name, method, "the service would wait for itself")
    if in_event_loop():
        raise BlockingCallError(
            key.name, method, f"it would stop the event loop of {caller.name!r}"
        )


def in_event_loop() -> bool:
    """Whether this thread runs an event loop at the moment."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
