"""Calls travel whatever they carry, and a process that forks keeps its own sockets."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services_core import (
    RemoteError,
    ServiceBase,
    ServiceDiedError,
    ServiceStartError,
    ServiceTimeoutError,
    get_services,
)
from services_core.testing.observing import eventually
from services_core.testing.samples import Counter, Echo, Failing, wait_for_file


def test_functions_and_classes_travel_by_value(services: ServiceBase) -> None:
    class Local:
        number = 3

    echo = services.register("echo", Echo)
    assert echo.back(lambda x: x + 1)[0][0](2) == 3
    assert echo.back(Local)[0][0].number == 3


def test_an_argument_that_cant_be_sent_fails_its_call_alone(services: ServiceBase) -> None:
    failing = services.register("failing", Failing)
    with pytest.raises(TypeError, match="pickle"):
        failing.well(threading.Lock())
    with pytest.raises(TypeError, match="pickle"):
        failing.well.submit(threading.Lock())
    with pytest.raises(TypeError, match="pickle"):
        services.register("counter", Counter).upto(threading.Lock())
    assert failing.well() == "well"
    assert failing.well.submit().result(30) == "well"


def test_many_calls_are_under_way_on_one_socket(services: ServiceBase) -> None:
    echo = services.register("echo", Echo, max_concurrency=4)
    futures = [echo.back.submit(number) for number in range(500)]
    assert [future.result(60)[0][0] for future in futures] == list(range(500))
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda number: echo.back(number)[0][0], range(500)))
    assert results == list(range(500))


def test_a_forked_child_and_its_parent_dont_mix_their_answers(services: ServiceBase) -> None:
    echo = services.register("echo", Echo)
    assert echo.back(0)[0] == (0,)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            right = all(echo.back(-n)[0] == (-n,) for n in range(200))
            right = right and echo.back.submit("child").result(30)[0] == ("child",)
            code = 0 if right else 2
        finally:
            os._exit(code)
    assert all(echo.back(n)[0] == (n,) for n in range(200))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_constructor_that_exits_fails_the_registration_with_its_log(
    services: ServiceBase,
) -> None:
    class Leaver:
        def __init__(self) -> None:
            os.write(2, b"leaving now\n")
            os._exit(9)

    with pytest.raises(ServiceStartError, match="code 9") as caught:
        services.register("leaver", Leaver)
    assert "leaving now" in str(caught.value)
    assert services.list() == []


def test_system_exit_in_a_method_belongs_to_its_caller(services: ServiceBase) -> None:
    class Quitter:
        def quit(self) -> None:
            raise SystemExit(3)

        def stay(self) -> str:
            return "here"

    quitter = services.register("quitter", Quitter)
    with pytest.raises((SystemExit, RemoteError)):
        quitter.quit()
    assert quitter.stay() == "here"


_SCRIPT = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from services_core import get_services

class Point:
    def __init__(self, x):
        self.x = x

class Plane:
    def mirror(self, point):
        return Point(-point.x)

def work():
    services = get_services(backend="local", namespace="tests")
    return services.register("plane", Plane).mirror(Point(3)).x

if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(work).result() == -3
    services = get_services(backend="local", namespace="tests")
    assert services["plane"].mirror(Point(1)).x == -1
"""


def test_classes_of_a_script_and_of_processes_that_it_spawns_travel_by_value(
    services: ServiceBase, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_constructor_may_fork_and_its_child_takes_nothing_along(services: ServiceBase) -> None:
    class Forker:
        def __init__(self) -> None:
            self._child = os.fork()
            if self._child == 0:
                signal.pause()
                os._exit(0)

        def reuse(self) -> bytes:
            """Fork twice; the grandchild reads a file whose number the child got anew."""
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                file = os.open("/etc/hostname", os.O_RDONLY)
                grandchild = os.fork()
                if grandchild == 0:
                    os.write(write, b"read" if os.read(file, 1) else b"empty")
                    os._exit(0)
                os.waitpid(grandchild, 0)
                os._exit(0)
            os.waitpid(child, 0)
            return os.read(read, 100)

        def close(self) -> None:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)

    forker = services.register("forker", Forker, start_timeout=30.0)
    assert forker.reuse() == b"read"


def test_sockets_and_threads_go_with_the_last_handle(services: ServiceBase) -> None:
    pickled = pickle.dumps(services.register("echo", Echo))
    for number in range(20):
        assert pickle.loads(pickled).back.submit(number).result(30)[0] == (number,)
    gc.collect()
    assert eventually(
        lambda: sum(thread.name == "service-echo-replies" for thread in threading.enumerate()) < 3
    )


def test_calls_under_way_survive_the_close_of_their_registry(services: ServiceBase) -> None:
    with get_services(backend="local", namespace="kept") as keeper:
        other = get_services(backend="local", namespace="kept")
        echo = other.register("echo", Echo)
        future = echo.back.submit(1)
        other.close()
        assert future.result(30)[0] == (1,)
        assert echo.back(2)[0] == (2,)
        assert keeper.list() == ["echo"]


def test_two_who_end_a_service_both_wait_for_its_close(
    services: ServiceBase, tmp_path: Path
) -> None:
    class Slow:
        def close(self) -> None:
            time.sleep(2.5)  # longer than a process that ends may take to exit
            (tmp_path / "closed").touch()

    other = get_services(backend="local", namespace="tests")
    services.register("slow", Slow, close_timeout=30.0)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda registry: registry.reset(), [services, other]))
    assert (tmp_path / "closed").exists()
    other.close()


def test_a_timeout_counts_from_the_call_on(services: ServiceBase, tmp_path: Path) -> None:
    """It bounds the whole call, and each item of a stream."""

    class Slow:
        def dribble(self) -> Iterator[int]:
            yield 1
            wait_for_file(str(tmp_path / "gate"))
            yield 2

    slow = services.register("slow", Slow)
    items = slow.dribble.options(timeout=0.2)()
    assert next(items) == 1
    with pytest.raises(ServiceTimeoutError, match="dribble"):
        next(items)
    with pytest.raises(ServiceTimeoutError):
        next(slow.dribble.options(timeout=0.2)())  # while the main thread is in the first one
    (tmp_path / "gate").touch()
    assert list(slow.dribble.options(timeout=30)()) == [1, 2]


def test_a_service_that_is_stopped_lets_callers_wait_no_longer_than_they_will(
    services: ServiceBase,
) -> None:
    counter = services.register("counter", Counter)
    pid = counter.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ServiceTimeoutError):
            counter.add.options(timeout=0.1)()
        with pytest.raises(ServiceTimeoutError):
            counter.add.options(timeout=0.1)(b"x" * 1_000_000)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert counter.pid() == pid


def test_a_lookup_sees_at_once_that_a_service_has_died(services: ServiceBase) -> None:
    counter = services.register("counter", Counter)
    pid = counter.pid()
    for _ in range(3):
        assert services["counter"] == counter
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ServiceDiedError):
        counter.add.submit().result(30)
    assert "counter" not in services
    assert services.list() == []
    again = services.register("counter", Counter)
    assert services["counter"] == again
    assert again != counter


def test_submitting_to_a_busy_service_waits_for_nothing(
    services: ServiceBase, tmp_path: Path
) -> None:
    """Far more calls than a socket takes: an event loop goes on meanwhile."""

    class Busy:
        def wait(self) -> None:
            wait_for_file(str(tmp_path / "gate"))

        def back(self, number: int) -> int:
            return number

    busy = services.register("busy", Busy)

    async def call() -> list[int]:
        waiting = asyncio.ensure_future(busy.wait.aio())
        answers = [asyncio.ensure_future(busy.back.aio(number)) for number in range(3000)]
        await asyncio.sleep(0)  # all are submitted now, and none was answered
        assert not any(answer.done() for answer in answers)
        (tmp_path / "gate").touch()
        await waiting
        return [await answer for answer in answers]

    assert asyncio.run(call()) == list(range(3000))


def test_a_process_that_cant_be_started_fails_the_registration(
    services: ServiceBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", str(Path("/nowhere/python")))
        with pytest.raises(ServiceStartError, match="nowhere"):
            services.register("counter", Counter)
    assert services.register("counter", Counter).add() == 1
