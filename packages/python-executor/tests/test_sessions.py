"""Sessions: state from cell to cell, over a pool that others use as well."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest

from python_executor import (
    Execution,
    InvalidArgumentError,
    InvalidArgumentTypeError,
    PoolClosedError,
    PoolSaturatedError,
    PythonExecutorService,
)

Until = Callable[[Callable[[], bool]], None]
Lend = Callable[..., AbstractContextManager[PythonExecutorService]]


@pytest.fixture
def pool(lend: Lend) -> Iterator[PythonExecutorService]:
    with lend(pool_size=2, timeout=30.0, sandbox="strict") as pool:
        yield pool


def named(pool: PythonExecutorService) -> list[str]:
    return [each["session"] for each in pool.list_sessions()]


def test_a_session_keeps_its_state_and_says_so(pool: PythonExecutorService) -> None:
    first = pool.execute("x = 41", session="env-7")
    second = pool.execute("x + 1", session="env-7")
    assert (first["state"], first["session"], first["success"]) == ("fresh", "env-7", True)
    assert (second["state"], second["value"]) == ("kept", "42")
    alone = pool.execute("'x' in globals()")
    assert (alone["state"], alone["session"], alone["value"]) == ("fresh", None, "False")


OPEN = """
import os
try:
    os.fstat(200)
except OSError:
    found = False
else:
    found = True
found
"""
STATE = {
    "names": ("mine = 1", "'mine' in globals()"),
    "builtins": ("import builtins; builtins.mine = 1", "'mine' in dir(__builtins__)"),
    "directory": ("import os; os.mkdir('d'); os.chdir('d')", "import os; os.getcwd()[-2:] == '/d'"),
    "files": ("open('f', 'w').close()", "import os; os.path.exists('f')"),
    "environment": ("import os; os.environ['MINE'] = '1'", "import os; 'MINE' in os.environ"),
    "imports": ("import colorsys", "import sys; 'colorsys' in sys.modules"),
    "open files": ("import os; d = os.dup2(0, 200)", OPEN),
    "random": (
        "import random; random.seed(7); random.random()",
        "import random; random.random() == 0.15084917392450192",
    ),
}


@pytest.mark.parametrize("what", STATE)
def test_all_of_the_state_is_the_sessions_own(pool: PythonExecutorService, what: str) -> None:
    make, look = STATE[what]
    pool.execute(make, session="a")
    pool.execute("pass", session="b")
    values = pool.execute_batch([Execution(look, session="a"), Execution(look, session="b"), look])
    assert [each["value"] for each in values] == ["True", "False", "False"]


def test_parked_sessions_hold_no_slot() -> None:
    with PythonExecutorService(pool_size=1, max_sessions=20) as pool:
        for _ in range(2):
            for number in range(20):
                pool.execute(f"x = globals().get('x', {number}) + 1", session=f"s{number}")
        assert pool.stats()["idle"] == 1
        values = pool.execute_batch([Execution("x", session=f"s{n}") for n in range(20)])
        assert [each["value"] for each in values] == [str(n + 2) for n in range(20)]
        assert pool.execute("1 + 1")["value"] == "2"


def test_cells_of_a_batch_run_in_order_and_sessions_in_parallel(
    pool: PythonExecutorService,
) -> None:
    cells = [
        Execution(f"log = globals().get('log', []); log.append({i}); log", session=f"s{i % 3}")
        for i in range(12)
    ]
    results = pool.execute_batch([*cells, "1 + 1"])
    assert [each["value"] for each in results[9:]] == [
        "[0, 3, 6, 9]",
        "[1, 4, 7, 10]",
        "[2, 5, 8, 11]",
        "2",
    ]
    assert [each["state"] for each in results[:6]] == ["fresh"] * 3 + ["kept"] * 3


def test_many_callers_of_one_session_are_served_one_after_the_other(
    pool: PythonExecutorService,
) -> None:
    """Each cell would lose what another one adds meanwhile."""
    pool.execute("import time; n = 0", session="one")
    code = "m = n; time.sleep(0.001); n = m + 1"

    def call(worker: int) -> None:
        for _ in range(5):
            if worker % 2:
                assert pool.execute(code, session="one")["success"]
            else:
                assert pool.execute_batch([Execution(code, session="one")] * 1)[0]["success"]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(call, range(8)))
    assert pool.execute("n", session="one")["value"] == "40"


def test_cells_that_wait_for_their_session_hold_no_slot(
    pool: PythonExecutorService, until: Until
) -> None:
    """With both slots taken by waiting cells, nobody else would be served."""
    pool.execute("import time", session="busy")
    with ThreadPoolExecutor(5) as threads:
        slow = threads.submit(pool.execute, "time.sleep(1.0); 'slow'", session="busy")
        until(lambda: pool.stats()["running"] == 1)
        waiting = [threads.submit(pool.execute, "'next'", session="busy") for _ in range(4)]
        until(lambda: pool.stats()["pending"] == 4)
        assert pool.execute("1 + 1")["value"] == "2"
        assert not slow.done()
        assert [each.result()["value"] for each in waiting] == ["'next'"] * 4


def test_the_least_recently_used_session_makes_room_and_the_next_result_says_so() -> None:
    with PythonExecutorService(pool_size=1, max_sessions=2) as pool:
        for name in ("a", "b", "a", "c"):
            pool.execute("x = 1", session=name)
        assert named(pool) == ["a", "c"]
        assert pool.stats()["evictions"] == 1
        lost = pool.execute("'x' in globals()", session="b")
        assert (lost["state"], lost["value"]) == ("lost", "False")
        assert pool.execute("1", session="b")["state"] == "kept"
        assert named(pool) == ["c", "b"]
        assert pool.execute("x", session="c")["state"] == "kept"
        assert pool.execute("1", session="a")["state"] == "lost"


def test_a_session_that_runs_is_never_evicted(until: Until) -> None:
    with PythonExecutorService(pool_size=2, max_sessions=2) as pool:
        with ThreadPoolExecutor(1) as threads:
            code = "import time; time.sleep(1.0); x = 1"
            running = threads.submit(pool.execute, code, session="long")
            until(lambda: any(each["running"] for each in pool.list_sessions()))
            for number in range(5):
                pool.execute("1", session=f"short-{number}")
            assert running.result()["success"]
        assert pool.execute("x", session="long")["state"] == "kept"


def test_more_sessions_than_may_live_are_all_served_in_one_batch() -> None:
    with PythonExecutorService(pool_size=2, max_sessions=3) as pool:
        cells = [Execution("x = 1", session=f"s{n}") for n in range(12)]
        assert all(each["success"] for each in pool.execute_batch(cells * 2))
        assert len(pool.list_sessions()) == 3
        assert pool.stats()["sessions"] == 3


def test_a_closed_session_begins_afresh(pool: PythonExecutorService) -> None:
    pool.execute("x = 1", session="a")
    assert pool.close_session("a")
    assert not pool.close_session("a")
    assert named(pool) == []
    again = pool.execute("'x' in globals()", session="a")
    assert (again["state"], again["value"]) == ("fresh", "False")


def test_closing_takes_its_turn(pool: PythonExecutorService, until: Until) -> None:
    pool.execute("import time", session="a")
    with ThreadPoolExecutor(3) as threads:
        running = threads.submit(pool.execute, "time.sleep(1.0); 'ended'", session="a")
        until(lambda: pool.stats()["running"] == 1)
        waiting = threads.submit(pool.execute, "'waited'", session="a")
        until(lambda: pool.stats()["pending"] == 1)
        closing = threads.submit(pool.close_session, "a")
        time.sleep(0.05)
        assert not closing.done()
        assert running.result()["value"] == "'ended'"
        assert (waiting.result()["value"], waiting.result()["state"]) == ("'waited'", "kept")
        assert closing.result()
    assert pool.execute("1", session="a")["state"] == "fresh"


def test_what_waits_for_a_session_counts_for_max_pending(until: Until) -> None:
    with (
        PythonExecutorService(pool_size=2, max_pending=1) as pool,
        ThreadPoolExecutor(2) as threads,
    ):
        first = threads.submit(pool.execute, "import time; time.sleep(1.0)", session="a")
        until(lambda: pool.stats()["running"] == 1)
        second = threads.submit(pool.execute, "1", session="a")
        until(lambda: pool.stats()["pending"] == 1)
        with pytest.raises(PoolSaturatedError):
            pool.execute("1", session="a")
        assert pool.execute("1 + 1")["value"] == "2"
        assert first.result()["success"]
        assert second.result()["success"]


def test_the_list_tells_what_lives(pool: PythonExecutorService, until: Until) -> None:
    pool.execute("import time", session="a")
    pool.execute("1", session="b")
    pool.execute("1", session="b")
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(pool.execute, "time.sleep(1.0)", session="a")
        until(lambda: any(each["running"] for each in pool.list_sessions()))
        sessions = {each["session"]: each for each in pool.list_sessions()}
        running.result()
    assert (sessions["a"]["running"], sessions["a"]["idle"]) == (True, 0.0)
    assert sessions["b"]["cells"] == 2
    assert 0.0 < sessions["b"]["idle"] < 30.0
    assert pool.list_sessions()[0]["session"] == "b"
    info, stats = pool.info(), pool.stats()
    assert (info["max_sessions"], info["interrupt_grace"], stats["sessions"]) == (128, 1.0, 2)


def test_files_belong_to_the_cell_that_made_them(pool: PythonExecutorService) -> None:
    first = pool.execute("open('out', 'w').write('1')", session="a", files={"in": b"x"})
    second = pool.execute("open('in').read()", session="a")
    assert (first["files"], second["files"], second["value"]) == ({"out": b"1"}, {}, "'x'")
    assert pool.execute("open('out', 'a').write('2')", session="a")["files"] == {"out": b"12"}


def test_trusted_programs_and_sessions_do_not_mix() -> None:
    with PythonExecutorService(pool_size=1, isolation="namespace", sandbox="off") as pool:
        pool.execute("import builtins; builtins.mine = 1")
        pool.execute("x = 1", session="a")
        assert pool.execute("x, 'mine' in dir(__builtins__)", session="a")["value"] == "(1, False)"
        assert pool.execute("mine")["value"] == "1"


def test_a_session_works_with_one_pipe_for_both_streams() -> None:
    with PythonExecutorService(pool_size=1, merge_stderr=True) as pool:
        code = "import sys\nprint('a')\nprint('b', file=sys.stderr)\nprint('c')"
        for _ in range(2):
            assert pool.execute(code, session="a")["stdout"] == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"session": ""}, InvalidArgumentError),
        ({"session": 7}, InvalidArgumentTypeError),
    ],
)
def test_a_name_that_is_none_is_refused(
    pool: PythonExecutorService, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match="session"):
        pool.execute("1", **arguments)
    with pytest.raises(error, match="session"):
        pool.close_session(arguments["session"])


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"max_sessions": 1}, "max_sessions"),
        ({"max_sessions": 10**9}, "max_sessions"),
        ({"interrupt_grace": 0.0}, "interrupt_grace"),
        ({"interrupt_grace": float("nan")}, "interrupt_grace"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], parameter: str) -> None:
    with pytest.raises(InvalidArgumentError, match=parameter):
        PythonExecutorService(pool_size=2, **options)


def test_a_closed_pool_has_no_sessions_and_wakes_who_waits(until: Until) -> None:
    failures: list[BaseException] = []
    pool = PythonExecutorService(pool_size=2, timeout=60.0)
    pool.execute("import time", session="a")

    def call(what: Callable[[], object]) -> None:
        try:
            what()
        except PoolClosedError as error:
            failures.append(error)

    calls: list[Callable[[], object]] = [
        lambda: pool.execute("time.sleep(1000)", session="a"),
        lambda: pool.execute("1", session="a"),
        lambda: pool.execute_batch([Execution("1", session="a")]),
        lambda: pool.close_session("a"),
    ]
    threads = [threading.Thread(target=call, args=(each,)) for each in calls]
    threads[0].start()
    until(lambda: pool.stats()["running"] == 1)
    for thread in threads[1:]:
        thread.start()
    until(lambda: pool.stats()["pending"] == 2)
    pool.close()
    for thread in threads:
        thread.join()
    assert len(failures) == 4
    with pytest.raises(PoolClosedError):
        pool.list_sessions()
    with pytest.raises(PoolClosedError):
        pool.close_session("a")
