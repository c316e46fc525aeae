"""A fork bomb in machine code, where processes are allowed: it outruns all that kills one by one.

It is of ``2 ** GENERATIONS`` processes, each of which then spins, and goes out by itself after
``FUSE`` seconds, in case that nobody else ends it.
"""

from __future__ import annotations

import platform
import time

import pytest

from python_executor import PythonExecutorService, SandboxPolicy
from python_executor._child.landlock import ABI_SCOPES, abi

FUSE = 15.0
GENERATIONS = 8
# left = GENERATIONS; again: time(0); if it is late: exit(0); if not left: goto again
# fork(); setsid(); left -= 1; goto again
BOMB = """
import ctypes, mmap, struct
code = b"".join([
    b"\\xbb", struct.pack("<i", {generations}),
    b"\\xb8\\xc9\\0\\0\\0\\x31\\xff\\x0f\\x05", b"\\x3d", struct.pack("<i", {late}), b"\\x7d\\x16",
    b"\\x85\\xdb\\x74\\xec",
    b"\\xb8\\x39\\0\\0\\0\\x0f\\x05", b"\\xb8\\x70\\0\\0\\0\\x0f\\x05",
    b"\\xff\\xcb\\xeb\\xda",
    b"\\xb8\\x3c\\0\\0\\0\\x31\\xff\\x0f\\x05",
])
memory = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
memory.write(code)
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code of x86-64")
@pytest.mark.skipif(abi() < ABI_SCOPES, reason="Landlock can't scope signals")
def test_a_fork_bomb_is_out_at_one_stroke() -> None:
    policy = SandboxPolicy(processes=4, strict=True)
    with PythonExecutorService(pool_size=1, timeout=30.0, sandbox=policy) as executor:
        late = time.time() + FUSE
        for _ in range(2):
            result = executor.execute(BOMB.format(late=int(late), generations=GENERATIONS))
            assert result["error"] is not None
            assert result["error"]["type"] == "TaskLimitError"
            assert executor.execute("1 + 1")["value"] == "2"
        assert executor.stats()["restarts"] == 0
    assert time.time() < late
