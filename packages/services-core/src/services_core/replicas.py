"""Replicas: one service in several instances, and the router that chooses between them.

    Method -> ReplicatedConnection -> the connection of one replica -> that replica

Without a key a call goes to the less loaded of two random replicas (Mitzenmacher, "The Power of Two
Choices in Randomized Load Balancing", 2001). Load is what this caller has outstanding there: it
costs no message, and what other callers do averages out. With a key it goes to the replica that
ranks first for it by rendezvous hashing (Thaler and Ravishankar, "Using Name-Based Mappings to
Increase Hit Rates", 1998), so that a lost replica moves the keys it had and no others.

A replica that died is left out from then on. One that is being restarted keeps its keys, and gets
no other calls for a moment.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, ClassVar

from services_core.connections import CallOptions, Connection, ServiceKey
from services_core.errors import ServiceDiedError
from services_core.names import split_replica

# How long a replica that is being restarted gets no calls that another could take (seconds).
_REST_SECONDS = 0.5

# Not the generator of `random` itself: that is the user's, who may seed all workers alike.
_choices = random.Random()  # noqa: S311 - it spreads load


class _Replica:
    """One replica, as the router of this caller sees it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.index = split_replica(connection.key.name)[1]
        self.outstanding = 0
        self.died = False
        self.rests_until = 0.0


class ReplicatedConnection(Connection):
    """All replicas of one service, as one connection. `native` is a list with that of each.

    Args:
        key: Identity of the service.
        replicas: Connections to its replicas, at least one.
    """

    _all: ClassVar[weakref.WeakSet[ReplicatedConnection]] = weakref.WeakSet()

    def __init__(self, key: ServiceKey, replicas: Sequence[Connection]) -> None:
        super().__init__(key, replicas[0].methods)
        self._replicas = [_Replica(connection) for connection in replicas]
        # Reentrant: a stream that is garbage gives its place back wherever Python collects it.
        self._lock = threading.RLock()
        self._all.add(self)

    @property
    def native(self) -> list[Any]:
        """What the backend holds of each replica that isn't known to be dead."""
        return [connection.native for connection in self._living()]

    def call(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Call a method of the chosen replica and wait for its value."""
        replica = self._take(options.key)
        try:
            result = replica.connection.call(method, args, kwargs, options)
        except BaseException as error:
            self._give_back(replica, error)
            raise
        self._give_back(replica)
        return result

    def remote(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Start a call of the chosen replica and return the backend's own future."""
        return self._started(
            self._take(options.key),
            lambda connection: connection.remote(method, args, kwargs, options),
        )

    def submit(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Future[Any]:
        """Start a call of the chosen replica and return a future of its value."""
        future: Future[Any] = self._started(
            self._take(options.key),
            lambda connection: connection.submit(method, args, kwargs, options),
        )
        return future

    def submit_to(
        self,
        index: int,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: CallOptions,
    ) -> Future[Any]:
        """Start a call of one replica, whatever the key and the load, also if it died."""
        replica = next(replica for replica in self._replicas if replica.index == index)
        with self._lock:
            replica.outstanding += 1
        future: Future[Any] = self._started(
            replica, lambda connection: connection.submit(method, args, kwargs, options)
        )
        return future

    def stream(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Iterator[Any]:
        """Call a generator method of the chosen replica and iterate over what it yields."""
        replica = self._take(options.key)
        try:
            yield from replica.connection.stream(method, args, kwargs, options)
        except BaseException as error:
            self._give_back(replica, error)
            raise
        self._give_back(replica)

    async def aio(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Call a method of the chosen replica and await its value."""
        replica = self._take(options.key)
        try:
            result = await replica.connection.aio(method, args, kwargs, options)
        except BaseException as error:
            self._give_back(replica, error)
            raise
        self._give_back(replica)
        return result

    async def astream(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> AsyncIterator[Any]:
        """Iterate over what a generator method of the chosen replica yields."""
        replica = self._take(options.key)
        try:
            async for item in replica.connection.astream(method, args, kwargs, options):
                yield item
        except BaseException as error:
            self._give_back(replica, error)
            raise
        self._give_back(replica)

    def refuse_blocking(self, method: str) -> None:
        """Raise `BlockingCallError` in an event loop of a service, or in one of the replicas."""
        for replica in self._replicas:
            replica.connection.refuse_blocking(method)

    def keep(self, living: Sequence[Connection]) -> None:
        """Leave out the replicas that are not among these, which are all that live."""
        keys = {connection.key for connection in living}
        with self._lock:
            for replica in self._replicas:
                replica.died |= replica.connection.key not in keys

    def replica_of(self, key: str) -> int:
        """Which replica (its index) calls with that key go to at the moment.

        Raises:
            ServiceDiedError: All of them died.
        """
        return self._home(key).index

    def living_replicas(self) -> list[int]:
        """The replicas (their indices) that aren't known to be dead.

        Raises:
            ServiceDiedError: All of them died.
        """
        return [replica.index for replica in self._alive()]

    def _started(self, replica: _Replica, start: Callable[[Connection], Any]) -> Any:
        try:
            reference = start(replica.connection)
        except BaseException as error:
            self._give_back(replica, error)
            raise
        replica.connection.when_done(reference, lambda error: self._give_back(replica, error))
        return reference

    def _take(self, key: str | None) -> _Replica:
        with self._lock:
            replica = self._less_loaded() if key is None else self._home(key)
            replica.outstanding += 1
        return replica

    def _give_back(self, replica: _Replica, error: BaseException | None = None) -> None:
        with self._lock:
            replica.outstanding -= 1
            # A method may have met the death of another service than its own.
            if isinstance(error, ServiceDiedError) and error.name == replica.connection.key.name:
                if error.restarting:
                    replica.rests_until = time.monotonic() + _REST_SECONDS
                else:
                    replica.died = True

    def _less_loaded(self) -> _Replica:
        now = time.monotonic()
        alive = self._alive()
        awake = [replica for replica in alive if replica.rests_until <= now] or alive
        pair = _choices.sample(awake, min(2, len(awake)))
        return min(pair, key=lambda replica: replica.outstanding)

    def _home(self, key: str) -> _Replica:
        return max(self._alive(), key=lambda replica: _rank(key, replica.index))

    def _living(self) -> list[Connection]:
        """Connections to the replicas that aren't known to be dead; to all, if all are."""
        living = [replica.connection for replica in self._replicas if not replica.died]
        return living or [replica.connection for replica in self._replicas]

    def _alive(self) -> list[_Replica]:
        alive = [replica for replica in self._replicas if not replica.died]
        if not alive:
            raise ServiceDiedError(self.key.name, f"all its {self.key.replicas} replicas")
        return alive

    @classmethod
    def start_afresh_in_child(cls) -> None:
        """Called in a forked child, whose calls are not those of its parent."""
        _choices.seed()
        for router in list(cls._all):
            router._lock = threading.RLock()  # noqa: SLF001 - one of our own
            for replica in router._replicas:  # noqa: SLF001
                replica.outstanding = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.key, self._living())


os.register_at_fork(after_in_child=ReplicatedConnection.start_afresh_in_child)


def _rank(key: str, index: int) -> bytes:
    return hashlib.blake2b(
        f"{index}:{key}".encode("utf-8", "surrogatepass"), digest_size=8
    ).digest()
