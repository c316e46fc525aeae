"""What a program shows comes out, at once and within limits.

Matplotlib is played by a few lines here; tests-science has it itself.
"""

from __future__ import annotations

import base64

import pytest

from python_executor import ExecutionResult, PersistentPythonProcess, PythonExecutorService
from python_executor._child.displays import COUNT

MATPLOTLIB = {
    "matplotlib/__init__.py": b"",
    "matplotlib/_pylab_helpers.py": b"""
import atexit

class Gcf:
    managers = []
    get_all_fig_managers = classmethod(lambda cls: list(cls.managers))
    destroy = classmethod(lambda cls, manager: cls.managers.remove(manager))

atexit.register(Gcf.managers.clear)
""",
    "matplotlib/backend_bases.py": b"""
class FigureManagerBase:
    def show(self):
        print("nothing")
""",
    "matplotlib/pyplot.py": b"""
from types import SimpleNamespace
from matplotlib._pylab_helpers import Gcf
from matplotlib.backend_bases import FigureManagerBase

class Figure:
    def __init__(self, content):
        self.content = content

    def get_children(self):
        return ["background", *filter(None, [self.content])]

    def savefig(self, file, format, bbox_inches):
        assert (format, bbox_inches) == ("png", "tight")
        if self.content == "bad":
            raise ValueError("can't be drawn")
        file.write(b"PNG of " + self.content.encode())

    def __repr__(self):
        return f"<Figure {self.content[:9]}>"

def figure(content):
    manager = FigureManagerBase()
    manager.canvas = SimpleNamespace(figure=Figure(content))
    Gcf.managers.append(manager)
    return manager

def show():
    for manager in Gcf.get_all_fig_managers():
        manager.show()
""",
}
IMPORT = "import matplotlib.pyplot as plt\n"


def shown(result: ExecutionResult) -> list[str]:
    images = [display["image/png"] for display in result["displays"]]
    return [base64.b64decode(image).decode().removeprefix("PNG of ") for image in images]


@pytest.fixture
def plotting(process: PersistentPythonProcess) -> PersistentPythonProcess:
    process.execute("1", files=MATPLOTLIB)
    return process


def test_figures_left_open_come_out_at_the_end(executor: PythonExecutorService) -> None:
    code = f"{IMPORT}plt.figure('one'); plt.figure('two'); plt.figure('')\nprint('end')"
    result = executor.execute(code, files=MATPLOTLIB)
    assert result["displays"] == [
        {"image/png": base64.b64encode(b"PNG of one").decode(), "text/plain": "<Figure one>"},
        {"image/png": base64.b64encode(b"PNG of two").decode(), "text/plain": "<Figure two>"},
    ]
    assert (result["stdout"], result["status"], result["files"]) == ("end\n", "ok", {})


def test_a_figure_that_is_shown_is_closed_and_comes_out_once(
    executor: PythonExecutorService,
) -> None:
    code = (
        f"{IMPORT}plt.figure('one'); plt.show()\nprint(len(plt.Gcf.managers))\n"
        "plt.figure('two'); plt.figure('three').show(); plt.show(); plt.show(); plt.figure('four')"
    )
    result = executor.execute(code, files=MATPLOTLIB)
    assert (shown(result), result["stdout"]) == (["one", "three", "two", "four"], "0\n")


@pytest.mark.parametrize("end", ["while True: pass", "import os; os._exit(1)"])
def test_what_was_shown_survives_a_kill(executor: PythonExecutorService, end: str) -> None:
    code = f"{IMPORT}plt.figure('one'); plt.show(); plt.figure('two')\n{end}"
    result = executor.execute(code, files=MATPLOTLIB, timeout=1.0)
    assert result["status"] in ("timeout", "crashed")
    assert shown(result) == ["one"]


@pytest.mark.parametrize("end", ["1 / 0", "import sys; sys.exit(2)"])
def test_figures_of_a_program_that_fails_come_out(
    executor: PythonExecutorService, end: str
) -> None:
    result = executor.execute(f"{IMPORT}plt.figure('one')\n{end}", files=MATPLOTLIB)
    assert (result["status"], shown(result)) == ("error", ["one"])


def test_a_figure_that_cannot_be_drawn_is_told_of_and_the_others_come_out(
    executor: PythonExecutorService,
) -> None:
    result = executor.execute(f"{IMPORT}plt.figure('bad'); plt.figure('good')", files=MATPLOTLIB)
    assert (result["status"], shown(result)) == ("ok", ["good"])
    assert "ValueError: can't be drawn" in result["stderr"]
    assert "_child" not in result["stderr"]
    result = executor.execute(f"{IMPORT}plt.figure('bad'); plt.show()", files=MATPLOTLIB)
    assert result["error"] is not None
    assert (result["error"]["type"], result["error"]["message"]) == ("ValueError", "can't be drawn")
    assert "plt.show()" in result["error"]["traceback"]


def test_threads_and_exit_functions_may_show(executor: PythonExecutorService) -> None:
    code = (
        f"import atexit, threading, time\n{IMPORT}"
        "def show(name):\n    for _ in range(5): plt.figure(name).show()\n"
        "for name in '01234567': threading.Thread(target=show, args=[name]).start()\n"
        "atexit.register(lambda: plt.figure('exit').show())"
    )
    result = executor.execute(code, files=MATPLOTLIB)
    assert result["status"] == "ok"
    assert sorted(shown(result)) == sorted([*"01234567" * 5, "exit"])
    assert shown(result)[-1] == "exit"


def test_a_process_that_the_program_forks_shows_nothing(families: PythonExecutorService) -> None:
    code = (
        f"import os\n{IMPORT}plt.figure('one')\npid = os.fork()\nif pid == 0:\n"
        "    plt.figure('two'); plt.show(); plt.figure('three')\nelse:\n    os.waitpid(pid, 0)"
    )
    result = families.execute(code, files=MATPLOTLIB)
    assert (result["status"], shown(result)) == ("ok", ["one"])


def test_too_many_displays_are_left_out(executor: PythonExecutorService) -> None:
    code = f"{IMPORT}for i in range({{}}): plt.figure(str(i))"
    result = executor.execute(code.format(COUNT), files=MATPLOTLIB)
    assert (shown(result), result["truncated"]) == ([str(i) for i in range(COUNT)], False)
    result = executor.execute(code.format(COUNT + 1), files=MATPLOTLIB)
    assert (shown(result), result["truncated"]) == ([str(i) for i in range(COUNT)], True)
    assert result["status"] == "ok"


def test_too_large_displays_are_left_out() -> None:
    code = f"{IMPORT}for size in (300, 900, 200): plt.figure('x' * size)"
    with PythonExecutorService(pool_size=1, timeout=30.0, max_files=1000) as executor:
        result = executor.execute(code, files=MATPLOTLIB)
        assert ([len(name) for name in shown(result)], result["truncated"]) == ([300, 200], True)
    # What no frame can hold is left out as well, whatever the limit.
    with PythonExecutorService(pool_size=1, timeout=30.0, max_files=1 << 30) as executor:
        code = f"{IMPORT}plt.figure('x' * (13 << 20)); plt.figure('y' * (11 << 20))"
        result = executor.execute(code, files=MATPLOTLIB)
        assert ([name[0] for name in shown(result)], result["truncated"]) == (["y"], True)
        assert result["status"] == "ok"


def test_each_cell_shows_its_own_figures(plotting: PersistentPythonProcess) -> None:
    assert shown(plotting.execute(f"{IMPORT}plt.figure('one')")) == ["one"]
    second = plotting.execute("plt.figure('two'); plt.show(); plt.figure('three')")
    assert shown(second) == ["two", "three"]
    assert plotting.execute("1")["displays"] == []


def test_a_program_may_break_what_shows(executor: PythonExecutorService) -> None:
    code = (
        f"import binascii, builtins, os\n{IMPORT}plt.figure('one')\n"
        "binascii.b2a_base64 = os.getpid = os.write = builtins.len = builtins.repr = None"
    )
    result = executor.execute(code, files=MATPLOTLIB)
    assert (result["status"], shown(result)) == ("ok", ["one"])


def test_a_program_that_breaks_matplotlib_is_still_a_result(
    executor: PythonExecutorService,
) -> None:
    code = f"{IMPORT}import sys\nplt.figure('one')\nsys.modules['matplotlib._pylab_helpers'] = 3\n7"
    result = executor.execute(code, files=MATPLOTLIB)
    assert (result["status"], result["value"], result["displays"]) == ("ok", "7", [])


def test_importing_other_modules_is_as_ever(executor: PythonExecutorService) -> None:
    code = (
        "import ctypes.util, importlib, inspect\n"
        "before = ctypes.util.find_library\nimportlib.reload(ctypes.util)\n"
        "assert ctypes.util.find_library is before\n"
        "loader = type(ctypes.util.__loader__).__name__\n"
        "assert ctypes.util.__spec__.loader is ctypes.util.__loader__\n"
        "assert 'def find_library' in inspect.getsource(ctypes.util)\n"
        "loader, importlib.util.find_spec('matplotlib.backend_bases').loader.name"
    )
    result = executor.execute(code, files=MATPLOTLIB)
    assert result["value"] == "('SourceFileLoader', 'matplotlib.backend_bases')"
    missing = executor.execute("import matplotlib.font_manager", files=MATPLOTLIB)["error"]
    assert missing is not None
    assert missing["type"] == "ModuleNotFoundError"


def test_nothing_is_imported_for_programs_that_do_not_use_it(
    executor: PythonExecutorService,
) -> None:
    names = {"base64", "ctypes.util", "matplotlib", "subprocess", "tempfile", "threading"}
    assert executor.execute(f"import sys; {names} & sys.modules.keys()")["value"] == "set()"
