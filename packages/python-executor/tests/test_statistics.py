"""What a pool tells of what it has done."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from python_executor import (
    Execution,
    PoolClosedError,
    PoolInfo,
    PoolSaturatedError,
    PoolStats,
    PythonExecutorService,
)
from python_executor._statistics import Durations, Recorder

Until = Callable[[Callable[[], bool]], None]


@settings(deadline=None)  # a busy machine may stop anybody for a while
@given(st.lists(st.floats(2e-6, 1e5), min_size=1, max_size=300))
def test_percentiles_are_exact_to_a_fortieth(times: list[float]) -> None:
    durations = Durations()
    for seconds in times:
        durations.add(seconds)
    ordered = sorted(times)
    for name, percent in (("p50", 50), ("p95", 95), ("p99", 99)):
        exact = ordered[-(-len(times) * percent // 100) - 1]
        found = durations.percentiles()[name]  # type: ignore[literal-required]
        assert found == pytest.approx(exact, rel=0.026)


def test_times_beyond_the_scale_count_at_its_ends() -> None:
    durations = Durations()
    assert durations.percentiles() == {"p50": None, "p95": None, "p99": None}
    for seconds in (-1.0, 0.0, 1e-9):
        durations.add(seconds)
    shortest = durations.percentiles()["p50"]
    assert shortest is not None
    assert 0 < shortest < 2e-6
    durations.add(1e12)
    longest = durations.percentiles()["p99"]
    assert longest is not None
    assert longest > 1e5


def test_threads_that_record_together_lose_nothing() -> None:
    recorder = Recorder()

    def record(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(1000):
            recorder.add(chance.choice(("ok", "error")), chance.random(), chance.random())

    threads = [threading.Thread(target=record, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    by_status, wait, run = recorder.summary()
    assert sum(by_status.values()) == 4000
    assert wait["p50"] == pytest.approx(0.5, abs=0.1)
    assert run["p95"] == pytest.approx(0.95, abs=0.1)


def test_a_pool_tells_what_goes_on(tmp_path: Path, until: Until) -> None:
    release = tmp_path / "release"
    blocker = f"import os, time\nwhile not os.path.exists({str(release)!r}): time.sleep(0.001)"
    with (
        PythonExecutorService(pool_size=2, timeout=30.0, max_pending=3) as executor,
        ThreadPoolExecutor(1) as threads,
    ):
        before = executor.stats()
        assert before["wait"] == before["run"] == {"p50": None, "p95": None, "p99": None}
        call = threads.submit(
            executor.execute_batch,
            [Execution(blocker, execution_id=str(number)) for number in range(5)],
        )
        until(lambda: executor.stats()["running"] == 2)
        busy = executor.stats()
        assert (busy["idle"], busy["pending"], busy["executions"]) == (0, 3, 0)
        with pytest.raises(PoolSaturatedError):
            executor.execute("1")
        assert executor.cancel("4")
        assert executor.stats()["pending"] == 2
        release.touch()
        call.result()
        executor.execute_batch(["1 / 0", "import os; os._exit(1)", "import time; time.sleep(0.3)"])
        after = executor.stats()
    assert after["by_status"] == {"ok": 5, "rejected": 1, "error": 1, "crashed": 1}
    assert (after["executions"], after["pending_peak"], after["pending"]) == (8, 3, 0)
    assert after["run"]["p99"] is not None
    assert after["wait"]["p50"] is not None
    assert 0.28 < after["run"]["p99"] < after["uptime"]
    assert before["uptime"] < after["uptime"]
    assert before["uptime"] > 0
    assert after.keys() == get_type_hints(PoolStats).keys()
    assert json.loads(json.dumps(after)) == after


def test_what_waits_is_timed_as_waiting(executor: PythonExecutorService) -> None:
    executor.execute_batch(["import time; time.sleep(0.1)"] * 6)  # the last two wait for 0.2 s
    stats = executor.stats()
    assert stats["wait"]["p99"] is not None
    assert stats["run"]["p50"] is not None
    assert stats["wait"]["p99"] > 0.19
    assert stats["run"]["p50"] > 0.09


def test_a_pool_tells_what_it_is_made_of() -> None:
    executor = PythonExecutorService(
        3, 7.0, assignment="round-robin", max_pending=9, preload=["decimal"], max_output=1000,
        max_total_output=2000, max_files=3000, startup_timeout=40.0, sandbox="off",
    )  # fmt: skip
    with executor:
        executor.execute_batch(["1"] * 9)
        info = executor.info()
        assert info["server"] is not None
        assert Path(f"/proc/{info['server']}").exists()
        assert len(info["slot_servers"]) == 3
        assert info["directory"] is not None
        assert Path(info["directory"]).is_dir()
    expected = {
        "pool_size": 3, "timeout": 7.0, "isolation": "process", "assignment": "round-robin",
        "merge_stderr": False, "sandbox": {"mode": "off", "layers": []},
        "max_pending": 9, "max_output": 1000, "max_total_output": 2000, "max_files": 3000,
        "startup_timeout": 40.0, "preload": ["decimal"], "python": sys.executable,
        "python_version": sys.version, "owner": os.getpid(), "closed": False,
    }  # fmt: skip
    assert {name: value for name, value in info.items() if name in expected} == expected
    assert info.keys() == get_type_hints(PoolInfo).keys()
    assert json.loads(json.dumps(info)) == info
    closed = executor.info()
    assert (closed["closed"], closed["server"], closed["slot_servers"]) == (True, None, [])
    assert executor.stats()["running"] == 0
    with pytest.raises(PoolClosedError):
        executor.execute("1")
