"""Errors are told short enough for a model to learn from."""

from collections.abc import Iterator

import pytest

from llm_transforms.results import CharacterLimit, failure_text, limited, plain_text, rejected
from python_executor import PythonExecutorService


@pytest.fixture(scope="module")
def executor() -> Iterator[PythonExecutorService]:
    with PythonExecutorService(pool_size=2, timeout=20.0) as executor:
        yield executor


def failure(executor: PythonExecutorService, code: str) -> str:
    result = executor.execute(code)
    assert not result["success"]
    return failure_text(result)


def test_frames_of_libraries_are_not_told(executor: PythonExecutorService) -> None:
    result = executor.execute("import json\njson.loads('}')")
    assert "decoder.py" in result["stderr"]
    lines = failure_text(result).splitlines()
    if set(lines[3]) <= set(" ~^"):  # from 3.13 on it points at this too
        del lines[3]
    assert lines == [
        "Traceback (most recent call last):",
        '  File "<program>", line 2, in <module>',
        "    json.loads('}')",
        "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
    ]


@pytest.mark.parametrize("code", ["\ud800", f"x = {'-' * 100_000}1"])
def test_what_cannot_be_compiled_is_told_once(executor: PythonExecutorService, code: str) -> None:
    text = failure(executor, code)
    assert len(text.splitlines()) == 1, text


def test_what_the_program_wrote_to_stderr_comes_first(executor: PythonExecutorService) -> None:
    code = "import sys\nprint('beware', end='', file=sys.stderr)\nimport json\njson.loads('}')"
    text = failure(executor, code)
    assert text.startswith("beware\nTraceback (most recent call last):\n")
    assert text.count("Traceback") == 1


def test_an_exception_that_another_caused_is_told_with_it_once(
    executor: PythonExecutorService,
) -> None:
    code = (
        "import json\ntry:\n    json.loads('}')\n"
        "except ValueError as error:\n    raise KeyError('a') from error"
    )
    text = failure(executor, code)
    assert text.count("Traceback") == 2
    assert "direct cause" in text
    assert text.endswith("KeyError: 'a'\n")
    assert "decoder.py" not in text


def test_an_exception_group_is_told_once(executor: PythonExecutorService) -> None:
    text = failure(executor, "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])")
    assert text.count("ExceptionGroup: g") == 1
    assert "ValueError: 1" in text


def test_a_traceback_that_the_program_printed_itself_stays(executor: PythonExecutorService) -> None:
    code = "import traceback\ntry:\n    {}['a']\nexcept KeyError:\n    traceback.print_exc()\n1 / 0"
    text = failure(executor, code)
    assert text.count("KeyError: 'a'") == 1
    assert text.count("ZeroDivisionError: division by zero") == 1


def test_a_long_line_keeps_its_start_and_its_end(executor: PythonExecutorService) -> None:
    text = failure(executor, "raise ValueError('x' * 5_000 + 'end')")
    assert len(text) < 600
    assert "ValueError: xxx" in text
    assert " characters left out ... " in text
    assert text.endswith("xxend\n")


def test_a_long_traceback_keeps_its_start_and_its_end(executor: PythonExecutorService) -> None:
    # Two functions that call each other: Python sums up only what one function repeats.
    code = "def f(n): return g(n)\ndef g(n): return f(n + 1)\nf(0)"
    text = failure(executor, code)
    assert text.count("\n") == 25
    assert text.startswith('Traceback (most recent call last):\n  File "<program>", line 3')
    assert "lines left out ..." in text
    assert text.endswith("RecursionError: maximum recursion depth exceeded\n")


def test_lines_are_left_out_only_if_that_is_shorter() -> None:
    def lines(count: int) -> list[str]:
        return failure_text(rejected("\n".join(map(str, range(count))))).splitlines()

    assert lines(25)[1:] == [str(number) for number in range(1, 25)]
    assert lines(26)[8] == "... 2 lines left out ..."
    assert len(lines(26)) == 25


def test_what_was_written_after_the_traceback_is_told_too(executor: PythonExecutorService) -> None:
    code = (
        "import json, sys, threading, time\n"
        "def late():\n    main.join()\n    json.loads('[1')\n"
        "main = threading.main_thread()\nthreading.Thread(target=late).start()\njson.loads('}')"
    )
    result = executor.execute(code)
    text = failure_text(result)
    assert "Exception in thread" in text
    assert text.count("json.loads('}')") == 1
    assert text.count("Expecting ',' delimiter") == 1
    assert text.endswith("(char 0)\n")


def test_a_time_limit_is_told_whatever_the_program_wrote(executor: PythonExecutorService) -> None:
    code = "import sys\nprint('TimeoutError: read timed out', file=sys.stderr)\nwhile True: pass"
    text = failure_text(executor.execute(code, timeout=0.3))
    assert text == (
        "TimeoutError: read timed out\n"
        "TimeoutError: The program ran longer than 0.3 s and was ended.\n"
    )


def test_a_timeout_that_a_session_survives_says_that_it_was_one() -> None:
    with PythonExecutorService(pool_size=1) as executor:
        result = executor.execute("while True: pass", session="a", timeout=0.3)
    text = failure_text(result)
    assert text.startswith("Traceback")
    assert "TimeoutError: " in text.splitlines()[-1]


def test_a_limit_cuts_each_output_and_leaves_the_traceback_whole(
    executor: PythonExecutorService,
) -> None:
    code = (
        "import sys, json\nprint('o' * 1_000)\nprint('e' * 1_000, file=sys.stderr)\njson.loads('}')"
    )
    result = limited(executor.execute(code), CharacterLimit(100))
    mark = "\n... 901 characters left out ...\n"
    assert result["stdout"] == "o" * 50 + mark + "o" * 49 + "\n"
    assert failure_text(result).startswith("e" * 50 + mark + "e" * 49 + "\nTraceback")
    assert failure_text(result).count("Traceback") == 1
    assert plain_text(result).endswith("(char 0)\n")


def test_a_limit_keeps_a_traceback_that_the_program_printed_apart(
    executor: PythonExecutorService,
) -> None:
    code = "import traceback\ntry:\n    {}['a']\nexcept KeyError:\n    traceback.print_exc()\n1 / 0"
    result = executor.execute(code)
    assert failure_text(limited(result, CharacterLimit(1_000))) == failure_text(result)


def test_a_limit_cuts_the_value(executor: PythonExecutorService) -> None:
    result = limited(executor.execute("'v' * 1_000"), CharacterLimit(10))
    assert result["value"] == "'vvvv\n... 992 characters left out ...\nvvvv'"
    assert limited(executor.execute("1"), CharacterLimit(10)) == executor.execute("1") | {
        "duration": pytest.approx(0, abs=60)
    }


def test_plain_text_is_what_a_notebook_shows(executor: PythonExecutorService) -> None:
    shown = {
        "print('a')\n1 + 1": "a\n2\n",
        "print('a', end='')": "a\n",
        "x = 1": "",
        "'text'": "'text'\n",
    }
    results = executor.execute_batch(list(shown))
    assert [plain_text(result) for result in results] == list(shown.values())
