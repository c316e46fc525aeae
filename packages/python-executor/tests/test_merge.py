"""stderr that goes to stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from python_executor import InvalidArgumentTypeError, PythonExecutorService, SandboxPolicy

Lend = Callable[..., AbstractContextManager[PythonExecutorService]]

POLICY = SandboxPolicy.with_processes()


@pytest.fixture
def merging(lend: Lend) -> Iterator[PythonExecutorService]:
    with lend(pool_size=1, timeout=30.0, merge_stderr=True, sandbox=POLICY) as executor:
        yield executor


MIXTURE = """
import ctypes, os, subprocess, sys, warnings
libc = ctypes.CDLL(None)
for i in range(200):
    print(i, "out", end=" ")
    print("err", file=sys.stderr, end="")
    sys.stdout.write("\\n")
    os.write(2, b"raw ")
    os.write(1, b"raw\\n")
print("x", end="")
subprocess.run(["sh", "-c", "echo one; echo two >&2"])
sys.stderr.write("y")
sys.stdout.buffer.write(b"bytes\\n")
libc.dprintf(2, b"c\\n")
warnings.warn("careful")
print("z" * 100000)
1 / 0
"""


def test_both_streams_come_in_the_order_of_their_writing(merging: PythonExecutorService) -> None:
    result = merging.execute(MIXTURE)
    lines = "".join(f"{i} out err\nraw raw\n" for i in range(200))
    expected = lines + "xone\ntwo\nybytes\nc\n<program>:15: UserWarning: careful\n"
    assert result["stdout"].startswith(expected)
    rest = result["stdout"].removeprefix(expected)
    assert "z" * 100_000 + "\nTraceback (most recent call last):\n" in rest
    assert rest.endswith("ZeroDivisionError: division by zero\n")
    assert (result["stderr"], result["status"]) == ("", "error")


def test_what_was_not_ended_by_a_newline_survives_a_kill(merging: PythonExecutorService) -> None:
    code = "import sys\nprint('out', end='')\nprint('err', end='', file=sys.stderr)\n"
    for end, status in (("while True: pass", "timeout"), ("import os; os._exit(1)", "crashed")):
        result = merging.execute(code + end, timeout=0.3)
        assert (result["stdout"], result["stderr"]) == ("outerr", "")
        assert result["status"] == status
    assert merging.execute("1 + 1")["value"] == "2"


def test_a_long_text_is_written_whole_although_a_signal_comes(
    merging: PythonExecutorService,
) -> None:
    code = """
import signal
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
print("x" * 5_000_000)
"""
    with PythonExecutorService(1, 30.0, merge_stderr=True, max_output=10**7) as executor:
        assert executor.execute(code)["stdout"] == "x" * 5_000_000 + "\n"


def test_a_flood_to_both_is_cut_and_ended() -> None:
    code = "import os\nwhile True:\n    os.write(1, b'x' * 9999)\n    os.write(2, b'y' * 9999)"
    with PythonExecutorService(
        1, 30.0, merge_stderr=True, max_output=1000, max_total_output=10**6
    ) as executor:
        result = executor.execute(code)
        assert (result["status"], result["truncated"]) == ("output", True)
        assert 1000 < len(result["stdout"]) < 1100


def test_whether_to_merge_is_said_by_a_truth_value(merging: PythonExecutorService) -> None:
    assert merging.info()["merge_stderr"]
    with pytest.raises(InvalidArgumentTypeError, match="merge_stderr"):
        PythonExecutorService(1, merge_stderr="no")  # type: ignore[arg-type]
