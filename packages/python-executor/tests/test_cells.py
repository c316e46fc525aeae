"""Cells are those of a notebook: names, tracebacks and ``await`` go from one to the next."""

from __future__ import annotations

import subprocess
import sys
from typing import Literal

import pytest

from python_executor import ErrorInfo, PersistentPythonProcess, PythonExecutorService
from python_executor._child import magics


class Notebook:
    """Executes cells that are to succeed, or to fail."""

    def __init__(self, process: PersistentPythonProcess) -> None:
        self.process = process

    def run(self, code: str) -> str | None:
        """Execute a cell that succeeds and writes nothing to stderr; returns its value."""
        result = self.process.execute(code)
        assert (result["status"], result["stderr"]) == ("ok", ""), result["error"]
        return result["value"]

    def fail(self, code: str) -> ErrorInfo:
        """Execute a cell that fails and keeps the state; returns its error."""
        result = self.process.execute(code)
        assert result["error"] is not None
        assert (result["status"], result["state"] == "lost") == ("error", False)
        return result["error"]

    def interrupt(self, code: str) -> ErrorInfo:
        """Execute a cell that SIGINT ends while it runs; returns its error."""
        timer = "threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()"
        result = self.process.execute(f"import os, signal, threading; {timer}\n{code}")
        assert (result["returncode"], result["status"]) == (-2, "error")
        assert result["error"] is not None
        assert result["error"]["type"] == "KeyboardInterrupt"
        assert "_child" not in result["stderr"]
        return result["error"]


@pytest.fixture
def notebook(process: PersistentPythonProcess) -> Notebook:
    return Notebook(process)


def test_a_traceback_names_each_cell_and_its_line(notebook: Notebook) -> None:
    notebook.run("# divides\ndef inner(n):\n    return 1 / n\n")
    notebook.run("\n\ndef outer(n):\n    m = n\n    return inner(m)\n")
    error = notebook.fail("n = 0\n\nouter(n)")
    shown = [line for line in error["traceback"].splitlines() if set(line) - set(" ~^")]
    assert shown == [
        "Traceback (most recent call last):",
        '  File "<cell 3>", line 3, in <module>',
        "    outer(n)",
        '  File "<cell 2>", line 5, in outer',
        "    return inner(m)",
        '  File "<cell 1>", line 3, in inner',
        "    return 1 / n",
        "ZeroDivisionError: division by zero",
    ]


def test_a_function_that_is_defined_anew_is_told_from_the_old(notebook: Notebook) -> None:
    notebook.run("def f():\n    return 1 / 0")
    notebook.run("old = f\ndef f():\n    return {}['a']")
    assert 'File "<cell 2>", line 3, in f\n    return {}[' in notebook.fail("f()")["traceback"]
    assert 'File "<cell 1>", line 2, in f\n    return 1 / 0' in notebook.fail("old()")["traceback"]


def test_a_method_names_its_cell(notebook: Notebook) -> None:
    notebook.run("class A:\n    def m(self):\n        return self.gone")
    error = notebook.fail("class B(A): ...\nB().m()")
    assert 'File "<cell 2>", line 2, in <module>\n    B().m()' in error["traceback"]
    assert 'File "<cell 1>", line 3, in m\n    return self.gone' in error["traceback"]


def test_an_error_of_syntax_names_its_cell(notebook: Notebook) -> None:
    notebook.run("x = 1")
    error = notebook.fail("y = 2\nif y\n    pass")
    assert error["message"] == "expected ':' (<cell 2>, line 2)"
    assert notebook.run("x, 'y' in dir()") == "(1, False)"


def test_a_cell_that_fails_keeps_what_it_did_before(notebook: Notebook) -> None:
    notebook.run("x = 1; items = []")
    notebook.fail("x = 2\nitems.append(x)\ny = 3\n1 / 0\nx = 4")
    assert notebook.run("x, items, y") == "(2, [2], 3)"


def test_names_are_seen_by_all_that_comes_later(notebook: Notebook) -> None:
    notebook.run("n = 3\ndef f():\n    return n + late")
    notebook.run("late = 4")
    assert notebook.run("[n * i + late for i in range(n)]") == "[4, 7, 10]"
    assert notebook.run("f(), (lambda: n)(), [g() for g in [lambda: late]]") == "(7, 3, [4])"
    assert notebook.run("def bump():\n    global n\n    n += 1\nbump()\nn, f()") == "(4, 8)"
    notebook.run("n = 10")
    assert notebook.run("f(), __import__('__main__').n") == "(14, 10)"


def test_the_value_is_that_of_the_last_expression(notebook: Notebook) -> None:
    assert notebook.run("x = 20; x + 1") == "21"
    assert notebook.run("x + 2;") == "22"
    assert notebook.run("if x:\n    x") is None
    assert notebook.run("None") is None


def test_no_name_is_ours(notebook: Notebook) -> None:
    command = [sys.executable, "/dev/stdin"]
    script = subprocess.run(command, input="print(dir())", capture_output=True, text=True)
    for code in ("1 + 1", "import asyncio\nawait asyncio.sleep(0, 5)", "_", "%time"):
        notebook.process.execute(code)
    assert notebook.fail("_")["type"] == "NameError"
    assert notebook.run(f"set(dir()) - set({script.stdout})") == "{'asyncio'}"


def test_future_imports_hold_in_their_own_cell(notebook: Notebook) -> None:
    code = "def f(x: int): ...\nf.__annotations__"
    assert notebook.run(f"from __future__ import annotations\n{code}") == "{'x': 'int'}"
    assert notebook.run(code) == "{'x': <class 'int'>}"
    code = "import asyncio\nawait asyncio.sleep(0)\ndef g(x: int): ...\ng.__annotations__"
    assert notebook.run(f"from __future__ import annotations\n{code}") == "{'x': 'int'}"
    assert notebook.run(code) == "{'x': <class 'int'>}"


def test_classes_of_earlier_cells_are_those_of_main(notebook: Notebook) -> None:
    notebook.run(
        "from __future__ import annotations\nimport dataclasses, enum, pickle, typing\n"
        "@dataclasses.dataclass(order=True)\n"
        "class Point:\n    x: int\n    next: Point | None = None"
    )
    notebook.run("class Color(enum.Enum):\n    RED = 1")
    notebook.run("class Near(Point):\n    def far(self): return super().__repr__()")
    assert notebook.run("Point(1) < Point(2), Near(3).far()") == "(True, 'Near(x=3, next=None)')"
    things = "[Point(1, Point(2)), Color.RED, Near(3), Point, Near.far]"
    assert notebook.run(f"pickle.loads(pickle.dumps({things})) == {things}") == "True"
    assert notebook.run("typing.get_type_hints(Point)['x'], Point.__module__") == (
        "(<class 'int'>, '__main__')"
    )
    notebook.run("old = Point(1)\nclass Point: ...")
    assert notebook.run("isinstance(old, Point), isinstance(Near(1), type(old))") == "(False, True)"


SOURCES = {
    "f": "def f():\n    return 1\n",
    "A": "class A:\n    x = 1  # why\n\n    def m(self): return 2\n",
    "A.m": "    def m(self): return 2\n",
    "Point": "@dataclass\nclass Point:\n    x: int = 0\n",
    "Outer.Inner": "    class Inner:\n        y = 3\n",
    "square": "square = lambda x: x * x\n",
}


def test_the_source_of_earlier_cells_is_found(notebook: Notebook) -> None:
    notebook.run(f"from dataclasses import dataclass\n\n{SOURCES['Point']}\n{SOURCES['f']}")
    notebook.run(f"z = 1\n{SOURCES['A']}\nclass Outer:\n{SOURCES['Outer.Inner']}\n")
    notebook.run(SOURCES["square"])
    notebook.fail("class A:\n    x = = 1")
    for name, source in SOURCES.items():
        assert notebook.run(f"import inspect\nprint()\ninspect.getsource({name})") == repr(source)
    assert notebook.run("inspect.getsourcelines(A)[1], inspect.getfile(Point)") == "(2, '<cell 1>')"
    notebook.run("old = A")
    notebook.run("class A:\n    x = 2")
    assert notebook.run("inspect.getsource(A)") == repr("class A:\n    x = 2\n")
    if sys.version_info >= (3, 13):  # a class knows its first line
        assert notebook.run("inspect.getsource(old)") == repr(SOURCES["A"])
    assert notebook.fail("inspect.getsource(int)")["type"] == "TypeError"
    assert (
        notebook.run("import json; inspect.getfile(json.JSONDecoder)[-15:]") == "'json/decoder.py'"
    )


AWAITING = {
    "value": ("await double(4)", "8"),
    "parts of a value": ("[await double(1), {'a': await double(2)}]", "[2, {'a': 4}]"),
    "statement": ("x = await double(5)\nx", "10"),
    "statement alone": ("await double(5);", "10"),
    "no value": ("y = await double(5)", None),
    "nested": ("if True:\n    for i in range(3):\n        x = await double(i)\nx", "4"),
    "handled": ("try:\n    await fail()\nexcept OSError as error:\n    x = error.errno\nx", "7"),
    "async for": ("seen = []\nasync for i in count(): seen.append(i)\nseen", "[0, 1, 2]"),
    "async with": ("async with open_it() as x: x += 1\nx", "42"),
    "comprehension": ("[i async for i in count()]", "[0, 1, 2]"),
    "await in a comprehension": ("{i: await double(i) for i in range(2)}", "{0: 0, 1: 2}"),
    "both": ("[await double(i) async for i in count() if await double(i)]", "[2, 4]"),
    "generator": ("g = (i async for i in count())\n[i async for i in g]", "[0, 1, 2]"),
    "in the loop": ("await double(1)\nasyncio.get_running_loop().is_running()", "True"),
    "no await": ("async def f():\n    return 1\nasyncio.run(f())", "1"),
    "runner": ("asyncio.run(double(3))", "6"),
    "loop": ("asyncio.new_event_loop().run_until_complete(double(3))", "6"),
    "thread": ("await asyncio.to_thread(sum, [1, 2])", "3"),
    "deep": ("await deep(900)", "900"),
    "string": ("'await x'", "'await x'"),
}
HELPERS = """
import asyncio, contextlib
async def double(n):
    await asyncio.sleep(0)
    return 2 * n
async def fail():
    await asyncio.sleep(0)
    raise OSError(7, "no")
async def count():
    for i in range(3):
        await asyncio.sleep(0)
        yield i
@contextlib.asynccontextmanager
async def open_it():
    await asyncio.sleep(0)
    yield 41
async def deep(n):
    return n and 1 + await deep(n - 1)
async def busy():
    while True: pass
"""


def test_cells_await_at_the_top_level(notebook: Notebook) -> None:
    notebook.run(HELPERS)
    for _ in range(2):  # each after one that awaits and one that runs a loop of its own
        for name, (code, value) in AWAITING.items():
            assert (name, notebook.run(code)) == (name, value)


def test_asyncio_is_imported_by_the_first_cell_that_awaits(notebook: Notebook) -> None:
    look = "import sys; 'asyncio' in sys.modules"
    assert notebook.run(look) == "False"
    notebook.run("class A:\n    def __await__(self): return iter(())\nawait A()")
    assert notebook.run(look) == "True"


def test_what_belongs_to_a_loop_is_used_by_the_next_cell(notebook: Notebook) -> None:
    notebook.run(HELPERS)
    notebook.run("lock, queue, ready = asyncio.Lock(), asyncio.Queue(1), asyncio.Event()")
    notebook.run(
        "async def work():\n    await ready.wait()\n    async with lock:\n"
        "        return await queue.get()\ntask = asyncio.create_task(work())\n"
        "await lock.acquire()\nawait asyncio.sleep(0)"
    )
    assert notebook.run("asyncio.run(double(1))") == "2"
    notebook.run("ready.set(); task.done()")
    notebook.run("await asyncio.sleep(0); lock.release()")
    assert notebook.run("await queue.put('mine')\nawait task, queue.empty()") == "('mine', True)"


def test_a_task_goes_on_only_while_a_cell_awaits(notebook: Notebook) -> None:
    notebook.run(
        "import asyncio, time\nturns = 0\nasync def tick():\n    global turns\n    while True:\n"
        "        turns += 1\n        await asyncio.sleep(0)\n"
        "task = asyncio.create_task(tick())\nawait asyncio.sleep(0)"
    )
    assert notebook.run("before = turns\ntime.sleep(0.05)\nbefore > 0, turns - before") == (
        "(True, 0)"
    )
    assert notebook.run("await asyncio.sleep(0.01)\nturns > before") == "True"


def test_context_variables_stay_whether_a_cell_awaits_or_not(notebook: Notebook) -> None:
    notebook.run(HELPERS)
    notebook.run("import decimal\ndecimal.getcontext().prec = 5\nawait double(1)")
    assert notebook.run("decimal.Decimal(1) / 3") == "Decimal('0.33333')"
    notebook.run("import contextvars\nv = contextvars.ContextVar('v')\nv.set('plain'); None")
    assert notebook.run("before = v.get(); v.set('awaited'); await double(1); before") == "'plain'"
    assert notebook.run("v.get()") == "'awaited'"


def test_the_traceback_of_a_cell_that_awaits_has_no_frames_but_its_own(notebook: Notebook) -> None:
    notebook.run("def f():\n    return 1 / 0")
    result = notebook.process.execute("import asyncio\nawait asyncio.sleep(0)\n\nf()")
    assert result["error"] is not None
    shown = [line for line in result["stderr"].splitlines() if set(line) - set(" ~^")]
    assert shown == [
        "Traceback (most recent call last):",
        '  File "<cell 2>", line 4, in <module>',
        "    f()",
        '  File "<cell 1>", line 2, in f',
        "    return 1 / 0",
        "ZeroDivisionError: division by zero",
    ]
    assert result["error"]["traceback"] == result["stderr"]


def test_what_a_failed_cell_held_is_free_when_it_has_ended(notebook: Notebook) -> None:
    notebook.run(
        "import asyncio, gc, sys\ngc.disable()\nfreed = []\nclass A:\n"
        "    def __del__(self): freed.append(1)\n"
        "async def f(end):\n    a = A()\n    await asyncio.sleep(0)\n    end()"
    )
    notebook.fail("await f(lambda: 1 / 0)")
    notebook.fail("await f(lambda: sys.exit('left'))")
    assert notebook.run("freed") == "[1, 1]"


def test_a_cell_that_awaits_ends_as_others_do(notebook: Notebook) -> None:
    notebook.run(HELPERS)
    result = notebook.process.execute("x = 1\nawait double(1)\nimport sys; sys.exit(3)")
    assert (result["returncode"], result["stderr"]) == (3, "")
    error = notebook.fail("t = asyncio.create_task(double(1))\nt.cancel()\nawait t")
    assert error["type"] == "asyncio.exceptions.CancelledError"
    code = "await double(1)\nkept = []\nwhile True: kept.append(bytes(1 << 20))"
    assert notebook.process.execute(code)["status"] == "memory"
    assert notebook.run("kept.clear()\nawait double(x)") == "2"


def test_what_ends_the_loop_ends_the_cell_alone(notebook: Notebook) -> None:
    notebook.run(HELPERS)
    notebook.run("import sys\nasync def leave(): sys.exit(4)\nended = []")
    waits = "try:\n    await asyncio.sleep(100)\nfinally:\n    ended.append(1)"
    result = notebook.process.execute(f"task = asyncio.create_task(leave())\n{waits}")
    assert (result["returncode"], result["stderr"]) == (4, "")
    assert "stopped" in notebook.fail(f"asyncio.get_running_loop().stop()\n{waits}")["message"]
    assert notebook.run("ended.append(await double(1))\nended") == "[1, 1, 2]"
    notebook.run("asyncio.get_event_loop().close()")
    assert notebook.run("await double(2)") == "4"


# What an interrupt finds, and the line that its traceback shows.
INTERRUPTED = {
    "await asyncio.sleep(100)": "await asyncio.sleep(100)",
    "async def f():\n    await asyncio.sleep(101)\nawait f()": "await asyncio.sleep(101)",
    "async with asyncio.timeout(100): await asyncio.sleep(100)": "async with asyncio.timeout(",
    "async with asyncio.TaskGroup() as group:\n    group.create_task(asyncio.sleep(100))": (
        "async with asyncio.TaskGroup("
    ),
    "await busy()": "while True: pass",
    "while x: pass\nawait double(1)": "while x: pass",
    "while True: await asyncio.sleep(0)": "while True: await asyncio.sleep(0)",
    "await asyncio.gather(busy(), asyncio.sleep(100))": "while True: pass",  # in a task of its own
}


def test_an_interrupt_ends_a_cell_that_awaits_and_the_next_can_await(notebook: Notebook) -> None:
    notebook.run(HELPERS)
    notebook.run("import signal; x = 1; before = signal.getsignal(signal.SIGINT)")
    for code, line in INTERRUPTED.items():
        error = notebook.interrupt(code)
        assert f"\n    {line}" in error["traceback"]
        assert "CancelledError" not in error["traceback"]
        assert notebook.run("signal.getsignal(signal.SIGINT) is before") == "True"
        assert notebook.run("await double(x)") == "2"


def test_an_interrupt_lets_a_cell_clear_up(notebook: Notebook) -> None:
    notebook.run("import asyncio\nlock = asyncio.Lock(); done = []")
    notebook.interrupt(
        "async with lock:\n    try:\n        await asyncio.sleep(100)\n    finally:\n"
        "        await asyncio.sleep(0); done.append(1)"
    )
    assert notebook.run("async with lock: done.append(2)\ndone, lock.locked()") == "([1, 2], False)"


def test_a_cell_that_heeds_no_cancellation_ends_at_the_second_interrupt(
    notebook: Notebook,
) -> None:
    notebook.run(HELPERS)
    notebook.interrupt(
        "while True:\n    try:\n"
        "        await asyncio.sleep(100)\n    except asyncio.CancelledError:\n"
        "        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)"
    )
    assert notebook.run("await double(1)") == "2"


def test_a_handler_of_the_programs_own_stays(notebook: Notebook) -> None:
    notebook.run("import asyncio, os, signal\nheard = []")
    notebook.run("signal.signal(signal.SIGINT, lambda *a: heard.append(1)); None")
    notebook.run("await asyncio.sleep(0); os.kill(os.getpid(), 2); await asyncio.sleep(0)")
    assert notebook.run("os.kill(os.getpid(), 2); heard") == "[1, 1]"


def test_what_no_notebook_takes_is_an_error_of_syntax(notebook: Notebook) -> None:
    for code in ("def f(): await g()", "class A:\n    await g()", "yield 1", "return"):
        error = notebook.fail(f"{code}\nawait g()")
        assert error["type"] == "SyntaxError"
        assert "outside" in error["message"]


def test_what_warns_when_a_cell_that_awaits_is_compiled_warns_once(notebook: Notebook) -> None:
    notebook.run(HELPERS)
    result = notebook.process.execute("x = await double(1)\n1 is 1")
    assert (result["value"], result["stderr"].count("SyntaxWarning")) == ("True", 1)


AWAITING_PROGRAMS = [
    "await f()",
    "x = await f()\nx",
    "async for i in f(): 1",
    "async with f(): 1",
    "[i async for i in f()]",
]


@pytest.mark.parametrize("isolation", ["process", "namespace"])
def test_a_program_is_a_script_and_awaits_in_functions_only(
    isolation: Literal["process", "namespace"],
) -> None:
    with PythonExecutorService(1, 30.0, isolation=isolation) as executor:
        for code in AWAITING_PROGRAMS:
            error = executor.execute(code)["error"]
            assert error is not None
            assert error["type"] == "SyntaxError"
            assert "outside" in error["message"]


MAGICS = {
    "%timeit x": 1,
    "x = 1\n%timeit x\ny = 2": 2,
    "%matplotlib inline\nimport math": 1,
    "  %time x": 1,
    "for i in range(3):\n    %time i": 2,
    "try:\n    !ls\nexcept OSError:\n    pass": 2,
    "%%bash\nls": 1,
    "\n%%time\nx = 1": 2,
    "%%bash\necho $x\necho it's": 3,
    "!ls -la": 1,
    "import os\n\n!pip install numpy": 3,
    "!!ls": 1,
    "!echo it's": 1,
    "?len": 1,
    "len?": 1,
    "x = '''\n'''\nos.path??": 3,
    "x = [\n1]\n%time": 3,
    "async def f(): ...\n%time await f()": 2,
}
OTHER_ERRORS = [
    "x = (5\n% )",
    "x = 5\n% 3",
    "x = 5 \\\n%y )",
    "x\n!= 3",
    "x = [\n!ls\n]",
    "s = f'''\n%time {1 1}\n'''",
    "s = '''\n%time\n''' 5",
    "print('really?",
    "x = y ? 1 : 2",
    "x = = 1\n# %time\n'''\n!ls\n'''",
    "%time\ny = 'abc",
    "def f(:\n%time",
]


def test_a_magic_is_refused_with_advice(notebook: Notebook) -> None:
    for number, (code, line) in enumerate(MAGICS.items(), 1):
        error = notebook.fail(code)
        assert error["type"] == "SyntaxError"
        assert error["message"] == f"{magics.ADVICE} (<cell {number}>, line {line})"
        assert code.splitlines()[line - 1].strip() in error["traceback"]


def test_other_errors_of_syntax_keep_their_message(notebook: Notebook) -> None:
    for code in OTHER_ERRORS:
        with pytest.raises(SyntaxError) as caught:
            compile(code, "<code>", "exec")
        error = notebook.fail(code)
        assert error["type"] == "SyntaxError"
        assert error["message"].startswith(f"{caught.value.msg} (")


def test_what_looks_like_a_magic_and_compiles_runs(notebook: Notebook) -> None:
    assert notebook.run("x = (5\n% 3)\nx") == "2"
    assert notebook.run("'''\n%time x\n!ls\nx?\n'''") == repr("\n%time x\n!ls\nx?\n")
    assert notebook.run("x = 5 \\\n%3\nx  # really?") == "2"


def test_a_magic_in_a_program_is_refused_with_the_same_advice(
    executor: PythonExecutorService,
) -> None:
    error = executor.execute("x = 1\n%timeit x")["error"]
    assert error is not None
    assert error["message"] == f"{magics.ADVICE} (<program>, line 2)"
