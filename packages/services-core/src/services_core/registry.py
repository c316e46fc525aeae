"""`ServiceBase`: the registry that every backend is.

What differs between backends stands in `services_core.primitives`; how several replicas are one
service in `services_core.groups`. This is what a user sees of them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

from services_core.connections import CallOptions, Connection, PublishedClient
from services_core.errors import (
    InvalidNameError,
    NotAClientError,
    RegistryClosedError,
    ServiceDiedError,
    ServiceExistsError,
    ServiceNotFoundError,
    ServiceStartError,
    ServiceTimeoutError,
)
from services_core.groups import Groups, at_once
from services_core.handles import Handle
from services_core.names import check_name
from services_core.options import (
    DEFAULT_START_TIMEOUT,
    ServiceOptions,
    check_timeout,
    make_options,
    split_options,
)
from services_core.owners import OwnerWatch, ServiceOwner, is_alive
from services_core.services import ServiceInfo, ServiceSpec
from services_core.waiting import looks

T = TypeVar("T")


class ServiceBase(Groups):
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

    def __init__(self, namespace: str = "services", **options: Any) -> None:
        self.namespace = check_name("namespace", namespace)
        self._init_options = options
        self._closed = False
        self._watches: dict[str, OwnerWatch] = {}
        self._routers = {}

    # -- registering -----------------------------------------------------------------------------

    @overload
    def register(self, name: str, cls: type, /, *args: Any, **kwargs: Any) -> Handle: ...
    @overload
    def register(self, name: str, cls: ServiceOwner, /) -> Any: ...
    def register(self, name: str, cls: type | ServiceOwner, /, *args: Any, **kwargs: Any) -> Any:
        """Start a service and give it a name; returns when its constructor has returned.

        Keywords that are options (the portable ones, and the backend's own) go to the backend,
        all others to the constructor.

        Given a running owner (`ServiceOwner`) instead of a class, it publishes the owner's client:
        `get` and `get_client` return it in every worker, for as long as the owner and its process
        live. The owner stays the caller's: `unregister` and `reset` forget it and leave it running.

        Args:
            name: Name under which every worker finds the service.
            cls: Class of the service, whose public methods can be called from everywhere; or an
                owner.
            *args: Positional arguments of the constructor.
            **kwargs: Options, and keyword arguments of the constructor.

        Returns:
            A handle of the new service; of an owner, its client.

        Raises:
            ServiceExistsError: The name is taken.
            ServiceStartError: The constructor raised, what was asked for can't be had, or the owner
                isn't alive.
            AmbiguousOptionError: A keyword is an option and a parameter of the class.
            InvalidOptionError: An option has a value that can't be used.
            TypeError: Neither a class nor an owner, or an owner with arguments.
        """
        self._check_open()
        if not isinstance(cls, type) and isinstance(cls, ServiceOwner):
            if args or kwargs:
                raise TypeError("an owner runs already: it takes no arguments and no options")
            return self._publish(name, cls)
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

        Of callers that race, one registers and all get its service. If that one fails, another of
        them registers.

        Args:
            name: Its name.
            cls: Class of the service, used only if there is none.
            *args: Positional arguments of the constructor.
            **kwargs: Options, and keyword arguments of the constructor.

        Returns:
            Its handle; of an owner, its client.

        Raises:
            ServiceStartError: This caller was the one, and the service didn't come up.
            ServiceTimeoutError: Another caller registers it, and takes longer than `start_timeout`.
        """
        self._check_open()
        check_name("service name", name)
        _check_class(cls)
        options, arguments = split_options(cls, kwargs, self.native_options)
        give_up = time.monotonic() + options.start_timeout
        while True:
            connection = self._find_group(name)
            if connection is not None:
                found: Handle = self._as_user_sees(connection)
                return found
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
        return Handle(self._start_group(spec))

    def _publish(self, name: str, owner: ServiceOwner) -> Any:
        if not is_alive(owner):
            raise ServiceStartError(name, f"{type(owner).__name__} isn't alive: start() it first")
        check_name("service name", name)
        client = owner.client()
        spec = ServiceSpec(
            name=name,
            cls=PublishedClient,
            args=(self._client_content(client),),
            options=ServiceOptions(num_cpus=0),
            bound=True,
        )
        key = self._start_group(spec).key

        def still_published() -> bool:
            connection = self._connect(name)
            return connection is not None and connection.key == key

        self._watches[name] = OwnerWatch(owner, still_published, lambda: self._stop(name))
        return client

    # -- finding ---------------------------------------------------------------------------------

    @overload
    def get(self, name: str) -> Handle: ...
    @overload
    def get(self, name: str, as_: type[T]) -> T: ...
    def get(self, name: str, as_: type[T] | None = None) -> Handle | T:
        """The handle of a service that lives; of an owner, its client.

        Args:
            name: Its name.
            as_: Its class, for the type checker alone: the handle is then typed as that class.

        Raises:
            ServiceNotFoundError: There is none of that name; the error lists what there is.
        """
        self._check_open()
        connection = self._find_group(check_name("service name", name))
        if connection is None:
            raise ServiceNotFoundError(name, self.namespace, self.list())
        return cast("T", self._as_user_sees(connection))

    def get_client(self, name: str) -> Any:
        """The client of an owner that was registered under that name.

        Raises:
            ServiceNotFoundError: There is nothing of that name.
            NotAClientError: It is a service, registered as a class; a `TypeError`.
        """
        self._check_open()
        connection = self._find_group(check_name("service name", name))
        if connection is None:
            raise ServiceNotFoundError(name, self.namespace, self.list())
        if not _is_client(connection):
            raise NotAClientError(name, self.namespace)
        return self._as_user_sees(connection)

    def wait_for(self, name: str, timeout: float = DEFAULT_START_TIMEOUT) -> Any:
        """Wait until some worker has registered a service of that name, and `get` it.

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
            connection = self._find_group(name)
            if connection is not None:
                with contextlib.suppress(ServiceNotFoundError):  # a client that went meanwhile
                    return self._as_user_sees(connection)
        raise ServiceTimeoutError(name, "wait_for", timeout)

    def describe(self, name: str) -> ServiceInfo:
        """What is known of a service.

        Raises:
            ServiceNotFoundError: There is none of that name.
        """
        self._check_open()
        info = self._describe_group(check_name("service name", name))
        if info is None:
            raise ServiceNotFoundError(name, self.namespace, self.list())
        return info

    def list(self) -> list[str]:
        """Names of the services that live, sorted."""
        self._check_open()
        return self._list_groups()

    def __contains__(self, name: object) -> bool:
        self._check_open()
        try:
            return self._find_group(check_name("service name", name)) is not None
        except InvalidNameError:
            return False

    def __getitem__(self, name: str) -> Handle:
        return self.get(name)

    def __setitem__(self, name: str, cls: type | ServiceOwner) -> None:
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
        found = self._stop_group(check_name("service name", name))
        self._unwatch(name)
        if not found:
            raise ServiceNotFoundError(name, self.namespace, self.list())

    def reset(self) -> None:
        """End every service of the namespace, those under construction included."""
        self._check_open()
        at_once(self._stop, self._names(starting=True))
        for name in list(self._watches):
            self._unwatch(name)

    def close(self) -> None:
        """Let go of the namespace; its services run on. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._release()

    def shutdown(self) -> None:
        """End every service of the namespace, and close the registry."""
        if not self._closed:
            try:
                self.reset()
            finally:
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
        try:
            self._check_open()
            state = f"{len(self._list_groups())} services"
        except RegistryClosedError:
            state = "closed"
        return f"<{type(self).__name__} namespace={self.namespace!r}, {state}>"

    def _check_open(self) -> None:
        if self._closed:
            raise RegistryClosedError(self.namespace)

    def _unwatch(self, name: str) -> None:
        watch = self._watches.pop(name, None)
        if watch is not None:
            watch.end()

    def _as_user_sees(self, connection: Connection) -> Any:
        if not _is_client(connection):
            return Handle(connection)
        try:
            return self._client_from(connection.call("client", (), {}, CallOptions()))
        except ServiceDiedError as error:
            raise ServiceNotFoundError(connection.key.name, self.namespace, self.list()) from error

    def _wait_while_starting(self, name: str, give_up: float, timeout: float) -> None:
        for _ in looks(give_up - time.monotonic()):
            if self._find_group(name) is not None or not self._is_taken(name):
                return
        raise ServiceTimeoutError(name, "its registration by another worker", timeout)


def _check_class(cls: object) -> None:
    if isinstance(cls, type):
        return
    if isinstance(cls, ServiceOwner):
        raise TypeError("an owner is published by register(name, owner), and has no options")
    raise TypeError(
        f"a service is registered as a class and its constructor's arguments, or as a running "
        f"owner with start, shutdown, is_alive and client; {cls!r} is neither"
    )


def _is_client(connection: Connection) -> bool:
    return connection.methods.get("client") == "client"


def _reopen(cls: type[ServiceBase], namespace: str, options: dict[str, Any]) -> ServiceBase:
    return cls(namespace, **options)
