"""Calls travel whatever they carry, and a process that forks keeps its own sockets."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from services_core import RemoteError, ServiceBase, ServiceStartError, get_services
from services_core.testing.samples import Echo, Failing


@pytest.fixture
def services() -> Iterator[ServiceBase]:
    with get_services(backend="local", namespace="calls") as opened:
        yield opened


def test_large_arrays_travel_both_ways(services: ServiceBase) -> None:
    echo = services.register("echo", Echo)
    array = np.arange(3_000_000, dtype=np.float64).reshape(3, -1)
    for back in (echo.back(array, more=array[:, ::2]), echo.back.submit(array, more=1).result(60)):
        assert np.array_equal(back[0][0], array)
    assert np.array_equal(echo.back(more=array[:, ::2])[1]["more"], array[:, ::2])


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
    services = get_services(backend="local", namespace="calls")
    return services.register("plane", Plane).mirror(Point(3)).x

if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(work).result() == -3
    services = get_services(backend="local", namespace="calls")
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
