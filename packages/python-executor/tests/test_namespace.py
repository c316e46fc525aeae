"""Programs that share a process one after the other, each with a ``__main__`` of its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from python_executor import Execution, InvalidArgumentError, PythonExecutorService

Until = Callable[[Callable[[], bool]], None]
Alive = Callable[[int], bool]

PID = "import os; os.getpid()"


@pytest.fixture
def shared() -> Iterator[PythonExecutorService]:
    with PythonExecutorService(1, 30.0, isolation="namespace") as executor:
        yield executor


def test_the_process_is_kept_and_the_names_are_not(shared: PythonExecutorService) -> None:
    pids = {shared.execute(PID)["value"] for _ in range(5)}
    assert len(pids) == 1
    assert shared.execute("x = 1; import sys; sys.modules['__main__'].x")["value"] == "1"
    result = shared.execute("x")
    assert result["error"] is not None
    assert result["error"]["type"] == "NameError"
    assert result["state"] == "fresh"
    assert shared.info()["isolation"] == "namespace"
    assert shared.execute(PID)["value"] in pids


def test_a_batch_takes_as_many_processes_as_the_pool_has() -> None:
    with PythonExecutorService(3, 30.0, isolation="namespace") as executor:
        results = executor.execute_batch([PID] * 100)
        assert len({result["value"] for result in results}) <= 3
        assert executor.stats()["by_status"] == {"ok": 100}


def test_results_are_what_they_are_with_a_process_each(shared: PythonExecutorService) -> None:
    for _ in range(3):
        result = shared.execute(
            "import sys\nprint(input(), open('in').read())\nprint('e', file=sys.stderr)\n"
            "open('out', 'w').write('made')\n6 * 7",
            stdin="typed",
            files={"in": b"given"},
        )
        assert result["success"]
        assert (result["stdout"], result["stderr"]) == ("typed given\n", "e\n")
        assert (result["value"], result["files"]) == ("42", {"out": b"made"})
    assert shared.execute("input()")["error"] is not None
    assert shared.execute("import sys; sys.exit(3)")["returncode"] == 3
    failed = shared.execute("def f():\n    return 1 / 0\nf()")
    assert failed["error"] is not None
    assert "line 2, in f\n    return 1 / 0" in failed["error"]["traceback"]
    code = """
import dataclasses, inspect, pickle
@dataclasses.dataclass
class Point:
    x: int
if __name__ == "__main__":
    print(pickle.loads(pickle.dumps(Point(3))), inspect.getsource(Point).count("x"))
"""
    for _ in range(2):
        assert shared.execute(code)["stdout"] == "Point(x=3) 1\n"


ENDINGS = {
    "crashes": ("import os; os._exit(3)", "crashed"),
    "runs too long": ("while True: pass", "timeout"),
    "floods": ("import os\nwhile True: os.write(1, b'x' * 65536)", "output"),
    "kills itself": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "crashed"),
    "breaks the protocol": (
        """
import os, time
for i in range(3, 256):
    try: os.write(i, b"x" * 99)
    except OSError: pass
time.sleep(99)
""",
        "crashed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDINGS)
def test_a_program_that_is_ended_costs_the_process(
    shared: PythonExecutorService, until: Until, alive: Alive, name: str
) -> None:
    code, status = ENDINGS[name]
    before = shared.execute(PID)["value"]
    assert before is not None
    result = shared.execute(f"print('begun', flush=True)\n{code}", timeout=2.0)
    assert result["status"] == status
    assert result["stdout"].startswith("begun\n")
    after = [shared.execute(PID)["value"] for _ in range(2)]
    assert after[0] == after[1] != before
    until(lambda: not alive(int(before)))


def test_what_a_program_changes_stays_for_the_next(shared: PythonExecutorService) -> None:
    shared.execute(
        "import builtins, os, json\nbuiltins.answer = 42\njson.note = 'mine'\n"
        "os.mkdir('d'); os.chdir('d'); os.environ['HERE'] = 'yes'"
    )
    code = "import json, os; answer, json.note, os.path.basename(os.getcwd()), os.environ['HERE']"
    assert shared.execute(code)["value"] == "(42, 'mine', 'd', 'yes')"


def test_a_program_that_replaced_its_streams_does_not_silence_the_next(
    shared: PythonExecutorService,
) -> None:
    shared.execute("import io, sys; sys.stdout = sys.stderr = io.StringIO()")
    result = shared.execute("import sys; print('out'); print('err', file=sys.stderr)")
    assert (result["stdout"], result["stderr"]) == ("out\n", "err\n")


@pytest.mark.parametrize("served", [0, 1])
def test_an_interpreter_that_was_killed_while_it_waited_is_replaced(
    shared: PythonExecutorService, until: Until, served: int
) -> None:
    for _ in range(served):
        shared.execute("1")
    slot = shared._pool.slots[0]

    def known() -> bool:
        slot.check()
        return slot.pid is not None

    until(known)
    assert slot.pid is not None
    os.kill(slot.pid, signal.SIGKILL)

    def told() -> bool:
        slot.check()
        return slot.returncode is not None

    until(told)
    assert shared.execute("1 + 1")["value"] == "2"
    assert shared.stats()["restarts"] == 0


def test_a_program_is_cancelled_and_the_next_has_a_new_process(
    shared: PythonExecutorService, until: Until
) -> None:
    before = shared.execute(PID)["value"]
    results = []

    def cancel() -> bool:
        return shared.cancel("x")

    caller = threading.Thread(
        target=lambda: results.append(shared.execute("while True: pass", execution_id="x"))
    )
    caller.start()
    until(cancel)
    caller.join()
    assert results[0]["status"] in ("cancelled", "rejected")
    assert results[0]["status"] == "rejected" or shared.execute(PID)["value"] != before


def test_programs_that_fail_in_between_do_not_disturb_a_batch() -> None:
    codes = ["1 + 1", "1 / 0", "import os; os._exit(1)", "2 + 2", "while True: pass"] * 4
    with PythonExecutorService(2, 30.0, isolation="namespace") as executor:
        results = executor.execute_batch([Execution(code, timeout=1.0) for code in codes])
        assert [result["status"] for result in results] == [
            "ok", "error", "crashed", "ok", "timeout",
        ] * 4  # fmt: skip
        assert executor.stats()["idle"] == 2


def test_an_unknown_isolation_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="'process' or 'namespace'"):
        PythonExecutorService(1, isolation="thread")  # type: ignore[arg-type]
