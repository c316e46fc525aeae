"""Sessions go back to earlier cells."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import pytest

from python_executor import (
    CheckpointNotFoundError,
    InvalidArgumentError,
    PythonExecutorService,
    SessionNotFoundError,
)

Until = Callable[[Callable[[], bool]], None]
Lend = Callable[..., AbstractContextManager[PythonExecutorService]]


@pytest.fixture(params=["strict", "off"])
def pool(request: pytest.FixtureRequest, lend: Lend) -> Iterator[PythonExecutorService]:
    sandbox: Literal["strict", "off"] = request.param
    with lend(pool_size=2, timeout=30.0, sandbox=sandbox, rollback_cells=3) as pool:
        yield pool


def filled(pool: PythonExecutorService, cells: int) -> None:
    pool.execute("import os, random; random.seed(1); x = [1]", session="a")
    for number in range(2, cells + 1):
        pool.execute(f"x.append({number}); r = random.random()", session="a")


def test_a_session_goes_back_to_any_of_its_last_cells(pool: PythonExecutorService) -> None:
    filled(pool, 6)
    (info,) = pool.list_sessions()
    assert (info["cells"], info["checkpoints"]) == (6, [3, 4, 5, 6])
    drawn = pool.execute("r", session="a")["value"]
    for cell in (6, 5, 4):
        pool.rollback("a", to=cell)
        after = pool.execute("x", session="a")
        assert (after["state"], after["value"]) == ("restored", str(list(range(1, cell + 1))))
    again = pool.execute(
        "x.append(5); r = random.random(); x.append(6); random.random()", session="a"
    )
    assert again["value"] == drawn
    failed = pool.execute("1 / 0", session="a")
    assert failed["error"] is not None
    assert "<cell 7>" in failed["error"]["traceback"]


def test_the_same_cell_again_and_again(pool: PythonExecutorService) -> None:
    filled(pool, 2)
    for _ in range(5):
        assert pool.execute("x.append(3); x", session="a")["value"] == "[1, 2, 3]"
        pool.execute("y = 1", session="a")
        pool.rollback("a", to=2)
        pool.execute("os._exit(1)", session="a")
        back = pool.execute("x, 'y' in globals()", session="a")
        assert (back["state"], back["value"]) == ("restored", "([1, 2], False)")
        pool.rollback("a", to=2)


def test_cells_of_which_there_is_no_checkpoint(pool: PythonExecutorService) -> None:
    filled(pool, 5)
    for cell in (1, 6, 99):
        with pytest.raises(CheckpointNotFoundError, match="it may have one: 2, 3, 4, 5") as info:
            pool.rollback("a", to=cell)
        assert str(pickle.loads(pickle.dumps(info.value))) == str(info.value)
    pool.rollback("a", to=5)  # is there
    after = pool.execute("x", session="a")
    assert (after["state"], after["value"]) == ("kept", "[1, 2, 3, 4, 5]")
    with pytest.raises(SessionNotFoundError):
        pool.rollback("b", to=1)
    with pytest.raises(InvalidArgumentError, match="to must be"):
        pool.rollback("a", to=0)


def test_a_cell_that_could_not_leave_a_checkpoint(pool: PythonExecutorService) -> None:
    filled(pool, 2)
    pool.execute(
        "import threading; e = threading.Event(); t = threading.Thread(target=e.wait)", session="a"
    )
    pool.execute("t.start()", session="a")
    pool.execute("y = 1", session="a")
    with pytest.raises(CheckpointNotFoundError):
        pool.rollback("a", to=4)
    assert pool.execute("y, t.is_alive()", session="a")["value"] == "(1, True)"
    pool.rollback("a", to=3)
    assert pool.execute("t.is_alive(), x", session="a")["value"] == "(False, [1, 2])"


def test_a_branch_begins_a_history_of_its_own(pool: PythonExecutorService) -> None:
    filled(pool, 3)
    pool.fork_session("a", "b")
    with pytest.raises(CheckpointNotFoundError):
        pool.rollback("b", to=2)
    pool.execute("x.append('b')", session="b")
    pool.rollback("b", to=3)
    pool.rollback("a", to=2)
    assert pool.execute("x", session="a")["value"] == "[1, 2]"
    assert pool.execute("x", session="b")["value"] == "[1, 2, 3]"


def test_no_more_checkpoints_are_kept_than_may_be(
    pool: PythonExecutorService, until: Until
) -> None:
    filled(pool, 9)
    value = pool.execute("os.getppid()", session="a")["value"]
    assert value is not None
    children = Path(f"/proc/{value}/task/{value}/children")
    until(lambda: len(children.read_text().split()) == 5)
    pool.rollback("a", to=8)
    pool.execute("1", session="a")
    # One more if it went back before its last checkpoint had been made, in place of the first.
    until(lambda: len(children.read_text().split()) in (4, 5))
    assert len(pool.list_sessions()[0]["checkpoints"]) <= 4


def test_a_checkpoint_that_dies_as_it_wakes_up(pool: PythonExecutorService) -> None:
    dying = (
        "import os, sys\nsession = sys.modules['_python_executor_child.session']\n"
        "session._drain = lambda descriptor: os._exit(1) if descriptor == 255 else None"
    )
    pool.execute(dying, session="a")
    pool.execute("x = 1", session="a")
    with pytest.raises(SessionNotFoundError, match="lost its process"):
        pool.rollback("a", to=1)
    assert pool.execute("1", session="a")["state"] == "lost"
