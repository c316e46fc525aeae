"""SIGTERM ends a service wherever its main thread is."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services_core import ServiceBase, ServiceDiedError
from services_core.testing.observing import eventually
from services_local import records
from services_local.runtime import RuntimeDirectory

_libc = ctypes.CDLL(None, use_errno=True)


def _signal_another_thread(pid: int, number: int) -> None:
    """Send a signal to a thread that isn't the main one: the main one stays where it waits."""
    others = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    others.remove(pid)
    assert _libc.tgkill(pid, min(others), number) == 0


def _closing() -> type:
    """Make a class that pickles by value: the service can't import this module."""

    class Closing:
        def __init__(self, directory: Path) -> None:
            self._directory = directory

        def close(self) -> None:
            (self._directory / "closed").touch()

        def fork(self) -> int:
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            os.kill(child, signal.SIGTERM)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        def handle(self) -> None:
            signal.signal(signal.SIGTERM, lambda *_: (self._directory / "handled").touch())

        def chain(self) -> None:
            former: Any = signal.getsignal(signal.SIGTERM)

            def handle(*arguments: object) -> None:
                (self._directory / "handled").touch()
                former(*arguments)

            signal.signal(signal.SIGTERM, handle)

        def look_up(self) -> None:
            pass

    return Closing


def _repeat(call: Callable[[], object]) -> None:
    """Have the main thread of a service run handlers, until it ends."""
    while True:
        call()


@pytest.mark.parametrize("options", [{}, {"max_concurrency": 2}], ids=["serial", "threaded"])
def test_a_signal_that_doesnt_wake_the_main_thread(
    services: ServiceBase, tmp_path: Path, options: dict[str, Any]
) -> None:
    services.register("closing", _closing(), tmp_path, **options)
    pid = services.describe("closing").pid
    assert pid is not None
    _signal_another_thread(pid, signal.SIGTERM)
    assert eventually(lambda: "closing" not in services)
    assert (tmp_path / "closed").exists()


def test_a_signal_that_doesnt_wake_the_main_thread_of_a_supervisor(
    services: ServiceBase, runtime_dir: Path, tmp_path: Path
) -> None:
    services.register("closing", _closing(), tmp_path, max_restarts=3)
    record = records.find(RuntimeDirectory(runtime_dir), "tests", "closing")
    assert record is not None
    assert record.supervisor is not None
    _signal_another_thread(record.supervisor, signal.SIGTERM)
    assert eventually(lambda: "closing" not in services)
    assert (tmp_path / "closed").exists()


def test_a_forked_child_dies_of_the_signal_and_the_service_doesnt(
    services: ServiceBase, tmp_path: Path
) -> None:
    closing = services.register("closing", _closing(), tmp_path)
    assert closing.fork() == -signal.SIGTERM
    assert not (tmp_path / "closed").exists()
    closing.look_up()


def test_a_handler_of_the_services_own_takes_its_place(
    services: ServiceBase, tmp_path: Path
) -> None:
    closing = services.register("closing", _closing(), tmp_path)
    closing.handle()
    pid = services.describe("closing").pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    assert eventually((tmp_path / "handled").exists)
    closing.look_up()
    assert "closing" in services


def test_a_handler_that_calls_the_former_ends_the_service(
    services: ServiceBase, tmp_path: Path
) -> None:
    closing = services.register("closing", _closing(), tmp_path)
    closing.chain()
    pid = services.describe("closing").pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    with pytest.raises(ServiceDiedError):
        _repeat(closing.look_up)
    assert eventually(lambda: "closing" not in services)
    assert (tmp_path / "handled").exists()
    assert (tmp_path / "closed").exists()


def test_a_loop_of_the_services_own_keeps_its_signals(services: ServiceBase) -> None:
    class Looping:
        def __init__(self) -> None:
            self._loop = asyncio.new_event_loop()
            self._count = 0
            self._loop.add_signal_handler(signal.SIGUSR1, self._add)

        def _add(self) -> None:
            self._count += 1

        def signalled(self) -> int:
            os.kill(os.getpid(), signal.SIGUSR1)
            give_up = time.monotonic() + 30
            while not self._count and time.monotonic() < give_up:
                self._loop.run_until_complete(asyncio.sleep(0.01))
            return self._count

    looping = services.register("looping", Looping)
    assert looping.signalled() == 1
    pid = services.describe("looping").pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    with pytest.raises(ServiceDiedError):
        _repeat(looping.signalled)
