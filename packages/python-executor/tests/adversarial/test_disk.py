"""The disk: filled by one file, by many, by files without names, by folders, by names alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from python_executor import SandboxPolicy

from ._arena import VARIANTS, Arena

MIB = 2**20
LIMIT = 4 * MIB
ENOUGH = 6 * LIMIT


@pytest.fixture(scope="module", params=VARIANTS)
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    # In a mount of its own the kernel bounds the slot; in a plain directory the host looks.
    policy = SandboxPolicy(disk=LIMIT, strict=True)
    with Arena(namespaces=request.param, sandbox=policy) as arena:
        yield arena


REFUSED = {
    "one file": "f = open('x', 'wb')\nfor _ in range(ENOUGH >> 16): f.write(bytes(2 ** 16))",
    "beyond the limit": "os.pwrite(os.open('x', os.O_RDWR | os.O_CREAT), b'x', ENOUGH)",
    "truncate": "os.truncate(os.open('x', os.O_RDWR | os.O_CREAT), ENOUGH)",
    "allocate": "os.posix_fallocate(os.open('x', os.O_RDWR | os.O_CREAT), 0, ENOUGH)",
    "nameless file": (
        "f = os.open('.', os.O_TMPFILE | os.O_RDWR)\n"
        "for _ in range(ENOUGH >> 16): os.write(f, bytes(2 ** 16))"
    ),
    "copied range": (
        "f = open('x', 'w+b'); f.write(bytes(2 ** 20)); f.flush()\n"
        "for n in range(1, ENOUGH >> 20):\n"
        "    os.copy_file_range(f.fileno(), f.fileno(), 2 ** 20, 0, n << 20)"
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_file_grows_beyond_the_limit(arena: Arena, name: str) -> None:
    result = arena.attack(f"ENOUGH = {ENOUGH}\n{REFUSED[name]}")
    assert not result["success"]
    if result["status"] == "error":  # or the host was faster
        assert result["error"] is not None
        assert result["error"]["type"] == "OSError"
        assert result["error"]["message"].startswith(("[Errno 27]", "[Errno 28]"))
    else:
        assert result["status"] == "output"


# What no limit of the kernel's bounds: the host looks, and ends the program. Each holds what it
# has written, so that it can be seen.
WATCHED = {
    "many files": "for n in range(24): open(f'x{n}', 'wb').write(bytes(ENOUGH // 24))",
    "many small files": ("for n in range(ENOUGH >> 13): open(f'x{n}', 'wb').write(bytes(8192))"),
    "files in folders": (
        "for n in range(24):\n    os.makedirs(f'{n}/{n}/{n}')\n"
        "    open(f'{n}/{n}/{n}/x', 'wb').write(bytes(ENOUGH // 24))"
    ),
    "files in a folder that can't be listed": (
        "os.mkdir('d', 0o300)\nfor n in range(24): open(f'd/x{n}', 'wb').write(bytes(ENOUGH // 24))"
    ),
    "files in a folder that can't be entered any more": (
        "os.umask(0); os.mkdir('d', 0o700); d = os.open('d', os.O_RDONLY); os.mkdir('e', 0)\n"
        "for n in range(24):\n"
        "    f = os.open(f'x{n}', os.O_RDWR | os.O_CREAT, 0, dir_fd=d)\n"
        "    os.write(f, bytes(ENOUGH // 24))\nos.rename('d', 'f')"
    ),
    "hidden files": "for n in range(24): open(f'.x{n}', 'wb').write(bytes(ENOUGH // 24))",
    "removed files that are open": (
        "held = []\nfor n in range(24):\n"
        "    held.append(open('x', 'wb', buffering=0)); held[-1].write(bytes(ENOUGH // 24))\n"
        "    os.unlink('x')"
    ),
    "nameless files": (
        "held = []\nfor n in range(24):\n"
        "    held.append(os.open('.', os.O_TMPFILE | os.O_RDWR))\n"
        "    os.write(held[-1], bytes(ENOUGH // 24))"
    ),
    "removed files that are mapped": (
        "import mmap\nheld = []\nfor n in range(24):\n"
        "    f = os.open('x', os.O_RDWR | os.O_CREAT); os.unlink('x')\n"
        "    os.truncate(f, ENOUGH // 24); m = mmap.mmap(f, 0); os.close(f)\n"
        "    m[:] = b'x' * len(m); held.append(m)"
    ),
    "removed files that are mapped and closed": (
        # As the mmap module does not: it keeps a descriptor of its own.
        "libc.mmap.restype = ctypes.c_void_p\n"
        "libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]\n"
        "for n in range(24):\n"
        "    f = os.open('x', os.O_RDWR | os.O_CREAT); os.unlink('x')\n"
        "    os.posix_fallocate(f, 0, ENOUGH // 24); libc.mmap(None, 4096, 3, 1, f, 0); os.close(f)"
    ),
    "removed files of a process whose first thread has ended": (
        "import threading\nheld = []\ndef go():\n    for n in range(24):\n"
        "        held.append(open('x', 'wb', buffering=0)); held[-1].write(bytes(ENOUGH // 24))\n"
        "        os.unlink('x')\n    libc.pause()\n"
        "threading.Thread(target=go).start()\ncall('exit', 0)"
    ),
    "deep down": (
        "here = os.open('.', os.O_RDONLY)\n"
        "for _ in range(400): os.mkdir('d' * 20); os.chdir('d' * 20)\n"
        "for n in range(24): open(f'x{n}', 'wb').write(bytes(ENOUGH // 24))"
    ),
}


@pytest.mark.parametrize("name", WATCHED)
def test_what_no_limit_bounds_ends_the_program(arena: Arena, name: str) -> None:
    hold = "import time\ntime.sleep(5)\n'got it'"
    result = arena.attack(f"ENOUGH = {ENOUGH}\n{WATCHED[name]}\n{hold}")
    assert not result["success"]
    assert result["value"] is None
    assert result["error"] is not None
    if result["status"] == "output":
        assert result["error"]["type"] == "DiskLimitError"
    elif result["status"] == "crashed":
        # A map of a file that there is no room for; a last thread that ended.
        assert result["returncode"] in (-signal.SIGBUS, 0)
    else:
        assert result["error"]["message"].startswith("[Errno 28]"), result


@pytest.mark.load
def test_names_without_bytes_are_bounded_too(arena: Arena) -> None:
    code = """
import time
made = 0
while made < 20_000: os.close(os.open(f"x{made}", os.O_CREAT | os.O_RDWR)); made += 1
time.sleep(3)
"""
    result = arena.attack(code)
    assert result["status"] in ("output", "error")
    assert result["error"] is not None


@pytest.mark.load
def test_folders_of_a_thousand_levels_are_removed(arena: Arena) -> None:
    code = """
for n in range(1000):
    os.mkdir("d"); os.chdir("d")
    open("f", "w").close(); os.symlink("/", "l"); os.mkdir("locked", 0)
import time; time.sleep(0.2)
"""
    results = arena.attack_all([code] * 2)
    assert {result["status"] for result in results} <= {"ok", "output"}


def test_a_file_that_is_all_hole_is_none(arena: Arena) -> None:
    code = f"""
import time
for n in range(40): os.truncate(os.open(f"x{{n}}", os.O_RDWR | os.O_CREAT), {LIMIT - 1})
time.sleep(0.3)
"""
    assert arena.attack(code)["status"] == "ok"


def test_links_to_the_hosts_disk_do_not_count(arena: Arena, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(2 * LIMIT))
    code = f"""
import time
for n in range(5): os.symlink({str(tmp_path)!r}, f"l{{n}}"); os.symlink("/usr", f"u{{n}}")
os.symlink(".", "self"); os.symlink("..", "up")
for n in range(40): open("one", "ab").close(); os.link("one", f"h{{n}}")
open("one", "wb").write(bytes({LIMIT // 4}))
time.sleep(0.3)
"""
    assert arena.attack(code)["status"] == "ok"


def test_folders_that_come_and_go_while_the_host_looks_disturb_nothing(arena: Arena) -> None:
    code = """
import threading, time
def churn(name):
    while True:
        try:
            os.mkdir(name); open(name + "/x", "wb").write(b"x" * 9999); os.rename(name, name + "2")
            os.mkfifo(name); os.unlink(name); os.symlink("/", name); os.unlink(name)
            os.unlink(name + "2/x"); os.rmdir(name + "2")
        except OSError: pass
for n in range(3): threading.Thread(target=churn, args=(f"d{n}",), daemon=True).start()
time.sleep(0.5)
"""
    assert arena.attack(code)["status"] == "ok"
