"""`SqliteService`: the registry, as five primitives."""

from __future__ import annotations

import json
import os
import pickle
import socket
from typing import ClassVar

from own_backend.client import SqliteConnection
from own_backend.directory import Directory, Record
from own_backend.processes import ProcessConstruction, end
from services_core import (
    Connection,
    Construction,
    ServiceBase,
    ServiceExistsError,
    ServiceInfo,
    ServiceSpec,
)
from services_core.placement import check_machine


class SqliteService(ServiceBase):
    """Services that are processes of this machine, found through a SQLite file.

    A service lives until `unregister` or `reset`, whatever becomes of the worker that registered
    it. Its class and its arguments travel by pickle: the class must be importable by its name.

    `num_cpus`, `num_gpus` and `memory` are only compared with what the machine has. `max_restarts`
    and `lifetime` are taken and not acted on.

    Args:
        namespace: Services of one namespace don't see those of another.
        directory: Where the file is; by default in a directory of the user's in the temporary one.
    """

    backend: ClassVar[str] = "sqlite"

    def __init__(
        self, namespace: str = "services", *, directory: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__(namespace, directory=directory)
        self._directory = Directory(directory)

    def _start(self, spec: ServiceSpec) -> Construction:
        check_machine(spec)
        pickled = pickle.dumps(spec)  # raises with nothing reserved
        reserved = self._directory.reserve(Record.of(self.namespace, spec))
        if reserved is None:
            raise ServiceExistsError(spec.name, self.namespace)
        record, lock = reserved
        try:
            return ProcessConstruction(self._directory, record, lock, spec, pickled)
        except BaseException:
            lock.close()
            self._directory.forget(record)
            raise

    def _connect(self, name: str) -> Connection | None:
        record = self._directory.find(namespace=self.namespace, name=name)
        if record is None or record.started_at is None:
            return None
        return SqliteConnection(self._directory, record)

    def _names(self, *, starting: bool = False) -> list[str]:
        records = self._directory.living(namespace=self.namespace)
        return [r.name for r in records if starting or r.started_at is not None]

    def _stop(self, name: str) -> bool:
        record = self._directory.find(namespace=self.namespace, name=name)
        if record is None:
            return False
        end(self._directory, record)
        return True

    def _describe(self, name: str) -> ServiceInfo | None:
        record = self._directory.find(namespace=self.namespace, name=name)
        if record is None:
            return None
        return ServiceInfo(
            name=name,
            namespace=self.namespace,
            backend=self.backend,
            class_name=record.class_name,
            state="starting" if record.started_at is None else "running",
            pid=record.pid,
            node=socket.gethostname(),
            started_at=record.started_at,
            restarts=0,
            options=json.loads(record.options),
        )
