"""Starting and ending the process of a service.

    registrar                                     service process (a new interpreter)
        inserts the row, holds its lock
        starts the process, lets go of it    ->   holds the lock, constructs, listens
        waits                                <-   None, or why it can't be constructed
        publishes the row, says so           ->   lives, whatever becomes of the registrar

Each end of the socket between them tells when the other process is gone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import BinaryIO

from own_backend.client import SqliteConnection
from own_backend.directory import Directory, Record
from own_backend.forks import close_in_forks
from services_core import (
    Connection,
    Construction,
    ServiceDiedError,
    ServiceSpec,
    ServiceStartError,
)
from services_core.remote_errors import PackedError, unpack_error
from services_core.waiting import looks

_log = logging.getLogger("own_backend")

# The new interpreter finds this package, and the service's class, where the registrar does.
_BOOT = """
import json, sys
sys.path[:] = json.loads(sys.stdin.buffer.readline())
from own_backend.server import main
main()
"""

# How much of what a dead process has printed goes into the error, in bytes from its end.
_LOG_TAIL = 2000

# A service that was told to end may take its close_timeout twice, for the call that runs and then
# for its close(), and this many seconds to exit.
_EXIT_SECONDS = 3.0


class ProcessConstruction(Construction):
    """A service whose process has been started.

    Args:
        directory: Where its name is reserved.
        record: Its row.
        lock: Its lock, which is passed on to the process.
        spec: The service.
        pickled: The same, as it is sent.
    """

    def __init__(
        self,
        directory: Directory,
        record: Record,
        lock: BinaryIO,
        spec: ServiceSpec,
        pickled: bytes,
    ) -> None:
        self._directory = directory
        self._record = record
        self._timeout = spec.options.start_timeout
        self._give_up = time.monotonic() + self._timeout
        self._constructed = False
        ours, theirs = multiprocessing.Pipe()
        self._channel = close_in_forks(ours)
        passed = (theirs.fileno(), lock.fileno())
        log = directory.path(record, "log").open("wb")
        # A file: a pipe may be too small, and the process dead before it has read all.
        with lock, theirs, log, tempfile.TemporaryFile() as stdin:
            order = pickle.dumps((directory, record, spec.bound, pickled))
            stdin.write(json.dumps(sys.path).encode() + b"\n" + order)
            stdin.seek(0)
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, a module of ours
                [sys.executable, "-c", _BOOT, *map(str, passed), record.name],
                stdin=stdin,
                stdout=log,
                stderr=log,
                pass_fds=passed,
                start_new_session=True,
            )
        directory.update(record, "pid", self._process.pid)

    def wait(self) -> None:
        """Wait for the report of the process."""
        name = self._record.name
        try:
            if not self._channel.poll(max(0.0, self._give_up - time.monotonic())):
                reason = f"its constructor took longer than start_timeout={self._timeout:g} s"
                raise ServiceStartError(name, reason)
            failure: PackedError | None = self._channel.recv()
        except (EOFError, OSError) as error:
            self._process.kill()  # it may have closed the channel and live
            reason = f"its process ended with code {self._process.wait()} while it was constructed"
            raise ServiceStartError(name, reason, self._printed()) from error
        if failure is not None:
            cause = unpack_error(failure)
            reason = f"its constructor raised {cause!r}"
            raise ServiceStartError(name, reason, failure.traceback) from cause
        self._constructed = True

    def publish(self) -> Connection:
        """Publish the row, and tell the service."""
        if not self._directory.update(self._record, "started_at", time.time()):
            raise ServiceStartError(self._record.name, "it was ended while it was constructed")
        try:
            # Afterwards: if this process is killed in between, so is a service that nobody sees.
            self._channel.send("published")
        except OSError as error:
            raise ServiceStartError(self._record.name, "it died once constructed") from error
        threading.Thread(target=self._reap, name="reap", daemon=True).start()
        return SqliteConnection(self._directory, self._record)

    def abandon(self) -> None:
        """End the process, with the service's `close()` if it is constructed."""
        if self._constructed:
            end(self._directory, self._record)
        self._process.kill()
        self._reap()
        self._directory.forget(self._record)

    def _printed(self) -> str:
        try:
            printed = self._directory.path(self._record, "log").read_bytes()
        except FileNotFoundError:  # somebody saw that it is dead, and forgot it
            return ""
        return printed[-_LOG_TAIL:].decode(errors="replace")

    def _reap(self) -> None:
        """Leave no zombie. The channel is kept until then: its end is that of a bound service."""
        self._process.wait()
        self._channel.close()


def end(directory: Directory, record: Record) -> None:
    """Run the `close()` of a service if it is constructed, end its process, and free its name.

    Args:
        directory: Where it is registered.
        record: Its row.
    """
    patience = _EXIT_SECONDS
    try:
        SqliteConnection(directory, record).stop(2 * record.close_timeout + _EXIT_SECONDS)
    except ServiceDiedError:
        patience = 0.0  # it doesn't listen: it is being constructed, or is dead
    except Exception as error:  # noqa: BLE001 - close() may raise anything; it ends all the same
        _log.warning("close() of service %r failed: %r", record.name, error)
    kill_from = time.monotonic() + patience
    for _ in looks(patience + _EXIT_SECONDS):
        found = directory.find(number=record.number)  # forgets it when it is gone
        if found is None:
            return
        if found.pid is not None and time.monotonic() >= kill_from:
            _kill(directory, found, found.pid)


def _kill(directory: Directory, record: Record, pid: int) -> None:
    """Kill a service, and never a process that got its pid after it."""
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        try:
            if directory.lives(record):  # then the pid is its own still
                signal.pidfd_send_signal(process, signal.SIGKILL)
        finally:
            os.close(process)
