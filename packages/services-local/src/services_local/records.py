"""Which services there are: one lock and one record each.

A service holds an exclusive flock on its lock file for life, and the kernel gives it back however
the service ends, so a lock that can be taken belongs to no living service, whatever pid is written
anywhere. flock belongs to the open file description (flock(2)): the registrar takes it, the service
process inherits the descriptor, and the registrar's copy is closed. So there is no moment at which
nobody holds it.

    lock free                 nothing there
    lock held, no record      its constructor runs
    lock held, and a record   it lives, is being started again, or is ending
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from services_core import MethodKind, ServiceKey
from services_local import documents, forks
from services_local.runtime import RuntimeDirectory, ServicePaths

BACKEND = "local"

# Where somebody has removed the whole directory there is nothing to see.
_NOTHING = contextlib.suppress(FileNotFoundError)


State = Literal["running", "restarting", "ending"]
"""What a service does. Until it has ended its name stays taken, and lookups see it."""


@dataclass(frozen=True)
class Record:
    """What is known of a service that lives.

    `pid` is that of its last process, also while it is restarting. `supervisor` is the process that
    starts it again, if there is one.
    """

    namespace: str
    name: str
    incarnation: str
    replicas: int
    pid: int
    supervisor: int | None
    node: str
    class_name: str
    methods: dict[str, MethodKind]
    state: State
    started_at: float
    restarts: int
    max_restarts: int
    close_timeout: float
    detached: bool
    bound: bool
    options: dict[str, Any]

    @property
    def key(self) -> ServiceKey:
        """Identity of the service."""
        return ServiceKey(BACKEND, self.namespace, self.name, self.incarnation, self.replicas)

    @property
    def is_restarting(self) -> bool:
        """Whether it is being started again."""
        return self.state == "restarting"

    @property
    def may_restart(self) -> bool:
        """Whether it is started again if it dies now."""
        left = self.restarts != self.max_restarts
        return self.supervisor is not None and self.state != "ending" and left

    def write(self, path: Path) -> None:
        """Publish the record; readers see all of it or nothing."""
        documents.write(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """The record of that file, or None if there is none that makes sense."""
        try:
            return cls(**(documents.read(path) or {}))
        except TypeError:
            return None


class Reservation:
    """The lock of a service's name, which is taken while this or a copy of it is open.

    Args:
        descriptor: The lock file, open.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._open = True
        forks.keep_private(self)

    @classmethod
    def open(cls, lock: Path) -> Reservation:
        """Open a lock file."""
        with forks.no_fork():
            return cls(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def take(self) -> bool:
        """Take the name; False if it is taken."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def note(self, **facts: Any) -> None:
        """Write what is known of the service so far; `reset` finds its pid there."""
        data = json.dumps(facts).encode()
        # In this order: a reader must not find it empty.
        os.pwrite(self.descriptor, data, 0)
        os.ftruncate(self.descriptor, len(data))

    def close(self) -> None:
        """Close this process's copy; the service's copy, if there is one, goes on holding."""
        with forks.no_fork():  # a child of that moment would have a copy that nobody closes
            if self._open:
                self._open = False
                forks.forget(self)
                os.close(self.descriptor)

    def free(self) -> None:
        """Free the name, whoever else may have a copy: the service is gone."""
        if self._open:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        self.close()


def reserve(runtime: RuntimeDirectory, namespace: str, name: str) -> Reservation | None:
    """Take a name, or return None if it is taken.

    Args:
        runtime: The directory.
        namespace: The service's namespace.
        name: The service's name.
    """
    paths = runtime.service(namespace, name)
    with runtime.mutex():
        directory = paths.lock.parent
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / "name").write_text(namespace, "utf-8", "surrogatepass")
        reservation = Reservation.open(paths.lock)
        try:
            if not reservation.take():
                reservation.close()
                return None
            _remove_remains(paths)
            reservation.note(name=name)
        except BaseException:
            reservation.close()
            raise
        return reservation


def find(runtime: RuntimeDirectory, namespace: str, name: str) -> Record | None:
    """The record of a service that lives and is constructed, or is being started again."""
    paths = runtime.service(namespace, name)
    with _NOTHING, runtime.mutex(shared=True):
        return Record.read(paths.record) if _is_held(paths.lock) else None
    return None


def is_guarded(runtime: RuntimeDirectory, namespace: str, name: str) -> bool:
    """Whether the process lives that would start that service again."""
    with _NOTHING, runtime.mutex(shared=True):
        return _is_held(runtime.service(namespace, name).guard)
    return False


def is_taken(runtime: RuntimeDirectory, namespace: str, name: str) -> bool:
    """Whether a service of that name lives or is being constructed."""
    with _NOTHING, runtime.mutex(shared=True):
        return _is_held(runtime.service(namespace, name).lock)
    return False


def taken(
    runtime: RuntimeDirectory, namespace: str
) -> Iterator[tuple[str, Record | None, int | None]]:
    """The names of a namespace that are taken.

    Yields:
        The name, the record of its service if that is constructed, and its process if it isn't.
    """
    notes = []
    with _NOTHING, runtime.mutex(shared=True):
        held = [lock for lock in runtime.namespace(namespace).glob("*.lock") if _is_held(lock)]
        notes = [(documents.read(lock), Record.read(lock.with_suffix(".json"))) for lock in held]
    for note, record in notes:
        if record is not None:
            yield record.name, record, None
        elif note is not None and "name" in note:
            yield note["name"], None, note.get("pid")


def starting_pid(runtime: RuntimeDirectory, namespace: str, name: str) -> int | None:
    """Process that constructs the service of that name, or None if it isn't known (yet)."""
    pid = (documents.read(runtime.service(namespace, name).lock) or {}).get("pid")
    return pid if isinstance(pid, int) else None


def forget(runtime: RuntimeDirectory, namespace: str, name: str) -> None:
    """Remove the files of a service that is gone; does nothing if the name is taken again."""
    paths = runtime.service(namespace, name)
    with runtime.mutex():
        if not _is_held(paths.lock):
            _remove_remains(paths)
            paths.lock.unlink(missing_ok=True)


def remove_namespace(runtime: RuntimeDirectory, namespace: str, *, besides: str = "") -> None:
    """Remove the files of a namespace, unless a service there lives or is being constructed.

    Args:
        runtime: The directory.
        namespace: The namespace. Its lease is held exclusively by the caller.
        besides: A service that is about to end, and doesn't count.
    """
    own = runtime.service(namespace, besides).lock if besides else None
    directory = runtime.namespace(namespace)
    with runtime.mutex():
        if any(_is_held(lock) for lock in directory.glob("*.lock") if lock != own):
            return
        # Somebody may open the namespace meanwhile, and find the lease gone or the directory not
        # empty: then the directory stays, and is theirs.
        with contextlib.suppress(OSError):
            for path in list(directory.iterdir()):
                path.unlink(missing_ok=True)
            directory.rmdir()


def _is_held(lock: Path) -> bool:
    with forks.no_fork():  # a child would have the descriptor, too
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            return False
        finally:
            os.close(descriptor)


def _remove_remains(paths: ServicePaths) -> None:
    draft = paths.record.with_suffix(".draft")
    for path in (paths.record, draft, paths.guard, paths.log, *paths.sockets()):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
