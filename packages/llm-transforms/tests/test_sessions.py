"""Environments as sessions of a shared service: opened by programs, closed by resets."""

import pickle
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from llm_transforms import ChatEnv, PythonInterpreter
from python_executor import Execution, ExecutionResult, PythonExecutorService
from services_core import (
    InlineService,
    ServiceBase,
    ServiceDiedError,
    call_each_replica,
    get_services,
)
from services_core.testing.observing import in_forked_child

LOST = "Names of earlier blocks are gone."


class Recording(PythonExecutorService):
    """The executor, which remembers the calls to it."""

    def __init__(self, pool_size: int = 2, **options: Any) -> None:
        super().__init__(pool_size, 20.0, **options)
        self.batches: list[list[Execution]] = []
        self.closed: list[str] = []

    def execute_batch(self, executions: Sequence[Execution | str]) -> list[ExecutionResult]:
        self.batches.append([each for each in executions if isinstance(each, Execution)])
        return super().execute_batch(executions)

    def close_session(self, session: str) -> bool:
        self.closed.append(session)
        return super().close_session(session)

    def seen(self) -> tuple[list[list[Execution]], list[str]]:
        return self.batches, self.closed


@pytest.fixture
def recorded(services: ServiceBase) -> ServiceBase:
    services.register("python_executor", Recording)
    return services


def python(*programs: str) -> str:
    return "\n".join(f"```python\n{program}\n```" for program in programs)


def make_env(size: int, services: ServiceBase, **options: Any) -> ChatEnv:
    interpreter = PythonInterpreter(services=services, persistent=True, timeout=20.0, **options)
    env = ChatEnv(size).append_transform(interpreter)
    env.reset(["go"] * size)
    return env


def last(env: ChatEnv, replies: list[str | None]) -> list[str]:
    """The last message of each chat after a step."""
    return [str(chat[-1]["content"]) for chat in env.step(replies)]


def printed(text: str) -> str:
    return f"Code block 1 executed successfully:\n{text}\n"


def sessions(services: ServiceBase) -> list[str]:
    """The sessions of all replicas."""
    each = call_each_replica(services["python_executor"].list_sessions)
    return sorted(info["session"] for infos in each for info in infos)


# -- calls -----------------------------------------------------------------------------------------


def test_a_step_is_one_call_in_which_each_environment_is_a_session(recorded: ServiceBase) -> None:
    with make_env(4, recorded) as env:
        env.step([python("x = 0", "x += 1"), python("x = 2"), "no code", None])
        env.step([python("x")] * 4)
    batches, _ = recorded["python_executor"].seen()
    assert [len(batch) for batch in batches] == [3, 4]
    names = [execution.session for execution in batches[0]]
    assert names[0] == names[1] != names[2]
    assert [execution.session for execution in batches[1]][:2] == names[1:]
    assert len({execution.session for execution in batches[1]}) == 4
    # Its own key on every replica: a name up to the first "/" is the key of a session.
    assert all(re.fullmatch(r"[0-9a-f]{32}-\d+", str(name)) for name in names)


def test_a_step_is_one_call_a_replica(services: ServiceBase) -> None:
    executor = services.register("python_executor", Recording, replicas=2, pool_size=1)
    with make_env(24, services) as env:
        for _ in range(2):
            env.step([python(f"x = {n}", "x") for n in range(24)])
        told = last(env, [python("print(x)")] * 24)
        assert told == [printed(str(n)) for n in range(24)]
        assert len(sessions(services)) == 24
        places = [batches for batches, _ in call_each_replica(executor.seen)]
    assert [len(batches) for batches in places] == [3, 3]
    for first, second, third in places:
        names = [execution.session for execution in first]
        assert names == [execution.session for execution in second]
        assert names[::2] == [execution.session for execution in third]
    assert sum(len(batches[0]) for batches in places) == 48


def test_programs_without_sessions_are_spread_over_the_replicas_too(services: ServiceBase) -> None:
    executor = services.register("python_executor", Recording, replicas=2, pool_size=1)
    interpreter = PythonInterpreter(services=services, timeout=20.0)
    with ChatEnv(24).append_transform(interpreter) as env:
        env.reset(["go"] * 24)
        told = last(env, [python(f"print({n})") for n in range(24)])
    assert told == [printed(str(n)) for n in range(24)]
    places = [batches for batches, _ in call_each_replica(executor.seen)]
    assert [len(batches) for batches in places] == [1, 1]
    assert {execution.session for batches in places for execution in batches[0]} == {None}


# -- ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_reset_closes_the_sessions_of_its_environments(
    services: ServiceBase, replicas: int
) -> None:
    services.register("python_executor", Recording, replicas=replicas)
    with make_env(6, services) as env:
        last(env, [python(f"x = {n}") for n in range(6)])
        env.reset(["again"] * 3, environments=[0, 2, 4])
        assert len(sessions(services)) == 3
        told = last(env, [python("print(x)")] * 6)
        for n in range(6):
            assert told[n] == printed(str(n)) if n % 2 else "NameError" in told[n]
            assert LOST not in told[n]  # they were given up, not lost
    assert sessions(services) == []


def test_what_ran_nothing_is_not_closed(recorded: ServiceBase) -> None:
    executor = recorded["python_executor"]
    with make_env(8, recorded) as env:
        env.step(["no code"] * 8)
        env.reset(["go"] * 8)
        env.step([None, python("1"), *["no code"] * 6])
        assert executor.seen()[1] == []
        for _ in range(2):
            env.reset(["go"] * 8)
            assert len(executor.seen()[1]) == 1
    assert len(executor.seen()[1]) == 1
    interpreter = env.transforms[0]
    interpreter.close()
    assert len(executor.seen()[1]) == 1


def test_sessions_are_closed_at_the_same_time(services: ServiceBase) -> None:
    barrier = threading.Barrier(8)

    class Together(Recording):
        def close_session(self, session: str) -> bool:
            barrier.wait(20)  # breaks unless eight calls are under way
            return super().close_session(session)

    services.register("python_executor", Together, max_concurrency=8)
    with make_env(8, services) as env:
        env.step([python("1")] * 8)
        env.reset(["go"] * 8)
        assert sessions(services) == []
        env.step([python("1")] * 8)
    assert sessions(services) == []
    assert not barrier.broken


def test_an_error_of_a_reset_is_raised_and_that_of_close_after_it_let_go(
    services: ServiceBase,
) -> None:
    class Refusing(Recording):
        def close_session(self, session: str) -> bool:
            raise OSError("not now")

    services.register("python_executor", Refusing)
    interpreter = PythonInterpreter(
        services="inline", namespace=services.namespace, persistent=True
    )
    reply = {"role": "assistant", "content": python("1")}
    interpreter.step([[reply]], [reply])
    with pytest.raises(OSError, match="not now"):
        interpreter.reset([0])
    interpreter.step([[reply]], [reply])
    with pytest.raises(OSError, match="not now"):
        interpreter.close()
    interpreter.close()


def test_a_reset_that_raised_can_be_tried_again(services: ServiceBase) -> None:
    class RefusingOnce(PythonExecutorService):
        refused = False

        def close_session(self, session: str) -> bool:
            if not self.refused:
                self.refused = True
                raise OSError("not now")
            return super().close_session(session)

    services.register("python_executor", RefusingOnce, pool_size=1)
    with make_env(2, services) as env:
        last(env, [python("secret = 5")] * 2)
        with pytest.raises(OSError, match="not now"):
            env.reset(["again"] * 2)
        env.reset(["again"] * 2)
        assert all("NameError" in text for text in last(env, [python("print(secret)")] * 2))


# -- who shares what -------------------------------------------------------------------------------


def test_clones_and_copies_have_sessions_of_their_own(recorded: ServiceBase) -> None:
    with make_env(1, recorded) as env:
        last(env, [python("x = 1")])
        first = env.transforms[0]
        for other in (first.clone(), pickle.loads(pickle.dumps(first))):
            with ChatEnv(1).append_transform(other) as another:
                another.reset(["go"])
                told = last(another, [python("print(x)")])
                assert "NameError" in told[0]
                assert LOST not in told[0]
                assert len(sessions(recorded)) == 2
            assert len(sessions(recorded)) == 1
        assert last(env, [python("print(x)")]) == [printed("1")]


def test_a_forked_child_has_sessions_of_its_own_and_closes_none(services: ServiceBase) -> None:
    class Elsewhere:
        """Stands for an executor that a forked child can reach: it answers with names alone."""

        def execute_batch(self, executions: list[Execution]) -> list[dict[str, Any]]:
            return [
                {"success": True, "stdout": f"{each.session}", "state": "fresh"}
                for each in executions
            ]

        def close_session(self, session: str) -> bool:
            closed.append(session)
            return True

    class Owner:
        is_alive = True

        def start(self) -> None: ...

        def shutdown(self) -> None: ...

        def client(self) -> Elsewhere:
            return Elsewhere()

    closed: list[str] = []
    services.register("python_executor", Owner())
    env = make_env(2, services)
    (mine, _) = last(env, [python("1")] * 2)

    def child() -> tuple[str, list[str]]:
        (theirs, _) = last(env, [python("1"), None])
        assert closed == []
        env.close()
        return theirs, closed

    theirs, closed_there = in_forked_child(child)
    assert theirs != mine
    assert LOST in theirs  # its chat has programs whose names stayed with the parent
    assert closed_there == [theirs.splitlines()[1]]
    assert closed == []
    assert LOST in last(env, [python("1"), None])[0]  # "fresh" after the first one
    env.close()
    assert closed[0] == mine.splitlines()[1]
    assert len(closed) == 2


# -- what is lost ----------------------------------------------------------------------------------


def test_the_model_is_told_when_its_session_had_to_make_room(services: ServiceBase) -> None:
    services.register("python_executor", Recording, pool_size=1, max_sessions=1)
    with make_env(2, services) as env:
        first = last(env, [python("x = 1"), None])
        other = last(env, [None, python("x = 2")])
        told = last(env, [python("print('x' in dir())"), None])
        assert last(env, [python("print('x' in dir())"), None]) == [printed("False"), other[1]]
    assert LOST not in first[0] + other[1]
    assert told[0].startswith(printed("False") + "Note: ")
    assert LOST in told[0]


def test_the_model_is_told_when_its_session_went_back(recorded: ServiceBase) -> None:
    with make_env(1, recorded) as env:
        last(env, [python("x = 1")])
        assert "ProcessCrashedError" in last(env, [python("x = 2\nimport os\nos._exit(1)")])[0]
        (told,) = last(env, [python("print(x)")])
        assert told.startswith(printed("1") + "Note: ")
        assert "before the block that ended it" in told
        assert last(env, [python("print(x)")]) == [printed("1")]


def test_a_replica_that_dies_takes_the_names_of_its_environments_and_no_others(
    services: InlineService,
) -> None:
    services.register("python_executor", Recording, replicas=2, pool_size=1)
    with make_env(24, services) as env:
        last(env, [python(f"x = {n}") for n in range(24)])
        held = {info["session"] for info in services["python_executor"].list_sessions()}
        assert 0 < len(held) < 24
        assert services._stop("python_executor")
        told = last(env, [python("print(x)", "print(x)")] * 24)
        died = {n for n in range(24) if "ProcessCrashedError" in told[n]}
        assert 0 < len(died) < 24
        expected = "ProcessCrashedError: The interpreter was lost before the program had ended.\n"
        for n in died:  # whether names are gone isn't known before the next one
            assert env.chats[n][-2]["content"] == f"Code block 1 failed:\n{expected}"
        for n in range(24):
            assert told[n] == (
                f"Code block 2 failed:\n{expected}"
                if n in died
                else f"Code block 2 executed successfully:\n{n}\n"
            )
        told = last(env, [python("print(x)")] * 24)
        for n in range(24):
            assert ("NameError" in told[n] and LOST in told[n]) == (n in died)
            assert told[n] == printed(str(n)) or n in died
        # Told once: from now on it's a session like any other.
        assert last(env, [python("print(1)")] * 24) == [printed("1")] * 24
        env.reset(["go"] * 24)
        assert sessions(services) == []

        services.reset()
        for _ in range(2):
            with pytest.raises(ServiceDiedError):
                env.step([python("print(1)")] * 24)


def test_one_environment_alone_survives_its_replica(services: InlineService) -> None:
    services.register("python_executor", Recording, replicas=2, pool_size=1)
    with make_env(1, services) as env:
        last(env, [python("x = 1")])
        (first,) = sessions(services)
        (home,) = (
            index
            for index, infos in enumerate(
                call_each_replica(services["python_executor"].list_sessions)
            )
            if infos
        )
        assert services._stop(f"python_executor#replica-{home}" if home else "python_executor")
        assert "ProcessCrashedError" in last(env, [python("print(x)")])[0]
        assert LOST in last(env, [python("print(1)")])[0]
        assert sessions(services) == [first]


def test_an_environment_that_had_no_answer_has_lost_nothing(services: ServiceBase) -> None:
    class Starting(Recording):
        def execute_batch(self, executions: Sequence[Execution | str]) -> list[ExecutionResult]:
            if not self.batches:
                self.batches.append([])
                raise OSError("not yet")
            return super().execute_batch(executions)

    services.register("python_executor", Starting)
    with make_env(1, services) as env:
        with pytest.raises(OSError, match="not yet"):
            env.step([python("print(1)")])
        assert len(env.chats[0]) == 1
        assert last(env, [python("print(1)")]) == [printed("1")]


def test_after_the_end_of_its_service_it_closes_in_silence(services: ServiceBase) -> None:
    executor = services.register("python_executor", Recording)
    env = make_env(2, services)
    env.step([python("1")] * 2)
    assert len(executor.list_sessions()) == 2
    services.reset()
    env.reset(["go"] * 2)
    env.close()


# -- other executors -------------------------------------------------------------------------------


def test_the_client_of_an_owner_serves_as_well(services: ServiceBase) -> None:
    class Owner:
        def __init__(self) -> None:
            self.executor = PythonExecutorService(pool_size=2, timeout=20.0)

        @property
        def is_alive(self) -> bool:
            return True

        def start(self) -> None: ...

        def shutdown(self) -> None:
            self.executor.close()

        def client(self) -> PythonExecutorService:
            return self.executor

    owner = Owner()
    services.register("python_executor", owner)
    try:
        with make_env(3, services) as env:
            last(env, [python(f"x = {n}") for n in range(3)])
            assert last(env, [python("print(x)")] * 3) == [printed(str(n)) for n in range(3)]
            assert len(owner.executor.list_sessions()) == 3
        assert owner.executor.list_sessions() == []
    finally:
        owner.shutdown()


@pytest.fixture(autouse=True)
def nothing_is_left(services: ServiceBase) -> Iterator[None]:
    """What a test has opened by name ends with its namespace."""
    yield
    services.reset()
    assert get_services("inline", services.namespace).list() == []
