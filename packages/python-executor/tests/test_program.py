"""What a program sees and what its result says: as a script's ``__main__``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from python_executor import ExecutionResult, PythonExecutorService

KEYS = set(ExecutionResult.__annotations__)


def test_a_program_that_works_gives_every_key(executor: PythonExecutorService) -> None:
    result = executor.execute("print('hi'); 6 * 7")
    assert set(result) == KEYS
    assert 0 < result["duration"] < 30
    assert result == {
        "duration": result["duration"],
        "success": True,
        "stdout": "hi\n",
        "stderr": "",
        "returncode": 0,
        "status": "ok",
        "value": "42",
        "error": None,
        "truncated": False,
        "files": {},
        "displays": [],
        "session": None,
        "state": "fresh",
    }


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("", None),
        ("# a comment", None),
        ("None", None),
        ("x = 1", None),
        ("x = 1\nx + 1", "2"),
        ("'text'", "'text'"),
        ("[i * 2 for i in range(3)]", "[0, 2, 4]"),
        ("from __future__ import annotations\nx: int = 3\n__annotations__['x']", "'int'"),
        ("'\\ud800'", "'\\ud800'"),
        ("n = 3\n[n for _ in range(2)]", "[3, 3]"),
        ("__name__", "'__main__'"),
        ("import sys; sys.argv", "['<program>']"),
    ],
)
def test_the_last_expression_is_the_value(
    executor: PythonExecutorService, code: str, value: str | None
) -> None:
    result = executor.execute(code)
    assert (result["status"], result["value"], result["stdout"]) == ("ok", value, "")


@pytest.mark.parametrize(
    ("code", "returncode", "stderr"),
    [
        ("import sys; sys.exit()", 0, ""),
        ("import sys; sys.exit(0)", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit(-1)", 255, ""),
        ("import sys; sys.exit('gone')", 1, "gone\n"),
        ("raise SystemExit(True)", 1, ""),
    ],
)
def test_exit_is_what_a_script_makes_of_it(
    executor: PythonExecutorService, code: str, returncode: int, stderr: str
) -> None:
    script = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (script.returncode, script.stderr) == (returncode, stderr)
    result = executor.execute(code)
    assert (result["returncode"], result["stderr"]) == (returncode, stderr)
    assert result["success"] == (returncode == 0)
    assert result["status"] == ("error" if returncode else "ok")
    assert (result["error"] is None) == (returncode == 0)


FAILING = {
    "exception": "def f(x):\n    return 1 / x\n\nprint('before')\nf(0)\n",
    "cause": "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('b') from e\n",
    "syntax": "x = = 1\n",
    "recursion": "def f(n):\n    return f(n + 1)\n\nf(0)\n",
    "library": "import json\njson.loads('{')\n",
    "interrupt": "raise KeyboardInterrupt\n",
    "assertion": "assert 1 == 2, 'no'\n",
    "note": "e = ValueError('x')\ne.add_note('look here')\nraise e\n",
}


@pytest.mark.parametrize("name", FAILING)
def test_an_uncaught_exception_prints_the_traceback_of_a_script(
    executor: PythonExecutorService, name: str, tmp_path: Path
) -> None:
    script = tmp_path / "program.py"
    script.write_text(FAILING[name])
    command = [sys.executable, "-I", str(script)]
    expected = subprocess.run(command, capture_output=True, text=True)
    result = executor.execute(FAILING[name])
    printed = expected.stderr.replace(str(script), "<program>")
    if name == "recursion":  # how deep it got differs by the frames below the program
        assert printed.splitlines()[:4] == result["stderr"].splitlines()[:4]
        assert printed.splitlines()[-1] == result["stderr"].splitlines()[-1]
    else:
        assert result["stderr"] == printed
    assert result["stdout"] == expected.stdout
    assert result["returncode"] == expected.returncode
    assert (result["success"], result["status"]) == (False, "error")


def test_the_error_holds_the_programs_own_frames_only(executor: PythonExecutorService) -> None:
    error = executor.execute(FAILING["library"])["error"]
    assert error is not None
    assert error["type"] == "json.decoder.JSONDecodeError"
    assert error["message"].startswith("Expecting property name")
    assert "json.loads('{')" in error["traceback"]
    assert "decoder.py" not in error["traceback"]


def test_an_exception_of_the_program_goes_by_its_own_name(executor: PythonExecutorService) -> None:
    error = executor.execute("class Mine(Exception): ...\nraise Mine('x')")["error"]
    assert error is not None
    assert (error["type"], error["message"]) == ("Mine", "x")


def test_an_error_that_cannot_be_shown_is_still_a_result(executor: PythonExecutorService) -> None:
    code = "class E(Exception):\n    def __str__(self): raise OSError\nraise E"
    result = executor.execute(code)
    assert result["status"] == "error"
    assert result["error"] is not None
    assert result["error"]["message"] == "<exception str() failed>"


def test_a_value_whose_repr_fails_is_an_error(executor: PythonExecutorService) -> None:
    code = "class V:\n    def __repr__(self): raise OSError('no')\nV()"
    error = executor.execute(code)["error"]
    assert error is not None
    assert (error["type"], error["message"]) == ("OSError", "no")


def test_memory_error_has_a_status_of_its_own(executor: PythonExecutorService) -> None:
    result = executor.execute("raise MemoryError")
    assert (result["status"], result["returncode"]) == ("memory", 1)


def test_a_warning_is_no_failure(executor: PythonExecutorService) -> None:
    result = executor.execute("import warnings; warnings.warn('careful')")
    assert result["success"]
    assert "UserWarning: careful" in result["stderr"]


SCRIPTS = {
    "main guard": "if __name__ == '__main__':\n    print('main')",
    "dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int = 1\nprint(P(2))"
    ),
    "pickle": (
        "import pickle\nclass P:\n    x = 3\nprint(pickle.loads(pickle.dumps(P())).x, P.__module__)"
    ),
    "source": (
        "import inspect\ndef f():\n    return 1\nclass A:\n    y = 2\n"
        "print(inspect.getsource(f)); print(inspect.getsource(A))"
    ),
    "recursion": ("def f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\nprint(f(950))"),
    "asyncio": "import asyncio\nasync def f():\n    return 5\nprint(asyncio.run(f()))",
    "threads": (
        "import threading, time\n"
        "def f():\n    time.sleep(0.05); print('late')\nthreading.Thread(target=f).start()"
    ),
    "atexit": "import atexit\natexit.register(print, 'bye')\nprint('hello')",
    "process pool": (
        "from multiprocessing import get_context\ndef f(x):\n    return x * x\n"
        "if __name__ == '__main__':\n"
        "    with get_context('fork').Pool(2) as p:\n        print(p.map(f, [1, 2, 3]))"
    ),
    "fork": (
        "import os, sys\npid = os.fork()\n"
        "if pid:\n    os.waitpid(pid, 0)\nprint('child' if pid == 0 else 'parent')"
    ),
    "subprocess": (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'print(7)'], check=True)"
    ),
    "unflushed": "import sys\nsys.stdout.write('no newline')",
    "bytes": "import sys\nsys.stdout.buffer.write(b'raw\\n')",
    "c output": "import ctypes\nctypes.CDLL(None).puts(b'from C')",
    "descriptor": "import os\nos.write(1, b'written\\n')",
    "unicode": "print('ünï', '漢字', '🐍')",
    "fences": "print('''```python\\nx\\n```\\n{\"kind\": \"result\"}''')",
    "modules": "open('mine.py', 'w').write('x = 9')\nimport mine\nprint(mine.x)",
    "docstring": "'''About.'''\nprint(__doc__)",
    "streams": "import sys\nprint(sys.stdout.name, sys.stdout.isatty(), sys.stdout.seekable())",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_works_in_a_script_works_here(
    executor: PythonExecutorService, name: str, tmp_path: Path
) -> None:
    script = tmp_path / "program.py"
    script.write_text(SCRIPTS[name])
    expected = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert expected.stdout
    result = executor.execute(SCRIPTS[name])
    assert (result["stdout"], result["stderr"]) == (expected.stdout, expected.stderr)
    assert result["status"] == "ok"


def test_standard_input_is_empty_unless_given(executor: PythonExecutorService) -> None:
    error = executor.execute("input()")["error"]
    assert error is not None
    assert error["type"] == "EOFError"
    text = "first\nzwei é\n" + "x" * 300_000
    code = (
        "import sys\na = input(); b = sys.stdin.readline(); rest = sys.stdin.read()\n"
        "a, b, len(rest)"
    )
    assert executor.execute(code, stdin=text)["value"] == "('first', 'zwei é\\n', 300000)"


def test_lone_surrogates_in_code_are_an_error_of_the_program(
    executor: PythonExecutorService,
) -> None:
    result = executor.execute("x = '\ud800'")
    assert result["status"] == "error"
    assert result["error"] is not None
    assert result["error"]["type"] == "UnicodeEncodeError"
    assert executor.execute("1")["success"]


def test_a_large_program_arrives_whole(executor: PythonExecutorService) -> None:
    text = "é" * 3_000_000
    assert executor.execute(f"len('{text}')")["value"] == "3000000"


def test_the_programs_own_hook_is_asked_about_its_exception(
    executor: PythonExecutorService,
) -> None:
    code = "import sys\nsys.excepthook = lambda *a: print('hooked', a[0].__name__)\n1 / 0"
    result = executor.execute(code)
    assert (result["stdout"], result["stderr"], result["returncode"]) == (
        "hooked ZeroDivisionError\n",
        "",
        1,
    )


def test_a_program_may_break_its_streams_and_modules(executor: PythonExecutorService) -> None:
    code = (
        "import builtins, json, os, sys, traceback\n"
        "sys.stdout = sys.stderr = None\n"
        "json.dumps = json.loads = os.write = os.read = traceback.format_exception = None\n"
        "builtins.len = builtins.print = builtins.isinstance = None\n1"
    )
    result = executor.execute(code)
    assert (result["status"], result["value"]) == ("ok", "1")
    assert executor.execute("print(len('abc'))")["stdout"] == "3\n"
