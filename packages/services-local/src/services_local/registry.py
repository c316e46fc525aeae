"""`LocalService`: the registry of one machine."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from typing import ClassVar

from services_core import (
    Connection,
    ServiceBase,
    ServiceDiedError,
    ServiceExistsError,
    ServiceInfo,
    ServiceSpec,
)
from services_core.placement import check_machine
from services_core.waiting import looks
from services_local import lease, records
from services_local.client import LocalConnection
from services_local.launch import launch
from services_local.records import Record
from services_local.runtime import RuntimeDirectory

_log = logging.getLogger("services_local")

# A service that was told to end may take its close_timeout, and this many seconds to exit.
_EXIT_SECONDS = 3.0


class LocalService(ServiceBase):
    """Services that are processes of this machine, each with a socket in a private directory.

    A service outlives the worker that registered it. It ends at `unregister` or `reset`, or some
    30 seconds after the last process that had the namespace open is gone, unless it was registered
    with `lifetime="detached"`.

    `num_cpus`, `num_gpus` and `memory` are only compared with what the machine has; `max_restarts`
    is taken and not acted on in this version.

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

    backend: ClassVar[str] = "local"

    def __init__(self, namespace: str = "services", *, runtime_dir: str | None = None) -> None:
        super().__init__(namespace, **({} if runtime_dir is None else {"runtime_dir": runtime_dir}))
        self._runtime = RuntimeDirectory(runtime_dir)
        # Made now, so that a service never finds its callers' key missing.
        self._runtime.key()
        self._connections: dict[str, LocalConnection] = {}
        self._lease = self._runtime.lease(namespace)
        lease.take(self._lease)

    def _start(self, spec: ServiceSpec) -> Connection:
        check_machine(spec)
        reservation = records.reserve(self._runtime, self.namespace, spec.name)
        if reservation is None:
            raise ServiceExistsError(spec.name, self.namespace)
        try:
            record = launch(self._runtime, self.namespace, spec, reservation)
        except BaseException:
            reservation.close()
            records.forget(self._runtime, self.namespace, spec.name)
            raise
        reservation.close()
        return self._connection(record)

    def _connect(self, name: str) -> Connection | None:
        record = records.find(self._runtime, self.namespace, name)
        return None if record is None else self._connection(record)

    def _names(self, *, starting: bool = False) -> list[str]:
        taken = records.taken_names(self._runtime, self.namespace)
        return [name for name, ready in taken if ready or starting]

    def _stop(self, name: str) -> bool:
        record = records.find(self._runtime, self.namespace, name)
        if record is not None:
            self._end(record)
        elif not self._end_starting(name):
            return False
        records.forget(self._runtime, self.namespace, name)
        return True

    def _describe(self, name: str) -> ServiceInfo | None:
        record = records.find(self._runtime, self.namespace, name)
        if record is None:
            return None
        return ServiceInfo(
            name=name,
            namespace=self.namespace,
            backend=self.backend,
            class_name=record.class_name,
            state="running",
            pid=record.pid,
            node=record.node,
            started_at=record.started_at,
            restarts=0,
            options=record.options,
        )

    def _release(self) -> None:
        # Handles that users still hold go on; the sockets close with the last of them.
        self._connections.clear()
        lease.release(self._lease)
        with lease.abandoned(self._lease) as nobody:
            if nobody:
                records.remove_namespace(self._runtime, self.namespace)

    def end_others(self, name: str) -> None:
        """End every service of the namespace besides `name` and the detached ones."""
        for other in self._names(starting=True):
            record = records.find(self._runtime, self.namespace, other)
            if other != name and not (record is not None and record.detached):
                self._stop(other)

    def remove_files(self, name: str) -> None:
        """Remove the namespace's files, unless somebody besides the service `name` uses them."""
        records.remove_namespace(self._runtime, self.namespace, besides=name)

    def _connection(self, record: Record) -> LocalConnection:
        connection = self._connections.get(record.name)
        if connection is None or connection.key != record.key:
            paths = self._runtime.service(self.namespace, record.name)
            path = paths.socket(record.incarnation)
            connection = LocalConnection(record.key, record.methods, str(path))
            self._connections[record.name] = connection
        return connection

    def _end(self, record: Record) -> None:
        connection = self._connection(record)
        try:
            connection.stop(record.close_timeout + _EXIT_SECONDS)
        except ServiceDiedError:
            pass  # it was faster
        except Exception as error:  # noqa: BLE001 - close() may raise anything; it ends all the same
            _log.warning("close() of service %r failed: %r", record.name, error)
        connection.close()
        if not self._gone(record, _EXIT_SECONDS):
            self._kill(record.pid, record)
            self._gone(record, _EXIT_SECONDS)

    def _end_starting(self, name: str) -> bool:
        found = False
        for _ in looks(_EXIT_SECONDS):
            if not records.is_taken(self._runtime, self.namespace, name):
                return found
            found = True
            record = records.find(self._runtime, self.namespace, name)
            if record is not None:
                self._end(record)
                return True
            # The pid is noted as soon as there is a process.
            pid = records.starting_pid(self._runtime, self.namespace, name)
            if pid is not None:
                self._kill(pid, None)
        return found

    def _gone(self, record: Record, timeout: float) -> bool:
        for _ in looks(timeout):
            current = records.find(self._runtime, self.namespace, record.name)
            if current is None or current.incarnation != record.incarnation:
                return True
        return False

    def _kill(self, pid: int, record: Record | None) -> None:
        """Kill a service's process, and never another one that got its pid."""
        with contextlib.suppress(ProcessLookupError):
            if not hasattr(os, "pidfd_open"):  # macOS
                os.kill(pid, signal.SIGKILL)
                return
            descriptor = os.pidfd_open(pid)
            try:
                if record is None or not self._gone(record, 0):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)
