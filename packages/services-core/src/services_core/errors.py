"""The errors of the registry, its handles and its backends.

Every one is a `ServiceError`, carries its facts as attributes, pickles with them, and is also the
standard error that callers already catch: an unknown service is a `KeyError`, a taken name a
`ValueError`, a call that took too long a `TimeoutError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def _restore(cls: type[ServiceError], args: tuple[Any, ...], state: dict[str, Any]) -> ServiceError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ServiceError(Exception):
    """Base of all errors that a registry, a handle or a backend raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls __init__ with the message alone; these build their message from facts.
        return _restore, (type(self), self.args, self.__dict__.copy())


class InvalidNameError(ServiceError, ValueError):
    """A namespace or a service name that no backend can use."""

    def __init__(self, what: str, value: object) -> None:
        self.what = what
        self.value = value
        super().__init__(
            f"a {what} must be a non-empty string without NUL or surrogates, which doesn't end "
            f"like the name of a replica (#replica-1), not {value!r}"
        )


class InvalidOptionError(ServiceError, ValueError):
    """An option of `register` or of a call has a value that no backend can use."""

    def __init__(self, option: str, value: object, expected: str) -> None:
        self.option = option
        self.value = value
        super().__init__(f"{option}={value!r}: expected {expected}")


class AmbiguousOptionError(ServiceError, TypeError):
    """A keyword of `register` names both an option and a parameter of the class."""

    def __init__(self, cls: type, names: Iterable[str]) -> None:
        self.names = sorted(names)
        listed = ", ".join(self.names)
        super().__init__(
            f"{listed}: both an option of the backend and a parameter of {cls.__name__}. "
            "Say which with register_with_options(name, cls, actor_options={...}, **arguments): "
            "what stands in actor_options goes to the backend, every other keyword to the class"
        )


class ServiceExistsError(ServiceError, ValueError):
    """The name is taken: by a service that lives, or by one whose constructor still runs."""

    def __init__(self, name: str, namespace: str) -> None:
        self.name = name
        self.namespace = namespace
        super().__init__(
            f"a service {name!r} is already registered in namespace {namespace!r}. "
            "get() it, unregister() it first, or use get_or_register()"
        )


class ServiceNotFoundError(ServiceError, KeyError):
    """No service of that name lives in the namespace; `available` lists those that do."""

    def __init__(self, name: str, namespace: str, available: Sequence[str]) -> None:
        self.name = name
        self.namespace = namespace
        self.available = list(available)
        found = ", ".join(map(repr, self.available)) if self.available else "none"
        super().__init__(
            f"no service {name!r} in namespace {namespace!r}; there: {found}. "
            "wait_for() waits for one that another worker registers"
        )

    def __str__(self) -> str:
        # KeyError would show the repr of the message.
        return str(self.args[0])


class ServiceStartError(ServiceError, RuntimeError):
    """A service did not come up; its name is free again.

    Attributes:
        name: The name under which it was to be registered.
        reason: What went wrong, in words.
        remote_traceback: The traceback of its constructor as text, or None.
    """

    def __init__(self, name: str, reason: str, remote_traceback: str | None = None) -> None:
        self.name = name
        self.reason = reason
        self.remote_traceback = remote_traceback
        message = f"service {name!r} did not start: {reason}"
        if remote_traceback:
            message = f"{message}\n\n{remote_traceback.rstrip()}"
        super().__init__(message)


class ServiceDiedError(ServiceError, ConnectionError):
    """The service behind a handle is gone, or went while the call was under way.

    Whether the call had an effect is unknown, so it is not retried.

    Attributes:
        name: The service's name.
        restarting: Whether the backend is bringing it back.
    """

    def __init__(self, name: str, reason: str = "", *, restarting: bool = False) -> None:
        self.name = name
        self.restarting = restarting
        why = f" ({reason})" if reason else ""
        advice = (
            "the backend is restarting it: call again in a moment"
            if restarting
            else "register it anew, and get() a new handle"
        )
        super().__init__(f"service {name!r} died{why}; {advice}")


class ServiceTimeoutError(ServiceError, TimeoutError):
    """A call or a wait took longer than its timeout. The call itself may still be running."""

    def __init__(self, name: str, what: str, timeout: float) -> None:
        self.name = name
        self.what = what
        self.timeout = timeout
        super().__init__(f"service {name!r}: {what} took longer than {timeout:g} s")


class BlockingCallError(ServiceError, RuntimeError):
    """A call that blocks was made where it would hold up a service: by itself, or in an event loop.

    Attributes:
        name: The service that was to be called.
        method: The method that was to be called.
        reason: What it would hold up.
    """

    def __init__(self, name: str, method: str, reason: str) -> None:
        self.name = name
        self.method = method
        self.reason = reason
        super().__init__(
            f"service {name!r}: {method}() blocks, and {reason}. "
            f"Await {method}.aio(...) instead, or take the future of {method}.submit(...)"
        )


class HandleForkedError(ServiceError, RuntimeError):
    """A handle or a registry was used in a forked child whose backend doesn't survive a fork."""

    def __init__(self, name: str, backend: str) -> None:
        self.name = name
        self.backend = backend
        super().__init__(
            f"{name!r} was opened before this process was forked, and {backend!r} doesn't work in "
            "a forked child. Use the start method 'spawn' of multiprocessing, or make the calls in "
            "the parent"
        )


class NotAClientError(ServiceError, TypeError):
    """`get_client` was asked for a service that is no owner's client."""

    def __init__(self, name: str, namespace: str) -> None:
        self.name = name
        self.namespace = namespace
        super().__init__(
            f"{name!r} in namespace {namespace!r} was registered as a class and has no client: "
            "get() gives its handle"
        )


class RemoteError(ServiceError, RuntimeError):
    """An exception of a service that could not be rebuilt here.

    Attributes:
        type_name: Qualified name of the exception's class over there.
        remote_message: Its text.
        remote_traceback: Its traceback, as text.
    """

    def __init__(self, type_name: str, remote_message: str, remote_traceback: str) -> None:
        self.type_name = type_name
        self.remote_message = remote_message
        self.remote_traceback = remote_traceback
        super().__init__(f"{type_name}: {remote_message}")


class RegistryClosedError(ServiceError, RuntimeError):
    """The registry was closed; `get_services` opens a new one."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        super().__init__(
            f"this registry of namespace {namespace!r} is closed; open one with get_services()"
        )


class UnknownBackendError(ServiceError, ValueError):
    """No installed distribution offers a backend of that name."""

    def __init__(self, backend: object, installed: Sequence[str]) -> None:
        self.backend = backend
        self.installed = list(installed)
        super().__init__(
            f"unknown backend {backend!r}; installed: {', '.join(self.installed)}. A backend is an "
            'entry point of the group "services_core.backends"'
        )


class BackendNotInstalledError(ServiceError, ImportError):
    """The backend is known, and its distribution is not installed."""

    def __init__(self, backend: str, distribution: str) -> None:
        self.backend = backend
        self.distribution = distribution
        super().__init__(
            f"backend {backend!r} is not installed here: python -m pip install {distribution}"
        )


class BackendLoadError(ServiceError, ImportError):
    """A backend is installed, and importing it failed; the cause is chained."""

    def __init__(self, backend: str, distribution: str, entry_point: str, cause: object) -> None:
        self.backend = backend
        self.distribution = distribution
        self.entry_point = entry_point
        super().__init__(
            f"backend {backend!r} of {distribution} (entry point {entry_point}) can't be used: "
            f"{cause}"
        )
