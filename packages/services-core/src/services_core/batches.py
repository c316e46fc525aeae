"""Calls of several replicas as one: a batch that is split by key, and a call of each replica.

call_by_key --> group_by_replica --> replica 0: the items of its keys, in one call
                                     replica 1: those of others, at the same time
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from services_core.connections import Connection
from services_core.handles import Handle, Method
from services_core.replicas import ReplicatedConnection


@dataclass(frozen=True)
class KeyGroup:
    """Items of a batch that belong on one replica.

    Attributes:
        key: A key for `options(key=...)` that leads there.
        positions: Where the items stand in the batch, in ascending order.
    """

    key: str
    positions: list[int]


def group_by_replica(handle: Handle, keys: Sequence[str]) -> list[KeyGroup]:
    """Group the items of a batch by the replica that their keys lead to: one call a replica.

    `call_by_key` makes these calls; with the groups one makes them in a way of one's own.

    Args:
        handle: A handle of any service. One without replicas has them all in one group.
        keys: The key of each item.

    Raises:
        ServiceDiedError: All replicas died.

    Example:
        >>> from services_core import get_services
        >>> class Squares:
        ...     def squares(self, numbers):
        ...         return [number**2 for number in numbers]
        >>> numbers, keys = [1, 2, 3, 4], ["env-1", "env-2", "env-3", "env-4"]
        >>> results = {}
        >>> with get_services(backend="inline", namespace="grouped") as services:
        ...     handle = services.register("squares", Squares, replicas=2)
        ...     for group in group_by_replica(handle, keys):
        ...         batch = [numbers[position] for position in group.positions]
        ...         answers = handle.squares.options(key=group.key)(batch)
        ...         results.update(zip(group.positions, answers, strict=True))
        >>> sorted(results.items())
        [(0, 1), (1, 4), (2, 9), (3, 16)]
    """
    connection = handle._connection  # noqa: SLF001 - so that no method name is taken from users
    return list(_groups(connection, keys).values())


def call_by_key(
    method: Method,
    items: Sequence[Any],
    keys: Sequence[str],
    *,
    return_exceptions: bool = False,
) -> list[Any]:
    """Call a method that takes a batch, with the items of each replica: one call a replica.

    The calls are under way at the same time. Without replicas it is one call.

    Args:
        method: A method of a handle, which takes a list of items and returns a result for each;
            perhaps with options: a timeout is that of all calls together.
        items: The batch.
        keys: The key of each item.
        return_exceptions: What a call raised stands in the place of each of its results, and those
            of the other calls are not lost, as with `asyncio.gather`.

    Returns:
        The results, in the order of the items.

    Raises:
        ServiceDiedError: A replica died, and its items may have had an effect or none. Whatever a
            call raises is raised when all calls have ended; the others had their effects.
        ServiceTimeoutError: The timeout was too short.

    Example:
        >>> from services_core import get_services
        >>> class Squares:
        ...     def squares(self, numbers):
        ...         return [number**2 for number in numbers]
        >>> with get_services(backend="inline", namespace="grouped") as services:
        ...     handle = services.register("squares", Squares, replicas=2)
        ...     call_by_key(handle.squares, [1, 2, 3], ["env-1", "env-2", "env-3"])
        [1, 4, 9]
    """
    if len(items) != len(keys):
        raise ValueError(f"{len(items)} items have {len(keys)} keys: give one for each")
    groups = _groups(_connection_of(method), keys)
    batches = [[items[position] for position in group.positions] for group in groups.values()]
    calls = [(home, (batch,)) for home, batch in zip(groups, batches, strict=True)]
    results: list[Any] = [None] * len(items)
    for group, outcome in zip(groups.values(), _call_all(method, calls, {}), strict=True):
        if outcome.error is not None and not return_exceptions:
            raise outcome.error
        failed = [outcome.error] * len(group.positions)
        values = outcome.value if outcome.error is None else failed
        for position, value in zip(group.positions, values, strict=True):
            results[position] = value
    return results


def call_each_replica(method: Method, *args: Any, **kwargs: Any) -> list[Any]:
    """Call a method of every replica, with the same arguments, at the same time.

    Args:
        method: A method of a handle, perhaps with options: a timeout is that of all calls together.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Returns:
        What each replica returned; those that are known to be dead are left out. Of a service
        without replicas the one result.

    Raises:
        ServiceDiedError: A replica died that wasn't known to be dead, or all did. Whatever a call
            raises is raised when all calls have ended; the others had their effects.
        ServiceTimeoutError: The timeout was too short.

    Example:
        >>> from services_core import get_services
        >>> with get_services(backend="inline", namespace="told") as services:
        ...     handle = services.register("seen", set, replicas=3)
        ...     call_each_replica(handle.add, "everywhere")
        ...     call_each_replica(handle.issuperset, ["everywhere"])
        [None, None, None]
        [True, True, True]
    """
    connection = _connection_of(method)
    homes = connection.living_replicas() if isinstance(connection, ReplicatedConnection) else [0]
    values = []
    for outcome in _call_all(method, [(home, args) for home in homes], kwargs):
        if outcome.error is not None:
            raise outcome.error
        values.append(outcome.value)
    return values


@dataclass(frozen=True)
class _Outcome:
    """What came of one call."""

    value: Any = None
    error: Exception | None = None


def _groups(connection: Connection, keys: Sequence[str]) -> dict[int, KeyGroup]:
    """The items of each replica, by its index; without replicas all are those of number 0."""
    groups: dict[int, KeyGroup] = {}
    for position, key in enumerate(keys):
        home = connection.replica_of(key) if isinstance(connection, ReplicatedConnection) else 0
        groups.setdefault(home, KeyGroup(key, [])).positions.append(position)
    return groups


def _call_all(
    method: Method, calls: Sequence[tuple[int, tuple[Any, ...]]], kwargs: dict[str, Any]
) -> list[_Outcome]:
    """Call replicas, given by their indices, at the same time; wait until all calls have ended."""
    connection, name, options = _connection_of(method), method._name, method._options  # noqa: SLF001
    if method._kind == "stream":  # noqa: SLF001
        raise TypeError(f"{name}() is a generator and has no single value: call the handle itself")
    if not isinstance(connection, ReplicatedConnection):
        return [_outcome_of(lambda: method(*args, **kwargs)) for _, args in calls]  # noqa: B023
    connection.refuse_blocking(name)
    # Not by a key: if a replica is found dead meanwhile, its items must not meet those of others.
    futures = [
        _started(lambda: connection.submit_to(home, name, args, kwargs, options))  # noqa: B023
        for home, args in calls
    ]
    _, late = wait(futures, options.timeout)
    for future in late:
        future.cancel()
    return [
        _Outcome(error=connection.timed_out(name, options))
        if future in late
        else _outcome_of(future.result)
        for future in futures
    ]


def _started(submit: Callable[[], Future[Any]]) -> Future[Any]:
    """The future of a call, also of one that could not be started."""
    try:
        return submit()
    except Exception as error:  # noqa: BLE001 - raised, or returned, with those of the other calls
        failed: Future[Any] = Future()
        failed.set_exception(error)
        return failed


def _outcome_of(wait_for: Callable[[], Any]) -> _Outcome:
    try:
        return _Outcome(wait_for())
    except Exception as error:  # noqa: BLE001 - raised, or returned, with those of the other calls
        return _Outcome(error=error)


def _connection_of(method: Method) -> Connection:
    return method._connection  # noqa: SLF001 - so that no name is taken from users
