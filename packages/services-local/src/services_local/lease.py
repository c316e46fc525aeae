"""How long a namespace lives: as long as a process has it open.

Every process that opens a namespace takes a shared flock on its lease file, once, and keeps it
until it exits or closes the namespace. Forked children inherit the description and count with it;
LOCK_UN is never called on it, because in a child that would drop the parent's lease. Each service,
or the process that would start it again, waits for the exclusive lock, which the kernel grants when
the last opener is gone, lingers, and if nobody has come back by then ends the namespace while it
holds the lock.

Services take no lease for their own lookups, or two that know each other would never end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from services_local import forks

LINGER_VARIABLE = "SERVICES_LOCAL_LINGER"

# Long enough for the next script of a job to start, short enough that nothing lies about.
_DEFAULT_LINGER = 30.0

_lock = threading.Lock()
_held: dict[Path, tuple[int, int]] = {}  # lease file -> (descriptor, registries that are open)
# A flag, not the environment: forks of a service inherit it, jobs that a service starts don't.
_in_service = False


def take_none() -> None:
    """Make this process, a service's, and its forks take no lease."""
    global _in_service  # noqa: PLW0603 - it is of the process
    _in_service = True


def take(path: Path) -> None:
    """Keep a namespace alive while this process has it open; counts the calls."""
    if _in_service:
        return
    with _lock:
        held = _held.get(path)
        if held is not None:
            _held[path] = (held[0], held[1] + 1)
        else:
            _held[path] = (_lock_shared(path), 1)


def release(path: Path) -> None:
    """Undo one `take`; the last one lets go of the namespace."""
    if _in_service:
        return
    with _lock:
        descriptor, count = _held[path]
        if count > 1:
            _held[path] = (descriptor, count - 1)
        else:
            del _held[path]
            os.close(descriptor)


@contextlib.contextmanager
def abandoned(path: Path) -> Iterator[bool]:
    """Whether nobody has the namespace open; nobody can open it inside the `with` then."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False  # its files are gone already
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        try:
            yield True
        finally:
            # Closing alone would not do: a child that another thread forks meanwhile shares it.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def openers(path: Path) -> list[int] | None:
    """Processes that have taken the lease of a namespace, where the system tells (proc_locks(5)).

    A forked child that counts with its parent is not listed.
    """
    try:
        inode = path.stat().st_ino
        locks = Path("/proc/locks").read_text()
    except FileNotFoundError:
        return None
    fields = [line.split() for line in locks.splitlines()]
    return sorted(
        int(field[4])
        for field in fields
        if field[1:4:2] == ["FLOCK", "READ"] and field[5].rpartition(":")[2] == str(inode)
    )


def watch(path: Path, end_namespace: Callable[[], None], end_alone: Callable[[], None]) -> None:
    """Call `end_namespace` when nobody has had the namespace open for the linger.

    Args:
        path: The lease file.
        end_namespace: Called with the lease held exclusively, which stays until the process ends.
        end_alone: Called if that fails, or watching does, such as for want of descriptors, or
            because somebody has removed the files; the other services watch for themselves.
    """
    linger = float(os.environ.get(LINGER_VARIABLE, _DEFAULT_LINGER))
    try:
        with forks.no_fork():
            # A child that outlives this process must not keep it locked.
            lease = os.fdopen(_open(path), "rb", buffering=0)
            forks.keep_private(lease)
    except OSError:
        traceback.print_exc()
        end_alone()
        return

    def run() -> None:
        while True:
            fcntl.flock(lease, fcntl.LOCK_EX)
            fcntl.flock(lease, fcntl.LOCK_UN)
            time.sleep(linger)
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # somebody has come back
            try:
                end_namespace()
            except Exception:  # noqa: BLE001 - whatever it is, this must not live for ever
                traceback.print_exc()
                end_alone()
            return

    threading.Thread(target=run, name="lease-watch", daemon=True).start()


def _lock_shared(path: Path) -> int:
    while True:
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = _open(path)
        except (FileNotFoundError, FileExistsError):
            # The directory was removed just now: by another worker, in the middle of either call.
            if path.parent.exists() and not path.parent.is_dir():
                raise
            continue
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        # The namespace may have been ended, its files removed, while this process waited.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _renew_lock_after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it when this process was forked
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock_after_fork)
