"""Why a program failed, short enough for a model to learn from."""

from __future__ import annotations

from llm_transforms.results.limits import cut_characters
from python_executor import ExecutionResult

# A traceback of a model's own program is rarely longer; what is, repeats itself. The first lines
# say where it began, the last ones what happened.
_LINES_BEFORE = 8
_LINES_AFTER = 16
# Characters of a line: a message may quote a value of any length.
_LINE = 240


def failure_text(result: ExecutionResult) -> str:
    r"""Return what a failed program wrote to stderr, and then why it failed.

    Of a traceback the program's own frames are told, not those of libraries; of a long one the
    first and the last lines, of a long line its start and its end.

    Args:
        result: The result of a program that failed.

    Example:
        >>> from python_executor import PythonExecutorService
        >>> with PythonExecutorService(pool_size=1, timeout=1.0) as executor:
        ...     print(failure_text(executor.execute("import json\njson.loads('}')")), end="")
        Traceback (most recent call last):
          File "<program>", line 2, in <module>
            json.loads('}')
        json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)
    """
    error = result["error"]
    if error is None:
        return whole_lines(result["stderr"])
    traceback = error["traceback"]
    printed = whole_lines(beside_traceback(result["stderr"], traceback))
    reason = f"{error['type']}: {error['message']}\n"
    if _names(traceback, error["type"]) or printed.endswith(reason):
        reason = ""
    return printed + _shortened(traceback + reason)


def whole_lines(text: str) -> str:
    """Return a text with a line end, unless it is empty."""
    return text if not text or text.endswith("\n") else f"{text}\n"


def beside_traceback(stderr: str, traceback: str) -> str:
    """Return what stderr held before the traceback, and after it; it has the frames of libraries.

    Args:
        stderr: All of it.
        traceback: The traceback with the program's own frames; empty if there was none.
    """
    if not traceback:
        return stderr
    # They begin with the same line and end with the same one.
    first, last = traceback.partition("\n")[0], traceback.rstrip("\n").rpartition("\n")[2]
    end = stderr.rfind(last)
    start = end if first != last else end + len(last)  # one line is both
    for _ in range(traceback.count(first)):  # more than one: exceptions that others caused
        start = stderr.rfind(first, 0, max(start, 0))
        if start < 0:  # it was cut
            return stderr
    return stderr[:start] + stderr[end + len(last) :].removeprefix("\n")


def _shortened(text: str) -> str:
    lines = [cut_characters(line, _LINE, between=" ... ") for line in text.splitlines()]
    left_out = len(lines) - _LINES_BEFORE - _LINES_AFTER
    if left_out > 1:
        lines[_LINES_BEFORE : len(lines) - _LINES_AFTER] = [f"... {left_out} lines left out ..."]
    return "".join(f"{line}\n" for line in lines)


def _names(text: str, error: str) -> bool:
    """Whether a line tells of an exception of that type, as those of a traceback do."""
    lines = (line.lstrip(" |") for line in text.splitlines())  # a group's have bars before them
    return any(line == error or line.startswith(f"{error}:") for line in lines)
