"""Servers that are killed, hosts that are killed or forked."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from python_executor import (
    Execution,
    ForkServerError,
    PoolForkedError,
    PythonExecutorService,
    SandboxPolicy,
)
from python_executor._slot import Slot

Until = Callable[[Callable[[], bool]], None]
Alive = Callable[[int], bool]


@pytest.fixture
def executor() -> Iterator[PythonExecutorService]:
    """A pool of the test's own: its servers are what is killed."""
    policy = SandboxPolicy(strict=True)
    with PythonExecutorService(pool_size=2, timeout=30.0, sandbox=policy) as executor:
        yield executor


@pytest.fixture
def trusting() -> Iterator[PythonExecutorService]:
    """One without a sandbox."""
    with PythonExecutorService(pool_size=2, timeout=30.0, sandbox="off") as executor:
        yield executor


def served(executor: PythonExecutorService, count: int = 8) -> list[str | None]:
    return [result["value"] for result in executor.execute_batch(["1 + 1"] * count)]


def test_a_killed_slot_server_is_replaced(
    executor: PythonExecutorService, until: Until, alive: Callable[[int], bool]
) -> None:
    assert served(executor) == ["2"] * 8
    servers = executor.info()["slot_servers"]
    for pid in servers:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in servers))
    assert served(executor) == ["2"] * 8
    assert executor.stats()["restarts"] == 2


def test_a_killed_root_is_replaced_with_all_slots(
    executor: PythonExecutorService, until: Until, alive: Callable[[int], bool]
) -> None:
    assert served(executor) == ["2"] * 8
    before = executor.info()
    assert before["server"] is not None
    os.kill(before["server"], signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in before["slot_servers"]))
    assert served(executor) == ["2"] * 8
    after = executor.info()
    assert after["server"] != before["server"]
    assert executor.stats()["restarts"] >= 1


@pytest.mark.parametrize("victim", ["slot", "root"])
def test_the_program_of_a_killed_server_has_crashed_and_others_are_served(
    victim: str, until: Until, tmp_path: Path
) -> None:
    marker = tmp_path / "begun"
    sleep = (
        f"print('begun', flush=True); open({str(marker)!r}, 'w').close()\n"
        "import time; time.sleep(1000)"
    )
    policy = SandboxPolicy(write=[tmp_path])
    with PythonExecutorService(pool_size=1, timeout=60.0, sandbox=policy) as executor:
        assert served(executor, 4) == ["2"] * 4
        info = executor.info()
        pid = info["server"] if victim == "root" else info["slot_servers"][0]
        assert pid is not None
        results: list[object] = []
        codes = [sleep, "1 + 1", "2 + 2"]

        def run() -> None:
            results.extend(executor.execute_batch(codes))

        caller = threading.Thread(target=run)
        caller.start()
        until(marker.exists)
        os.kill(pid, signal.SIGKILL)
        caller.join()
    crashed, first, second = results
    assert isinstance(crashed, dict)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert (crashed["status"], crashed["returncode"]) == ("crashed", -9)
    assert crashed["stdout"] == "begun\n"
    assert (first["value"], second["value"]) == ("2", "4")


def test_what_a_killed_slot_server_had_running_is_ended_by_the_root(
    trusting: PythonExecutorService, until: Until, alive: Callable[[int], bool]
) -> None:
    code = """
import os, signal, time
r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.write(w, b"%d" % os.getpid())
    time.sleep(1000)
print(int(os.read(r, 99)), flush=True)
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(1000)
"""
    result = trusting.execute(code)
    assert result["status"] == "crashed"
    until(lambda: not alive(int(result["stdout"])))


def test_a_program_can_stop_its_server_for_no_longer_than_a_moment(
    trusting: PythonExecutorService,
) -> None:
    code = "import os, signal; os.kill(os.getppid(), signal.SIGSTOP)"
    results = trusting.execute_batch([Execution(code, timeout=2.0)] * 2)
    assert all(result["status"] in ("ok", "error") for result in results)
    assert served(trusting) == ["2"] * 8


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_servers_that_are_lost_while_nothing_runs_are_replaced(
    executor: PythonExecutorService, until: Until, alive: Alive, number: signal.Signals
) -> None:
    assert served(executor) == ["2"] * 8
    for pid in executor.info()["slot_servers"]:
        os.kill(pid, number)
        until(lambda: stopped(pid) if number == signal.SIGSTOP else not alive(pid))  # noqa: B023
    # A stopped one has an interpreter ready, which serves once more.
    assert served(executor, 16) == ["2"] * 16
    stats = executor.stats()
    assert (stats["restarts"], stats["root_restarts"], stats["idle"]) == (2, 0, 2)


def ready(slot: Slot, until: Until) -> int:
    """Pid of the interpreter that waits for the next program."""

    def known() -> bool:
        slot.check()
        return slot.pid is not None

    until(known)
    assert slot.pid is not None
    return slot.pid


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_interpreters_that_are_lost_while_nothing_runs_are_replaced(
    executor: PythonExecutorService, until: Until, alive: Alive, number: signal.Signals
) -> None:
    assert served(executor) == ["2"] * 8
    for slot in executor._pool.slots:
        pid = ready(slot, until)
        os.kill(pid, number)
        until(lambda: stopped(pid) if number == signal.SIGSTOP else not alive(pid))  # noqa: B023
    assert served(executor, 16) == ["2"] * 16
    assert executor.stats()["root_restarts"] == 0


def test_a_stopped_root_is_replaced_when_it_is_needed(
    executor: PythonExecutorService, until: Until, alive: Alive
) -> None:
    assert served(executor) == ["2"] * 8
    info = executor.info()
    assert info["server"] is not None
    os.kill(info["server"], signal.SIGSTOP)
    until(lambda: stopped(info["server"] or 0))
    assert served(executor) == ["2"] * 8  # the slot servers need it no more
    assert executor.stats()["root_restarts"] == 0
    for pid in info["slot_servers"]:
        os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(pid))  # noqa: B023
    assert served(executor) == ["2"] * 8
    assert executor.stats()["root_restarts"] == 1
    assert not alive(info["server"])


def test_a_pool_ends_although_all_its_servers_are_stopped(
    until: Until, alive: Alive, temporary: Path
) -> None:
    executor = PythonExecutorService(pool_size=2, timeout=30.0)
    assert served(executor) == ["2"] * 8
    info = executor.info()
    assert info["server"] is not None
    for pid in (*info["slot_servers"], info["server"]):
        os.kill(pid, signal.SIGSTOP)
    executor.close()
    assert not any(alive(pid) for pid in (*info["slot_servers"], info["server"]))
    assert list(temporary.iterdir()) == []


def test_stopped_slot_servers_of_a_killed_root_do_not_stay(
    executor: PythonExecutorService, until: Until, alive: Alive
) -> None:
    assert served(executor) == ["2"] * 8
    info = executor.info()
    assert info["server"] is not None
    for pid in info["slot_servers"]:
        os.kill(pid, signal.SIGSTOP)
    os.kill(info["server"], signal.SIGKILL)
    assert served(executor, 16) == ["2"] * 16
    until(lambda: not any(alive(pid) for pid in info["slot_servers"]))


@pytest.mark.parametrize("running", [0, 1, 4])
def test_a_root_that_is_killed_costs_what_ran_and_nothing_that_waits(
    running: int, until: Until, alive: Alive, tmp_path: Path
) -> None:
    code = "import os, time\nopen(f'{folder}/{os.getpid()}', 'x').close()\ntime.sleep(1000)"
    code = f"folder = {str(tmp_path)!r}\n{code}"
    with (
        PythonExecutorService(
            pool_size=4, timeout=60.0, sandbox=SandboxPolicy(write=[tmp_path])
        ) as executor,
        ThreadPoolExecutor(16) as threads,
    ):
        assert served(executor) == ["2"] * 8
        victims = [threads.submit(executor.execute, code) for _ in range(running)]
        until(lambda: len(list(tmp_path.iterdir())) == running)
        waiting: list[Future[list[str | None]]] = []
        if running == 4:
            waiting = [threads.submit(served, executor, count) for count in (1,) * 8 + (8,)]
            until(lambda: executor.stats()["pending"] == 16)
        info = executor.info()
        assert info["server"] is not None
        os.kill(info["server"], signal.SIGKILL)
        results = [victim.result() for victim in victims]
        assert [(r["status"], r["returncode"]) for r in results] == [("crashed", -9)] * running
        assert all(set(call.result()) == {"2"} for call in waiting)
        until(lambda: not any(alive(pid) for pid in info["slot_servers"]))
        assert served(executor) == ["2"] * 8
        stats = executor.stats()
        assert len(list(tmp_path.iterdir())) == running  # none ran twice
        assert (stats["idle"], stats["root_restarts"]) == (4, 1)
        assert stats["by_status"].get("crashed", 0) == running


def test_threads_that_meet_a_dead_root_together_replace_it_once(until: Until, alive: Alive) -> None:
    with (
        PythonExecutorService(pool_size=8, timeout=60.0) as executor,
        ThreadPoolExecutor(16) as threads,
    ):
        assert served(executor, 16) == ["2"] * 16
        for times in (1, 2):
            info = executor.info()
            assert info["server"] is not None
            os.kill(info["server"], signal.SIGKILL)
            pids = info["slot_servers"]
            until(lambda: not any(alive(pid) for pid in pids))  # noqa: B023
            barrier = threading.Barrier(16)

            def call(number: int, barrier: threading.Barrier = barrier) -> str | None:
                barrier.wait()
                return executor.execute(f"{number}")["value"]

            assert list(threads.map(call, range(16))) == [str(i) for i in range(16)]
            assert executor.stats()["root_restarts"] == times


def test_a_root_that_serves_nobody_is_replaced_once_by_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their programs don't begin: each replaces its slot's server, then the root that all share."""
    monkeypatch.setattr("python_executor._run.START_GUARD", 0.5)
    monkeypatch.setattr("python_executor._slot.is_stopped", lambda pid: False)
    monkeypatch.setattr("python_executor._forkserver.is_stopped", lambda pid: False)
    with (
        PythonExecutorService(pool_size=4, timeout=60.0) as executor,
        ThreadPoolExecutor(4) as threads,
    ):
        assert served(executor) == ["2"] * 8
        info = executor.info()
        assert info["server"] is not None
        for pid in (info["server"], *info["slot_servers"]):
            os.kill(pid, signal.SIGSTOP)
        calls = [threads.submit(served, executor, 2) for _ in range(8)]
        assert [call.result() for call in calls] == [["2"] * 2] * 8
        assert executor.stats()["root_restarts"] == 1


@pytest.mark.parametrize("seed", [3, 4])
def test_a_storm_of_kills_costs_programs_that_ran_and_no_others(
    until: Until, tmp_path: Path, seed: int
) -> None:
    """Every program ends once, as ok or crashed, and none runs twice."""
    program = "open({path!r}, 'x').close()\nimport time; time.sleep(0.005)\n{number}"
    with (
        PythonExecutorService(
            pool_size=4, timeout=60.0, sandbox=SandboxPolicy(write=[tmp_path])
        ) as executor,
        ThreadPoolExecutor(8) as threads,
    ):

        def call(worker: int) -> list[tuple[str, str | None]]:
            codes = [
                program.format(path=f"{tmp_path}/{worker}-{number}", number=number)
                for number in range(30)
            ]
            if worker % 2:
                results = executor.execute_batch(codes)
            else:
                results = [executor.execute(code) for code in codes]
            return [
                (result["status"], result["value"] or str(result["error"])) for result in results
            ]

        calls = [threads.submit(call, worker) for worker in range(8)]
        chance = random.Random(seed)
        for _ in range(12):
            info = executor.info()
            targets = [*info["slot_servers"], *([info["server"]] if chance.random() < 0.3 else [])]
            victim = chance.choice(targets) if targets else None
            blow = chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP))
            if victim is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, blow)
            more = len(list(tmp_path.iterdir())) + 12
            until(
                lambda: (
                    len(list(tmp_path.iterdir())) >= more  # noqa: B023
                    or all(call.done() for call in calls)
                )
            )
        outcomes = [outcome for call in calls for outcome in call.result()]
        expected = [str(number) for _ in range(8) for number in range(30)]
        for (status, value), number in zip(outcomes, expected, strict=True):
            assert (status, value) in (("ok", number), ("crashed", value)), (status, value)
        assert len(list(tmp_path.iterdir())) <= 240
        assert served(executor) == ["2"] * 8
        stats = executor.stats()
        assert (stats["idle"], stats["pending"]) == (4, 0)
        assert stats["executions"] == 240 + 8


HOST = '''
import os, sys, tempfile
tempfile.tempdir = sys.argv[1]
from python_executor import PythonExecutorService, SandboxPolicy
marks = sys.argv[2]
policy = SandboxPolicy.with_processes(write=[marks])
sandbox = "off" if sys.argv[3] == "off" else policy
executor = PythonExecutorService(pool_size=2, timeout=60, sandbox=sandbox)
executor.execute_batch(["1"] * 4)
print(os.getpid(), flush=True)
program = f"""
import os, tempfile
if os.fork() == 0:
    os.setsid()
open('x', 'w').close()
tempfile.mkstemp(dir={marks!r})
while True: pass
"""
executor.execute_batch([program] * 2)
'''


@pytest.mark.parametrize("sandbox", ["off", "policy"])
def test_nothing_is_left_of_a_host_that_is_killed(
    temporary: Path, until: Until, tmp_path: Path, sandbox: str
) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(temporary), str(tmp_path), sandbox],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert host.stdout is not None
    with host.stdout:
        assert int(host.stdout.readline()) == host.pid
    until(lambda: len(list(tmp_path.iterdir())) == 4)
    host.kill()
    assert host.wait() == -signal.SIGKILL
    until(lambda: not list(temporary.iterdir()))  # and the fixture waits for the processes


def test_a_fork_of_the_host_cannot_use_the_pool_nor_end_it(
    executor: PythonExecutorService,
) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        outcome = b"no error"
        try:
            executor.execute("1")
        except PoolForkedError:
            executor.close()
            outcome = b"refused"
        finally:
            os.write(write, outcome)
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        assert stream.read() == b"refused"
    assert served(executor) == ["2"] * 8


def test_a_pool_ends_although_a_fork_of_its_host_lives_on(
    until: Until, alive: Callable[[int], bool]
) -> None:
    executor = PythonExecutorService(pool_size=2, timeout=30.0)
    assert served(executor) == ["2"] * 8
    info = executor.info()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    executor.close()
    assert info["server"] is not None
    assert not any(alive(server) for server in (info["server"], *info["slot_servers"]))
    os.close(write)
    os.close(read)
    os.waitpid(pid, 0)


def test_an_interpreter_that_cannot_start_is_an_error() -> None:
    with pytest.raises(ForkServerError, match="can't be started"):
        PythonExecutorService(pool_size=1, python="/nonexistent/python")
    with pytest.raises(ForkServerError, match="ended at once"):
        PythonExecutorService(pool_size=1, python="/bin/false")


def test_a_preload_that_cannot_be_imported_is_an_error() -> None:
    with pytest.raises(ForkServerError, match="No module named 'no_such_module'"):
        PythonExecutorService(pool_size=1, preload=["no_such_module"])


def test_a_start_that_takes_too_long_is_an_error() -> None:
    with pytest.raises(ForkServerError, match="startup_timeout"):
        PythonExecutorService(pool_size=1, startup_timeout=0.001)


def test_a_configuration_that_is_too_long_is_refused(temporary: Path) -> None:
    with pytest.raises(ForkServerError, match=r"take 6\d+ bytes, and may take 65536"):
        PythonExecutorService(pool_size=1, preload=["x" * 66000])
    assert list(temporary.iterdir()) == []


def test_another_interpreter_can_run_the_programs(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True
    )
    python = tmp_path / "venv" / "bin" / "python"
    with PythonExecutorService(pool_size=1, timeout=30.0, python=python) as executor:
        result = executor.execute("import sys; print(sys.prefix)\nimport msgspec")
    assert result["stdout"].strip() == str(tmp_path / "venv")
    assert result["error"] is not None
    assert result["error"]["type"] == "ModuleNotFoundError"
