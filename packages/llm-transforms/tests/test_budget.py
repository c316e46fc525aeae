"""Only so many programs run: in a turn, and in an episode."""

import pickle
from typing import Any

import pytest

from llm_transforms import ChatEnv, InvalidArgumentError, PythonInterpreter
from llm_transforms.budget import CallBudget
from python_executor import PythonExecutorService
from services_core import ServiceBase, ServiceDiedError


def python(*programs: str) -> str:
    return "\n".join(f"```python\n{program}\n```" for program in programs)


@pytest.fixture
def shared(services: ServiceBase) -> ServiceBase:
    services.register("python_executor", PythonExecutorService, pool_size=2, timeout=20.0)
    return services


def play(env: ChatEnv, reply: str) -> list[str]:
    before = len(env.chats[0])
    chats = env.step([reply, *[None] * (len(env) - 1)])
    return [message["content"].partition(":\n")[2] for message in chats[0][before + 1 :]]


def test_a_turn_runs_no_more_than_its_limit_and_the_next_one_begins_anew(
    shared: ServiceBase,
) -> None:
    with ChatEnv(1).append_transform(
        PythonInterpreter(services=shared, max_calls_per_turn=2)
    ) as env:
        env.reset(["go"])
        told = play(env, python("print(1)", "print(2)", "print(3)"))
        assert told[:2] == ["1\n", "2\n"]
        assert told[2] == (
            "RejectedError: Not run: no more than 2 programs are run of a reply. "
            "Send it in the next one.\n"
        )
        assert play(env, python("print(3)")) == ["3\n"]


def test_an_episode_runs_no_more_than_its_limit_until_its_environment_is_reset(
    shared: ServiceBase,
) -> None:
    with ChatEnv(2).append_transform(
        PythonInterpreter(services=shared, max_calls_per_episode=3)
    ) as env:
        env.reset(["go"] * 2)
        assert play(env, python("print(1)", "print(2)")) == ["1\n", "2\n"]
        told = play(env, python("print(3)", "print(4)"))
        assert told[0] == "3\n"
        assert "Not run: no more than 3 programs are run of a chat" in told[1]
        assert "Not run" in play(env, python("print(5)"))[0]
        # The other environment has its own, and the first one again after its reset.
        assert env.step([None, python("print(6)")])[1][-1]["content"].endswith("6\n")
        env.reset(["again"], environments=[1])
        assert "Not run" in play(env, python("print(7)"))[0]
        env.reset(["again"], environments=[0])
        assert play(env, python("print(8)")) == ["8\n"]


def test_what_cannot_be_run_costs_nothing(shared: ServiceBase) -> None:
    with ChatEnv(1).append_transform(
        PythonInterpreter(services=shared, max_calls_per_turn=1, max_calls_per_episode=1)
    ) as env:
        env.reset(["go"])
        told = play(env, python("print('\0')", "print(1)", "print(2)"))
        assert "NUL" in told[0]
        assert told[1] == "1\n"
        assert "no more than 1 program is run" in told[2]


def test_a_step_that_raised_costs_nothing(shared: ServiceBase) -> None:
    interpreter = PythonInterpreter(services=shared, max_calls_per_episode=1)
    with ChatEnv(1).append_transform(interpreter) as env:
        env.reset(["go"])
        shared.reset()
        with pytest.raises(ServiceDiedError):
            play(env, python("print(1)"))
        shared.register("python_executor", PythonExecutorService, pool_size=1)
        assert play(env, python("print(1)")) == ["1\n"]


def test_an_environment_that_was_pickled_has_spent_what_it_had_spent(shared: ServiceBase) -> None:
    interpreter = PythonInterpreter(services=shared, max_calls_per_episode=2)
    with ChatEnv(1).append_transform(interpreter) as env:
        env.reset(["go"])
        play(env, python("print(1)"))
        with pickle.loads(pickle.dumps(env)) as again:
            assert play(again, python("print(2)")) == ["2\n"]
            assert "Not run" in play(again, python("print(3)"))[0]
        assert play(env, python("print(4)")) == ["4\n"]  # it goes on by itself


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "1"])
@pytest.mark.parametrize("parameter", ["max_calls_per_turn", "max_calls_per_episode"])
def test_a_limit_is_a_positive_integer(parameter: str, limit: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{parameter} must be an integer of at least 1"):
        PythonInterpreter(**{parameter: limit})


def test_without_limits_nothing_is_refused() -> None:
    budget = CallBudget(None, None)
    budget.spend({0: [None] * 1_000})
    assert budget.refusal(0, 1_000) is None
