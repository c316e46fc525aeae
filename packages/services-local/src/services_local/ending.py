"""Ending a service: ask it, wait for it, and only then kill it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable

from services_core import ServiceDiedError
from services_core.waiting import looks
from services_local import records
from services_local.client import LocalConnection
from services_local.records import Record
from services_local.runtime import RuntimeDirectory

_log = logging.getLogger("services_local")

# What a process may take to exit, beside its close_timeout (seconds).
EXIT_SECONDS = 3.0


def stop(runtime: RuntimeDirectory, namespace: str, name: str) -> bool:
    """End the service of that name, also one that is being constructed; False if there is none."""
    record = records.find(runtime, namespace, name)
    if record is not None:
        end(runtime, record)
    elif not _end_starting(runtime, namespace, name):
        return False
    records.forget(runtime, namespace, name)
    return True


def end(runtime: RuntimeDirectory, record: Record) -> None:
    """End one incarnation of a service, and return when it is gone."""
    path = runtime.service(record.namespace, record.name).socket(record.incarnation)
    connection = LocalConnection(record.key, record.methods, str(path))
    try:
        connection.stop(record.close_timeout + EXIT_SECONDS)
    except ServiceDiedError:
        pass  # it was faster
    except Exception as error:  # noqa: BLE001 - close() may raise anything; it ends all the same
        _log.warning("close() of service %r failed: %r", record.name, error)
    if not _gone(runtime, record, EXIT_SECONDS):
        _kill(record.pid, lambda: not _gone(runtime, record, 0))
        _gone(runtime, record, EXIT_SECONDS)


def _end_starting(runtime: RuntimeDirectory, namespace: str, name: str) -> bool:
    found = False
    for _ in looks(EXIT_SECONDS):
        if not records.is_taken(runtime, namespace, name):
            return found
        found = True
        record = records.find(runtime, namespace, name)
        if record is not None:
            end(runtime, record)
            return True
        # The pid is noted as soon as there is a process.
        pid = records.starting_pid(runtime, namespace, name)
        if pid is not None:
            _kill(pid, lambda: True)
    return found


def _gone(runtime: RuntimeDirectory, record: Record, timeout: float) -> bool:
    for _ in looks(timeout):
        current = records.find(runtime, record.namespace, record.name)
        if current is None or current.incarnation != record.incarnation:
            return True
    return False


def _kill(pid: int, still_it: Callable[[], bool]) -> None:
    """Kill a service's process, and never another one that got its pid."""
    with contextlib.suppress(ProcessLookupError):
        if not hasattr(os, "pidfd_open"):  # macOS
            os.kill(pid, signal.SIGKILL)
            return
        descriptor = os.pidfd_open(pid)
        try:
            if still_it():
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)
