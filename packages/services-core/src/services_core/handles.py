"""Handles: what `get` and `register` return, the same on every backend."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable
from typing import Any

from services_core.connections import CallOptions, Connection, MethodKind
from services_core.options import check_timeout

_DEFAULTS = CallOptions()


class Handle:
    """A caller's end of one service.

    Every public method of the service's class is an attribute that can be called in four ways. A
    handle is bound to one incarnation of the service: it follows its restarts, never a new
    registration of the name. It pickles, may be shared by threads, and equals every other handle
    of the same incarnation.

    Example:
        >>> from services_core import get_services
        >>> class Greeter:
        ...     def greet(self, name):
        ...         return f"Hello, {name}"
        >>> with get_services(backend="inline", namespace="handles") as services:
        ...     greeter = services.register("greeter", Greeter)
        ...     greeter.greet("Ada")
        ...     greeter.greet.submit("Grace").result()
        'Hello, Ada'
        'Hello, Grace'
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Method:
        # Only reached when the attribute isn't there yet: each method is made once a handle.
        if name.startswith("__") or "_connection" not in self.__dict__:
            raise AttributeError(name)
        kind = self._connection.methods.get(name)
        if kind is None:
            listed = ", ".join(sorted(self._connection.methods))
            raise AttributeError(
                f"service {self._connection.key.name!r} has no method {name!r}; it has: {listed}",
                name=name,
                obj=self,
            )
        method = Method(self._connection, name, kind)
        self.__dict__[name] = method
        return method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the service itself, if its class has a `__call__`."""
        if "__call__" not in self._connection.methods:
            raise TypeError(
                f"service {self._connection.key.name!r} is not callable: call one of its methods"
            )
        return Method(self._connection, "__call__", self._connection.methods["__call__"])(
            *args, **kwargs
        )

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *self._connection.methods})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Handle):
            return NotImplemented
        return self._connection.key == other._connection.key

    def __hash__(self) -> int:
        return hash(self._connection.key)

    def __reduce__(self) -> tuple[type[Handle], tuple[Connection]]:
        return type(self), (self._connection,)

    def __repr__(self) -> str:
        key = self._connection.key
        return f"<Handle of {key.name!r} in {key.namespace!r} on {key.backend}>"


class Method:
    """One method of a service: call it, or use `remote`, `submit` or `aio`."""

    __slots__ = ("_connection", "_kind", "_name", "_options")

    def __init__(
        self,
        connection: Connection,
        name: str,
        kind: MethodKind,
        options: CallOptions = _DEFAULTS,
    ) -> None:
        self._connection = connection
        self._name = name
        self._kind = kind
        self._options = options

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method and wait for its value; a generator method gives an iterator.

        Raises:
            ServiceDiedError: The service is gone, or went during the call.
            BlockingCallError: The caller is this very service, or a coroutine of a service.
            ServiceTimeoutError: `options(timeout=...)` was too short.
            RemoteError: The method raised what can't be rebuilt here. Any other exception of the
                method arrives as its own type, with the remote traceback as its cause.
        """
        self._connection.refuse_blocking(self._name)
        if self._kind == "stream":
            return self._connection.stream(self._name, args, kwargs, self._options)
        return self._connection.call(self._name, args, kwargs, self._options)

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Start the call; returns the backend's own future, which has the backend's own errors."""
        return self._connection.remote(self._name, args, kwargs, self._options)

    def submit(self, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Start the call; returns a `concurrent.futures.Future` of its value.

        Raises:
            TypeError: The method is a generator: call it, or iterate over `aio(...)`.
        """
        if self._kind == "stream":
            raise TypeError(
                f"{self._name}() is a generator and has no single value: call it for an iterator, "
                f"or use `async for item in handle.{self._name}.aio(...)`"
            )
        return self._connection.submit(self._name, args, kwargs, self._options)

    def aio(self, *args: Any, **kwargs: Any) -> Any:
        """Call from asyncio: an awaitable of the value; a generator gives an async iterator."""
        if self._kind == "stream":
            return self._connection.astream(self._name, args, kwargs, self._options)
        return self._connection.aio(self._name, args, kwargs, self._options)

    def options(
        self, *, timeout: float | None = None, key: str | None = None, **native: Any
    ) -> Method:
        """The same method with options for the calls that are made through it.

        They add to those that the method has from an earlier `options`.

        Args:
            timeout: Seconds to wait for an answer; for a generator, for each item.
            key: Calls with the same key go to the same replica.
            **native: Options of the backend alone, such as Ray's `num_returns`.

        Raises:
            InvalidOptionError: `timeout` is not a positive number.
        """
        earlier = self._options
        options = CallOptions(
            timeout=earlier.timeout if timeout is None else check_timeout("timeout", timeout),
            key=earlier.key if key is None else key,
            native={**earlier.native, **native},
        )
        return Method(self._connection, self._name, self._kind, options)

    def __repr__(self) -> str:
        return f"<method {self._name!r} of service {self._connection.key.name!r}>"


def native(handle: Handle) -> Any:
    """What the backend itself holds of a service: on Ray its `ActorHandle`.

    Args:
        handle: A handle from any registry.

    Returns:
        Of a service with several replicas, a list with that of each.
    """
    return handle._connection.native  # noqa: SLF001 - so that no method name is taken from users
