"""Many programs and many callers at once."""

from __future__ import annotations

import asyncio
import gc
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest

from python_executor import (
    Execution,
    InvalidArgumentError,
    PoolClosedError,
    PoolSaturatedError,
    PythonExecutorService,
    SandboxPolicy,
)

Until = Callable[[Callable[[], bool]], None]


def test_a_batch_larger_than_the_pool_comes_back_in_order() -> None:
    with PythonExecutorService(pool_size=4, timeout=30.0) as executor:
        items = [
            f"import time; time.sleep({0.01 * (7 * i % 5)}); print({i})"
            if i % 2
            else Execution("print(input())", stdin=str(i), timeout=20.0)
            for i in range(60)
        ]
        results = executor.execute_batch(items)
        assert [result["stdout"] for result in results] == [f"{i}\n" for i in range(60)]
        assert pickle.loads(pickle.dumps(results)) == results
        assert executor.execute_batch([]) == []
        stats = executor.stats()
    assert (stats["executions"], stats["by_status"], stats["restarts"]) == (60, {"ok": 60}, 0)


def test_a_batch_runs_in_parallel(tmp_path: Path) -> None:
    # Each waits until all four are there, which one after the other they never would be.
    code = f"""
import os, pathlib, time
here = pathlib.Path({str(tmp_path)!r})
(here / str(os.getpid())).touch()
while len(list(here.iterdir())) < 4:
    time.sleep(0.001)
"""
    policy = SandboxPolicy(write=[tmp_path])
    with PythonExecutorService(pool_size=4, timeout=30.0, sandbox=policy) as executor:
        assert all(result["success"] for result in executor.execute_batch([code] * 4))


def test_pool_size_bounds_what_runs_at_the_same_time(tmp_path: Path) -> None:
    code = f"""
import os, pathlib, time
here = pathlib.Path({str(tmp_path)!r})
mine = here / str(os.getpid())
mine.touch()
seen = len(list(here.iterdir()))
time.sleep(0.01)
mine.unlink()
print(seen)
"""
    policy = SandboxPolicy(write=[tmp_path])
    with PythonExecutorService(pool_size=3, timeout=30.0, sandbox=policy) as executor:
        seen = [int(result["stdout"]) for result in executor.execute_batch([code] * 30)]
    assert max(seen) <= 3


def test_one_program_that_fails_does_not_disturb_a_batch(executor: PythonExecutorService) -> None:
    codes = ["1", "1 / 0", "import os; os._exit(1)", "while True: pass", "2"]
    results = executor.execute_batch([Execution(code, timeout=2.0) for code in codes])
    statuses = [result["status"] for result in results]
    assert statuses == ["ok", "error", "crashed", "timeout", "ok"]


def test_thirty_two_threads_get_their_own_answers() -> None:
    with (
        PythonExecutorService(pool_size=8, timeout=60.0) as executor,
        ThreadPoolExecutor(32) as threads,
    ):
        results = list(threads.map(lambda i: executor.execute(f"{i} * 2"), range(320)))
        assert [result["value"] for result in results] == [str(i * 2) for i in range(320)]
        assert executor.stats()["idle"] == 8


@pytest.mark.parametrize("assignment", ["idle-first", "round-robin"])
@pytest.mark.parametrize("isolation", ["process", "namespace"])
@pytest.mark.load
def test_sixty_four_threads_share_four_slots(
    assignment: Literal["idle-first", "round-robin"], isolation: Literal["process", "namespace"]
) -> None:
    begin = threading.Barrier(64)

    def call(worker: int) -> list[str | None]:
        begin.wait()
        if worker % 8 == 0:
            programs = [f"{worker} * 100 + {number}" for number in range(6)]
            return [result["value"] for result in executor.execute_batch(programs)]
        name = None if worker % 2 else f"w{worker}"
        return [
            executor.execute(f"{worker} * 100 + {number}", execution_id=name)["value"]
            for number in range(6)
        ]

    with (
        PythonExecutorService(4, 60.0, assignment=assignment, isolation=isolation) as executor,
        ThreadPoolExecutor(64) as threads,
    ):
        values = list(threads.map(call, range(64)))
        stats = executor.stats()
    assert values == [[str(worker * 100 + number) for number in range(6)] for worker in range(64)]
    assert (stats["idle"], stats["pending"], stats["executions"]) == (4, 0, 384)
    assert stats["by_status"] == {"ok": 384}
    # 56 that call one by one, and eight batches of six.
    assert 0 < stats["pending_peak"] <= 56 + 8 * 6


def test_a_pool_made_in_a_thread_outlives_it() -> None:
    made: list[PythonExecutorService] = []
    maker = threading.Thread(target=lambda: made.append(PythonExecutorService(2, 30.0)))
    maker.start()
    maker.join()
    with made[0] as executor:
        results = executor.execute_batch(["1 + 1"] * 6)
        assert [result["value"] for result in results] == ["2"] * 6


def test_a_pool_works_in_the_executor_of_an_event_loop() -> None:
    async def main() -> list[str | None]:
        loop = asyncio.get_running_loop()
        executor = await loop.run_in_executor(None, PythonExecutorService, 2, 30.0)
        try:
            calls = [loop.run_in_executor(None, executor.execute, f"{i}") for i in range(8)]
            return [result["value"] for result in await asyncio.gather(*calls)]
        finally:
            await loop.run_in_executor(None, executor.close)
            await loop.shutdown_default_executor()

    assert asyncio.run(main()) == [str(i) for i in range(8)]


def test_a_single_program_does_not_wait_for_a_whole_batch(until: Until) -> None:
    with PythonExecutorService(pool_size=1, timeout=60.0) as executor:
        ended: list[str] = []

        def batch() -> None:
            executor.execute_batch(["import time; time.sleep(0.05)"] * 20)
            ended.append("batch")

        caller = threading.Thread(target=batch)
        caller.start()
        until(lambda: executor.stats()["pending"] > 0)
        executor.execute("1")
        ended.append("single")
        caller.join()
    assert ended == ["single", "batch"]


SLOT = "from pathlib import Path\nint(Path.cwd().parent.name)"


def test_round_robin_takes_slots_in_turn_over_all_calls() -> None:
    with PythonExecutorService(3, 30.0, assignment="round-robin") as executor:
        slots = [executor.execute(SLOT)["value"] for _ in range(4)]
        slots += [result["value"] for result in executor.execute_batch([SLOT] * 7)]
        slots += [executor.execute(SLOT)["value"]]
    assert slots == [str(number % 3) for number in range(12)]


def test_round_robin_waits_for_its_slot_although_another_is_idle(
    until: Until, tmp_path: Path
) -> None:
    release = tmp_path / "release"
    blocker = f"import os, time\nwhile not os.path.exists({str(release)!r}): time.sleep(0.001)"
    with (
        PythonExecutorService(2, 30.0, assignment="round-robin", max_pending=1) as executor,
        ThreadPoolExecutor(2) as threads,
    ):
        blocked = threads.submit(executor.execute, blocker)
        until(lambda: executor.stats()["running"] == 1)
        assert executor.execute(SLOT)["value"] == "1"
        waiting = threads.submit(executor.execute, SLOT)
        until(lambda: executor.stats()["pending"] == 1)
        assert executor.execute(SLOT)["value"] == "1"
        assert executor.stats()["idle"] == 1
        with pytest.raises(PoolSaturatedError) as caught:
            executor.execute_batch([SLOT] * 4)  # two for each slot, of which one is idle
        assert (caught.value.wanted, caught.value.pending) == (3, 1)
        assert not waiting.done()
        release.touch()
        assert (blocked.result()["status"], waiting.result()["value"]) == ("ok", "0")


def test_an_unknown_assignment_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="'idle-first' or 'round-robin'"):
        PythonExecutorService(1, assignment="random")  # type: ignore[arg-type]


def test_more_than_may_wait_is_refused_and_nothing_of_it_runs(until: Until) -> None:
    with PythonExecutorService(pool_size=1, timeout=60.0, max_pending=2) as executor:
        with pytest.raises(PoolSaturatedError) as caught:
            executor.execute_batch(["1"] * 4)
        assert (caught.value.wanted, caught.value.pending, caught.value.max_pending) == (3, 0, 2)
        assert executor.stats()["executions"] == 0
        caller = threading.Thread(
            target=executor.execute_batch, args=(["import time; time.sleep(0.5)", "1", "1"],)
        )
        caller.start()
        until(lambda: executor.stats()["pending"] == 2)
        with pytest.raises(PoolSaturatedError):
            executor.execute("1")
        caller.join()
        assert executor.execute_batch(["1"] * 3)[2]["value"] == "1"


def test_close_ends_what_runs_and_what_waits(until: Until) -> None:
    executor = PythonExecutorService(pool_size=2, timeout=60.0)
    errors: list[BaseException] = []

    def call(run: Callable[[], object]) -> None:
        try:
            run()
        except PoolClosedError as error:
            errors.append(error)

    endless = "while True: pass"
    calls: list[Callable[[], object]] = [
        lambda: executor.execute(endless),
        lambda: executor.execute_batch([endless] * 3),
        lambda: executor.execute(endless),
        lambda: executor.execute(endless),
    ]
    callers = [threading.Thread(target=call, args=(run,)) for run in calls]
    for caller in callers:
        caller.start()
    until(lambda: executor.stats()["pending"] == 4)
    closers = [threading.Thread(target=executor.close) for _ in range(3)]
    for closer in closers:
        closer.start()
    for thread in (*callers, *closers):
        thread.join()
    assert len(errors) == 4
    for refused in (lambda: executor.execute("1"), lambda: executor.execute_batch(["1"])):
        with pytest.raises(PoolClosedError):
            refused()
    assert executor.info()["closed"]
    assert "closed" in repr(executor)
    executor.close()


def test_an_interrupted_call_leaves_the_pool_whole(
    executor: PythonExecutorService, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for run in (
            lambda: executor.execute("while True: pass"),
            lambda: executor.execute_batch(["while True: pass"] * 5),
        ):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                run()
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert executor.stats()["idle"] == 2
    assert [r["value"] for r in executor.execute_batch(["1 + 1"] * 6)] == ["2"] * 6


def test_a_pool_that_was_not_closed_warns_and_ends() -> None:
    executor = PythonExecutorService(pool_size=1, timeout=30.0)
    assert executor.execute("1")["value"] == "1"
    with pytest.warns(ResourceWarning, match="unclosed"):  # noqa: PT031  (both statements may warn)
        del executor
        gc.collect()


@pytest.mark.load
def test_a_thousand_programs_leave_the_host_as_it_was() -> None:
    with PythonExecutorService(pool_size=4, timeout=30.0, sandbox="off") as executor:
        executor.execute_batch(["1"] * 50)
        before = len(list(Path("/proc/self/fd").iterdir()))
        results = executor.execute_batch(
            ["1 / 0", "print('x' * 9999)", "1", "import os; os._exit(1)"] * 250
        )
        assert len(results) == 1000
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        folder = executor.info()["directory"]
        assert folder is not None
        deadline = time.monotonic() + 20
        while len(list(Path(folder).glob("*/*"))) > 4:
            assert time.monotonic() < deadline
