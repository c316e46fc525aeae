"""What programs use of ``multiprocessing`` among threads works in the sandbox."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from multiprocessing.synchronize import _multiprocessing  # type: ignore[attr-defined]
from typing import Any

import pytest

from python_executor import PythonExecutorService, SandboxPolicy
from python_executor._child.parallel import SemLock

RECURSIVE, SEMAPHORE = 0, 1

Lend = Callable[..., AbstractContextManager[PythonExecutorService]]


@pytest.fixture(params=[SemLock, _multiprocessing.SemLock], ids=["ours", "the original"])
def kind_of(request: pytest.FixtureRequest) -> Any:
    """Ours, and the one that it stands for: both do the same."""
    return request.param


def make(kind_of: Any, kind: int, value: int, most: int) -> Any:
    return kind_of(kind, value, most, f"/executor-test-{id(object())}-{kind}", True)


def in_thread(call: Any, *arguments: object) -> object:
    results: list[object] = []

    def run() -> None:
        try:
            results.append(call(*arguments))
        except (AssertionError, ValueError) as error:
            results.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results[0]


def test_a_semaphore_is_taken_as_often_as_it_may_be(kind_of: Any) -> None:
    semaphore = make(kind_of, SEMAPHORE, 2, 2)
    assert semaphore.acquire()
    assert semaphore.acquire(True, 0.01)
    assert semaphore._is_zero()
    assert not semaphore.acquire(False)
    assert not semaphore.acquire(True, 0.001)
    assert not semaphore.acquire(True, -1)
    assert in_thread(semaphore.release) is None
    assert semaphore._get_value() == 1
    semaphore.release()
    with pytest.raises(ValueError, match="too many times"):
        semaphore.release()


def test_a_recursive_lock_is_its_owners(kind_of: Any) -> None:
    lock = make(kind_of, RECURSIVE, 1, 1)
    with lock, lock:
        assert lock._is_mine()
        assert lock._count() == 2
        assert in_thread(lock.acquire, False) is False
        assert in_thread(lock.release) is AssertionError
        assert in_thread(lock._is_mine) is False
    assert in_thread(lock.acquire, False) is True
    with pytest.raises(AssertionError, match="not owned"):
        make(kind_of, RECURSIVE, 1, 1).release()


def test_it_looks_as_the_original(kind_of: Any) -> None:
    lock = make(kind_of, SEMAPHORE, 1, 1)
    assert (lock.kind, lock.maxvalue, lock.name) == (SEMAPHORE, 1, None)
    assert isinstance(lock.handle, int)
    assert kind_of.SEM_VALUE_MAX >= 32767
    lock._after_fork()
    assert lock._count() == 0


@pytest.fixture
def strict(lend: Lend) -> Iterator[PythonExecutorService]:
    with lend(pool_size=1, timeout=30.0, sandbox="strict") as executor:
        yield executor


PROGRAMS = {
    "a pool of threads": """
from multiprocessing.pool import ThreadPool
with ThreadPool(4) as pool:
    assert pool.map(abs, range(-9, 0)) == list(range(9, 0, -1))
""",
    "multiprocessing.dummy": """
from multiprocessing.dummy import Pool
with Pool(2) as pool:
    assert pool.starmap(max, [(1, 2), (4, 3)]) == [2, 4]
""",
    "queues, values, conditions": """
import multiprocessing, threading
queue, ready = multiprocessing.Queue(), multiprocessing.Event()
total = multiprocessing.Value("i", 0)
numbers = multiprocessing.Array("d", [1.0, 2.0])
def work():
    assert ready.wait(20)
    for _ in range(100):
        with total.get_lock():
            total.value += 1
    queue.put(threading.get_ident())
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
ready.set()
assert len({queue.get(timeout=20) for _ in threads}) == 4
for thread in threads: thread.join()
assert total.value == 400 and list(numbers) == [1.0, 2.0]
lock = multiprocessing.Lock()
with lock:
    assert not lock.acquire(timeout=0.001)
queue.close()
queue.join_thread()
""",
}


@pytest.mark.parametrize("code", PROGRAMS.values(), ids=PROGRAMS)
def test_threads_share_what_is_meant_for_processes(
    strict: PythonExecutorService, code: str
) -> None:
    result = strict.execute(code)
    assert (result["status"], result["stderr"]) == ("ok", "")
    assert result["files"] == {}


def test_processes_get_the_original() -> None:
    policy = SandboxPolicy.with_processes()
    code = "import _multiprocessing; _multiprocessing.SemLock.__module__"
    with PythonExecutorService(pool_size=1, timeout=30.0, sandbox=policy) as executor:
        assert executor.execute(code)["value"] == "'_multiprocessing'"
