"""A caller's end on Ray: `RayConnection`, a thin layer over an actor handle."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from typing import Any

import ray
from ray.actor import ActorHandle

from services_core import CallOptions, Connection, MethodKind, ServiceKey
from services_ray.translation import translate


class RayConnection(Connection):
    """A service that is a Ray actor. `native` is its `ActorHandle`.

    Args:
        key: Identity of the service.
        methods: Its methods.
        actor: Its handle.
    """

    def __init__(
        self, key: ServiceKey, methods: Mapping[str, MethodKind], actor: ActorHandle[Any]
    ) -> None:
        super().__init__(key, methods)
        self._actor = actor

    @property
    def native(self) -> ActorHandle[Any]:
        """The actor's handle."""
        return self._actor

    def remote(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """A `ray.ObjectRef`; for a generator method, an `ObjectRefGenerator`."""
        bound = getattr(self._actor, method)
        if options.native:
            bound = bound.options(**options.native)
        return bound.remote(*args, **kwargs)

    def call(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Wait with `ray.get`."""
        try:
            return ray.get(self.remote(method, args, kwargs, options), timeout=options.timeout)
        except Exception as error:  # noqa: BLE001 - every one is looked at, and raised
            translated = self._translated(error, method, options)
            raise translated from translated.__cause__

    def submit(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> concurrent.futures.Future[Any]:
        """Ray's own future, with the errors of services_core."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        answer = self.remote(method, args, kwargs, options).future()
        answer.add_done_callback(partial(self._pass_on, future, method, options))
        return future

    async def aio(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Await Ray's own reference."""
        try:
            reference = self.remote(method, args, kwargs, options)
            if options.timeout is None:
                return await reference
            return await asyncio.wait_for(_awaited(reference), options.timeout)
        except Exception as error:  # noqa: BLE001 - every one is looked at, and raised
            translated = self._translated(error, method, options)
            raise translated from translated.__cause__

    def stream(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Iterator[Any]:
        """Start the generator over there, and get its items as they come."""
        references = self.remote(method, args, kwargs, options)
        return self._items(references, method, options)

    async def astream(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> AsyncIterator[Any]:
        """Like `stream`, without a thread."""
        references = self.remote(method, args, kwargs, options)
        while True:
            try:
                reference = await asyncio.wait_for(anext(references), options.timeout)
                item = await asyncio.wait_for(_awaited(reference), options.timeout)
            except StopAsyncIteration:
                return
            except Exception as error:  # noqa: BLE001 - every one is looked at, and raised
                translated = self._translated(error, method, options)
                raise translated from translated.__cause__
            yield item

    def _items(self, references: Any, method: str, options: CallOptions) -> Iterator[Any]:
        while True:
            try:
                ready, _ = ray.wait([references], timeout=options.timeout)
                if not ready:
                    raise self.timed_out(method, options)  # noqa: TRY301 - one place for all
                item = ray.get(next(references), timeout=options.timeout)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - every one is looked at, and raised
                translated = self._translated(error, method, options)
                raise translated from translated.__cause__
            yield item

    def _pass_on(
        self,
        future: concurrent.futures.Future[Any],
        method: str,
        options: CallOptions,
        answer: concurrent.futures.Future[Any],
    ) -> None:
        error = answer.exception()
        if error is None:
            future.set_result(answer.result())
        else:
            future.set_exception(self._translated(error, method, options))

    def _translated(self, error: BaseException, method: str, options: CallOptions) -> BaseException:
        return translate(error, self.key.name, method, options.timeout)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.key, dict(self.methods), self._actor)


async def _awaited(reference: Any) -> Any:
    """A coroutine, which `asyncio.wait_for` wants; a reference is only awaitable."""
    return await reference
