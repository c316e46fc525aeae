"""What a backend implements to reach one running service: the contract behind every handle.

Handle -> Method -> Connection.call / remote / submit / aio / stream -> the service

A handle of several replicas has a `services_core.replicas.ReplicatedConnection` in between, which
picks the connection of one of them for each call.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from services_core import serving
from services_core.awaiting import finished, iterate
from services_core.errors import ServiceTimeoutError

MethodKind = Literal["call", "stream", "client"]
"""How a method answers: with one value, with a stream of them (a generator), or, in a service that
stands for an owner, with the owner's client."""


class ServiceKey(NamedTuple):
    """The identity of one incarnation of a service, or of one of its replicas.

    A service that is registered anew under the same name is another one.

    Attributes:
        backend: Name of its backend.
        namespace: Its namespace.
        name: Its name; that of a replica is made by `services_core.names.replica_name`.
        incarnation: The registration, which all replicas of a service have in common.
        replicas: How many replicas it was registered with.
    """

    backend: str
    namespace: str
    name: str
    incarnation: str
    replicas: int = 1


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
        try:
            await asyncio.wait_for(finished(future), options.timeout)
        except TimeoutError:
            future.cancel()
            raise self.timed_out(method, options) from None
        except asyncio.CancelledError:
            future.cancel()
            raise
        return future.result()

    async def astream(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> AsyncIterator[Any]:
        """Call a generator method and iterate over what it yields, without blocking the loop."""
        async with contextlib.aclosing(
            iterate(self.stream(method, args, kwargs, options))
        ) as items:
            async for item in items:
                yield item

    def when_done(self, reference: Any, done: Callable[[BaseException | None], None]) -> None:
        """Call `done` when what `remote` returned is there, with the error if it is one.

        It tells the router of replicas how busy each is. Called from any thread, at any time.

        Args:
            reference: What `remote` returned.
            done: Called once, with `ServiceDiedError` if the service died, another error or None.
        """
        if isinstance(reference, concurrent.futures.Future):
            reference.add_done_callback(lambda future: done(_error_of(future)))
        else:
            done(None)  # a stream, or a reference that nothing is known of

    def refuse_blocking(self, method: str) -> None:
        """Raise `BlockingCallError` if a call that blocks here would hold up a service.

        Raises:
            BlockingCallError: The caller is this very service, or the event loop of another.
        """
        serving.refuse_blocking(self.key, method)

    def timed_out(self, method: str, options: CallOptions) -> ServiceTimeoutError:
        """The error of a call for which `options.timeout` was too short."""
        return ServiceTimeoutError(self.key.name, f"{method}()", options.timeout or 0.0)


class PublishedClient:
    """The service that stands for an owner: it holds the owner's client, as a pickle.

    Args:
        client: The pickled client, or on a backend of one process the client itself.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def client(self) -> Any:
        """What the constructor was given."""
        return self._client


def public_methods(cls: type) -> dict[str, MethodKind]:
    """The methods of a class that a handle offers: the public ones, and `__call__`."""
    if issubclass(cls, PublishedClient):
        return {"client": "client"}
    methods: dict[str, MethodKind] = {}
    for name in dir(cls):
        if name.startswith("_") and name != "__call__":
            continue
        attribute = getattr(cls, name, None)  # a descriptor may have it for instances alone
        if not callable(attribute) or isinstance(attribute, type):
            continue
        function = inspect.unwrap(attribute)
        streams = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        methods[name] = "stream" if streams else "call"
    return methods


def _error_of(future: concurrent.futures.Future[Any]) -> BaseException | None:
    return None if future.cancelled() else future.exception()
