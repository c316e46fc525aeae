"""The in-process backend: services are objects of this process.

For tests, for notebooks, and for a job of one process that shall later run on a cluster. Arguments
and results are passed by reference. Nothing of another process is seen.
"""

from __future__ import annotations

import concurrent.futures
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from services_core.connections import CallOptions, Connection, MethodKind, ServiceKey
from services_core.construction import Construction
from services_core.errors import (
    HandleForkedError,
    ServiceDiedError,
    ServiceExistsError,
    ServiceStartError,
)
from services_core.hosting import ServiceHost
from services_core.options import chosen_options
from services_core.placement import check_machine
from services_core.registry import ServiceBase
from services_core.remote_errors import traceback_text
from services_core.services import ServiceInfo, ServiceSpec, class_name


@dataclass
class _Entry:
    """A service of this process, or (while it has not started) the reservation of its name."""

    spec: ServiceSpec
    key: ServiceKey
    host: ServiceHost | None = None
    started_at: float | None = None


_log = logging.getLogger("services_core")
_lock = threading.Lock()
_namespaces: dict[str, dict[str, _Entry]] = {}
_process = object()  # another one in a forked child


def _forget_after_fork() -> None:
    # The threads of the services did not come along, and the lock may be held for ever.
    global _lock, _process  # noqa: PLW0603 - a lock of the parent can't be released here
    _lock = threading.Lock()
    _process = object()
    _namespaces.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


class InlineService(ServiceBase):
    """Services that are objects of this process, each with its own threads.

    `num_cpus`, `num_gpus` and `memory` are only compared with what the machine has. The constructor
    runs in the caller's thread, so `start_timeout` can't end it. `max_restarts` and `lifetime` mean
    nothing here: a service lives as long as its process. In a forked child the registry is empty,
    and a handle of the parent's raises `HandleForkedError`.

    Example:
        >>> from services_core import get_services
        >>> services = get_services(backend="inline", namespace="doctest")
        >>> squares = services.register("squares", dict, {1: 1, 2: 4})
        >>> squares.get(2)
        4
        >>> services.shutdown()
    """

    backend: ClassVar[str] = "inline"

    def __init__(self, namespace: str = "services") -> None:
        super().__init__(namespace)

    def _start(self, spec: ServiceSpec) -> Construction:
        check_machine(spec)
        entry = _Entry(spec, spec.key(self.backend, self.namespace))
        with _lock:
            services = _namespaces.setdefault(self.namespace, {})
            if spec.name in services:
                raise ServiceExistsError(spec.name, self.namespace)
            services[spec.name] = entry
        return _InlineConstruction(entry)

    def _connect(self, name: str) -> Connection | None:
        with _lock:
            entry = _namespaces.get(self.namespace, {}).get(name)
        if entry is None or entry.host is None or entry.started_at is None:
            return None
        return _connection(entry, entry.host)

    def _names(self, *, starting: bool = False) -> list[str]:
        with _lock:
            entries = list(_namespaces.get(self.namespace, {}).values())
        return [e.spec.name for e in entries if starting or e.started_at is not None]

    def _stop(self, name: str) -> bool:
        with _lock:
            entry = _namespaces.get(self.namespace, {}).pop(name, None)
        if entry is None:
            return False
        _end(entry)
        return True

    def _describe(self, name: str) -> ServiceInfo | None:
        with _lock:
            entry = _namespaces.get(self.namespace, {}).get(name)
        if entry is None:
            return None
        return ServiceInfo(
            name=name,
            namespace=self.namespace,
            backend=self.backend,
            class_name=class_name(entry.spec.cls),
            state="running" if entry.started_at else "starting",
            pid=os.getpid(),
            node=socket.gethostname(),
            started_at=entry.started_at,
            restarts=0,
            options=chosen_options(entry.spec.options),
        )

    def _client_content(self, client: Any) -> Any:
        return client  # by reference, like everything here

    def _client_from(self, content: Any) -> Any:
        return content


class _InlineConstruction(Construction):
    """Runs the constructor in the thread that waits for it."""

    def __init__(self, entry: _Entry) -> None:
        self._entry = entry

    def wait(self) -> None:
        spec = self._entry.spec
        try:
            self._entry.host = ServiceHost(spec, self._entry.key)
        except (Exception, SystemExit) as error:
            raise ServiceStartError(
                spec.name, f"its constructor raised {error!r}", traceback_text(error)
            ) from error
        if not _is_there(self._entry):
            raise self._was_ended()

    def publish(self) -> Connection:
        entry = self._entry
        with _lock:
            if _is_there(entry) and entry.host is not None:
                entry.started_at = time.time()
                return _connection(entry, entry.host)
        raise self._was_ended()

    def abandon(self) -> None:
        with _lock:
            if _is_there(self._entry):
                del _namespaces[self._entry.key.namespace][self._entry.spec.name]
        _end(self._entry)

    def _was_ended(self) -> ServiceStartError:
        return ServiceStartError(self._entry.spec.name, "it was ended while it was constructed")


def _is_there(entry: _Entry) -> bool:
    return _namespaces.get(entry.key.namespace, {}).get(entry.spec.name) is entry


def _connection(entry: _Entry, host: ServiceHost) -> InlineConnection:
    return InlineConnection(entry.key, host.methods, host)


def _end(entry: _Entry) -> None:
    if entry.host is not None:
        problem = entry.host.close(entry.spec.options.close_timeout)
        if problem is not None:
            _log.warning("close() of service %r failed: %r", entry.spec.name, problem)


class InlineConnection(Connection):
    """A service of this process. `native` is the object itself."""

    def __init__(
        self, key: ServiceKey, methods: Mapping[str, MethodKind], host: ServiceHost | None
    ) -> None:
        super().__init__(key, methods)
        self._found = host
        self._process = _process

    @property
    def native(self) -> Any:
        """The service's object."""
        return self._host.object

    @property
    def _host(self) -> ServiceHost:
        if self._process is not _process:
            raise HandleForkedError(self.key.name, self.key.backend)
        if self._found is None:
            raise ServiceDiedError(
                self.key.name, "an inline service lives only in the process that registered it"
            )
        return self._found

    def call(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Run the method in the caller's own thread, unless there is a timeout."""
        if options.timeout is not None:
            return super().call(method, args, kwargs, options)
        return self._host.run(method, args, kwargs)

    def remote(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """A `concurrent.futures.Future`; for a generator method, an iterator."""
        if self.methods[method] == "stream":
            return self.stream(method, args, kwargs, options)
        return self.submit(method, args, kwargs, options)

    def submit(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> concurrent.futures.Future[Any]:
        """Run the method in a thread of the service."""
        return self._host.submit(method, args, kwargs)

    def stream(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Iterator[Any]:
        """Iterate over the generator in the caller's own thread."""
        return self._host.stream(method, args, kwargs, options.timeout)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reconnect, (self.key, dict(self.methods))


def _reconnect(key: ServiceKey, methods: Mapping[str, MethodKind]) -> InlineConnection:
    """Unpickle a connection; in another process, or when its service was ended, to nothing."""
    with _lock:
        entry = _namespaces.get(key.namespace, {}).get(key.name)
    found = entry.host if entry is not None and entry.key == key else None
    return InlineConnection(key, methods, found)
