"""Real kills, hangs and races of those who register services and call them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services_core import (
    ServiceBase,
    ServiceDiedError,
    ServiceExistsError,
    ServiceStartError,
    get_services,
)
from services_core.testing.observing import eventually, is_running
from services_core.testing.samples import Counter, Echo, Gated
from services_local import ending
from services_local.runtime import RuntimeDirectory

Running = Callable[[], list[int]]
StartPython = Callable[[str], subprocess.Popen[str]]


def test_a_registrar_that_is_killed_during_construction_leaves_nothing(
    services: ServiceBase, running_services: Running, start_python: StartPython, tmp_path: Path
) -> None:
    registrar = start_python(f"""
import threading
from services_core import get_services
from services_core.testing.samples import Gated, wait_for_file
entered = {str(tmp_path / "entered")!r}
services = get_services(backend="local", namespace="tests")
thread = threading.Thread(
    target=services.register, args=("gated", Gated, {str(tmp_path / "never")!r}, entered)
)
thread.start()
wait_for_file(entered)
print("ready", flush=True)
thread.join()
""")
    with pytest.raises(ServiceExistsError):
        services.register("gated", Counter)
    registrar.kill()
    registrar.wait()
    assert eventually(lambda: not running_services() and not services._names(starting=True))
    assert services.register("gated", Counter).add() == 1


def test_what_nobody_was_told_of_is_closed_when_its_registrar_is_killed(
    services: ServiceBase, running_services: Running, start_python: StartPython, tmp_path: Path
) -> None:
    """Of two replicas one is constructed, and waits for the other to be."""
    registrar = start_python(f"""
import threading
from pathlib import Path
from services_core import get_services
from services_core.testing.samples import GatedMember, wait_for_file

class Closing(GatedMember):
    def close(self):
        Path({str(tmp_path / "closed")!r}).touch()

services = get_services(backend="local", namespace="tests")
args = ("members", Closing, {str(tmp_path)!r}, {str(tmp_path / "never")!r})
threading.Thread(target=services.register, args=args, kwargs=dict(replicas=2)).start()
wait_for_file({str(tmp_path / "later")!r})
print("ready", flush=True)
""")
    assert services.list() == []
    registrar.kill()
    registrar.wait()
    assert eventually(lambda: not running_services() and not services._names(starting=True))
    assert (tmp_path / "closed").exists()
    assert services.register("members", Counter).add() == 1


def test_reset_ends_what_is_being_constructed(
    services: ServiceBase, running_services: Running, tmp_path: Path
) -> None:
    entered = tmp_path / "entered"
    other = get_services(backend="local", namespace="tests")
    with ThreadPoolExecutor(1) as pool:
        registering = pool.submit(
            services.register, "gated", Gated, str(tmp_path / "never"), str(entered)
        )
        assert eventually(entered.exists)
        other.reset()
        with pytest.raises(ServiceStartError):
            registering.result(30)
    assert not running_services()
    other.close()


def test_while_a_constructor_takes_3_s_others_see_nothing_and_are_refused_at_once(
    services: ServiceBase, start_python: StartPython, tmp_path: Path
) -> None:
    gate, entered = tmp_path / "gate", tmp_path / "entered"
    other = start_python("""
import sys, time
from services_core import ServiceExistsError, get_services
from services_core.testing.samples import Counter
services = get_services(backend="local", namespace="tests")
print("ready", flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    try:
        services.register("gated", Counter)
    except ServiceExistsError:
        print(services.list(), time.perf_counter() - start, flush=True)
""")
    assert other.stdin is not None
    assert other.stdout is not None
    with ThreadPoolExecutor(1) as pool:
        registering = pool.submit(services.register, "gated", Gated, str(gate), str(entered))
        assert eventually(entered.exists)
        try:
            refusals = []
            for _ in range(5):
                print("register", file=other.stdin, flush=True)
                listed, _, seconds = other.stdout.readline().rpartition(" ")
                assert listed == "[]"
                refusals.append(float(seconds))
            # The machine may be busy with something else once, or twice.
            assert sorted(refusals)[2] < 0.1
        finally:
            gate.touch()
        registering.result(30)
    assert services.list() == ["gated"]


def test_of_50_processes_that_register_one_name_at_once_one_wins(
    services: ServiceBase, running_services: Running
) -> None:
    race = """
import os, sys
from services_core import ServiceExistsError, get_services
from services_core.testing.samples import Counter

go, start = os.pipe()
children = []
for _ in range(50):
    child = os.fork()
    if child == 0:
        os.close(start)
        services = get_services(backend="local", namespace="tests")
        os.read(go, 1)  # until all are there
        try:
            services.register("counter", Counter)
            os._exit(1)
        except ServiceExistsError:
            os._exit(2)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(3)
    children.append(child)
os.close(go)
os.close(start)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(codes.count(1), codes.count(2))
"""
    done = subprocess.run(
        [sys.executable, "-c", race], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout == "1 49\n"
    assert services["counter"].add() == 1
    assert len(running_services()) == 1


def test_a_child_that_is_forked_while_another_thread_registers_keeps_no_name_taken(
    services: ServiceBase,
) -> None:
    """Nor a socket: each child looks for what it must not have."""
    over = threading.Event()
    codes: list[int] = []

    def fork() -> None:
        while not over.is_set():
            child = os.fork()
            if child == 0:
                taken = False
                for descriptor in Path("/proc/self/fd").iterdir():
                    try:
                        # One that only reads such a file has no lock, which proc(5) tells.
                        if descriptor.readlink().suffix == ".lock":
                            facts = Path(f"/proc/self/fdinfo/{descriptor.name}").read_text()
                            taken |= "\nlock:" in facts
                    except OSError:
                        continue
                os._exit(taken)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    forker = threading.Thread(target=fork)
    forker.start()
    try:
        for _ in range(4):
            counter = services.register("counter", Counter)
            assert counter.add() == 1
            services.unregister("counter")
    finally:
        over.set()
        forker.join()
    assert len(codes) > 4
    assert set(codes) == {0}


def test_a_pool_of_32_threads_shares_a_handle(services: ServiceBase) -> None:
    echo = services.register("echo", Echo)
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda number: echo.back(number)[0][0], range(2000)))
        assert answers == list(range(2000))
        services.unregister("echo")
        for call in [pool.submit(echo.back, number) for number in range(64)]:
            with pytest.raises(ServiceDiedError):
                call.result(30)


def test_a_handle_is_of_one_service_and_of_no_later_one(services: ServiceBase) -> None:
    old = services.register("counter", Counter)
    services.reset()
    new = services.register("counter", Counter, 10)
    for call in (old.add, old.add.submit, lambda: list(old.upto(3))):
        with pytest.raises(ServiceDiedError) as caught:
            call()
        assert not caught.value.restarting
    assert new.add() == 11


def test_a_socket_that_was_left_behind_is_in_nobodys_way(
    services: ServiceBase, runtime_dir: Path
) -> None:
    paths = RuntimeDirectory(runtime_dir).service("tests", "counter")
    stale = [paths.socket("0" * 16), paths.socket("1" * 16)]
    for path in stale:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    paths.lock.touch()
    assert "counter" not in services
    counter = services.register("counter", Counter)
    assert counter.add() == 1
    assert not any(path.exists() for path in stale)


def test_a_half_written_record_is_no_service(services: ServiceBase, runtime_dir: Path) -> None:
    paths = RuntimeDirectory(runtime_dir).service("tests", "counter")
    paths.record.write_text('{"namespace": "tes')
    paths.lock.write_text('{"name": "cou')
    paths.socket("0" * 16).touch()
    assert "counter" not in services
    assert services.list() == []
    assert services.register("counter", Counter).add() == 1


def test_of_three_replicas_one_is_killed_and_the_others_go_on(services: ServiceBase) -> None:
    counters = services.register("counters", Counter, replicas=3)
    keys = [f"env-{number}" for number in range(30)]
    homes = {key: counters.pid.options(key=key)() for key in keys}
    victim = homes[keys[0]]
    os.kill(victim, signal.SIGKILL)
    assert eventually(lambda: not is_running(victim))
    with pytest.raises(ServiceDiedError):
        counters.pid.options(key=keys[0])()
    now = {key: counters.pid.options(key=key)() for key in keys}
    assert victim not in now.values()
    # Only the keys of the one that is gone have moved.
    assert {key for key in keys if now[key] != homes[key]} == {
        key for key in keys if homes[key] == victim
    }


def test_a_service_that_is_stopped_for_good_is_killed(
    services: ServiceBase, running_services: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "EXIT_SECONDS", 0.3)
    counter = services.register("counter", Counter, close_timeout=0.1)
    os.kill(counter.pid(), signal.SIGSTOP)
    services.unregister("counter")
    assert not running_services()


def test_every_call_under_way_ends_when_its_service_is_killed(
    services: ServiceBase, tmp_path: Path
) -> None:
    class Waiting:
        def pid(self) -> int:
            return os.getpid()

        def wait(self) -> None:
            with (tmp_path / "waiting").open("a") as waiting:
                waiting.write("x")
            threading.Event().wait()

        def stream(self) -> Iterator[int]:
            yield 1
            self.wait()

    waiting = services.register("waiting", Waiting, max_concurrency=8)
    pid = waiting.pid()
    items = waiting.stream()
    assert next(items) == 1

    async def await_it() -> None:
        await waiting.wait.aio()

    async def iterate() -> list[int]:
        return [item async for item in waiting.stream.aio()]

    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(waiting.wait),
            pool.submit(waiting.wait.options(timeout=60)),
            waiting.wait.submit(),
            waiting.wait.remote(),
            pool.submit(next, items),
            pool.submit(asyncio.run, await_it()),
            pool.submit(asyncio.run, iterate()),
        ]
        assert eventually(
            lambda: (
                (tmp_path / "waiting").exists()
                and len((tmp_path / "waiting").read_text()) == len(calls)
            )
        )
        os.kill(pid, signal.SIGKILL)
        for call in calls:
            with pytest.raises(ServiceDiedError) as caught:
                call.result(30)
            assert not caught.value.restarting
    assert services.register("waiting", Counter).add() == 1
