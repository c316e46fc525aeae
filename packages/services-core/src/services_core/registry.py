"""`ServiceBase`: the registry that every backend is.

A backend implements five primitives here and the calls of a `Connection`:

    _start      make a service, atomically by name
    _connect    find one that lives
    _names      list those that live
    _stop       end one
    _describe   tell about one

Everything that a user sees is built on them, once, here.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar, cast, overload

from services_core.connections import Connection
from services_core.errors import (
    InvalidNameError,
    RegistryClosedError,
    ServiceExistsError,
    ServiceNotFoundError,
    ServiceTimeoutError,
)
from services_core.handles import Handle
from services_core.options import (
    DEFAULT_START_TIMEOUT,
    ServiceOptions,
    check_timeout,
    make_options,
    split_options,
)
from services_core.services import ServiceInfo, ServiceSpec
from services_core.waiting import looks

T = TypeVar("T")

# Services that reset() ends at the same time; each may take its close_timeout.
_RESET_THREADS = 16


class ServiceBase(ABC):
    """A namespace of services that all workers of a job see.

    `get_services` makes one. Any number of them, in any number of processes, may speak of the same
    namespace; one pickles into a worker as its backend, namespace and options. It is truthy also
    when it is empty.

    Args:
        namespace: Services of one namespace don't see those of another.
        **options: What the backend takes; kept, so that a pickled registry opens in the same way.

    Raises:
        InvalidNameError: The namespace is empty or not a string.
    """

    backend: ClassVar[str]
    """The backend's name, as `get_services` takes it."""

    native_options: ClassVar[frozenset[str]] = frozenset()
    """Options that `register` passes on to this backend alone."""

    def __init__(self, namespace: str = "services", **options: Any) -> None:
        self.namespace = check_name("namespace", namespace)
        self._init_options = options
        self._closed = False

    # -- what a backend implements ---------------------------------------------------------------

    @abstractmethod
    def _start(self, spec: ServiceSpec) -> Connection:
        """Reserve the name, construct the service and return a connection to it.

        Raises:
            ServiceExistsError: The name is taken or reserved.
            ServiceStartError: The service didn't come up; the name is free again.
        """

    @abstractmethod
    def _connect(self, name: str) -> Connection | None:
        """A connection to the service of that name if it lives and is constructed, else None."""

    @abstractmethod
    def _names(self, *, starting: bool = False) -> list[str]:
        """Names of the services that live; with `starting`, also those under construction."""

    @abstractmethod
    def _stop(self, name: str) -> bool:
        """End a service (its `close()`, then its process); False if there was none."""

    @abstractmethod
    def _describe(self, name: str) -> ServiceInfo | None:
        """What is known of a service, or None if there is none."""

    def _release(self) -> None:  # noqa: B027 - most backends hold nothing for a registry
        """Let go of what this registry object itself holds. Services are left running."""

    # -- registering -----------------------------------------------------------------------------

    def register(self, name: str, cls: type, /, *args: Any, **kwargs: Any) -> Handle:
        """Start a service and give it a name; returns when its constructor has returned.

        Keywords that are options (the portable ones, and the backend's own) go to the backend,
        all others to the constructor.

        Args:
            name: Name under which every worker finds the service.
            cls: Class of the service. Its public methods can be called from everywhere.
            *args: Positional arguments of the constructor.
            **kwargs: Options, and keyword arguments of the constructor.

        Returns:
            A handle of the new service.

        Raises:
            ServiceExistsError: The name is taken.
            ServiceStartError: The constructor raised, or what was asked for can't be had.
            AmbiguousOptionError: A keyword is an option and a parameter of the class.
            InvalidOptionError: An option has a value that can't be used.
        """
        self._check_open()
        _check_class(cls)
        options, arguments = split_options(cls, kwargs, self.native_options)
        return self._register(name, cls, args, arguments, options)

    def register_with_options(
        self,
        name: str,
        cls: type,
        /,
        *args: Any,
        actor_options: Mapping[str, Any],
        **kwargs: Any,
    ) -> Handle:
        """Like `register`, with options and constructor arguments kept apart.

        Args:
            name: Name under which every worker finds the service.
            cls: Class of the service.
            *args: Positional arguments of the constructor.
            actor_options: Options of the backend, portable and native.
            **kwargs: Keyword arguments of the constructor, all of them.

        Raises:
            InvalidOptionError: Something in `actor_options` is no option of this backend.
            ServiceExistsError: The name is taken.
            ServiceStartError: The constructor raised, or what was asked for can't be had.
        """
        self._check_open()
        _check_class(cls)
        options = make_options(actor_options, self.native_options)
        return self._register(name, cls, args, kwargs, options)

    def get_or_register(self, name: str, cls: type, /, *args: Any, **kwargs: Any) -> Handle:
        """The service of that name, registered first if there is none.

        Of callers that race, one registers and all get its service.

        Raises:
            ServiceStartError: This caller was the one, and the service didn't come up.
            ServiceTimeoutError: Another caller registers it, and takes longer than `start_timeout`.
        """
        self._check_open()
        _check_class(cls)
        options, arguments = split_options(cls, kwargs, self.native_options)
        give_up = time.monotonic() + options.start_timeout
        while True:
            connection = self._connect(check_name("service name", name))
            if connection is not None:
                return Handle(connection)
            try:
                return self._register(name, cls, args, arguments, options)
            except ServiceExistsError:
                # Somebody else's constructor runs. If it fails, the next turn is ours to try.
                self._wait_while_starting(name, give_up, options.start_timeout)

    def _register(
        self,
        name: str,
        cls: type,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: ServiceOptions,
    ) -> Handle:
        check_name("service name", name)
        spec = ServiceSpec(name=name, cls=cls, args=args, kwargs=kwargs, options=options)
        return Handle(self._start(spec))

    # -- finding ---------------------------------------------------------------------------------

    @overload
    def get(self, name: str) -> Handle: ...
    @overload
    def get(self, name: str, as_: type[T]) -> T: ...
    def get(self, name: str, as_: type[T] | None = None) -> Handle | T:
        """The handle of a service that lives.

        Args:
            name: Its name.
            as_: Its class, for the type checker alone: the handle is then typed as that class.

        Raises:
            ServiceNotFoundError: There is none of that name; the error lists what there is.
        """
        self._check_open()
        connection = self._connect(check_name("service name", name))
        if connection is None:
            raise ServiceNotFoundError(name, self.namespace, self.list())
        handle = Handle(connection)
        return handle if as_ is None else cast("T", handle)

    def wait_for(self, name: str, timeout: float = DEFAULT_START_TIMEOUT) -> Handle:
        """Wait until some worker has registered a service of that name.

        Args:
            name: The service's name.
            timeout: Seconds to wait.

        Raises:
            ServiceTimeoutError: There was none within the timeout.
        """
        self._check_open()
        check_timeout("timeout", timeout)
        check_name("service name", name)
        for _ in looks(timeout):
            connection = self._connect(name)
            if connection is not None:
                return Handle(connection)
        raise ServiceTimeoutError(name, "wait_for", timeout)

    def describe(self, name: str) -> ServiceInfo:
        """What is known of a service.

        Raises:
            ServiceNotFoundError: There is none of that name.
        """
        self._check_open()
        info = self._describe(check_name("service name", name))
        if info is None:
            raise ServiceNotFoundError(name, self.namespace, self.list())
        return info

    def list(self) -> list[str]:
        """Names of the services that live, sorted."""
        self._check_open()
        return sorted(self._names())

    def __contains__(self, name: object) -> bool:
        self._check_open()
        return isinstance(name, str) and bool(name) and self._connect(name) is not None

    def __getitem__(self, name: str) -> Handle:
        return self.get(name)

    def __setitem__(self, name: str, cls: type) -> None:
        self.register(name, cls)

    def __delitem__(self, name: str) -> None:
        self.unregister(name)

    def __len__(self) -> int:
        return len(self.list())

    def __iter__(self) -> Iterator[str]:
        return iter(self.list())

    def __bool__(self) -> bool:
        # `services or default` must not drop a registry that is merely empty.
        return True

    # -- ending ----------------------------------------------------------------------------------

    def unregister(self, name: str) -> None:
        """End a service: its `close()` if it has one, then its process.

        Raises:
            ServiceNotFoundError: There is none of that name.
        """
        self._check_open()
        if not self._stop(check_name("service name", name)):
            raise ServiceNotFoundError(name, self.namespace, self.list())

    def reset(self) -> None:
        """End every service of the namespace, those under construction included."""
        self._check_open()
        names = self._names(starting=True)
        if not names:
            return
        try:
            with ThreadPoolExecutor(min(len(names), _RESET_THREADS), "services-reset") as pool:
                list(pool.map(self._stop, names))
        except RuntimeError:
            # At exit (atexit) Python starts no threads any more. Ending twice does no harm.
            for name in names:
                self._stop(name)

    def close(self) -> None:
        """Let go of the namespace; its services run on. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._release()

    def shutdown(self) -> None:
        """End every service of the namespace, and close the registry."""
        if not self._closed:
            self.reset()
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    # -- the rest --------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), self.namespace, self._init_options)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._names())} services"
        return f"<{type(self).__name__} namespace={self.namespace!r}, {state}>"

    def _check_open(self) -> None:
        if self._closed:
            raise RegistryClosedError(self.namespace)

    def _wait_while_starting(self, name: str, give_up: float, timeout: float) -> None:
        for _ in looks(give_up - time.monotonic()):
            if self._connect(name) is not None or name not in self._names(starting=True):
                return
        raise ServiceTimeoutError(name, "its registration by another worker", timeout)


def check_name(what: str, value: object) -> str:
    """Return `value` if it can name a namespace or a service.

    Raises:
        InvalidNameError: It is not a string, is empty, or holds a NUL character.
    """
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidNameError(what, value)
    try:
        value.encode()
    except UnicodeEncodeError as error:  # a lone surrogate: no backend can write it anywhere
        raise InvalidNameError(what, value) from error
    return value


def _check_class(cls: object) -> None:
    if not isinstance(cls, type):
        raise TypeError(
            f"a service is registered as a class and its constructor's arguments, not {cls!r}"
        )


def _reopen(cls: type[ServiceBase], namespace: str, options: dict[str, Any]) -> ServiceBase:
    return cls(namespace, **options)
