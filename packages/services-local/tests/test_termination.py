"""SIGTERM ends a service wherever its main thread is."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from services_core import ServiceBase
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

        def look_up(self) -> None:
            pass

    return Closing


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
