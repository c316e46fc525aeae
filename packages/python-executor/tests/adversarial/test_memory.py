"""Memory without end, in every kind of memory that there is. Each attack stops at ``ENOUGH``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from python_executor import SandboxPolicy

from ._arena import Arena

MIB = 2**20
LIMIT = 64 * MIB
ENOUGH = 4 * LIMIT


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with Arena(sandbox=SandboxPolicy(memory=LIMIT, strict=True)) as arena:
        yield arena


# What asks the allocator, and is told that there is no more.
REFUSED = {
    "list": "x = []\nwhile len(x) < ENOUGH // 8: x.append(None)",
    "list at once": "[None] * (ENOUGH // 8)",
    "list that doubles": "x = [None]\nwhile len(x) < ENOUGH // 8: x += x",
    "bytes": "bytes(ENOUGH)",
    "bytes in pieces": "x = [bytes(2 ** 16) for _ in range(ENOUGH >> 16)]",
    "small objects": "x = [object() for _ in range(ENOUGH // 16)]",
    "text": "x = 'x'\nwhile len(x) < ENOUGH: x += x",
    "dictionary": "x = {}\nfor n in range(ENOUGH // 50): x[n] = n",
    "integer": "x = 1 << (8 * ENOUGH)",
    "set of tuples": "x = {(n,) for n in range(ENOUGH // 90)}",
    "generator chain": "x = iter(())\nfor _ in range(ENOUGH // 100): x = (y for y in x)",
    "repeated format": "'%%%ds' % ENOUGH % ''",
    "numpy": "import numpy; x = numpy.ones(ENOUGH, 'u1')",
    "arrays": "import array; x = array.array('b', [0]) * ENOUGH",
    "decompression": (
        "import zlib; x = zlib.decompress(zlib.compress(bytes(ENOUGH // 16)) , bufsize=ENOUGH)"
    ),
    "regex": "import re; re.compile('(?:' + 'x{1,60000}' * 2000 + ')' * 1)\nbytes(ENOUGH)",
    "map": "import mmap; x = mmap.mmap(-1, ENOUGH, mmap.MAP_PRIVATE)",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_program_gets_no_more_than_its_limit(arena: Arena, name: str) -> None:
    result = arena.attack(
        f"ENOUGH = {ENOUGH}\nprint('begun', flush=True)\n{REFUSED[name]}\n'got it'"
    )
    assert result["stdout"] == "begun\n"
    assert (result["success"], result["status"], result["value"]) == (False, "memory", None), result
    assert result["error"] is not None
    kind = result["error"]["type"].rpartition(".")[2]
    assert kind in ("MemoryError", "_ArrayMemoryError", "MemoryLimitError", "OSError")


# What is told otherwise than by a MemoryError, or not at all.
DENIED = {
    "shared map": "import mmap; x = mmap.mmap(-1, ENOUGH)",
    "shared maps, small": "import mmap; x = [mmap.mmap(-1, 2 ** 20) for _ in range(ENOUGH >> 20)]",
    "map of a device": (
        "import mmap; x = mmap.mmap(os.open('/dev/zero', os.O_RDWR), ENOUGH)\n"
        "for n in range(0, ENOUGH, 4096): x[n] = 1"
    ),
    "stacks": (
        "import threading\nthreading.stack_size(2 ** 27)\n"
        "for _ in range(4): threading.Thread(target=libc.pause, daemon=True).start()"
    ),
    "nested calls": (
        "sys.setrecursionlimit(10 ** 9)\ndef f(n): return n and f(n - 1)\nf(ENOUGH // 100)"
    ),
    "locked": "x = bytearray(ENOUGH // 8)\nassert call('mlockall', 3) == 'EPERM'; raise OSError",
    "huge pages": "import mmap; x = mmap.mmap(-1, ENOUGH, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)",
    "grown by moving": (
        "import mmap\nx = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\nx.resize(ENOUGH)"
    ),
}


@pytest.mark.parametrize("name", DENIED)
def test_memory_is_denied_by_other_errors_too(arena: Arena, name: str) -> None:
    result = arena.attack(f"ENOUGH = {ENOUGH}\n{DENIED[name]}\n'got it'")
    assert (result["success"], result["value"]) == (False, None), result
    assert result["status"] in ("error", "memory", "crashed")


# What no limit of the kernel's sees: the host looks, and ends the program. They hold what they got,
# so that it can be seen.
WATCHED = {
    "shared map of a file": (
        "import mmap\nf = os.open('x', os.O_RDWR | os.O_CREAT)\nos.ftruncate(f, ENOUGH // 2)\n"
        "x = mmap.mmap(f, 0)\nfor n in range(0, ENOUGH // 2, 4096): x[n] = 1"
    ),
    "page tables": (
        # Reading a page of a hole maps the zero page: 4 KiB of tables for each 2 MiB.
        "import mmap\nx = mmap.mmap(-1, 2 ** 37, mmap.MAP_PRIVATE | 0x4000, prot=mmap.PROT_READ)\n"
        "for n in range(0, 2 ** 37, 2 ** 21): x[n]"
    ),
}


@pytest.mark.parametrize("name", WATCHED)
def test_memory_that_no_limit_sees_ends_the_program(arena: Arena, name: str) -> None:
    hold = "import time\ntime.sleep(5)\n'got it'"
    result = arena.attack(f"ENOUGH = {ENOUGH}\n{WATCHED[name]}\n{hold}")
    layers = {each["layer"]: each["on"] for each in arena.executor.info()["sandbox"]["layers"]}
    if "file" in name and not layers["namespaces"]:
        # A file on a disk is no memory: the kernel writes it out when it needs the pages.
        assert (result["status"], result["value"]) == ("ok", "'got it'")
        return
    assert (result["success"], result["status"]) == (False, "memory"), result
    assert result["error"] is not None
    assert result["error"]["type"] in ("MemoryError", "MemoryLimitError")


STUBBORN = {
    "catches and goes on": (
        "x = []\nwhile True:\n    try: x.append(bytes(2 ** 20))\n    except MemoryError: pass"
    ),
    "catches everything": (
        "x = []\nwhile True:\n    try:\n        while True: x.append('x' * 1000)\n"
        "    except BaseException: pass"
    ),
    "recurses on the way out": (
        "x = []\ndef f():\n    try:\n        while True: x.append(object())\n    finally: f()\nf()"
    ),
    "in threads": (
        "import threading\nx = []\ndef f():\n    while True:\n"
        "        try: x.append(bytes(10 ** 6))\n        except MemoryError: pass\n"
        "for _ in range(4): threading.Thread(target=f).start()"
    ),
    "in exit functions": (
        "import atexit\ndef f():\n    x = []\n    while True: x.append(bytes(10 ** 6))\n"
        "for _ in range(9): atexit.register(f)"
    ),
    "in a finaliser": (
        "x = []\nclass A:\n    def __del__(self):\n        while True: x.append(bytes(10 ** 6))\n"
        "a = A(); del a"
    ),
    "in C": (
        "libc.malloc.restype = ctypes.c_void_p\nwhile True: libc.malloc(ctypes.c_size_t(100_000))"
    ),
    "by sbrk": (
        "libc.sbrk.restype = ctypes.c_void_p\n"
        "for _ in range(300): libc.sbrk(ctypes.c_long(2 ** 20))\nwhile True: pass"
    ),
    "the limit raised": (
        "import resource\n"
        "for n in range(16): told(resource.setrlimit, n, (resource.getrlimit(n)[1],) * 2)\n"
        "for n in range(16):\n"
        "    try: resource.setrlimit(n, (-1, -1))\n    except (OSError, ValueError): pass\n"
        "x = []\nwhile True:\n    try: x.append(bytes(2 ** 20))\n    except MemoryError: pass"
    ),
}


def test_a_program_that_fights_for_memory_ends(arena: Arena) -> None:
    results = arena.attack_all(list(STUBBORN.values()), timeout=0.6)
    for name, result in zip(STUBBORN, results, strict=True):
        assert result["status"] in ("memory", "timeout", "error", "crashed", "ok"), name
        assert result["status"] != "ok" or name in ("in exit functions", "in a finaliser"), name


def test_a_program_may_go_on_after_it_was_refused(arena: Arena) -> None:
    code = f"""
refused = 0
for _ in range(5):
    try: bytes({ENOUGH})
    except MemoryError: refused += 1
refused, len(bytes({LIMIT // 8}))
"""
    assert arena.seen(code) == (5, LIMIT // 8)


def test_what_one_program_takes_the_other_does_not_lack(arena: Arena) -> None:
    codes = [
        f"x = bytes({LIMIT // 2}); import time; time.sleep(0.2); len(x)",
        f"import time; time.sleep(0.1); x = bytes({LIMIT // 2}); len(x)",
    ]
    values = [result["value"] for result in arena.attack_all(codes * 2)]
    assert values == [str(LIMIT // 2)] * 4
