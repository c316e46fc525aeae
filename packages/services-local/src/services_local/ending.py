"""Ending a service: ask it, wait for it, and only then kill it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable

from services_core.remote_errors import unpack_error
from services_core.waiting import looks
from services_local import records, wire
from services_local.channels import Channel
from services_local.handshake import Purpose
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
    # A method that runs gets the same time before close() as close() does.
    patience = 2 * record.close_timeout + EXIT_SECONDS
    try:
        _ask(runtime, record, time.monotonic() + patience)
        patience = EXIT_SECONDS
    except TimeoutError:
        patience = 0.0
        _log.warning("service %r doesn't end, and is killed", record.name)
    except (OSError, EOFError):
        # It has ended, or lets nobody in, perhaps because it is being started again.
        if record.supervisor is not None:
            _signal(signal.SIGTERM, record.supervisor, lambda: _is_guarded(runtime, record))
        else:
            _signal(signal.SIGTERM, record.pid, lambda: not _gone(runtime, record, 0))
    if _gone(runtime, record, patience):
        return
    if record.supervisor is not None:
        _signal(signal.SIGKILL, record.supervisor, lambda: _is_guarded(runtime, record))
    current = records.find(runtime, record.namespace, record.name)
    if current is not None and current.incarnation == record.incarnation:
        _signal(signal.SIGKILL, current.pid, lambda: not _gone(runtime, record, 0))
        _gone(runtime, record, EXIT_SECONDS)


def _ask(runtime: RuntimeDirectory, record: Record, give_up: float) -> None:
    """Tell a service to end, and return when its `close()` has run."""
    path = runtime.service(record.namespace, record.name).socket(record.incarnation)
    channel = Channel(path, Purpose.STOP, give_up)
    try:
        answer = channel.receive(give_up)
    finally:
        channel.close()
    if answer.kind == wire.ERROR:
        error = unpack_error(answer.take_content())
        _log.warning("close() of service %r failed: %r", record.name, error)


def _end_starting(runtime: RuntimeDirectory, namespace: str, name: str) -> bool:
    """End the process that constructs a service; False if there is none."""
    found = False
    told: int | None = None
    give_up = time.monotonic() + EXIT_SECONDS
    for _ in looks(2 * EXIT_SECONDS):
        if not records.is_taken(runtime, namespace, name):
            return found
        found = True
        record = records.find(runtime, namespace, name)
        if record is not None:
            end(runtime, record)
            return True
        # The pid is noted as soon as there is a process.
        pid = records.starting_pid(runtime, namespace, name)
        if pid is not None and pid != told:
            # If its object is constructed, and waits for other replicas, its close() runs.
            told = pid
            _signal(signal.SIGTERM, pid, lambda: True)
        elif pid is not None and time.monotonic() > give_up:
            _signal(signal.SIGKILL, pid, lambda: True)
    return found


def _gone(runtime: RuntimeDirectory, record: Record, timeout: float) -> bool:
    for _ in looks(timeout):
        current = records.find(runtime, record.namespace, record.name)
        if current is None or current.incarnation != record.incarnation:
            return True
    return False


def _is_guarded(runtime: RuntimeDirectory, record: Record) -> bool:
    return records.is_guarded(runtime, record.namespace, record.name)


def _signal(number: int, pid: int, still_it: Callable[[], bool]) -> None:
    """Send a signal to a service's process, and never to another one that got its pid."""
    with contextlib.suppress(ProcessLookupError):
        if not hasattr(os, "pidfd_open"):  # macOS
            os.kill(pid, number)
            return
        descriptor = os.pidfd_open(pid)
        try:
            if still_it():
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
