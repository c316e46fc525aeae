"""A caller's end on Ray: `RayConnection`, a thin layer over an actor handle."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import ray
from ray.actor import ActorHandle

from services_core import (
    BlockingCallError,
    CallOptions,
    Connection,
    MethodKind,
    ServiceDiedError,
    ServiceKey,
)
from services_core.serving import in_event_loop
from services_ray import completions, states, streams
from services_ray.forks import ForkCheck, check_fork
from services_ray.futures import future_of
from services_ray.records import Record
from services_ray.translation import translate


class RayConnection(Connection):
    """A service that is a Ray actor. `native` is its `ActorHandle`.

    Args:
        key: Identity of the service.
        methods: Its methods.
        actor: Its handle.
        paced: Whether its generators can be held up.
    """

    def __init__(
        self,
        key: ServiceKey,
        methods: Mapping[str, MethodKind],
        actor: ActorHandle[Any],
        *,
        paced: bool,
    ) -> None:
        super().__init__(key, methods)
        self._actor = actor
        self._paced = paced
        self._actor_id = states.actor_id(actor)
        self._bound: dict[str, Any] = {}
        self._session = states.session()
        self._runtime = ray.get_runtime_context()

    @property
    def native(self) -> ActorHandle[Any]:
        """The actor's handle."""
        return self._actor

    def remote(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """A `ray.ObjectRef`; for a generator method, an `ObjectRefGenerator`."""
        self._check_ray()
        bound = self._bound.get(method)
        if bound is None:
            bound = self._bound[method] = getattr(self._actor, method)
        if options.native:
            bound = bound.options(**options.native)
        return bound.remote(*args, **kwargs)

    def call(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Wait with `ray.get`."""
        try:
            reference = self.remote(method, args, kwargs, options)
            return reference if reference is None else ray.get(reference, timeout=options.timeout)
        except Exception as error:  # noqa: BLE001 - every one is looked at, and raised
            translated = self._translated(error, method, options)
            raise translated from translated.__cause__

    def submit(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> concurrent.futures.Future[Any]:
        """Ray's own future, with the errors of services_core."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        answer = future_of(self.remote(method, args, kwargs, options))
        answer.add_done_callback(partial(self._pass_on, future, method, options))
        return future

    def stream(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Iterator[Any]:
        """Start the generator over there, and get its items as they come."""
        items = self._items(self._started(method, args, kwargs, options), method, options)
        next(items)  # enter it, so that it notices when it is dropped unread
        return items

    async def astream(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> AsyncIterator[Any]:
        """Like `stream`, without a thread."""
        references = self._started(method, args, kwargs, options)
        try:
            while True:
                try:
                    self._check_ray()
                    reference = await asyncio.wait_for(anext(references), options.timeout)
                    item = await asyncio.wait_for(_awaited(reference), options.timeout)
                except StopAsyncIteration:
                    return
                except Exception as error:  # noqa: BLE001 - every one is looked at, and raised
                    translated = self._translated(error, method, options)
                    raise translated from translated.__cause__
                yield item
        except BaseException:  # GeneratorExit most of all: the reader has gone
            self._end(references)
            raise

    def when_done(self, reference: Any, done: Callable[[BaseException | None], None]) -> None:
        """Call `done` when a call has ended, without fetching its result."""
        if isinstance(reference, concurrent.futures.Future):
            super().when_done(reference, done)
        else:
            completions.when_done(reference, self._actor, self.key.name, done)

    def refuse_blocking(self, method: str) -> None:
        """Raise `BlockingCallError` in the service itself, and in the loop of any async actor."""
        caller = self._runtime.get_actor_id()
        if caller is None:
            return
        if caller == self._actor_id:
            raise BlockingCallError(self.key.name, method, "the service would wait for itself")
        if in_event_loop() and states.is_in_async_actor():
            raise BlockingCallError(self.key.name, method, "it would stop the actor's event loop")

    def _started(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        if self._paced:
            options = replace(options, native=streams.with_pace(options.native))
        return self.remote(method, args, kwargs, options)

    def _items(self, references: Any, method: str, options: CallOptions) -> Iterator[Any]:
        try:
            yield None
            while True:
                try:
                    self._check_ray()
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
        except BaseException:  # GeneratorExit most of all: the reader has gone
            self._end(references)
            raise

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

    def _end(self, references: Any) -> None:
        if self._session is states.session():
            streams.end(references)

    def _check_ray(self) -> None:
        check_fork(self.key.name)
        # Without Ray it would start one; in another it ends this process when it meets what is old.
        if self._session is None or self._session is not states.session():
            raise ServiceDiedError(self.key.name, "Ray was shut down in this process")

    def _translated(self, error: BaseException, method: str, options: CallOptions) -> BaseException:
        return translate(error, self._actor, self.key.name, method, options.timeout)

    def __reduce__(self) -> tuple[Any, ...]:
        self._check_ray()
        check = ForkCheck(self.key.name)
        return _rebuild, (check, self.key, dict(self.methods), self._actor, {"paced": self._paced})


def _rebuild(
    _check: None,
    key: ServiceKey,
    methods: dict[str, MethodKind],
    actor: ActorHandle[Any],
    rest: dict[str, Any],
) -> RayConnection:
    return RayConnection(key, methods, actor, **rest)


def connect(record: Record, actor: ActorHandle[Any]) -> RayConnection:
    """A connection to the actor that a record is about."""
    return RayConnection(record.key, record.methods, actor, paced=record.paced)


async def _awaited(reference: Any) -> Any:
    """A coroutine, which `asyncio.wait_for` wants; a reference is only awaitable."""
    return await reference
