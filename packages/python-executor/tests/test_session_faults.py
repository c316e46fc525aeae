"""Sessions whose processes are killed, and hosts that are, interrupted or forked."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from python_executor import Execution, PoolForkedError, PythonExecutorService

Until = Callable[[Callable[[], bool]], None]
Alive = Callable[[int], bool]

LOOK = "'x' in globals()"


@pytest.fixture
def pool() -> Iterator[PythonExecutorService]:
    with PythonExecutorService(pool_size=2, timeout=30.0, checkpoint=False) as pool:
        yield pool


def opened(pool: PythonExecutorService, name: str) -> tuple[int, int]:
    """Open a session with a name in it; returns its process and its server."""
    value = pool.execute("import os; x = 1; os.getpid(), os.getppid()", session=name)["value"]
    assert value is not None
    pid, server = map(int, value.strip("()").split(","))
    return pid, server


def state_of(pool: PythonExecutorService, name: str) -> tuple[str, str | None]:
    result = pool.execute(LOOK, session=name)
    return result["state"], result["value"]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_parked_session_that_is_killed_is_lost_and_no_other(
    pool: PythonExecutorService, until: Until, alive: Alive, victim: int
) -> None:
    pids = opened(pool, "a")
    opened(pool, "b")
    os.kill(pids[victim], signal.SIGKILL)
    until(lambda: not alive(pids[0]))
    assert state_of(pool, "a") == ("lost", "False")
    assert state_of(pool, "a") == ("kept", "False")
    assert state_of(pool, "b") == ("kept", "True")
    assert pool.execute("1 + 1")["value"] == "2"


@pytest.mark.parametrize(
    "code", ["import os; os._exit(3)", "import os; os.kill(os.getpid(), 9)", "print('x' * 10**8)"]
)
def test_a_cell_that_ends_its_process_loses_its_session_and_no_other(
    pool: PythonExecutorService, code: str
) -> None:
    opened(pool, "a")
    opened(pool, "b")
    result = pool.execute(code, session="a")
    assert (result["state"], result["status"]) in (("kept", "crashed"), ("kept", "output"))
    assert state_of(pool, "a") == ("lost", "False")
    assert state_of(pool, "b") == ("kept", "True")


# Called before the process leaves a checkpoint, which it does between two cells.
BETWEEN = {
    "no frame": ("crashed", "os.write(255, b'x' * 100)"),
    "a frame": ("crashed", "os.write(255, b'\\0\\0\\0\\2{}')"),
    "output": ("output", "while True: os.write(1, b'x' * 65536)"),
}


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("what", BETWEEN)
def test_what_a_parked_session_sends_is_its_own_affair(what: str, batch: bool) -> None:
    status, code = BETWEEN[what]
    with PythonExecutorService(
        pool_size=2, timeout=30.0, max_output=2**10, max_total_output=2**10
    ) as pool:
        pool.execute(
            f"import os\ndef send():\n    {code}\nos.register_at_fork(before=send)", session="a"
        )
        if batch:
            result, other = pool.execute_batch([Execution("1", session="a"), Execution("1 + 1")])
            assert other["value"] == "2"
        else:
            result = pool.execute("1", session="a")
        assert (result["status"], result["returncode"]) == (status, -9)
        assert pool.execute("1", session="a")["state"] in ("lost", "restored")


def test_a_parked_session_that_is_stopped_is_lost_when_it_is_needed(
    pool: PythonExecutorService,
) -> None:
    pid, _ = opened(pool, "a")
    os.kill(pid, signal.SIGSTOP)
    assert state_of(pool, "a") == ("lost", "False")


@pytest.mark.load
def test_the_fork_server_dies_with_128_sessions_open(
    pool: PythonExecutorService, until: Until, alive: Alive
) -> None:
    names = [f"s{number}" for number in range(128)]
    cells = [Execution("import os; x = 1; os.getpid()", session=name) for name in names]
    pids = [int(result["value"] or 0) for result in pool.execute_batch(cells)]
    assert len(set(pids)) == 128
    root = pool.info()["server"]
    assert root is not None
    os.kill(root, signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids))
    results = pool.execute_batch([Execution(LOOK, session=name) for name in names])
    assert {(each["state"], each["value"]) for each in results} == {("lost", "False")}
    assert pool.stats()["root_restarts"] == 1
    assert pool.execute("1 + 1")["value"] == "2"


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.load
def test_a_thousand_sessions_leave_nothing(until: Until) -> None:
    """They crash or not, and are closed or have to make room."""
    with PythonExecutorService(
        pool_size=2, timeout=30.0, max_sessions=24, checkpoint=False
    ) as pool:
        root = pool.info()["server"]

        def open_and_drop(number: int) -> None:
            names = [f"s{number}-{i}" for i in range(48)]
            cells = [
                Execution(f"x = 1\nif {i % 4} == 0: import os; os._exit(7)", session=name)
                for i, name in enumerate(names)
            ]
            results = pool.execute_batch(cells)
            assert {(each["state"], each["returncode"]) for each in results} == {
                ("fresh", 0),
                ("fresh", 7),
            }
            # Of those that were evicted, half of them, the name is known until it is closed.
            assert sum(map(pool.close_session, names)) == len(names)

        def processes() -> int:
            path = Path(f"/proc/{root}/task/{root}/children")
            return len(path.read_text().split())

        open_and_drop(0)
        before = descriptors()
        held = resident()
        for number in range(1, 21):
            open_and_drop(number)
        assert pool.stats()["executions"] > 1000
        assert pool.stats()["evictions"] == 21 * 24
        assert descriptors() == before
        assert threading.active_count() == 1
        assert resident() - held < 16 * 2**20  # no more than the allocator wants
        assert pool.list_sessions() == []
        assert not pool._pool.sessions._by_name
        until(lambda: processes() == 2)
        if (directory := pool.info()["directory"]) is not None:  # each number has one, at the most
            assert len(list(Path(directory).iterdir())) <= 2 + 24
        assert pool.execute("1 + 1")["value"] == "2"


HOST = """
import os, sys, tempfile, time
tempfile.tempdir = sys.argv[1]
from python_executor import Execution, PythonExecutorService
pool = PythonExecutorService(pool_size=2)
pool.execute_batch([Execution("import os; os.mkdir('d')", session=f"s{n}") for n in range(8)])
print(len(pool.list_sessions()), flush=True)
time.sleep(1000)
"""


def test_nothing_is_left_of_sessions_whose_host_is_killed(temporary: Path, until: Until) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(temporary)], stdout=subprocess.PIPE, text=True
    )
    assert host.stdout is not None
    with host.stdout:
        assert int(host.stdout.readline()) == 8
    host.kill()
    assert host.wait() == -signal.SIGKILL
    until(lambda: not list(temporary.iterdir()))  # and the fixture waits for the processes


def test_a_fork_of_the_host_keeps_no_session_alive(
    pool: PythonExecutorService, until: Until, alive: Alive
) -> None:
    pid, _ = opened(pool, "a")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        with contextlib.suppress(PoolForkedError):
            pool.execute("1", session="a")
            os._exit(1)
        with contextlib.suppress(PoolForkedError):
            pool.close_session("a")
            os._exit(2)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    assert state_of(pool, "a") == ("kept", "True")
    assert pool.close_session("a")
    until(lambda: not alive(pid))
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0


INTERRUPTED = """
import contextlib, os, random, signal, sys, tempfile
tempfile.tempdir = sys.argv[1]
from python_executor import (
    CheckpointNotFoundError, Execution, PythonExecutorService, SessionCopyError, SessionExistsError,
    SessionNotFoundError,
)

class Interrupt(KeyboardInterrupt): pass

def interrupt(number, frame):
    raise Interrupt

signal.signal(signal.SIGALRM, interrupt)
chance = random.Random(1)
settings = {"max_sessions": 4, "rollback_cells": 2, **eval(sys.argv[2])}
with PythonExecutorService(3, 30.0, **settings) as executor:
    before = len(os.listdir("/proc/self/fd"))
    interrupts = 0
    for number in range(400):
        cells = [Execution("1 + 1", session=f"s{n % 6}") for n in range(number, number + 4)]
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 6e-3))
            with contextlib.suppress(
                CheckpointNotFoundError, SessionCopyError, SessionExistsError, SessionNotFoundError
            ):
                if number % 5 == 0:
                    executor.execute("1 + 1", session="s1")
                elif number % 5 == 1:
                    executor.execute_batch(cells)
                elif number % 5 == 2 and number % 6 != 1:
                    executor.fork_session("s1", f"s{number % 6}")
                elif number % 5 == 3:
                    executor.rollback("s1", to=chance.choice([1, 2, 3]))
                else:
                    executor.close_session(f"s{number % 6}")
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupt:
            interrupts += 1
        stats = executor.stats()
        assert (stats["idle"], stats["pending"]) == (3, 0), (number, stats)
        assert not any(each["running"] for each in executor.list_sessions()), number
        assert len(executor.list_sessions()) <= 4
    assert interrupts > 100, interrupts
    for name in ("s0", "s1", "s2", "s3", "s4", "s5"):
        assert executor.execute("1 + 1", session=name)["value"] == "2"
        executor.close_session(name)
    # Those that were being opened or closed just then may stay open.
    assert len(os.listdir("/proc/self/fd")) - before < interrupts
assert len(os.listdir("/proc/self/task")) == 1
"""


@pytest.mark.parametrize("options", ["{}", "{'idle_timeout': 0.001}"])
def test_an_interrupt_at_any_moment_leaves_the_sessions_whole(
    temporary: Path, options: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(temporary), options], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
