"""The directory of services: one SQLite file, and beside it the files of those that live.

    <root>/                 0700
        services.sqlite     one row a service, whose name is UNIQUE in its namespace
        <number>.lock       held by the service for life (flock)
        <number>.sock       where it listens
        <number>.log        what it prints

A row says what there was; whether it still lives only its lock tells. The kernel gives a lock back
however its process ends, and nobody else ever takes it: numbers aren't used again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from own_backend.forks import close_in_forks
from services_core import ServiceKey, ServiceSpec, public_methods
from services_core.options import chosen_options
from services_core.services import class_name


class Record(NamedTuple):
    """A row. `pid` is None until there is a process, `started_at` until lookups may see it."""

    number: int | None
    namespace: str
    name: str
    incarnation: str
    replicas: int
    class_name: str
    methods: str
    options: str
    close_timeout: float
    authkey: bytes
    pid: int | None = None
    started_at: float | None = None

    @classmethod
    def of(cls, namespace: str, spec: ServiceSpec) -> Record:
        """The record of a service that shall be constructed."""
        return cls(
            number=None,
            namespace=namespace,
            name=spec.name,
            incarnation=spec.incarnation,
            replicas=spec.options.replicas,
            class_name=class_name(spec.cls),
            methods=json.dumps(public_methods(spec.cls)),
            options=json.dumps(chosen_options(spec.options)),
            close_timeout=spec.options.close_timeout,
            authkey=secrets.token_bytes(32),
        )

    @property
    def key(self) -> ServiceKey:
        """Identity of the service."""
        return ServiceKey("sqlite", self.namespace, self.name, self.incarnation, self.replicas)


_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS services (
    number INTEGER PRIMARY KEY AUTOINCREMENT, {", ".join(Record._fields[1:])},
    UNIQUE (namespace, name)
)
"""


class Directory:
    """The directory at a path. It keeps nothing open, so it pickles, forks and is safe in threads.

    Args:
        root: The path; by default one in the temporary directory, of this user's.

    Raises:
        PermissionError: Others may enter it: whoever writes there runs code in every worker.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        default = Path(tempfile.gettempdir()) / f"services-sqlite-{os.geteuid()}"
        self.root = Path(root or default).absolute()
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self.root.lstat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError(f"{self.root} has to be a directory of yours, with mode 0700")
        with self._rows() as rows:
            rows.execute(_SCHEMA)

    def path(self, record: Record, suffix: str) -> Path:
        """A file of a service: its "lock", "sock" or "log"."""
        return self.root / f"{record.number}.{suffix}"

    def reserve(self, record: Record) -> tuple[Record, BinaryIO] | None:
        """Take the name of a record; None if it is taken.

        Returns:
            The record with its number, and its lock, which is the caller's until it is passed on.
        """
        self.find(namespace=record.namespace, name=record.name)  # forgets one that died
        holes = ", ".join("?" * len(record))
        with self._rows() as rows:
            try:
                inserted = rows.execute(f"INSERT INTO services VALUES ({holes})", record)  # noqa: S608
            except sqlite3.IntegrityError:  # UNIQUE: of any number of callers one gets through
                return None
            record = record._replace(number=inserted.lastrowid)
            # Locked before the row is committed: without its lock it would pass for a dead one.
            lock = close_in_forks(self.path(record, "lock").open("wb"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        return record, lock

    def living(self, **columns: str | int | None) -> list[Record]:
        """The records with these values whose services live, or are under construction."""
        condition = " AND ".join(f"{column} = ?" for column in columns)
        query = f"SELECT * FROM services WHERE {condition}"  # noqa: S608 - names from this package
        with self._rows() as rows:
            found = [Record(*row) for row in rows.execute(query, tuple(columns.values()))]
        living = [record for record in found if self.lives(record)]
        for record in found:
            if record not in living:
                self.forget(record)
        return living

    def find(self, **columns: str | int | None) -> Record | None:
        """The one record that `living` gives, or None."""
        return next(iter(self.living(**columns)), None)

    def lives(self, record: Record) -> bool:
        """Whether the lock of a service is held: by it, or by the process that starts it."""
        try:
            with self.path(record, "lock").open("rb") as lock:
                # Shared: those who look at the same time don't take each other for the service.
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def update(self, record: Record, column: str, value: float) -> bool:
        """Set a column of a service; False if it was forgotten meanwhile."""
        query = f"UPDATE services SET {column} = ? WHERE number = ?"  # noqa: S608 - as above
        with self._rows() as rows:
            return rows.execute(query, (value, record.number)).rowcount == 1

    def forget(self, record: Record) -> None:
        """Remove what a service that is gone has left; its name is free afterwards."""
        for suffix in ("sock", "log", "lock"):
            self.path(record, suffix).unlink(missing_ok=True)
        with self._rows() as rows:
            rows.execute("DELETE FROM services WHERE number = ?", (record.number,))

    @contextlib.contextmanager
    def _rows(self) -> Iterator[sqlite3.Connection]:
        """A transaction. In a connection of its own: SQLite's must not go through a fork."""
        path = self.root / "services.sqlite"
        with contextlib.closing(sqlite3.connect(path, timeout=30.0)) as rows:
            rows.execute("PRAGMA synchronous = OFF")  # no service survives a power cut either
            with rows:
                yield rows
