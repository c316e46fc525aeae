"""Sessions of an executor with replicas: found by key by every worker, lost with their replica."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from workers import (
    CountingExecutor,
    close_sessions,
    descendants,
    execute_cells,
    keep_numbers,
    run_in_worker,
)

from llm_transforms import ChatEnv, PythonInterpreter
from python_executor import PythonExecutorService, session_key
from services_core import Handle, ServiceBase, ServiceDiedError, call_each_replica
from services_core.testing.observing import eventually, is_running

NAMESPACE = "integration"
NAMES = [f"env-{number}" for number in range(12)]
# What the model is told.
CRASHED = "ProcessCrashedError: The interpreter was lost before the program had ended."
GONE = "Names of earlier blocks are gone."


def register(services: ServiceBase, **options: int) -> Handle:
    executor: Handle = services.register(
        "python_executor",
        CountingExecutor,
        pool_size=2,
        timeout=30.0,
        replicas=2,
        max_concurrency=4,
        num_cpus=1,
        **options,
    )
    return executor


def execute(executor: Handle, session: str, code: str) -> tuple[str | None, str]:
    """The value of a cell, and what it started from."""
    result = executor.execute.options(key=session_key(session))(code, session=session)
    return result["value"], result["state"]


def homes(executor: Handle) -> list[set[str]]:
    """The sessions of each replica."""
    listed = call_each_replica(executor.list_sessions)
    return [{info["session"] for info in infos} for infos in listed]


def kill(services: ServiceBase, replica: int) -> None:
    """Kill a replica, and wait until its interpreters are gone as well."""
    pid = services.describe("python_executor").replicas[replica].pid
    assert pid not in (None, os.getpid())
    assert pid is not None
    tree = descendants(pid)
    assert len(tree) > 2
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not any(map(is_running, tree)))


def survives(call: Callable[[], object]) -> bool:
    try:
        call()
    except ServiceDiedError:
        return False
    return True


def told(env: ChatEnv, program: str) -> list[str]:
    """What the tool says when every environment runs a program."""
    chats = env.step([f"```python\n{program}\n```"] * len(env))
    return [str(chat[-1]["content"]) for chat in chats]


def ok(printed: object) -> str:
    return f"Code block 1 executed successfully:\n{printed}\n"


def test_a_session_is_found_by_its_key_from_every_worker(
    services: ServiceBase, backend: str
) -> None:
    executor = register(services)
    for number, name in enumerate(NAMES):
        assert execute(executor, name, f"x = {number}; x") == (str(number), "fresh")
    assert sorted(len(names) > 0 for names in homes(executor)) == [True, True]
    assert set.union(*homes(executor)) == set(NAMES)
    before = homes(executor)
    # A branch has the key of its source, and is on the same replica.
    executor.fork_session.options(key=session_key("env-3"))("env-3", "env-3/branch-1")
    assert execute(executor, "env-3/branch-1", "x += 100; x") == ("103", "kept")
    (home,) = (names for names in homes(executor) if "env-3/branch-1" in names)
    assert "env-3" in home

    # One call a replica, wherever it comes from.
    cells = [(name, code) for name in NAMES for code in ("x += 1", "x")]
    results = run_in_worker(backend, execute_cells, backend, NAMESPACE, cells)
    assert results[1::2] == [(str(number + 1), "kept") for number in range(len(NAMES))]
    batches = [call for calls in call_each_replica(executor.calls) for call in map(tuple, calls)]
    sizes = [2 * len(names) for names in before]
    assert sorted(n for method, n in batches if method == "execute_batch") == sorted(sizes)

    closed = close_sessions(executor, [*NAMES, "env-77"])
    assert closed == [True] * len(NAMES) + [False]
    assert set.union(*homes(executor)) == {"env-3/branch-1"}
    assert execute(executor, "env-3", "'x' in dir()") == ("False", "fresh")


def test_environments_are_sessions_with_one_call_a_replica(
    services: ServiceBase, backend: str
) -> None:
    executor = register(services)
    interpreter = PythonInterpreter(
        services=backend, namespace=NAMESPACE, persistent=True, timeout=30.0
    )
    with ChatEnv(32).append_transform(interpreter) as env:
        env.reset(["Go."] * 32)
        env.step([f"```python\nx = {n}\n```\n```python\nx += 1\n```" for n in range(32)])
        assert told(env, "print(x)") == [ok(n + 1) for n in range(32)]
        assert sum(len(names) for names in homes(executor)) == 32
        env.reset(["Go."] * 16, environments=range(16))
        assert sum(len(names) for names in homes(executor)) == 16
        answers = told(env, "print('x' in dir())")
        assert answers == [ok("False")] * 16 + [ok("True")] * 16
    assert homes(executor) == [set(), set()]
    calls = [list(map(tuple, each)) for each in call_each_replica(executor.calls)]
    assert all([method for method, _ in each] == ["execute_batch"] * 3 for each in calls)
    assert [sum(each[turn][1] for each in calls) for turn in range(3)] == [64, 32, 32]


def test_two_collectors_of_64_environments_read_back_their_own_rank(
    services: ServiceBase, backend: str
) -> None:
    executor = register(services)
    with PythonInterpreter(
        services=backend, namespace=NAMESPACE, persistent=True, timeout=30.0
    ) as interpreter:

        def play(rank: int) -> list[str]:
            # Pickled into the workers; here, where nothing is, it is a clone.
            mine = interpreter.clone() if backend == "inline" else interpreter
            return run_in_worker(backend, keep_numbers, mine, rank, 64)

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(play, range(2)))
    assert answers == [[ok(f"{rank} {n}") for n in range(64)] for rank in range(2)]
    assert homes(executor) == [set(), set()]


@pytest.mark.kills
def test_sessions_of_a_killed_replica_begin_anew_on_another(services: ServiceBase) -> None:
    executor = register(services)
    for name in NAMES:
        execute(executor, name, "x = 1")
    lost = homes(executor)[0]
    assert 0 < len(lost) < len(NAMES)
    kill(services, 0)
    # The first call to find out fails; nothing is retried by itself.
    with pytest.raises(ServiceDiedError):
        execute(executor, min(lost), "x")
    for name in NAMES:
        state = "fresh" if name in lost else "kept"
        assert execute(executor, name, "'x' in dir()") == (str(name not in lost), state)
    assert homes(executor) == [set(NAMES)]


@pytest.mark.kills
def test_sessions_of_a_killed_replica_begin_anew_where_they_were_if_it_is_restarted(
    services: ServiceBase,
) -> None:
    executor = register(services, max_restarts=1)
    for name in NAMES:
        execute(executor, name, "x = 1")
    before = homes(executor)
    kill(services, 1)
    assert eventually(lambda: survives(lambda: homes(executor)), 60)
    assert homes(executor) == [before[0], set()]
    for name in NAMES:
        state = "fresh" if name in before[1] else "kept"
        assert execute(executor, name, "'x' in dir()") == (str(name in before[0]), state)
    assert homes(executor) == before


@pytest.mark.kills
def test_environments_survive_the_death_of_a_replica_and_are_told(services: ServiceBase) -> None:
    executor = register(services)
    interpreter = PythonInterpreter(services=services, persistent=True, timeout=30.0)
    with ChatEnv(24).append_transform(interpreter) as env:
        env.reset(["Go."] * 24)
        told(env, "x = 0")
        lost = {int(name.rpartition("-")[2]) for name in homes(executor)[1]}
        assert 0 < len(lost) < 24
        kill(services, 1)
        # Those that died with their replica, and those that go on as if nothing had been.
        for n, text in enumerate(told(env, "x += 1\nprint(x)")):
            assert text == (f"Code block 1 failed:\n{CRASHED}\n" if n in lost else ok(1))
        for n, text in enumerate(told(env, "x += 1\nprint(x)")):
            assert "NameError" in text and GONE in text if n in lost else text == ok(2)
        assert told(env, "x = 1\nprint(x)") == [ok(1)] * 24
        assert len(homes(executor)) == 1
    assert homes(executor) == [set()]


@pytest.mark.kills
def test_a_service_without_replicas_that_dies_is_an_error(services: ServiceBase) -> None:
    services.register("python_executor", PythonExecutorService, pool_size=1)
    interpreter = PythonInterpreter(services=services, persistent=True)
    with ChatEnv(2).append_transform(interpreter) as env:
        env.reset(["Go."] * 2)
        told(env, "x = 0")
        pid = services.describe("python_executor").pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ServiceDiedError):
            told(env, "x")
        assert [len(chat) for chat in env.chats] == [3, 3]
        env.reset(["Go."] * 2)  # its sessions are gone, there is nothing to close


@pytest.mark.kills
def test_a_service_that_restarts_or_is_gone_is_a_message_where_that_was_chosen(
    services: ServiceBase,
) -> None:
    services.register("python_executor", PythonExecutorService, pool_size=1, max_restarts=1)
    interpreter = PythonInterpreter(services=services, persistent=True, on_service_error="message")
    with ChatEnv(2).append_transform(interpreter) as env:
        env.reset(["Go."] * 2)
        assert told(env, "x = 1\nprint(x)") == [ok(1)] * 2
        kill_alone(services)
        # The first call to find out is told of it; when it is back, the names are gone.
        said: list[str] = []

        def is_back() -> bool:
            said.append(told(env, "print('x' in dir())")[0])
            return "executed successfully" in said[-1]

        assert eventually(is_back, 60)
        assert said[-1].startswith(ok("False"))
        assert GONE in said[-1]
        assert all("Try again" in text for text in said[:-1])
        kill_alone(services)
        gone = "ProcessCrashedError: The interpreters can't be reached now. Try again later.\n"
        assert eventually(
            lambda: told(env, "print(1)") == [f"Code block 1 failed:\n{gone}"] * 2, 60
        )
        services.register("python_executor", PythonExecutorService, pool_size=1)
        assert all(text.startswith(ok(1)) and GONE in text for text in told(env, "print(1)"))


def kill_alone(services: ServiceBase) -> None:
    pid = services.describe("python_executor").pid
    assert pid not in (None, os.getpid())
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
