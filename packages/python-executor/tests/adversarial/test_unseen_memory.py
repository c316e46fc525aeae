"""Memory that no limit of the kernel's bounds, and that is hidden from the host when it looks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from python_executor import PythonExecutorService, SandboxPolicy

MIB = 2**20


@pytest.fixture(scope="module", params=[0, 4], ids=["alone", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[PythonExecutorService]:
    policy = SandboxPolicy(memory=64 * MIB, processes=request.param, strict=True)
    with PythonExecutorService(pool_size=1, timeout=30.0, sandbox=policy) as executor:
        yield executor


SETUP = f"""
import ctypes, errno, time, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
def take(flags, size={256 * MIB}):
    place = libc.mmap(None, size, 3, flags, -1, 0)
    return errno.errorcode[ctypes.get_errno()] if place == 2 ** 64 - 1 else place
"""


@pytest.mark.parametrize("flags", [0x21, 0x23, 0x1_0021, 0x4021, 0x122, 0x2_0122, 0x121])
def test_maps_that_can_not_be_counted_are_refused(
    executor: PythonExecutorService, flags: int
) -> None:
    # Shared, shared and validated, filled, without reserve; grows down, as a stack, shared.
    assert executor.execute(f"{SETUP}\ntake({flags}, 4096)")["value"] == "'EPERM'"


def test_files_are_mapped_as_ever(executor: PythonExecutorService) -> None:
    code = """
import mmap
with open("x", "w+b") as file:
    file.truncate(8192)
    shared, private = mmap.mmap(file.fileno(), 0), mmap.mmap(-1, 8192, flags=mmap.MAP_PRIVATE)
    shared[:3] = private[:3] = b"abc"
    file.seek(0)
    print(file.read(3), private[:3])
"""
    assert executor.execute(code)["stdout"] == "b'abc' b'abc'\n"


def test_a_program_whose_first_thread_has_ended_is_watched(
    executor: PythonExecutorService,
) -> None:
    # Page tables count for the process alone, so that no other limit is met first.
    code = """
import mmap
hole = mmap.mmap(-1, 2 ** 37, mmap.MAP_PRIVATE | 0x4000, prot=mmap.PROT_READ)
def go():
    while True:
        for at in range(0, len(hole), 2 ** 21): hole[at]
threading.Thread(target=go).start()
number = {"x86_64": 60, "aarch64": 93}[__import__("platform").machine()]
libc.syscall(number, 0)
"""
    result = executor.execute(SETUP + code)
    assert (result["status"], result["returncode"]) == ("memory", -9)
    assert result["error"] is not None
    assert result["error"]["type"] == "MemoryLimitError"
    assert executor.execute("1 + 1")["value"] == "2"
