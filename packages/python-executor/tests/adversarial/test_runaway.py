"""Programs that never end, in Python and in C, and that refuse to be interrupted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ._arena import Arena

# Long enough that each has begun and printed, on a busy machine too.
TIMEOUT = 0.5

ENDLESS = {
    "loop": "while True: pass",
    "sleep": "import time; time.sleep(1000)",
    "power": "9 ** 9 ** 9",
    "sum": "sum(range(10 ** 18))",
    "digits": "sys.set_int_max_str_digits(0); str(7 ** 30_000_000)",
    "regex": "import re; re.match(r'(a+)+$', 'a' * 64 + 'b')",
    "sort": "class A:\n    def __lt__(self, other):\n        while True: pass\nsorted([A(), A()])",
    "hash": (
        "class A:\n    def __init__(self, n): self.n = n\n    def __hash__(self): return 1\n"
        "    def __eq__(self, other): return False\n{A(n) for n in range(10 ** 6)}"
    ),
    "c call": "libc.pause()",
    "c loop without the GIL released": "ctypes.PyDLL(None).sleep(1000)",
    "regex in a thread": (
        "import re, threading\n"
        "t = threading.Thread(target=re.match, args=(r'(a+)+$', 'a' * 64 + 'b'), daemon=True)\n"
        "t.start(); t.join()"
    ),
    "every thread busy": (
        "import threading\n"
        "def spin():\n    while True: pass\n"
        "for _ in range(8): threading.Thread(target=spin, daemon=True).start()\nspin()"
    ),
    "deadlock": "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "deaf": (
        "for n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass"
    ),
    "blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\nwhile True: pass",
    "unimpressed": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    ),
    "interrupts itself": (
        "while True:\n    try: signal.raise_signal(signal.SIGINT)\n"
        "    except KeyboardInterrupt: pass"
    ),
    "storm of timers": (
        "signal.signal(signal.SIGALRM, lambda *_: None)\n"
        "signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)\nwhile True: pass"
    ),
    "repr of the value": ("class A:\n    def __repr__(self):\n        while True: pass\nA()"),
    "message of the error": (
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E"
    ),
    "hook of the error": "def hook(*_):\n    while True: pass\nsys.excepthook = hook\n1 / 0",
    "decorated source": "@lambda f: [None for _ in iter(int, 1)]\ndef f(): pass",
}


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with Arena(pool_size=8) as arena:
        yield arena


def test_a_program_that_never_ends_is_ended(arena: Arena) -> None:
    results = arena.attack_all(
        [f"print('begun', flush=True)\n{code}" for code in ENDLESS.values()], timeout=TIMEOUT
    )
    for name, result in zip(ENDLESS, results, strict=True):
        seen = result["status"], result["returncode"], result["stdout"], result["stderr"]
        assert seen == ("timeout", -9, "begun\n", ""), name
        assert result["value"] is None
        assert result["error"] is not None
        assert result["error"]["type"] == "TimeoutError"
        assert result["duration"] >= TIMEOUT


def test_recursion_without_end_is_an_error(arena: Arena) -> None:
    result = arena.attack("def f(): return f()\nf()")
    assert result["error"] is not None
    assert (result["status"], result["error"]["type"]) == ("error", "RecursionError")


def test_source_that_overwhelms_the_compiler_is_an_error(arena: Arena) -> None:
    codes = ["(" * 100_000, "[" * 5000 + "]" * 5000, "-" * 200_000 + "1", "x." * 100_000 + "x"]
    for result in arena.attack_all(codes):
        assert result["status"] in ("error", "memory", "crashed")
        assert result["error"] is not None
