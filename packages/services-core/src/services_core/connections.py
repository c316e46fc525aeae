"""What a backend implements to reach one running service: the contract behind every handle.

Handle -> Method -> Connection.call / remote / submit / aio / stream -> the service
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from services_core.errors import ServiceTimeoutError

MethodKind = Literal["call", "stream"]
"""How a method answers: with one value, or (a generator) with a stream of them."""


class ServiceKey(NamedTuple):
    """The identity of one incarnation of a service.

    A service that is registered anew under the same name is another one.
    """

    backend: str
    namespace: str
    name: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class CallOptions:
    """Options of one call, as `handle.method.options(...)` collects them.

    Attributes:
        timeout: Seconds to wait for the answer; None waits while the service lives.
        key: Calls with the same key go to the same replica.
        native: Options of the backend alone, passed through to it.
    """

    timeout: float | None = None
    key: str | None = None
    native: Mapping[str, Any] = field(default_factory=dict)


class Connection(ABC):
    """One incarnation of one service, as its callers reach it.

    Implementations are safe to use from many threads, and pickle into every worker of the backend.

    Args:
        key: Identity of the service.
        methods: Its public methods, and how each answers.
    """

    def __init__(self, key: ServiceKey, methods: Mapping[str, MethodKind]) -> None:
        self.key = key
        self.methods = methods

    @property
    @abstractmethod
    def native(self) -> Any:
        """What the backend itself holds of the service: on Ray an `ActorHandle`."""

    @abstractmethod
    def remote(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Start a call and return the backend's own future, with the backend's own errors."""

    @abstractmethod
    def submit(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> concurrent.futures.Future[Any]:
        """Start a call and return a future of its value.

        Its errors are the service's own, `ServiceDiedError` and `RemoteError`. `options.timeout`
        is not applied: whoever waits for the future says how long.
        """

    @abstractmethod
    def stream(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Iterator[Any]:
        """Call a generator method and return an iterator over what it yields.

        `options.timeout` bounds the wait for each item.
        """

    def call(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Call a method and wait for its value.

        Raises:
            ServiceTimeoutError: There was no answer within `options.timeout`.
        """
        future = self.submit(method, args, kwargs, options)
        finished, _ = concurrent.futures.wait([future], options.timeout)
        if not finished:
            future.cancel()
            raise self.timed_out(method, options)
        return future.result()

    async def aio(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Call a method and await its value."""
        future = self.submit(method, args, kwargs, options)
        waiting = asyncio.wrap_future(future)
        finished, _ = await asyncio.wait([waiting], timeout=options.timeout)
        if not finished:
            waiting.cancel()
            raise self.timed_out(method, options)
        return waiting.result()

    async def astream(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> AsyncIterator[Any]:
        """Call a generator method and iterate over what it yields, without blocking the loop."""
        items = self.stream(method, args, kwargs, options)
        end = object()
        while (item := await asyncio.to_thread(next, items, end)) is not end:
            yield item

    def timed_out(self, method: str, options: CallOptions) -> ServiceTimeoutError:
        """The error of a call for which `options.timeout` was too short."""
        return ServiceTimeoutError(self.key.name, f"{method}()", options.timeout or 0.0)


def public_methods(cls: type) -> dict[str, MethodKind]:
    """The methods of a class that a handle offers: the public ones, and `__call__`."""
    methods: dict[str, MethodKind] = {}
    for name in dir(cls):
        if name.startswith("_") and name != "__call__":
            continue
        attribute = getattr(cls, name)
        if not callable(attribute) or isinstance(attribute, type):
            continue
        function = inspect.unwrap(attribute)
        streams = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        methods[name] = "stream" if streams else "call"
    return methods
