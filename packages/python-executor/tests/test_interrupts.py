"""Cells that run too long, or are cancelled, are interrupted before they are ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from python_executor import Execution, ExecutionResult, PythonExecutorService, Status

Until = Callable[[Callable[[], bool]], None]
Lend = Callable[..., AbstractContextManager[PythonExecutorService]]


@pytest.fixture
def pool(lend: Lend) -> Iterator[PythonExecutorService]:
    with lend(pool_size=2, timeout=30.0, interrupt_grace=20.0, sandbox="strict") as pool:
        yield pool


@pytest.fixture
def hasty(lend: Lend) -> Iterator[PythonExecutorService]:
    """A pool that doesn't wait long for what it has interrupted."""
    with lend(pool_size=2, interrupt_grace=0.2, checkpoint=False) as pool:
        yield pool


def error_of(result: ExecutionResult) -> tuple[str, str, str]:
    error = result["error"]
    assert error is not None
    return error["type"], error["message"], error["traceback"]


@pytest.mark.parametrize(
    "line",
    [
        "while True: pass",
        "import time; time.sleep(1000)",
        "import threading; threading.Event().wait()",
    ],
)
def test_a_timeout_interrupts_the_cell_and_keeps_the_state(
    pool: PythonExecutorService, line: str
) -> None:
    pool.execute("x = 1", session="a")
    result = pool.execute(f"x = 2\nprint('before', end='')\n{line}", session="a", timeout=0.5)
    assert (result["status"], result["returncode"], result["success"]) == ("timeout", -2, False)
    assert result["stdout"] == "before"
    kind, message, traceback = error_of(result)
    assert (kind, message) == (
        "TimeoutError",
        "The cell ran longer than 0.5 s and was interrupted.",
    )
    assert 'File "<cell 2>", line 3' in traceback
    assert traceback.rstrip().endswith("KeyboardInterrupt")
    after = pool.execute("x", session="a")
    assert (after["state"], after["value"]) == ("kept", "2")


def test_a_program_without_a_session_is_ended_at_once(pool: PythonExecutorService) -> None:
    code = (
        "try:\n    import time; time.sleep(1000)\nexcept BaseException:\n    print('interrupted')"
    )
    result = pool.execute(code, timeout=0.2)
    assert (result["status"], result["returncode"], result["stdout"]) == ("timeout", -9, "")


STUBBORN = {
    "in C": "sum(range(10**12))",
    "ignored": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    "blocked": "import signal, time; signal.pthread_sigmask(0, [2]); time.sleep(1000)",
    "caught": """
import time
while True:
    try:
        time.sleep(1000)
    except KeyboardInterrupt:
        pass
""",
}


@pytest.mark.parametrize("how", STUBBORN)
def test_a_cell_that_goes_on_is_ended_and_its_session_lost(
    hasty: PythonExecutorService, how: str
) -> None:
    hasty.execute("x = 1", session="a")
    hasty.execute("x = 1", session="b")
    result = hasty.execute(f"print('begun')\n{STUBBORN[how]}", session="a", timeout=0.5)
    assert (result["status"], result["returncode"], result["stdout"]) == ("timeout", -9, "begun\n")
    after = hasty.execute("'x' in globals()", session="a")
    assert (after["state"], after["value"]) == ("lost", "False")
    assert hasty.execute("x", session="b")["state"] == "kept"


def test_a_cell_that_cleans_up_within_the_grace_has_timed_out_all_the_same(
    pool: PythonExecutorService,
) -> None:
    code = """
import time
try:
    time.sleep(1000)
except KeyboardInterrupt:
    time.sleep(0.1)
    print("cleaned up")
done = True
"""
    result = pool.execute(code, session="a", timeout=0.5)
    assert (result["status"], result["returncode"]) == ("timeout", -2)
    assert result["stdout"] == "cleaned up\n"
    assert pool.execute("done", session="a")["value"] == "True"


def test_a_handler_of_the_sessions_own_is_called(pool: PythonExecutorService) -> None:
    code = """
import signal, time
def handle(number, frame):
    raise RuntimeError("mine")
signal.signal(signal.SIGINT, handle)
time.sleep(1000)
"""
    result = pool.execute(code, session="a", timeout=0.5)
    assert "RuntimeError: mine" in error_of(result)[2]
    assert pool.execute("handle.__name__", session="a")["value"] == "'handle'"


def test_other_threads_do_not_swallow_an_interrupt(pool: PythonExecutorService) -> None:
    pool.execute(
        "import threading, time\n"
        "over = threading.Event()\n"
        "for _ in range(8): threading.Thread(target=over.wait, daemon=True).start()",
        session="a",
    )
    for _ in range(5):
        assert pool.execute("time.sleep(1000)", session="a", timeout=0.05)["returncode"] == -2
    assert pool.execute("over.set(); 1", session="a")["state"] == "kept"


def test_an_interrupt_that_comes_too_late_reaches_no_later_cell(
    pool: PythonExecutorService,
) -> None:
    """Cells that end just when they are interrupted: whatever they were told, the next is whole."""
    ends: set[Status] = set()
    pool.execute("import time", session="a")
    for number in range(60):
        timeout = 0.02
        pause = 0.005 + 0.0005 * number
        code = f"end = time.monotonic() + {pause}\nwhile time.monotonic() < end: pass"
        ends.add(pool.execute(code, session="a", timeout=timeout)["status"])
        after = pool.execute("sum(range(100))", session="a")
        assert (after["status"], after["value"], after["state"]) == ("ok", "4950", "kept")
    assert ends == {"ok", "timeout"}


def test_a_running_cell_that_is_cancelled_is_interrupted(
    pool: PythonExecutorService, until: Until
) -> None:
    pool.execute("import time; x = 1", session="a")
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(
            pool.execute, "x = 2\nprint('begun')\ntime.sleep(1000)", session="a", execution_id="e"
        )
        until(lambda: pool.stats()["running"] == 1)
        time.sleep(0.3)
        assert pool.cancel("e")
        result = running.result()
    assert (result["status"], result["returncode"]) == ("cancelled", -2)
    assert (error_of(result)[0], result["stdout"]) == ("CancelledError", "begun\n")
    after = pool.execute("x", session="a")
    assert (after["state"], after["value"]) == ("kept", "2")


def test_a_cell_that_goes_on_when_it_is_cancelled_is_ended(
    hasty: PythonExecutorService, until: Until
) -> None:
    with ThreadPoolExecutor(1) as threads:
        stubborn = Execution(STUBBORN["ignored"], session="a", execution_id="e")
        running = threads.submit(hasty.execute_batch, [stubborn, Execution("1 + 1")])
        until(lambda: hasty.stats()["running"] == 1)
        time.sleep(0.3)
        assert hasty.cancel("e")
        cancelled, other = running.result()
    assert (cancelled["status"], cancelled["returncode"]) == ("cancelled", -9)
    assert other["value"] == "2"
    assert hasty.execute("1", session="a")["state"] == "lost"


def test_a_cell_that_is_cancelled_before_its_turn_never_runs(
    pool: PythonExecutorService, until: Until
) -> None:
    pool.execute("import time; log = []", session="a")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(pool.execute, "time.sleep(1.0); log.append(1)", session="a")
        until(lambda: pool.stats()["running"] == 1)
        code = "log.append(2)"
        second = threads.submit(pool.execute, code, session="a", execution_id="second")
        until(lambda: pool.stats()["pending"] == 1)
        assert pool.cancel("second")
        rejected = second.result()
        assert not first.done()
        assert first.result()["success"]
    assert (rejected["status"], rejected["session"]) == ("rejected", "a")
    assert pool.execute("log", session="a")["value"] == "[1]"


def test_what_cancel_says_holds_for_cells_that_end_just_then(pool: PythonExecutorService) -> None:
    """It runs in a thread of its own, at any moment of cells that take about as long."""
    told: list[bool] = []
    for number in range(40):
        name = f"e{number}"
        canceller = threading.Timer(0.0002 * number, lambda n=name: told.append(pool.cancel(n)))
        canceller.start()
        result = pool.execute("x = sum(range(50_000))", session="a", execution_id=name)
        canceller.join()
        assert told.pop() == (result["status"] in ("cancelled", "rejected"))
        assert pool.execute("1", session="a")["status"] == "ok"
