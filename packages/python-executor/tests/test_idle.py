"""Sessions that nobody uses lose their processes, whether or not anybody calls the pool."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from python_executor import ForkServerError, InvalidArgumentError, PythonExecutorService
from python_executor._idle import IdleThread

Until = Callable[[Callable[[], bool]], None]
Alive = Callable[[int], bool]


def opened(pool: PythonExecutorService, name: str) -> int:
    """Open a session with a name in it; returns its server, whose end is that of all it has."""
    value = pool.execute("import os, time; x = 1; os.getppid()", session=name)["value"]
    assert value is not None
    return int(value)


def test_a_session_that_nobody_uses_loses_its_process_and_says_so(
    until: Until, alive: Alive
) -> None:
    with PythonExecutorService(pool_size=1, idle_timeout=0.3) as pool:
        server = opened(pool, "a")
        until(lambda: not alive(server))  # nobody calls the pool
        assert pool.list_sessions() == []
        stats = pool.stats()
        assert (stats["sessions"], stats["expirations"], stats["evictions"]) == (0, 1, 0)
        lost = pool.execute("'x' in globals()", session="a")
        assert (lost["state"], lost["value"]) == ("lost", "False")
        assert pool.info()["idle_timeout"] == 0.3


def test_a_session_that_is_used_stays(until: Until, alive: Alive) -> None:
    with PythonExecutorService(pool_size=1, idle_timeout=2.0) as pool:
        used, unused = opened(pool, "used"), opened(pool, "unused")

        def use() -> bool:
            assert pool.execute("x", session="used")["state"] == "kept"
            return not alive(unused)

        until(use)
        assert alive(used)
        assert [each["session"] for each in pool.list_sessions()] == ["used"]


def test_a_cell_that_runs_longer_is_not_touched(until: Until, alive: Alive) -> None:
    with PythonExecutorService(pool_size=1, idle_timeout=0.1) as pool:
        result = pool.execute("import time; x = 1; time.sleep(0.5); x", session="a")
        assert (result["status"], result["value"]) == ("ok", "1")
        until(lambda: pool.stats()["expirations"] == 1)


def test_a_session_that_somebody_waits_for_is_not_touched(until: Until) -> None:
    with (
        PythonExecutorService(pool_size=1, timeout=30.0, idle_timeout=1000.0) as pool,
        ThreadPoolExecutor(2) as threads,
    ):
        pool.execute("import time; x = 1", session="a")
        pool.execute("x = 1", session="b")
        long = threads.submit(pool.execute, "import time; time.sleep(1.0)")
        until(lambda: pool.stats()["running"] == 1)
        waiting = threads.submit(pool.execute, "x", session="a")
        until(lambda: pool.stats()["pending"] == 1)
        sessions = pool._pool.sessions
        for each in sessions._by_name.values():
            each.used -= 1000.0
        assert sessions.expire() > 900.0
        assert [each["session"] for each in pool.list_sessions()] == ["a"]
        assert (waiting.result()["state"], waiting.result()["value"]) == ("kept", "1")
        assert long.result()["success"]


def test_whoever_comes_when_it_expires_is_served() -> None:
    """Cells that begin just then: what they find is whole, or gone."""
    with PythonExecutorService(pool_size=1, timeout=30.0, idle_timeout=0.02) as pool:
        states = set()
        n = 0
        for number in range(60):
            time.sleep(0.0195 + number * 5e-5)
            result = pool.execute("n = globals().get('n', 0) + 1; n", session="a")
            n = n + 1 if result["state"] == "kept" else 1
            assert result["value"] == str(n)
            states.add(result["state"])
        assert states <= {"fresh", "kept", "lost"}
        assert "lost" in states


def test_there_is_a_thread_from_the_first_session_on_if_it_is_asked_for() -> None:
    with PythonExecutorService(pool_size=1, idle_timeout=1000.0) as pool:
        pool.execute("1")
        assert threading.active_count() == 1
        pool.execute("1", session="a")
        pool.execute("1", session="b")
        assert threading.active_count() == 2
        thread = threading.enumerate()[-1]
        assert thread.daemon
    assert not thread.is_alive()
    with PythonExecutorService(pool_size=1) as pool:
        pool.execute("1", session="a")
        assert threading.active_count() == 1
        assert pool.info()["idle_timeout"] is None


def test_the_longest_timeout_is_none_too_long() -> None:
    with PythonExecutorService(pool_size=1, idle_timeout=1e300) as pool:
        assert pool.execute("1", session="a")["value"] == "1"
        assert pool.execute("1", session="a")["state"] == "kept"


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), float("nan")])
def test_a_time_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidArgumentError, match="idle_timeout"):
        PythonExecutorService(pool_size=1, idle_timeout=seconds)


def test_without_a_thread_to_be_had_no_cell_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with PythonExecutorService(pool_size=1, idle_timeout=1000.0) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(ForkServerError, match="can't start new thread"):
                pool.execute("1", session="a")
        assert pool.stats()["idle"] == 1
        assert pool.execute("1", session="a")["state"] == "fresh"


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_pool_that_is_forgotten_is_closed_all_the_same(until: Until, alive: Alive) -> None:
    pool = PythonExecutorService(pool_size=1, idle_timeout=1000.0)
    server = opened(pool, "a")
    del pool
    gc.collect()
    assert not alive(server)
    assert threading.active_count() == 1


def test_a_thread_ends_with_what_it_looks_after(until: Until) -> None:
    looks: list[int] = []

    class Object:
        def look(self) -> float:
            looks.append(1)
            return 0.01

    thing = Object()
    thread = IdleThread(thing.look)
    thread.start()
    until(lambda: len(looks) > 2)
    del thing
    until(lambda: threading.active_count() == 1)
    thread.stop()


def test_a_pool_may_be_closed_by_its_own_thread(until: Until) -> None:
    """As by a garbage collection that happens to come there."""
    ended: list[bool] = []

    class Object:
        def look(self) -> float:
            thread.stop()
            ended.append(True)
            return 1000.0

    thing = Object()
    thread = IdleThread(thing.look)
    thread.start()
    until(lambda: threading.active_count() == 1)
    assert ended == [True]


def test_a_fork_of_the_host_that_comes_in_between_keeps_no_session_alive(
    until: Until, alive: Alive
) -> None:
    """It has copies of what another thread closes just then, and knows of none."""
    with PythonExecutorService(pool_size=1, idle_timeout=0.3) as pool:
        server = opened(pool, "a")
        (slot,) = pool._pool.sessions.slots()
        assert slot.sock is not None
        copy = os.dup(slot.sock.fileno())
        until(lambda: not alive(server))
        os.close(copy)


FORKING = """
import os, sys, tempfile, threading, time
tempfile.tempdir = sys.argv[1]
from python_executor import PoolForkedError, PythonExecutorService
pool = PythonExecutorService(pool_size=1, idle_timeout=0.3)
server = int(pool.execute("import os; os.getppid()", session="a")["value"])
child = os.fork()
if child == 0:
    assert len(os.listdir("/proc/self/task")) == 1
    try: pool.execute("1", session="a")
    except PoolForkedError: pass
    time.sleep(0.5)
    pool.close()
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
while pool.list_sessions(): time.sleep(0.01)
assert pool.stats()["expirations"] == 1
"""
# How a host ends: by itself with the pool open, in a thread beside it, and when modules are gone.
ENDS = {
    "end": "",
    "exit in a thread": "threading.Thread(target=pool.execute, args=('1',)).start()",
    "global": "class Last:\n    def __del__(self): pool.close()\nlast = Last()",
    "at exit": "import atexit; atexit.register(pool.close)",
}


@pytest.mark.parametrize("end", ENDS)
def test_forks_and_the_end_of_the_host(temporary: Path, end: str) -> None:
    code = f"{FORKING}\npool.execute('1', session='b')\n{ENDS[end]}"
    host = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(temporary)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (host.returncode, host.stderr) == (0, "")
