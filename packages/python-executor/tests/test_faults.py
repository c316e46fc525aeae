"""Servers that are killed, hosts that are killed or forked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from python_executor import (
    ForkServerError,
    PoolForkedError,
    PythonExecutorService,
)

Until = Callable[[Callable[[], bool]], None]


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
    with PythonExecutorService(pool_size=1, timeout=60.0) as executor:
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
    executor: PythonExecutorService, until: Until, alive: Callable[[int], bool]
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
    result = executor.execute(code)
    assert result["status"] == "crashed"
    until(lambda: not alive(int(result["stdout"])))


def test_a_stopped_slot_server_is_replaced(
    executor: PythonExecutorService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("python_executor._run.START_GUARD", 0.5)
    code = "import os, signal; os.kill(os.getppid(), signal.SIGSTOP)"
    assert [r["status"] for r in executor.execute_batch([code] * 2)] == ["ok", "ok"]
    assert served(executor) == ["2"] * 8
    assert executor.stats()["restarts"] >= 2


HOST = """
import os, sys, tempfile
tempfile.tempdir = sys.argv[1]
from python_executor import PythonExecutorService
executor = PythonExecutorService(pool_size=2, timeout=60)
executor.execute_batch(["1"] * 4)
print(os.getpid(), flush=True)
executor.execute_batch([
    "import os\\nif os.fork() == 0:\\n    os.setsid()\\nopen('x', 'w').close()\\nwhile True: pass"
] * 2)
"""


def test_nothing_is_left_of_a_host_that_is_killed(temporary: Path, until: Until) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(temporary)], stdout=subprocess.PIPE, text=True
    )
    assert host.stdout is not None
    with host.stdout:
        assert int(host.stdout.readline()) == host.pid
    until(lambda: len(list(temporary.glob("*/*/*/x"))) == 2)
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
