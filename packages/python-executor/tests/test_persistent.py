"""One interpreter that keeps its state."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from python_executor import PersistentPythonProcess, PoolClosedError


@pytest.fixture
def process() -> Iterator[PersistentPythonProcess]:
    with PersistentPythonProcess(timeout=30.0) as process:
        yield process


def test_names_imports_and_directory_stay(process: PersistentPythonProcess) -> None:
    first = process.execute(
        "import math, os\nx = 41\nos.mkdir('d'); os.chdir('d')\ndef f(): return x + 1"
    )
    assert (first["state"], first["success"]) == ("fresh", True)
    second = process.execute("f(), math.pi > 3, os.path.basename(os.getcwd())")
    assert (second["state"], second["value"]) == ("kept", "(42, True, 'd')")


def test_output_belongs_to_its_cell(process: PersistentPythonProcess) -> None:
    outputs = [process.execute(f"import sys\nsys.stdout.write('{i}')")["stdout"] for i in range(5)]
    assert outputs == ["0", "1", "2", "3", "4"]


def test_standard_input_belongs_to_its_cell(process: PersistentPythonProcess) -> None:
    assert process.execute("input()", stdin="a\nb\n")["value"] == "'a'"
    error = process.execute("input()")["error"]
    assert error is not None
    assert error["type"] == "EOFError"
    assert process.execute("input()", stdin="c")["value"] == "'c'"


def test_an_error_or_exit_keeps_the_state_and_names_the_cell(
    process: PersistentPythonProcess,
) -> None:
    process.execute("def f():\n    return 1 / 0\nx = 1")
    failed = process.execute("y = 2\nf()")
    assert failed["error"] is not None
    assert 'File "<cell 2>", line 2, in <module>\n    f()' in failed["error"]["traceback"]
    assert 'File "<cell 1>", line 2, in f\n    return 1 / 0' in failed["stderr"]
    assert process.execute("import sys; sys.exit(3)")["returncode"] == 3
    last = process.execute("x, y")
    assert (last["state"], last["value"]) == ("kept", "(1, 2)")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (
            "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
            "timeout",
        ),
        ("import os; os._exit(1)", "crashed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "crashed"),
    ],
)
def test_after_a_kill_the_next_result_says_that_the_state_is_lost(
    process: PersistentPythonProcess, code: str, status: str
) -> None:
    process.execute("x = 1")
    timeout = 0.3 if status == "timeout" else 20.0
    assert process.execute(code, timeout=timeout)["status"] == status
    after = process.execute("'x' in globals()")
    assert (after["state"], after["value"]) == ("lost", "False")
    assert process.execute("1")["state"] == "kept"


def test_a_process_killed_between_cells_is_replaced(
    process: PersistentPythonProcess,
    until: Callable[[Callable[[], bool]], None],
    alive: Callable[[int], bool],
) -> None:
    pid = int(process.execute("import os; os.getpid()")["value"] or 0)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))
    assert process.execute("1 + 1")["value"] == "2"


def test_a_thread_and_a_child_live_on_between_cells(process: PersistentPythonProcess) -> None:
    process.execute(
        "import os, threading\nr, w = os.pipe()\ngo = threading.Event()\n"
        "t = threading.Thread(target=lambda: (go.wait(), os.write(w, b'thread')))\nt.start()"
    )
    assert process.execute("go.set(); t.join(); os.read(r, 99)")["value"] == "b'thread'"


def test_after_cleanup_it_refuses(process: PersistentPythonProcess) -> None:
    process.cleanup()
    process.cleanup()
    with pytest.raises(PoolClosedError):
        process.execute("1")
    assert "cleaned up" in repr(process)


def test_one_that_was_not_cleaned_up_warns() -> None:
    process = PersistentPythonProcess()
    with pytest.warns(ResourceWarning, match="not cleaned up"):
        del process


def test_a_forged_result_cannot_answer_for_the_next_cell(process: PersistentPythonProcess) -> None:
    body = b'{"kind":"result","returncode":0,"value":"\'forged\'","error":null,"truncated":false}'
    frame = len(body).to_bytes(4, "big") + body
    code = f"import os, time\nos.write(255, {frame!r} * 2)\ntime.sleep(1000)"
    assert process.execute(code)["value"] == "'forged'"
    after = process.execute("1 + 1")
    assert (after["value"], after["state"]) == ("2", "lost")


def test_a_large_output_belongs_to_its_cell(process: PersistentPythonProcess) -> None:
    for _ in range(3):
        result = process.execute("print('x' * 900_000)")
        assert len(result["stdout"]) == 900_001
