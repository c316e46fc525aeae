"""What goes on after a program's last line: threads, exit functions, finalisers."""

from __future__ import annotations

import pytest

from ._arena import Arena

LINGERING = {
    "exit function": "import atexit, time; atexit.register(time.sleep, 1000)",
    "exit functions without end": (
        "import atexit\ndef again(): atexit.register(again)\nagain()\n"
        "def forever():\n    while True: pass\natexit.register(forever)"
    ),
    "thread": "import threading, time; threading.Thread(target=time.sleep, args=(1000,)).start()",
    "threads that beget threads": (
        "import threading, time\n"
        "def beget():\n    time.sleep(0.01); threading.Thread(target=beget).start()\nbeget()"
    ),
    "executor": (
        "import time\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "ThreadPoolExecutor(2).submit(time.sleep, 1000)"
    ),
    "finaliser": (
        "import weakref, time\nclass A: pass\na = A(); weakref.finalize(a, time.sleep, 1000)"
    ),
    "flush": (
        "class S:\n    def write(self, text): pass\n"
        "    def flush(self):\n        while True: pass\nsys.stdout = S()"
    ),
    "C exit function": (
        "F = ctypes.CFUNCTYPE(None)\n@F\ndef f():\n    while True: pass\n"
        "libc.__cxa_atexit(f, None, None)\nlibc.exit(0)"
    ),
    "signal": (
        "def handle(*_):\n    while True: pass\n"
        "signal.signal(signal.SIGALRM, handle)\n"
        "import atexit, time; atexit.register(time.sleep, 1000); signal.alarm(1)"
    ),
}


@pytest.mark.parametrize("names", [list(LINGERING)], ids=["all"])
def test_what_lingers_at_the_end_runs_into_the_timeout(arena: Arena, names: list[str]) -> None:
    codes = [f"print('begun', flush=True)\n{LINGERING[name]}" for name in names]
    for name, result in zip(names, arena.attack_all(codes, timeout=0.5), strict=True):
        seen = result["status"], result["returncode"], result["stdout"]
        assert seen == ("timeout", -9, "begun\n"), name


LEFT = {
    "daemon thread": (
        "import threading\n"
        "def go():\n    while True: open('left', 'a').write('x')\n"
        "threading.Thread(target=go, daemon=True).start()"
    ),
    "daemon thread that prints": (
        "import threading\n"
        "def go():\n    while True: os.write(1, b'x')\n"
        "threading.Thread(target=go, daemon=True).start()"
    ),
    "finaliser of a global": (
        "class A:\n    def __del__(self):\n        while True: pass\na = A()"
    ),
    "cycle with a finaliser": (
        "class A:\n    def __del__(self):\n        while True: pass\na = A(); a.a = a; del a"
    ),
    "timer": (
        "def go(*_): open('left', 'a').write('x')\n"
        "signal.signal(signal.SIGALRM, go); signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)"
    ),
    "native thread": (
        "import _thread\ndef go():\n    while True: pass\n_thread.start_new_thread(go, ())"
    ),
    "profiler": (
        "import threading\ndef go(*_): pass\nsys.setprofile(go); threading.setprofile(go)"
    ),
    "audit hook": "sys.addaudithook(lambda *_: None)",
}


@pytest.mark.parametrize("name", LEFT)
def test_what_does_not_hold_a_program_up_is_gone_with_it(arena: Arena, name: str) -> None:
    result = arena.attack(f"{LEFT[name]}\n42")
    assert (result["status"], result["value"]) == ("ok", "42")


def test_an_audit_hook_that_objects_to_the_end_changes_nothing(arena: Arena) -> None:
    code = "def hook(*_): raise SystemExit(0)\nprint('kept', flush=True)\nsys.addaudithook(hook)\n1"
    result = arena.attack(code, timeout=0.5)
    assert result["stdout"] == "kept\n"
    assert result["status"] in ("ok", "error", "crashed", "timeout")


MARK = "the-mark-of-the-program-before"


def test_a_program_finds_nothing_of_the_one_before_in_memory(arena: Arena) -> None:
    # The mark is put together at run time, so that neither program's source holds it whole.
    halves = f"mark = ''.join([{MARK[:10]!r}, {MARK[10:]!r}]).encode()\n"
    plant = halves + (
        "kept = [mark * 1000 for _ in range(1000)]\nopen('f', 'wb').write(mark)\n"
        "os.environ['MARK'] = mark.decode()\nprint(mark.decode())"
    )
    search = halves + (
        """
import gc
found = []
# What malloc and mmap give without clearing it, and the stack below this frame.
for size in (64, 1024, 100_000, 10_000_000):
    blocks = [libc.malloc for _ in range(200 if size < 10 ** 6 else 2)]
    libc.malloc.restype = ctypes.c_void_p
    for malloc in blocks:
        address = malloc(ctypes.c_size_t(size))
        if mark in ctypes.string_at(address, size): found.append(("malloc", size))
here = ctypes.addressof(ctypes.c_int())
for item in gc.get_objects():
    if type(item) in (str, bytes) and str(item) == mark.decode(): found.append(type(item))
for name, value in os.environ.items():
    if mark.decode() in value: found.append(name)
found
"""
    )
    for _ in range(2):
        assert [r["status"] for r in arena.attack_all([plant] * 4)] == ["ok"] * 4
        assert arena.seen(search) == []
