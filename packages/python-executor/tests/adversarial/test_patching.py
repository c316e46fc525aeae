"""Programs that patch what the executor's own code in their process might use."""

from __future__ import annotations

import pytest

from ._arena import Arena

PATCHES = {
    "builtins": (
        "import builtins\nnames, remove = list(vars(builtins)), delattr\n"
        "for n in names: remove(builtins, n)"
    ),
    "builtins to None": (
        "import builtins\nnames, change = list(vars(builtins)), setattr\n"
        "for n in names: change(builtins, n, None)"
    ),
    "len and isinstance": (
        "import builtins\nbuiltins.len = lambda x: 1\nbuiltins.isinstance = lambda *_: True\n"
        "builtins.repr = lambda x: 'patched'"
    ),
    "json": (
        "import json, json.encoder\n"
        "for m in (json, json.encoder):\n"
        "    for n in list(vars(m)): setattr(m, n, None)"
    ),
    "os.write": "os.write = lambda fd, data: len(data)",
    "os.read": "os.read = lambda fd, size: b''",
    "streams": "sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = None",
    "streams that raise": (
        "class S:\n    def __getattr__(self, n): raise SystemExit(9)\nsys.stdout = sys.stderr = S()"
    ),
    "modules": "sys.modules.clear()",
    "modules to None": "for n in list(sys.modules): sys.modules[n] = None",
    "traceback": (
        "import traceback, linecache\n"
        "for m in (traceback, linecache):\n"
        "    for n in list(vars(m)): setattr(m, n, None)"
    ),
    "signal": "for n in list(vars(signal)): setattr(signal, n, None)",
    "ctypes": "for n in list(vars(ctypes)): setattr(ctypes, n, None)",
    "atexit": "import atexit; atexit._run_exitfuncs = atexit.register = None",
    "threading": ("import threading\nfor n in list(vars(threading)): setattr(threading, n, None)"),
    "import": "import builtins; builtins.__import__ = None; sys.meta_path = sys.path = None",
    "garbage collector": "import gc\ngc.disable()\nfor n in list(vars(gc)): setattr(gc, n, None)",
    "recursion limit": "sys.setrecursionlimit(len(__import__('inspect').stack(0)) + 6)",
    "tracing": ("def trace(*_): raise SystemExit(9)\nimport threading; threading.settrace(trace)"),
    "switch interval": "sys.setswitchinterval(1e-9)",
    "main": "del sys.modules['__main__']; globals().clear()",
    "arguments and hooks": "sys.argv = sys.displayhook = sys.excepthook = sys.unraisablehook = None",
}


@pytest.mark.parametrize("name", PATCHES)
def test_the_result_is_told_whatever_was_patched(arena: Arena, name: str) -> None:
    result = arena.attack(f"print('kept', flush=True)\n{PATCHES[name]}\n")
    assert (result["status"], result["stdout"]) == ("ok", "kept\n"), result


@pytest.mark.parametrize("name", PATCHES)
def test_a_failure_is_told_whatever_was_patched(arena: Arena, name: str) -> None:
    result = arena.attack(f"print('kept', flush=True)\n{PATCHES[name]}\n[][1]")
    assert (result["success"], result["stdout"]) == (False, "kept\n")
    assert result["status"] in ("error", "crashed"), result
    assert result["error"] is not None


# Without these even the end of a process can't be told, and a crash is what is told instead.
SWEEPING = ["os", "sys", "signal", "io", "_io", "posix", "_signal"]


@pytest.mark.parametrize("name", SWEEPING)
def test_a_module_without_anything_hurts_the_program_alone(arena: Arena, name: str) -> None:
    code = (
        f"print('kept', flush=True)\nimport {name} as module\nchange, names = setattr, list(vars(module))\n"
        "for n in names: change(module, n, None)"
    )
    result = arena.attack(code)
    assert result["status"] in ("ok", "crashed")
    assert result["stdout"] == "kept\n"


def test_a_program_that_patches_the_executors_own_modules_hurts_itself_alone(arena: Arena) -> None:
    reach = (
        "inside = [m for n, m in sys.modules.items() if n.startswith('_python_executor_child')]\n"
    )
    frames = f"{reach}frames = next(m for m in inside if m.__name__.endswith('.frames'))\n"
    codes = [
        f"{reach}for m in inside:\n    for n in list(vars(m)): setattr(m, n, None)\n42",
        f"{reach}for m in inside: m.__dict__.clear()\n42",
        f"{frames}frames._write = lambda d, data: len(data)\n42",
        f"{frames}frames._encode = lambda *_: ['{{}}']\n42",
        f"{frames}frames._encode = lambda *_: ['[' * 10 ** 6]\n42",
        """
frame = sys._getframe()
while frame is not None:
    for name in list(frame.f_locals): frame.f_locals[name] = None
    frame = frame.f_back
""",
    ]
    for result in arena.attack_all(codes, timeout=0.5):
        assert result["status"] in ("ok", "error", "crashed", "timeout")
