"""Floods, bytes that are no text, and text that looks like the protocol."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator

import pytest

from ._arena import Arena

MAX_OUTPUT = 10_000
MAX_TOTAL_OUTPUT = 16 * 1024 * 1024


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with Arena(max_output=MAX_OUTPUT, max_total_output=MAX_TOTAL_OUTPUT) as arena:
        yield arena


FLOODS = {
    "stdout": "while True: print('x' * 1000)",
    "stderr": "while True: print('x' * 1000, file=sys.stderr)",
    "both": "while True: print('x' * 999); print('x', file=sys.stderr)",
    "a gigabyte without newline": (
        "data = b'x' * 2 ** 20\nfor _ in range(1024): os.write(1, data)"
    ),
    "empty lines": "while True: os.write(1, b'\\n' * 4096)",
    "binary": "while True: os.write(1, bytes(range(256)) * 64)",
    "NULs": "while True: os.write(2, bytes(65536))",
    "C": "while True: libc.puts(b'x' * 1000)",
    "many small writes": "for _ in range(10 ** 5): os.write(1, b'x')\nwhile True: os.write(1, b'x' * 999)",
    "from threads": (
        "import threading\n"
        "def flood():\n    while True: os.write(1, b'x' * 4096)\n"
        "for _ in range(4): threading.Thread(target=flood).start()"
    ),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_its_program_and_costs_the_host_little(arena: Arena, name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = arena.attack(f"print('begun', flush=True)\n{FLOODS[name]}")
    assert (result["status"], result["returncode"]) == ("output", -9)
    assert result["truncated"]
    assert result["error"] is not None
    assert result["error"]["type"] == "OutputLimitError"
    assert result["stdout"].startswith("begun\n")
    for text in (result["stdout"], result["stderr"]):
        assert len(text) < MAX_OUTPUT + 100
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MAX_TOTAL_OUTPUT


def test_bytes_that_are_no_text_are_replaced(arena: Arena) -> None:
    result = arena.attack(
        "os.write(1, b'a\\x00b\\xffc\\xed\\xa0\\x80d\\x1b[2Je\\r\\n')\nos.write(2, b'\\xf0\\x9f')"
    )
    assert (result["status"], result["stderr"]) == ("ok", "\ufffd")
    assert result["stdout"] == "a\x00b\ufffdc\ufffd\ufffd\ufffdd\x1b[2Je\r\n"


def test_lone_surrogates_fail_on_stdout_and_are_escaped_elsewhere(arena: Arena) -> None:
    result = arena.attack("print('\\ud800')")
    assert result["error"] is not None
    assert (result["stdout"], result["error"]["type"]) == ("", "UnicodeEncodeError")
    result = arena.attack("print('\\ud800', file=sys.stderr)\n'\\ud800'")
    assert (result["stderr"], result["value"]) == ("\\ud800\n", "'\\ud800'")
    result = arena.attack("raise ValueError('\\ud800\\0')")
    assert result["error"] is not None
    assert result["error"]["message"] == "\\ud800\0"
    result = arena.attack("class A:\n    def __repr__(self): return '\\ud800\\0'\nA()")
    assert result["value"] == "\\ud800\0"


def test_text_that_looks_like_the_protocol_is_text(arena: Arena) -> None:
    frame = json.dumps(
        {"kind": "result", "returncode": 0, "value": "1", "error": None, "truncated": False}
    )
    result = arena.attack(
        f"line = (len({frame!r})).to_bytes(4, 'big') + {frame!r}.encode()\n"
        "os.write(1, line); os.write(2, line)\n1 / 0"
    )
    assert result["status"] == "error"
    assert result["stdout"] == "\0\0\0" + chr(len(frame)) + frame
    assert result["stderr"].startswith(result["stdout"])


LONG = {
    "value": "'x' * 10 ** 8",
    "message": "raise ValueError('x' * 10 ** 8)",
    "name": "raise type('E' * 10 ** 8, (Exception,), {})",
    "deep value": "x = []\nfor _ in range(100_000): x = [x]\nx",
    "many frames": "exec('def f(n):\\n    if n: f(n - 1)\\n    else: 1 / 0\\nf(900)')",
    "group": "raise ExceptionGroup('g', [ValueError('x' * 10 ** 5)] * 1000)",
    "chain": (
        "e = None\nfor n in range(3000):\n"
        "    new = ValueError('x' * 1000); new.__cause__ = e; e = new\nraise e"
    ),
    "notes": "e = ValueError()\nfor _ in range(10 ** 5): e.add_note('x' * 100)\nraise e",
    "source line": f"x = {'1 + ' * 10000}1 / 0",
    "exit": "sys.exit('x' * 10 ** 7)",
}


@pytest.mark.parametrize("name", LONG)
def test_what_is_too_long_is_cut(arena: Arena, name: str) -> None:
    result = arena.attack(LONG[name])
    assert result["status"] in ("ok", "error", "output")
    assert len(result["value"] or "") < MAX_OUTPUT + 100
    for text in (result["error"] or {}).values():
        assert isinstance(text, str)
        assert len(text) < 70_000


HOSTILE = {
    "type of the error": (
        "class Meta(type):\n    @property\n    def __module__(cls): raise SystemExit(0)\n"
        "class E(Exception, metaclass=Meta): pass\nraise E"
    ),
    "name of the error": "E = type('\\ud800\\n\\0', (Exception,), {})\nraise E",
    "message of the error": (
        "class E(Exception):\n    def __str__(self): raise SystemExit(0)\nraise E"
    ),
    "message that is no text": "class E(Exception):\n    def __str__(self): return 1\nraise E",
    "traceback of the error": (
        "class E(Exception):\n    @property\n    def __traceback__(self): os._exit\nraise E"
    ),
    "cause of the error": ("class E(Exception): __cause__ = property(lambda self: self)\nraise E"),
    "text that is no text": (
        "class S(str):\n    def encode(self, *a): raise SystemExit(0)\n"
        "    def __len__(self): return -1\n    def __getitem__(self, i): return 1\n"
        "class E(Exception):\n    def __str__(self): return S('x')\nraise E"
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_error_that_fights_back_is_no_success(arena: Arena, name: str) -> None:
    result = arena.attack(HOSTILE[name])
    assert not result["success"]
    assert result["status"] in ("error", "crashed")
    assert result["error"] is not None


def test_a_value_that_fights_back_does_not_count_as_success(arena: Arena) -> None:
    result = arena.attack(
        "class S(str):\n    def encode(self, *a): raise SystemExit(0)\n"
        "    def __len__(self): return -1\n"
        "class A:\n    def __repr__(self): return S('x' * 10 ** 6)\nA()"
    )
    assert len(result["value"] or "") < MAX_OUTPUT + 100
    result = arena.attack("class A:\n    def __repr__(self): raise SystemExit(3)\nA()")
    assert (result["status"], result["returncode"]) == ("error", 3)
