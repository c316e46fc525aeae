"""Starting the process of a service, and waiting until its constructor has returned.

    registrar                                   service process (exec'd, never forked)
        reserves the name: a locked descriptor
        launch, as a pickle in a pipe      ->   constructs, listens, writes its record
        waits for the report               <-   Ready, or Failed with the traceback
        closes its copy of the lock             holds the lock until it ends

The process is a new interpreter: threads, locks and GPU contexts of the registrar don't come along.
What it prints goes to its log file, since it may outlive whoever reads the registrar's output.
"""

from __future__ import annotations

import os
import pickle
import selectors
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from services_core import ServiceSpec, ServiceStartError
from services_core.remote_errors import PackedError, unpack_error
from services_local import wire
from services_local.records import Record, Reservation
from services_local.runtime import RuntimeDirectory, new_incarnation

# How much of a dead service's log goes into the error, in bytes from its end.
_LOG_TAIL = 2000

# How often a registrar looks whether the process that it waits for still lives (seconds).
_POLL_SECONDS = 0.1

_LENGTH = struct.Struct("!Q")


@dataclass(frozen=True)
class Launch:
    """What a service process is told."""

    root: str
    namespace: str
    name: str
    incarnation: str
    path: list[str]
    spec: bytes


@dataclass(frozen=True)
class Ready:
    """The service lives, and this is its record."""

    record: Record


@dataclass(frozen=True)
class Failed:
    """The constructor raised."""

    error: PackedError


def launch(
    runtime: RuntimeDirectory, namespace: str, spec: ServiceSpec, reservation: Reservation
) -> Record:
    """Start a service under a reserved name and wait until it lives.

    Args:
        runtime: The directory.
        namespace: The service's namespace.
        spec: The service.
        reservation: Its name, which the service process takes over.

    Raises:
        ServiceStartError: The constructor raised, took longer than `start_timeout`, or its process
            ended.
    """
    order = Launch(
        root=str(runtime.root),
        namespace=namespace,
        name=spec.name,
        incarnation=new_incarnation(),
        path=sys.path,
        spec=wire.dumps(spec),
    )
    log = runtime.service(namespace, spec.name).log
    order_read, order_write = os.pipe()
    status_read, status_write = os.pipe()
    passed = (order_read, status_write, reservation.descriptor)
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - this interpreter, a module of ours
                # -P: a file in the working directory must not stand for a module of Python's.
                [sys.executable, "-P", "-m", "services_local.server", *map(str, passed), spec.name],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=passed,
                start_new_session=True,
            )
    except BaseException:
        os.close(order_write)
        os.close(status_read)
        raise
    finally:
        os.close(order_read)
        os.close(status_write)
    try:
        reservation.note(name=spec.name, pid=process.pid)
        record = _wait_until_ready(process, spec, order, order_write, status_read, log)
    except BaseException:
        # Also at Ctrl-C: a service of which nobody was told must not come up after all.
        process.kill()
        process.wait()
        raise
    # Reap it whenever it ends, so that no zombie is left.
    threading.Thread(target=process.wait, name=f"reap-{spec.name}", daemon=True).start()
    return record


def _wait_until_ready(
    process: subprocess.Popen[bytes],
    spec: ServiceSpec,
    order: Launch,
    order_write: int,
    status_read: int,
    log: Path,
) -> Record:
    give_up = time.monotonic() + spec.options.start_timeout
    # The order may be larger than a pipe, and the process may die before it has read it.
    writer = threading.Thread(target=_write, args=(order_write, pickle.dumps(order)), daemon=True)
    writer.start()
    status = _read_report(status_read, process, give_up)
    if status is None:
        raise ServiceStartError(
            spec.name,
            f"its constructor took longer than start_timeout={spec.options.start_timeout:g} s",
        )
    if not status:
        code = process.wait()
        tail = log.read_bytes()[-_LOG_TAIL:].decode(errors="replace") if log.exists() else ""
        raise ServiceStartError(
            spec.name, f"its process ended with code {code} while it was constructed", tail
        )
    outcome: Ready | Failed = pickle.loads(status)  # noqa: S301 - from the process started above
    if isinstance(outcome, Failed):
        error = unpack_error(outcome.error)
        raise ServiceStartError(
            spec.name, f"its constructor raised {error!r}", outcome.error.traceback
        ) from error
    return outcome.record


def _write(descriptor: int, data: bytes) -> None:
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except BrokenPipeError:
        return  # the process is gone: its status says so


def report(descriptor: int, outcome: Ready | Failed) -> None:
    """Tell the registrar how the construction went; called by the service process."""
    data = pickle.dumps(outcome)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_LENGTH.pack(len(data)) + data)


def _read_report(descriptor: int, process: subprocess.Popen[bytes], give_up: float) -> bytes | None:
    """What `report` wrote; b"" if the process ended without, None if neither came in time.

    The end of the pipe is not waited for: a process that the constructor forked may hold it open.
    """
    data = bytearray()
    with os.fdopen(descriptor, "rb", buffering=0) as file, selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        while time.monotonic() < give_up:
            ended = process.poll() is not None
            if not selector.select(min(_POLL_SECONDS, max(0.0, give_up - time.monotonic()))):
                if ended:
                    return b""
                continue
            chunk = file.read(65536)
            if not chunk:
                return b""
            data += chunk
            if len(data) >= _LENGTH.size:
                length = _LENGTH.unpack_from(data)[0]
                if len(data) >= _LENGTH.size + length:
                    return bytes(data[_LENGTH.size :])
    return None
