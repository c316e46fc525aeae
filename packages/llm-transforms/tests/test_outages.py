"""A service that is gone, comes back or has no room is an error or a message, by choice."""

from typing import Any

import pytest

from llm_transforms import ChatEnv, InvalidArgumentError, PythonInterpreter
from llm_transforms.outages import OUTAGES, outage
from python_executor import (
    ForkServerError,
    PoolClosedError,
    PoolSaturatedError,
    PythonExecutorService,
)
from services_core import ServiceBase, ServiceDiedError, ServiceTimeoutError

CODE = "```python\nprint(1)\n```"
DONE = "Code block 1 executed successfully:\n1\n"
LOST = "Note: the interpreter had ended and is a new one. Names of earlier blocks are gone."


def make_env(services: ServiceBase, size: int = 1, **options: Any) -> ChatEnv:
    env = ChatEnv(size).append_transform(PythonInterpreter(services=services, **options))
    env.reset(["go"] * size)
    return env


def last(env: ChatEnv, reply: str = CODE) -> str:
    text: str = env.step([reply] * len(env))[0][-1]["content"]
    return text


def register(services: ServiceBase, **options: Any) -> None:
    services.register("python_executor", PythonExecutorService, **{"pool_size": 1, **options})


@pytest.mark.parametrize("persistent", [False, True])
def test_a_service_that_is_gone_is_told_and_one_registered_anew_is_found(
    services: ServiceBase, persistent: bool
) -> None:
    register(services)
    with make_env(services, on_service_error="message", persistent=persistent) as env:
        assert last(env) == DONE
        services.reset()
        gone = (
            "Code block 1 failed:\n"
            "ProcessCrashedError: The interpreters can't be reached now. Try again later.\n"
        )
        assert [last(env), last(env)] == [gone, gone]
        register(services)
        assert last(env) == DONE + (f"{LOST}\n" if persistent else "")
        assert last(env) == DONE
        assert len(env.chats[0]) == 1 + 2 * 5


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("on_service_error", ["raise", "message"])
def test_a_service_that_was_registered_anew_between_two_steps_is_found_by_the_second(
    services: ServiceBase, persistent: bool, on_service_error: str
) -> None:
    register(services)
    with make_env(services, on_service_error=on_service_error, persistent=persistent) as env:
        assert last(env) == DONE
        services.reset()
        register(services)
        assert last(env) == DONE + (f"{LOST}\n" if persistent else "")
        assert last(env) == DONE


@pytest.mark.parametrize("persistent", [False, True])
def test_an_error_is_raised_until_the_service_is_registered_anew(
    services: ServiceBase, persistent: bool
) -> None:
    register(services)
    with make_env(services, persistent=persistent) as env:
        last(env)
        services.reset()
        for _ in range(2):
            with pytest.raises(ServiceDiedError, match="register it anew"):
                last(env)
        register(services)
        assert last(env).startswith(DONE)
        assert len(env.chats[0]) == 1 + 2 * 2


def test_a_pool_without_room_is_told(services: ServiceBase) -> None:
    register(services, max_pending=1, timeout=20.0)
    with (
        make_env(services, 3) as raising,
        make_env(services, 3, on_service_error="message") as telling,
    ):
        with pytest.raises(PoolSaturatedError):
            last(raising)
        assert last(telling) == (
            "Code block 1 failed:\n"
            "RejectedError: All interpreters are busy, so this was not run. Try again later.\n"
        )


@pytest.mark.parametrize("persistent", [False, True])
def test_what_ran_on_other_replicas_is_told_as_it_was(
    services: ServiceBase, persistent: bool
) -> None:
    class Full(PythonExecutorService):
        """One of two replicas has no room."""

        made = 0

        def __init__(self) -> None:
            super().__init__(pool_size=2, timeout=20.0)
            type(self).made += 1
            self.full = type(self).made == 1

        def execute_batch(self, *args: Any, **kwargs: Any) -> Any:
            if self.full:
                raise PoolSaturatedError(1, 1, 1)
            return super().execute_batch(*args, **kwargs)

    services.register("python_executor", Full, replicas=2)
    with make_env(services, 12, on_service_error="message", persistent=persistent) as env:
        told = [chat[-1]["content"] for chat in env.step([CODE] * 12)]
        busy = [text for text in told if "All interpreters are busy" in text]
        assert 0 < len(busy) < 12
        assert told.count(DONE) == 12 - len(busy)
    with make_env(services, 12, persistent=persistent) as env, pytest.raises(PoolSaturatedError):
        env.step([CODE] * 12)


def test_an_outage_costs_no_call(services: ServiceBase) -> None:
    register(services)
    with make_env(services, on_service_error="message", max_calls_per_episode=1) as env:
        services.reset()
        assert "can't be reached" in last(env)
        register(services)
        assert last(env) == DONE


def test_a_restart_is_told_as_one() -> None:
    text = outage(ServiceDiedError("python_executor", restarting=True))["error"]
    assert text is not None
    assert text["message"] == "The interpreters went down and are being restarted. Try again."


def test_a_pool_that_was_closed_is_an_outage(services: ServiceBase) -> None:
    class Closing(PythonExecutorService):
        def execute_batch(self, *args: Any, **kwargs: Any) -> Any:
            self.close()
            return super().execute_batch(*args, **kwargs)

    services.register("python_executor", Closing, pool_size=1)
    with make_env(services) as raising, pytest.raises(PoolClosedError):
        last(raising)
    with make_env(services, on_service_error="message") as telling:
        assert "can't be reached" in last(telling)
    assert PoolClosedError in OUTAGES


@pytest.mark.parametrize(
    "error",
    [ServiceTimeoutError("python_executor", "a call", 1.0), ForkServerError("it was killed")],
    ids=lambda error: type(error).__name__,
)
def test_a_service_that_does_not_answer_is_an_outage(
    services: ServiceBase, error: Exception
) -> None:
    class Silent:
        def execute_batch(self, executions: object) -> object:
            raise error

    services.register("python_executor", Silent)
    with make_env(services) as raising, pytest.raises(type(error)):
        last(raising)
    with make_env(services, on_service_error="message") as telling:
        assert "can't be reached" in last(telling)


def test_a_mistake_is_raised_whatever_was_chosen(services: ServiceBase) -> None:
    class Broken:
        def execute_batch(self, executions: object) -> object:
            raise KeyError("a bug")

    services.register("python_executor", Broken)
    with make_env(services, on_service_error="message") as env, pytest.raises(KeyError):
        last(env)


def test_the_choice_is_one_of_two() -> None:
    with pytest.raises(InvalidArgumentError, match="on_service_error must be 'raise' or 'message'"):
        PythonInterpreter(on_service_error="ignore")  # type: ignore[arg-type]
