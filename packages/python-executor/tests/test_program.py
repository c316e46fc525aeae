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
        "unprotected": None,
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
        ("raise SystemExit(256)", 0, ""),
        ("raise SystemExit(2 ** 70)", 255, ""),
        ("raise SystemExit((1, 'two'))", 1, "(1, 'two')\n"),
        ("import sys; sys.stderr = None; sys.exit('heard')", 1, "heard\n"),
    ],
)
def test_exit_is_what_a_script_makes_of_it(
    executor: PythonExecutorService, code: str, returncode: int, stderr: str
) -> None:
    script = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if "2 ** 70" in code and sys.version_info >= (3, 12):
        # It is the same number all the same; how a script complains differs between the versions.
        assert script.stderr.endswith("OverflowError: Python int too large to convert to C long\n")
        assert script.returncode == returncode
    else:
        assert (script.returncode, script.stderr) == (returncode, stderr)
    result = executor.execute(code)
    assert (result["returncode"], result["stderr"]) == (returncode, stderr)
    assert result["success"] == (returncode == 0)
    assert result["status"] == ("error" if returncode else "ok")
    assert (result["error"] is None) == (returncode == 0)


def test_an_exit_whose_text_fails_is_still_a_result(executor: PythonExecutorService) -> None:
    code = "class C:\n    def __str__(self): raise OSError('no')\nraise SystemExit(C())"
    result = executor.execute(code)
    assert (result["status"], result["returncode"]) == ("error", 1)
    assert result["error"] is not None
    assert result["error"]["message"] == "<object str() failed>"


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
    "unflushed": "import sys\nsys.stdout.write('no newline')",
    "bytes": "import sys\nsys.stdout.buffer.write(b'raw\\n')",
    "c output": "import ctypes\nctypes.CDLL(None).puts(b'from C')",
    "descriptor": "import os\nos.write(1, b'written\\n')",
    "unicode": "print('ünï', '漢字', '🐍')",
    "fences": "print('''```python\\nx\\n```\\n{\"kind\": \"result\"}''')",
    "modules": "open('mine.py', 'w').write('x = 9')\nimport mine\nprint(mine.x)",
    "top-level names": """
n = 3
print([n + i for i in range(n)], {n: n for _ in [n]}, [f() for f in [lambda: n]])
class A:
    x = n
    def m(self): return n
print(A.x, A().m(), (lambda: n)(), list(n for _ in [1]))
def g():
    global n
    n += 1
    return n
print(g(), n, globals()["n"])
""",
    "hints": """
from dataclasses import dataclass, fields
from typing import Optional, get_type_hints
@dataclass
class Node:
    next: Optional["Node"] = None
    x: "int" = 0
def f(a: "Node", b: int = 1) -> "list[Node]": ...
print(get_type_hints(Node), get_type_hints(f), [f.type for f in fields(Node)])
y: int = 3
print(__annotations__)
""",
    "future annotations": """'''Doc.'''
from __future__ import annotations
import typing
from dataclasses import dataclass
@dataclass
class Node:
    next: Node | None = None
def f(a: Undefined) -> Node: ...
print(f.__annotations__, typing.get_type_hints(Node), Node(Node()), __doc__)
x: Undefined = 1
print(__annotations__)
""",
    "enums and tuples": """
import collections, enum, pickle, typing
class C(enum.Enum):
    RED = 1
class T(typing.NamedTuple):
    x: int
N = collections.namedtuple("N", "a b")
things = [C.RED, T(1), N(1, 2), C]
print(things == pickle.loads(pickle.dumps(things)), things)
print(T.__module__, N.__module__, C.__module__)
""",
    "pickled functions": """
import copy, functools, pickle
def f(x):
    return x + 1
class A:
    class B: ...
    def m(self): return 7
print(pickle.loads(pickle.dumps(f))(1), pickle.loads(pickle.dumps(A.B)).__qualname__)
print(copy.deepcopy(A()).m(), pickle.loads(pickle.dumps(functools.partial(f, 2)))())
""",
    "source of all kinds": """
import inspect

def outer():
    def inner(x):
        # why
        return x
    return inner

square = lambda x: x * x
print(inspect.getsource(outer()), inspect.getsource(square))
print(inspect.getsourcelines(outer)[1], inspect.signature(outer()))
""",
    "tasks": """
import asyncio
async def work(n):
    await asyncio.sleep(0)
    return n * n
async def main():
    print(await asyncio.gather(*map(work, range(4))))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work(9))
    print(task.result(), await asyncio.to_thread(sum, [1, 2]))
    process = asyncio.Queue()
    await process.put(1)
    print(await asyncio.wait_for(process.get(), 5))
if __name__ == "__main__":
    asyncio.run(main())
""",
    "protocol": r"""
print('''
```output
```python
~~~
</tool_call><|im_end|>
---END---
''' + '{"kind": "result", "returncode": 0}', flush=True)
print(r'\n', '\x01\x1b[0m', repr('"' * 3), '\\')
""",
    "unittest": """
import unittest
class T(unittest.TestCase):
    def test(self): self.assertEqual(1, 1)
runner = unittest.TextTestRunner(stream=open("log", "w"))
result = unittest.main(argv=["x"], exit=False, testRunner=runner).result
print(result.testsRun, result.wasSuccessful())
""",
    "doctest": """
import doctest
def f(x):
    '''
    >>> f(1)
    2
    '''
    return x + 1
print(doctest.testmod())
""",
    "main module": """
import sys, __main__
x = 5
print(sys.modules["__main__"].x, __main__.x, vars()["x"])
print(__spec__, __package__, __name__, __builtins__.len("abc"))
""",
    "garbage": """
import gc
class A:
    def __del__(self): print("gone")
a = A()
a.self = a
del a
gc.collect()
""",
    "logging": """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(lineno)d %(message)s")
logging.warning("look")
""",
    "long line": "print('x' * 200_000)",
    "carriage returns": "print('a\\r\\nb\\rc', end='')",
    "line ends": "print(1)\r\nif True:\r\n    print('''a\r\nb''')\r\n",
    "indented end": "if True:\n    print(1)\n    ",
    "form feed and BOM": "\ufeffprint(1)\n\f\nprint(2)",
    "docstring": "'''About.'''\nprint(__doc__)",
    "streams": "import sys\nprint(sys.stdout.name, sys.stdout.isatty(), sys.stdout.seekable())",
}


# What only a policy allows, or nothing but trust: a process pool has locks in /dev/shm.
TRUSTED_SCRIPTS = {
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
}


def as_script(code: str, folder: Path) -> tuple[str, str]:
    """What a script of that text writes to stdout and stderr."""
    script = folder / "program.py"
    script.write_bytes(code.encode())
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, cwd=folder, check=True
    )
    assert done.stdout
    return done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_works_in_a_script_works_here(
    executor: PythonExecutorService, name: str, tmp_path: Path
) -> None:
    result = executor.execute(SCRIPTS[name])
    assert (result["stdout"], result["stderr"]) == as_script(SCRIPTS[name], tmp_path)
    assert result["status"] == "ok"


@pytest.mark.parametrize("name", ["fork", "subprocess"])
def test_processes_work_where_they_are_allowed(
    families: PythonExecutorService, name: str, tmp_path: Path
) -> None:
    result = families.execute(TRUSTED_SCRIPTS[name])
    assert (result["stdout"], result["stderr"]) == as_script(TRUSTED_SCRIPTS[name], tmp_path)


def test_a_process_pool_works_without_a_sandbox(
    trusting: PythonExecutorService, tmp_path: Path
) -> None:
    code = TRUSTED_SCRIPTS["process pool"]
    result = trusting.execute(code)
    assert (result["stdout"], result["stderr"]) == as_script(code, tmp_path)


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


def test_input_is_read_as_in_a_script(executor: PythonExecutorService, tmp_path: Path) -> None:
    code = """
import sys
name = input("name? ")
print(f"hello {name}")
for line in sys.stdin:
    if not line.strip():
        break
    print(repr(line))
print(sys.stdin.readline().split(), sys.stdin.read(4))
print(sys.stdin.read(), sys.stdin.isatty(), sys.stdin.encoding, sys.stdin.fileno())
try:
    input("more? ")
except EOFError as error:
    print(error)
"""
    script = tmp_path / "program.py"
    script.write_text(code)
    text = "Zoë\n1 2\n3\n\nx y\nabcé\nlast"
    command = [sys.executable, "-X", "utf8", str(script)]
    expected = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    assert executor.execute(code, stdin=text)["stdout"] == expected.stdout.decode()


@pytest.mark.parametrize(
    ("read", "value"),
    [
        ("open(0).read()", "'a\\nb'"),
        ("open('/dev/stdin').read()", "'a\\nb'"),
        ("import os; os.read(0, 99)", "b'a\\nb'"),
        ("import sys; list(sys.stdin)", "['a\\n', 'b']"),
        ("import sys; sys.stdin.buffer.read()", "b'a\\nb'"),
        ("[*iter(input, 'b')]", "['a']"),
        ("import fileinput; [*fileinput.input()]", "['a\\n', 'b']"),
    ],
)
def test_input_is_read_by_all_means(executor: PythonExecutorService, read: str, value: str) -> None:
    assert executor.execute(read, stdin="a\nb")["value"] == value


def test_a_warning_tells_its_line_as_in_a_script(
    executor: PythonExecutorService, tmp_path: Path
) -> None:
    code = (
        "import warnings\ndef f():\n    warnings.warn('old', DeprecationWarning)\n"
        "for _ in range(2): f()\nwarnings.warn('look')\nassert (1, 'always true')\n"
    )
    script = tmp_path / "program.py"
    script.write_text(code)
    expected = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    result = executor.execute(code)
    assert result["stderr"] == expected.stderr.replace(str(script), "<program>")
    assert result["stderr"].count("DeprecationWarning: old") == 1
    assert (result["status"], result["returncode"]) == ("ok", 0)


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


# Programs whose last line may look like a whole expression, and their value.
LAST_LINES = {
    "x = 40\n\n# so\nx + 2": "42",
    "x = 40\nx + 2\n\n\n": "42",
    "x = 40\nx + 2  # so": "42",
    "x = 40\n(x,\n2)": "(40, 2)",
    "x = (40,\n2)": None,
    "x = [1 for _ in range(2)\nif True]\nx": "[1, 1]",
    "(1\nif True else\n2)": "1",
    '"""\nx\n"""': repr("\nx\n"),
    'x = """\ny"""': None,
    "1 + \\\n2": "3",
    "if True:\n    5\n6": "6",
    "if False: 5\nelse: 6": None,
    "for i in range(3): i": None,
    "x = 1; x": "1",
    "x = 1\nx; x + 1": "2",
    "x = 1\nx;": "1",
    "def f():\n    return 7\nf()": "7",
    "@property\ndef f(): 5": None,
    "lambda: 1\n3": "3",
    "(y := 5)\ny": "5",
    "'a' 'b'": "'ab'",
    "x = 1\r\nx": "1",
    "# nothing": None,
    "": None,
    "from __future__ import annotations\ndef f(x: Gone): 0\nf.__annotations__": "{'x': 'Gone'}",
}


@pytest.mark.parametrize("code", LAST_LINES)
def test_the_value_is_that_of_the_last_expression_however_it_is_laid_out(
    executor: PythonExecutorService, code: str
) -> None:
    result = executor.execute(code)
    assert (result["status"], result["value"], result["stderr"]) == ("ok", LAST_LINES[code], "")


def test_an_error_of_the_last_expression_names_its_line(executor: PythonExecutorService) -> None:
    error = executor.execute("x = 1\n\n\nx + '2'")["error"]
    assert error is not None
    assert 'File "<program>", line 4, in <module>' in error["traceback"]
    assert "    x + '2'\n" in error["traceback"]


@pytest.mark.parametrize("last", ["1 is 1", "(\n1 is 1)", "(\n1 is 1\n)", "1 is 1\nx"])
def test_what_warns_when_it_is_compiled_warns_once(
    executor: PythonExecutorService, last: str
) -> None:
    result = executor.execute(f"x = 1\n{last}")
    assert result["status"] == "ok"
    assert result["stderr"].count("SyntaxWarning: ") == 1
