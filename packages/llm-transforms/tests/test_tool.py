"""PythonTool: one program in, one text out."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_type_hints

import pytest

from llm_transforms import ClosedError, InvalidArgumentError, PythonTool
from python_executor import Execution, PythonExecutorService
from services_core import Handle, ServiceBase, ServiceNotFoundError


@pytest.fixture
def executor(services: ServiceBase) -> Handle:
    handle = services.register(
        "python_executor", PythonExecutorService, pool_size=2, max_concurrency=8
    )
    assert isinstance(handle, Handle)
    return handle


def test_the_text_is_what_was_printed_the_last_value_or_the_error() -> None:
    with PythonTool() as python:
        assert python("print(6 * 7)") == "42\n"
        assert python("6 * 7") == "42\n"
        failed = python("print('so far')\n1 / 0")
        assert failed.startswith("so far\n")
        assert failed.endswith("ZeroDivisionError: division by zero\n")


def test_each_program_starts_afresh_unless_names_are_to_last() -> None:
    with PythonTool() as python:
        python("x = 1")
        assert "NameError" in python("x")
    with PythonTool(persistent=True) as python:
        python("x = 1")
        assert python("x + 1") == "2\n"
        python.reset()
        assert "NameError" in python("x")


@pytest.mark.parametrize("persistent", [False, True])
def test_an_execution_brings_its_own_timeout(persistent: bool) -> None:
    with PythonTool(persistent=persistent, timeout=50.0) as python:
        result = python.run(Execution("while True: pass", 0.2))
    assert result["status"] == "timeout"


@pytest.mark.parametrize("persistent", [False, True])
def test_an_execution_brings_its_input_and_its_files(persistent: bool) -> None:
    code = "print(input(), open('a.txt').read())"
    with PythonTool(persistent=persistent, timeout=20.0) as python:
        result = python.run(Execution(code, stdin="hi", files={"a.txt": b"there"}))
    assert result["stdout"] == "hi there\n"


def test_names_last_in_a_session_of_a_service_until_the_reset(
    services: ServiceBase, executor: Handle
) -> None:
    with PythonTool(services=services, persistent=True) as python:
        python("x = 1")
        other = python.clone()
        assert "NameError" in other("x")
        assert python("x + 1") == "2\n"
        assert len(executor.list_sessions()) == 2
        other.close()
        python.reset()
        assert executor.list_sessions() == []
    assert executor.execute("1 + 1")["value"] == "2"


def test_what_a_model_sends_instead_of_a_program_is_answered() -> None:
    with PythonTool() as python:
        assert "code must be" in python(None)  # type: ignore[arg-type]
        assert "NUL" in python("a\0b")


def test_a_program_that_runs_too_long_is_told_so() -> None:
    with PythonTool(timeout=0.2, persistent=True) as python:
        assert "TimeoutError" in python("while True: pass")


def test_all_that_is_known_of_a_program_can_be_had() -> None:
    with PythonTool() as python:
        result = python.run(Execution("print(input())", stdin="hello"))
        assert (result["stdout"], result["status"]) == ("hello\n", "ok")


def test_the_function_has_what_trainers_inspect() -> None:
    with PythonTool(name="execute", description="Do it.") as python:
        function = python.function
        assert inspect.isfunction(function)
        assert function.__name__ == "execute"
        assert get_type_hints(function) == {"code": str, "return": str}
        assert list(inspect.signature(function).parameters) == ["code"]
        assert inspect.getdoc(function) == (
            "Do it.\n\nArgs:\n    code: The program.\n\nReturns:\n"
            "    What it printed, or why it failed."
        )
        assert function(code="6 * 7") == "42\n"


def test_programs_of_many_tasks_run_at_the_same_time_on_one_pool(
    children: Callable[[], set[int]],
) -> None:
    async def run_all(python: PythonTool) -> list[str]:
        return await asyncio.gather(*(python.aio(f"print({i})") for i in range(16)))

    before = children()
    with PythonTool() as python:
        assert asyncio.run(run_all(python)) == [f"{i}\n" for i in range(16)]
        assert len(children() - before) == 1
    assert threading.active_count() == 1


def test_calls_of_a_session_take_turns_the_first_ones_too() -> None:
    async def run_all(python: PythonTool) -> list[str]:
        code = "m = globals().get('n', 0); n = m + 1"
        await asyncio.gather(*(python.aio(code) for _ in range(16)))
        return [await python.aio("n")]

    with PythonTool(persistent=True) as python:
        assert asyncio.run(run_all(python)) == ["16\n"]


def wait_for_programs(executor: Handle, count: int = 1) -> None:
    while executor.stats()["running"] < count:
        time.sleep(0.001)


def test_calls_that_start_afresh_wait_for_no_other(services: ServiceBase, executor: Handle) -> None:
    names = ("first", "second")
    with PythonTool(services=services) as python, ThreadPoolExecutor(2) as threads:
        programs = [Execution("while True: pass", 30.0, execution_id=name) for name in names]
        results = [threads.submit(python.run, program) for program in programs]
        wait_for_programs(executor, 2)
        assert [executor.cancel(name) for name in names] == [True, True]
        assert not any(each.result()["success"] for each in results)


def test_the_loop_goes_on_when_a_call_is_abandoned(services: ServiceBase, executor: Handle) -> None:
    async def abandon(python: PythonTool) -> None:
        call = asyncio.create_task(python.aio("import time; time.sleep(0.5)"))
        await asyncio.to_thread(wait_for_programs, executor)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert executor.stats()["running"] == 1

    with PythonTool(services=services, persistent=True) as python:
        asyncio.run(abandon(python))
    # Closing has waited for it.
    assert executor.stats()["running"] == 0


def test_a_copy_has_the_settings_and_no_state() -> None:
    with PythonTool(name="execute", persistent=True, timeout=3.0) as python:
        python("x = 1")
        with pickle.loads(pickle.dumps(python)) as copy:
            assert repr(copy) == repr(python)
            assert repr(copy) == "PythonTool(name='execute', persistent=True, timeout=3.0)"
            assert "NameError" in copy("x")


@pytest.mark.parametrize("persistent", [False, True])
def test_a_closed_tool_says_so(persistent: bool) -> None:
    python = PythonTool(persistent=persistent)
    python.close()
    python.close()
    with pytest.raises(ClosedError):
        python("1")


def test_a_service_that_is_not_there_is_an_error_at_once(services: ServiceBase) -> None:
    with pytest.raises(ServiceNotFoundError):
        PythonTool(services=services)


@pytest.mark.parametrize("name", ["", "two words", None])
def test_a_name_that_no_function_can_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="identifier"):
        PythonTool(name=name)


@pytest.mark.parametrize("timeout", [0, None])
def test_a_timeout_that_cannot_be_used_is_refused(timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout"):
        PythonTool(timeout=timeout)


def test_the_text_can_have_a_limit() -> None:
    with PythonTool(max_output_chars=10) as python:
        told = python("print('a' * 1000)")
        assert told.startswith("aaaaa\n... 991 characters left out ...\n")
        assert len(python.run("print('a' * 1000)")["stdout"]) == 1001
