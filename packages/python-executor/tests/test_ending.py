"""Programs that don't end by themselves, or flood, crash, forge, or leave processes behind."""

from __future__ import annotations

import ast
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from python_executor import PythonExecutorService

ENDLESS = {
    "loop": "while True:\n    pass",
    "sleep": "import time\ntime.sleep(1000)",
    "c": "9 ** 9 ** 9",
    "regex": "import re\nre.match(r'(a+)+$', 'a' * 64 + 'b')",
    "deaf": (
        "import signal\nfor n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):\n"
        "    signal.signal(n, signal.SIG_IGN)\nwhile True:\n"
        "    try:\n        while True: pass\n    except BaseException: pass"
    ),
    "stopped": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "atexit": "import atexit, time\natexit.register(time.sleep, 1000)",
    "thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()",
    "interrupts": "while True:\n    try:\n        input()\n    except BaseException:\n        pass",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_program_that_runs_too_long_is_ended(executor: PythonExecutorService, name: str) -> None:
    result = executor.execute(f"print('begun')\n{ENDLESS[name]}", timeout=0.3)
    assert (result["success"], result["status"], result["returncode"]) == (False, "timeout", -9)
    assert result["stdout"] == "begun\n"
    assert result["duration"] >= 0.3
    assert result["error"] == {
        "type": "TimeoutError",
        "message": "The program ran longer than 0.3 s and was ended.",
        "traceback": "",
    }
    assert executor.execute("1 + 1")["value"] == "2"


DAEMON = """
import os, sys, time, signal
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        with open({path!r}, "a", buffering=1) as f:
            f.write("alive\\n")
            os.write(write, b"%d" % os.getpid())
            while True:
                f.write("alive\\n")
                time.sleep(0.001)
    os._exit(0)
print(int(os.read(read, 99)), flush=True)
"""


@pytest.mark.parametrize("end", ["", "import time; time.sleep(1000)", "os._exit(0)", "1 / 0"])
def test_a_daemon_dies_with_its_program(
    families: PythonExecutorService,
    alive: Callable[[int], bool],
    until: Callable[[Callable[[], bool]], None],
    marks: Path,
    end: str,
) -> None:
    path = marks / "written"
    result = families.execute(DAEMON.format(path=str(path)) + end, timeout=1.0)
    pid = int(result["stdout"])
    until(lambda: not alive(pid))
    size = path.stat().st_size
    time.sleep(0.02)
    assert path.stat().st_size == size


def test_a_tree_of_processes_dies_with_its_program(
    families: PythonExecutorService,
    alive: Callable[[int], bool],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    code = """
import os, time
r, w = os.pipe()
for level in range(4):  # every process forks twice a level: 3 ** 4 of them
    for _ in range(2):
        if os.fork() == 0:
            os.setpgid(0, 0)
            os.write(w, b"%5d " % os.getpid())
            break
if os.getsid(0) == os.getpid():
    for _ in range(80):
        print(os.read(r, 6).decode(), flush=True)
else:
    time.sleep(1000)
"""
    result = families.execute(code)
    pids = [int(pid) for pid in result["stdout"].split()]
    assert len(pids) == 80
    until(lambda: not any(alive(pid) for pid in pids))


@pytest.mark.parametrize(
    ("code", "returncode"),
    [
        ("import os; os._exit(0)", 0),
        ("import os; os._exit(7)", 7),
        ("import os; os.abort()", -signal.SIGABRT),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("import os, signal; os.killpg(0, signal.SIGKILL)", -signal.SIGKILL),
        ("import os; os.execv('/bin/sh', ['sh', '-c', 'exit 5'])", 5),
    ],
)
def test_a_crash_keeps_the_output_and_the_status(
    trusting: PythonExecutorService, code: str, returncode: int
) -> None:
    result = trusting.execute(f"print('kept')\n{code}")
    assert (result["success"], result["status"]) == (False, "crashed")
    assert result["returncode"] == returncode
    assert result["stdout"] == "kept\n"
    assert result["error"] is not None
    assert result["error"]["type"] == "ProcessCrashedError"
    assert trusting.execute("1 + 1")["value"] == "2"


def test_a_crash_is_seen_although_a_descendant_holds_every_descriptor(
    families: PythonExecutorService,
) -> None:
    code = "import os, time\nif os.fork() == 0:\n    time.sleep(1000)\nos._exit(4)"
    result = families.execute(code)
    assert (result["status"], result["returncode"]) == ("crashed", 4)


@pytest.mark.parametrize("end", ["", "\nos._exit(3)"])
def test_closing_every_descriptor_hurts_the_program_alone(
    executor: PythonExecutorService, end: str
) -> None:
    result = executor.execute(f"print('kept')\nimport os\nos.closerange(0, 1024){end}")
    assert (result["status"], result["stdout"]) == ("crashed", "kept\n")
    assert executor.execute("1 + 1")["value"] == "2"


def test_overwriting_every_descriptor_hurts_the_program_alone(
    executor: PythonExecutorService,
) -> None:
    code = "import os\nn = os.open('/dev/null', os.O_RDWR)\nfor i in range(256): os.dup2(n, i)"
    assert executor.execute(code, timeout=1.0)["status"] in ("crashed", "timeout")
    assert executor.execute("1 + 1")["value"] == "2"


def test_a_flood_is_cut_in_the_middle() -> None:
    with PythonExecutorService(pool_size=1, timeout=30.0, max_output=1000) as executor:
        code = (
            "for i in range(100000): print(i)\nimport sys; sys.stderr.write('é' * 9000); 'v' * 2000"
        )
        result = executor.execute(code)
    assert (result["status"], result["truncated"]) == ("ok", True)
    assert result["stdout"].startswith("0\n1\n2\n")
    assert result["stdout"].endswith("99998\n99999\n")
    assert " bytes cut] ..." in result["stdout"]
    assert len(result["stdout"]) < 1100
    assert set(result["stderr"].replace("é", "")) <= set("\n... [170 bytes cut] ...\n0123456789")
    assert result["value"] is not None
    assert "characters cut] ..." in result["value"]


@pytest.mark.parametrize("character", ["x", "\\ud800", "\\U0001f600"])
@pytest.mark.parametrize("count", [65_530, 65_536, 65_540, 200_000])
def test_long_texts_of_an_error_are_cut(
    executor: PythonExecutorService, character: str, count: int
) -> None:
    code = f"E = type('E' * 70_000, (Exception,), {{}})\nraise E('{character}' * {count})"
    result = executor.execute(code)
    assert result["status"] == "error"
    error = result["error"]
    assert error is not None
    texts = (error["type"], error["message"], error["traceback"])
    assert all(len(text) <= 65_536 + 128 for text in texts)


@pytest.mark.parametrize("character", ["x", "\\ud800"])
def test_a_long_value_of_any_characters_is_cut(
    executor: PythonExecutorService, character: str
) -> None:
    code = f"class C:\n def __repr__(self): return '{character}' * 1_500_000\nC()"
    result = executor.execute(code)
    assert (result["status"], result["truncated"]) == ("ok", True)
    assert result["value"] is not None
    assert len(result["value"]) <= 2**20 + 128


def test_an_endless_flood_ends_the_program_and_needs_little_memory() -> None:
    code = "import os\nwhile True: os.write(1, b'x' * 65536)"
    with PythonExecutorService(pool_size=1, timeout=60.0, max_output=10_000) as executor:
        result = executor.execute(code)
        assert (result["status"], result["returncode"], result["truncated"]) == ("output", -9, True)
        assert result["error"] is not None
        assert result["error"]["type"] == "OutputLimitError"
        assert len(result["stdout"]) < 11_000
        assert executor.execute("1 + 1")["value"] == "2"


def test_output_that_is_no_text_is_replaced(executor: PythonExecutorService) -> None:
    result = executor.execute("import os\nos.write(1, b'a\\xff\\x00b')\nprint('\\ud800')")
    assert result["stdout"] == "a\ufffd\x00b"
    assert result["error"] is not None
    assert result["error"]["type"] == "UnicodeEncodeError"


def test_what_a_descendant_prints_before_the_end_is_kept(families: PythonExecutorService) -> None:
    code = "import os\nif os.fork() == 0:\n    os.write(1, b'child\\n'); os._exit(0)\nos.wait()"
    assert families.execute(code)["stdout"] == "child\n"


FORGED = {
    "garbage": b"not a frame",
    "huge": b"\xff\xff\xff\xff",
    "text": b"\x00\x00\x00\x04oops",
    "unknown": b'\x00\x00\x00\x0f{"kind":"evil"}',
    "twice": b'\x00\x00\x00\x12{"kind":"started"}',
    "types": b'\x00\x00\x00\x1d{"kind":"display","data":"x"}',
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_frame_is_a_crash_of_the_program(
    executor: PythonExecutorService, name: str
) -> None:
    code = (
        "print('kept', flush=True)\nimport os, time\n"
        f"os.write(255, {FORGED[name]!r})\ntime.sleep(1000)"
    )
    result = executor.execute(code)
    assert (result["status"], result["returncode"], result["stdout"]) == ("crashed", -9, "kept\n")
    assert result["error"] is not None
    assert "protocol" in result["error"]["message"]
    assert executor.execute("1 + 1")["value"] == "2"


def test_a_forged_result_ends_its_own_program_only(executor: PythonExecutorService) -> None:
    body = b'{"kind":"result","returncode":0,"value":"\'forged\'","error":null,"truncated":false}'
    frame = len(body).to_bytes(4, "big") + body
    code = f"import os, time\nos.write(255, {frame!r} * 3)\ntime.sleep(1000)"
    assert executor.execute(code)["value"] == "'forged'"
    results = executor.execute_batch(["1 + 1"] * 4)
    assert [result["value"] for result in results] == ["2"] * 4


def test_a_program_that_reads_the_protocol_gets_nothing(executor: PythonExecutorService) -> None:
    code = (
        "import os\nos.set_blocking(255, False)\ntry:\n    print(os.read(255, 99))\n"
        "except BlockingIOError:\n    print('nothing')"
    )
    assert executor.execute(code)["stdout"] == "nothing\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_program_that_signals_its_server_hurts_itself_alone(
    trusting: PythonExecutorService, number: int
) -> None:
    code = (
        "import os, time\nprint('kept', flush=True)\n"
        f"os.kill(os.getppid(), {number})\ntime.sleep(0.5)"
    )
    result = trusting.execute(code)
    assert result["stdout"] == "kept\n"
    assert result["status"] == ("ok" if number == signal.SIGINT else "crashed")
    results = trusting.execute_batch(["1 + 1"] * 4)
    assert [result["value"] for result in results] == ["2"] * 4


def test_the_timeout_does_not_run_while_a_program_waits() -> None:
    with PythonExecutorService(pool_size=1, timeout=0.6) as executor:
        results = executor.execute_batch(["import time; time.sleep(0.3)"] * 4)
    assert [result["status"] for result in results] == ["ok"] * 4


def test_pids_of_a_program_are_those_of_real_processes(executor: PythonExecutorService) -> None:
    executor.execute_batch(["1"] * 8)  # a slot server's pid is known once it has served
    pid, parent = ast.literal_eval(
        executor.execute("import os; os.getpid(), os.getppid()")["value"] or ""
    )
    assert parent in executor.info()["slot_servers"]
    assert pid not in (os.getpid(), parent)
