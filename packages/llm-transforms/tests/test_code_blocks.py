"""How results are told to the model."""

from collections.abc import Iterator

import pytest

from llm_transforms import CodeBlock, CodeBlockResults, Outcome
from llm_transforms.results import rejected
from python_executor import (
    ExecutionResult,
    PersistentPythonProcess,
    PythonExecutorService,
)


@pytest.fixture(scope="module")
def executor() -> Iterator[PythonExecutorService]:
    with PythonExecutorService(pool_size=2, timeout=20.0) as executor:
        yield executor


def told(*results: ExecutionResult) -> list[str]:
    outcomes = [Outcome(i, CodeBlock("", 0, 0), result) for i, result in enumerate(results, 1)]
    messages = CodeBlockResults().messages(outcomes, "tool")
    assert {message["role"] for message in messages} == {"tool"}
    return [message["content"] for message in messages]


def test_success_is_told_with_what_was_printed(executor: PythonExecutorService) -> None:
    results = executor.execute_batch(["print('a')\nprint('b')", "x = 1", "print('c', end='')"])
    assert told(*results) == [
        "Code block 1 executed successfully:\na\nb\n",
        "Code block 2 executed successfully:\n",
        "Code block 3 executed successfully:\nc",
    ]


def test_a_warning_on_stderr_is_no_failure(executor: PythonExecutorService) -> None:
    result = executor.execute("import warnings; warnings.warn('old'); print('done')")
    assert told(result) == ["Code block 1 executed successfully:\ndone\n"]


def test_an_exception_is_told_with_its_traceback_once(executor: PythonExecutorService) -> None:
    (text,) = told(executor.execute("def f():\n    return 1 / 0\nf()"))
    assert text.startswith("Code block 1 failed:\nTraceback (most recent call last):\n")
    assert "return 1 / 0" in text
    assert text.endswith("ZeroDivisionError: division by zero\n")
    assert text.count("ZeroDivisionError") == 1


def test_an_exception_without_a_message_is_told_once(executor: PythonExecutorService) -> None:
    (text,) = told(executor.execute("raise KeyError"))
    assert text.endswith("\nKeyError\n")
    assert text.count("KeyError") == 2  # the source line, and the exception


def test_what_was_printed_before_a_failure_is_told_first(executor: PythonExecutorService) -> None:
    (text,) = told(executor.execute("print('half', end='')\n1 / 0"))
    assert text.startswith("Code block 1 failed:\nhalf\nTraceback (most recent call last):\n")


def test_a_timeout_is_told(executor: PythonExecutorService) -> None:
    (text,) = told(executor.execute("while True: pass", timeout=0.2))
    assert text == (
        "Code block 1 failed:\nTimeoutError: The program ran longer than 0.2 s and was ended.\n"
    )


def test_a_crash_is_told_with_what_stderr_had(executor: PythonExecutorService) -> None:
    code = "import os, sys\nprint('almost', end='', file=sys.stderr, flush=True)\nos._exit(4)"
    (text,) = told(executor.execute(code))
    assert text.startswith("Code block 1 failed:\nalmost\nProcessCrashedError: ")
    assert "status 4" in text


def test_an_exit_status_is_told(executor: PythonExecutorService) -> None:
    assert told(executor.execute("import sys; sys.exit(3)")) == [
        "Code block 1 failed:\nSystemExit: 3\n"
    ]


def test_a_program_that_was_refused_is_told_why() -> None:
    assert told(rejected("code must be text")) == [
        "Code block 1 failed:\nRejectedError: code must be text\n"
    ]


def test_a_return_to_earlier_names_is_told(executor: PythonExecutorService) -> None:
    codes = ("x = 1", "import os; os._exit(1)", "print(x)", "print(x)")
    results = [executor.execute(code, session="told") for code in codes]
    assert [result["state"] for result in results] == ["fresh", "kept", "restored", "kept"]
    texts = told(*results)
    assert texts[2] == (
        "Code block 3 executed successfully:\n1\n"
        "Note: the interpreter had ended. "
        "Names are what they were before the block that ended it.\n"
    )
    assert not any("Note" in text for text in (*texts[:2], texts[3]))


def test_a_failure_after_a_loss_is_told_with_the_loss(executor: PythonExecutorService) -> None:
    result: ExecutionResult = {**executor.execute("1 / 0"), "state": "lost"}
    (text,) = told(result)
    assert text.endswith(
        "ZeroDivisionError: division by zero\n"
        "Note: the interpreter had ended and is a new one. Names of earlier blocks are gone.\n"
    )


def test_what_protects_a_session_is_no_news_for_the_model(executor: PythonExecutorService) -> None:
    result = executor.execute("print(1)")
    assert told({**result, "unprotected": "it has threads"}) == told(result)


def test_the_loss_of_earlier_names_is_told() -> None:
    with PersistentPythonProcess(timeout=20.0) as process:
        crash, after = process.execute("import os; os._exit(1)"), process.execute("print(1)")
    texts = told(crash, after)
    assert "gone" not in texts[0]
    assert texts[1].startswith("Code block 2 executed successfully:\n1\nNote: ")
    assert texts[1].endswith("Names of earlier blocks are gone.\n")
