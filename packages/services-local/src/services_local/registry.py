"""`LocalService`: the registry of one machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from services_core import (
    Connection,
    Construction,
    ServiceBase,
    ServiceExistsError,
    ServiceInfo,
    ServiceSpec,
)
from services_core.placement import check_machine
from services_local import ending, lease, records
from services_local.client import LocalConnection
from services_local.construction import LocalConstruction
from services_local.pickling import dumps
from services_local.records import Record
from services_local.runtime import RuntimeDirectory


class LocalService(ServiceBase):
    """Services that are processes of this machine, each with a socket in a private directory.

    A service outlives the worker that registered it. It ends at `unregister` or `reset`, or some
    30 seconds after the last process that had the namespace open is gone, unless it was registered
    with `lifetime="detached"`.

    `num_cpus`, `num_gpus` and `memory` are only compared with what the machine has. A service with
    `max_restarts` has a second, small process beside its own, which starts it again.

    Args:
        namespace: Services of one namespace don't see those of another.
        runtime_dir: Directory in which processes meet; by default `SERVICES_LOCAL_DIR`, or one in
            the temporary directory.

    Raises:
        RuntimeDirectoryError: The directory can't be trusted.

    Example:
        >>> from services_core import get_services
        >>> with get_services(backend="local", namespace="doctest") as services:
        ...     squares = services.register("squares", dict, {1: 1, 2: 4})
        ...     squares.get(2)
        4
    """

    backend: ClassVar[str] = records.BACKEND

    def __init__(self, namespace: str = "services", *, runtime_dir: str | None = None) -> None:
        self._runtime = RuntimeDirectory.open(runtime_dir)
        # Resolved, so that a pickled registry opens the same directory wherever it arrives.
        super().__init__(namespace, runtime_dir=str(self._runtime.root))
        # Made now, so that a service never finds its callers' key missing.
        self._runtime.key()
        self._connections: dict[str, LocalConnection] = {}
        self._lease = self._runtime.lease(namespace)
        lease.take(self._lease)

    def _start(self, spec: ServiceSpec) -> Construction:
        check_machine(spec)
        reservation = records.reserve(self._runtime, self.namespace, spec.name)
        if reservation is None:
            raise ServiceExistsError(spec.name, self.namespace)
        try:
            return LocalConstruction(
                self._runtime, self.namespace, spec, reservation, self._connection
            )
        except BaseException:
            reservation.close()
            records.forget(self._runtime, self.namespace, spec.name)
            raise

    def _connect(self, name: str) -> Connection | None:
        known = self._connections.get(name)
        if known is not None and known.is_open():
            return known
        record = records.find(self._runtime, self.namespace, name)
        if record is None:
            return None
        connection = self._connection(record)
        if connection is known:  # asked for again: the next time without looking at files
            connection.keep_open()
        return connection

    def _names(self, *, starting: bool = False) -> list[str]:
        taken = records.taken(self._runtime, self.namespace)
        return [name for name, record, _ in taken if record is not None or starting]

    def _stop(self, name: str) -> bool:
        return ending.stop(self._runtime, self.namespace, name)

    def _describe(self, name: str) -> ServiceInfo | None:
        record = records.find(self._runtime, self.namespace, name)
        if record is None:
            return None
        return ServiceInfo(
            name=name,
            namespace=self.namespace,
            backend=self.backend,
            class_name=record.class_name,
            state="restarting" if record.is_restarting else "running",
            pid=None if record.is_restarting else record.pid,
            node=record.node,
            started_at=record.started_at,
            restarts=record.restarts,
            options=record.options,
        )

    def _release(self) -> None:
        # Handles that users still hold go on; the sockets close with the last of them.
        self._connections.clear()
        lease.release(self._lease)
        with lease.abandoned(self._lease) as nobody:
            if nobody:
                records.remove_namespace(self._runtime, self.namespace)

    def _client_content(self, client: Any) -> Any:
        return dumps(client)  # by value, if its class is of a script

    def end_others(self, name: str) -> None:
        """End every service of the namespace besides `name` and those that don't end with it."""
        for other in self._names(starting=True):
            record = records.find(self._runtime, self.namespace, other)
            if other != name and not (record is not None and (record.detached or record.bound)):
                self._stop(other)

    def _connection(self, record: Record) -> LocalConnection:
        connection = self._connections.get(record.name)
        if connection is None or connection.key != record.key:
            paths = self._runtime.service(self.namespace, record.name)
            path = paths.socket(record.incarnation)
            connection = LocalConnection(
                record.key, record.methods, str(path), record.supervisor is not None
            )
            self._connections[record.name] = connection
        return connection


def end_abandoned(
    root: str, namespace: str, name: str, end: Callable[[], AbstractContextManager[object]]
) -> None:
    """End a namespace that nobody has open any more; called by a service of it, and never returns.

    Args:
        root: The runtime directory.
        namespace: The namespace, whose lease is held until this process is gone: who opens it now
            waits for that.
        name: The service of this process, which ends last.
        end: Ends it; the process stays for the `with`.

    Raises:
        OSError: The others can't be ended.
    """
    Path(root).stat()  # who has removed it doesn't want it made again
    services = LocalService(namespace, runtime_dir=root)
    services.end_others(name)
    with end():
        records.remove_namespace(RuntimeDirectory(Path(root)), namespace, besides=name)
    threading.Event().wait()
