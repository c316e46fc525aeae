"""How a program failed: on stderr as a script tells it, in the result with its own frames only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from python_executor import PersistentPythonProcess, PythonExecutorService, SandboxPolicy

FAILING = {
    "exception": "def f(x):\n    return 1 / x\n\nprint('before')\nf(0)\n",
    "cause": "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('b') from e\n",
    "syntax": "x = = 1\n",
    "recursion": "def f(n):\n    return f(n + 1)\n\nf(0)\n",
    "library": "import json\njson.loads('{')\n",
    "interrupt": "raise KeyboardInterrupt\n",
    "assertion": "assert 1 == 2, 'no'\n",
    "context": "try:\n    {}['a']\nexcept KeyError:\n    raise ValueError('b')\n",
    "no context": "try:\n    {}['a']\nexcept KeyError:\n    raise ValueError('b') from None\n",
    "group": (
        "def f(n):\n    raise ValueError(n)\n\nerrors = []\nfor n in range(2):\n"
        "    try:\n        f(n)\n    except ValueError as e:\n        errors.append(e)\n"
        "raise ExceptionGroup('both', errors)\n"
    ),
    "indentation": "if True:\nx = 1\n",
    "unclosed": "print('a'\nx = 1\n",
    "late syntax": "x = 1\ndef f():\n    return 1\n    yield = 3\n",
    "several lines": "\n\nundefined_name(\n    1,\n)\n",
    "lambda": "f = lambda: [1][2]\nf()\n",
    "method": "class A:\n    def m(self):\n        return self.x\n\nA().m()\n",
    "comprehension": "n = 0\nprint([1 / n for _ in range(3)])\n",
    "value": "x = 1\nx / 0",
    "evaluated": "eval('1 / 0')\n",
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


def test_own_frames_are_kept_in_all_that_an_error_comes_from(
    executor: PythonExecutorService,
) -> None:
    code = """
import json

def load(text):
    return json.loads(text)

errors = []
for text in "{[":
    try:
        load(text)
    except ValueError as e:
        errors.append(e)
try:
    raise ExceptionGroup("both", errors)
except ExceptionGroup as e:
    raise RuntimeError("outer") from e
"""
    result = executor.execute(code)
    assert result["error"] is not None
    trace = result["error"]["traceback"]
    assert trace.count("return json.loads(text)") == 2
    assert trace.count("json.decoder.JSONDecodeError: Expecting") == 2
    assert "ExceptionGroup: both (2 sub-exceptions)" in trace
    assert trace.endswith("RuntimeError: outer\n")
    assert "decoder.py" not in trace
    assert "decoder.py" in result["stderr"]


ENDLESS = {
    "one function": "def f(n):\n    return f(n + 1)\nf(0)",
    "several functions": (
        "def f(n):\n    return g(n + 1)\ndef g(n):\n    return h(n)\n"
        "def h(n):\n    return f(n)\nf(0)"
    ),
    "attributes": (
        "class A:\n    def __getattr__(self, name):\n"
        "        return getattr(self, name + 'x')\nA().x"
    ),
    "through a library": (
        "import copy\nclass A:\n    def __copy__(self):\n        return copy.copy(A())\n"
        "copy.copy(A())"
    ),
    "while another is handled": "def f():\n    try:\n        1 / 0\n    except OSError: f()\nf()",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_the_error_of_a_recursion_is_short(executor: PythonExecutorService, name: str) -> None:
    error = executor.execute(ENDLESS[name])["error"]
    assert error is not None
    lines = error["traceback"].splitlines()
    assert 3 < len(lines) < 150
    assert lines[1].startswith('  File "<program>", line ')
    assert lines[-1].startswith(error["type"])


def test_the_error_of_bad_syntax_shows_the_line(executor: PythonExecutorService) -> None:
    error = executor.execute("x = 1\nif x\n    pass\n")["error"]
    assert error is not None
    assert error["type"] == "SyntaxError"
    assert error["message"] == "expected ':' (<program>, line 2)"
    assert error["traceback"] == (
        "  File \"<program>\", line 2\n    if x\n        ^\nSyntaxError: expected ':'\n"
    )


OF_MEMORY = {
    "itself": "raise MemoryError",
    "a kind of it": "class E(MemoryError): ...\nraise E('no more')",
    "too much at once": "bytearray(1 << 60)",
    "cause": "try:\n    bytearray(1 << 60)\nexcept MemoryError as e:\n    raise ValueError from e",
    "context": "try:\n    bytearray(1 << 60)\nexcept MemoryError:\n    1 / 0",
    "group": "raise ExceptionGroup('g', [ExceptionGroup('h', [ValueError(), MemoryError()])])",
    "of the value": "class V:\n    def __repr__(self): raise MemoryError\nV()",
    "in a pool of threads": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor() as pool: pool.submit(bytearray, 1 << 60).result()"
    ),
}


@pytest.mark.parametrize("name", OF_MEMORY)
def test_an_uncaught_memory_error_has_a_status_of_its_own(
    executor: PythonExecutorService, name: str
) -> None:
    result = executor.execute(f"print('kept')\n{OF_MEMORY[name]}")
    assert (result["status"], result["returncode"]) == ("memory", 1)
    assert (result["success"], result["stdout"]) == (False, "kept\n")


NOT_OF_MEMORY = {
    "caught": ("try:\n    bytearray(1 << 60)\nexcept MemoryError:\n    pass", "ok"),
    "forgotten": (
        "try:\n    bytearray(1 << 60)\nexcept MemoryError:\n    raise ValueError from None",
        "error",
    ),
    "in a thread": (  # as in a script: the program itself came to its end
        "import threading; threading.Thread(target=bytearray, args=(1 << 60,)).start()",
        "ok",
    ),
    "by name": ("class MemoryError(Exception): ...\nraise MemoryError", "error"),
    "cycle": (
        "a = ValueError(); b = KeyError(); a.__cause__ = b; b.__cause__ = a\nraise a",
        "error",
    ),
    "false": ("class E(Exception):\n    def __bool__(self): 1 / 0\nraise E from E()", "error"),
    "a group's own": (
        "class G(ExceptionGroup):\n    exceptions = 3\nraise G('g', [ValueError()])",
        "error",
    ),
}


@pytest.mark.parametrize("name", NOT_OF_MEMORY)
def test_other_ends_are_not_of_memory(executor: PythonExecutorService, name: str) -> None:
    code, status = NOT_OF_MEMORY[name]
    assert executor.execute(code)["status"] == status


FULL = """
import resource
with open("/proc/self/status") as status:
    used = next(int(line.split()[1]) for line in status if line.startswith("VmData:"))
limit = used * 1024 + (64 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
kept = []
"""
FILLING = {
    "small objects": "while True: kept.append(str(len(kept)))",
    "small objects in a function": "def f():\n    while True: kept.append([None])\nf()",
    "large objects": "while True: kept.append(bytearray(1 << 20))",
    "to the last byte": (
        "for size in (1 << 20, 1 << 16, 1 << 12, 512, 64):\n    try:\n"
        "        while True: kept.append(bytearray(size))\n    except MemoryError: pass\n"
        "while True: kept.append([])"
    ),
}


@pytest.mark.parametrize("name", FILLING)
def test_a_program_that_fills_its_memory_is_told_from_a_crash(
    trusting: PythonExecutorService, name: str
) -> None:
    result = trusting.execute(f"print('kept')\n{FULL}{FILLING[name]}")
    assert (result["status"], result["returncode"]) == ("memory", 1)
    assert result["stdout"] == "kept\n"
    assert result["error"] is not None
    assert result["error"]["type"] == "MemoryError"
    assert trusting.execute("1 + 1")["value"] == "2"


@pytest.mark.parametrize("name", FILLING)
def test_a_program_that_fills_what_its_policy_gives_is_told_from_a_crash(name: str) -> None:
    policy = SandboxPolicy(memory=64 << 20)
    with PythonExecutorService(pool_size=1, timeout=30.0, sandbox=policy) as executor:
        result = executor.execute(f"print('kept')\nkept = []\n{FILLING[name]}")
        assert (result["status"], result["stdout"]) == ("memory", "kept\n")
        assert executor.execute("1 + 1")["value"] == "2"


def test_a_cell_that_fills_its_memory_leaves_the_interpreter_at_work() -> None:
    with PersistentPythonProcess(timeout=30.0, sandbox="off") as process:
        code = f"{FULL}{FILLING['to the last byte']}"
        assert process.execute(code)["status"] == "memory"
        after = process.execute("kept.clear(); print('x' * 100); open('f', 'wb').write(bytes(9))")
        assert (after["state"], after["files"]) == ("kept", {"f": bytes(9)})


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
