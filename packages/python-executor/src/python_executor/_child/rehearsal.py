"""Running programs in the root before the first fork, so that what first use costs is paid once.

First use creates the types of ``ast``, specialises the bytecode of what runs a program (PEP 659),
and fills the cache of type attributes. Done in every child it would take longer than a short
program, and each page that it writes would have to be copied.
"""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH102, PTH106
from __future__ import annotations

import gc
import io
import linecache
import os
import select
import sys
import time
from contextlib import suppress
from types import ModuleType
from typing import Any

from . import frames
from .files import WorkingFiles
from .interpreter import CONTROL, STARTED, execute
from .stdin import StandardInput

# A success with output and value, and a failure with a traceback through a function.
_SUCCESS = """
import math

def f(n: int) -> int:
    return n if n < 2 else f(n - 1) + f(n - 2)

class A:
    x = [str(i) for i in range(3)]

print(f(3), A.x, f"{math.pi:.2f}")
{"a": 1}
"""
_FAILURE = """
def g():
    return 1 / 0

g()
"""
# Bytecode is specialised after 8 to 64 runs, depending on the version.
_TIMES = 20


def rehearse(directory: str) -> None:
    """Run the sample programs; leaves no trace but what is warm.

    Args:
        directory: an empty one is made in it, and removed.
    """
    saved = sys.stdout, sys.stderr, sys.argv
    sys.stdout = sys.stderr = io.StringIO()
    read, write = os.pipe()
    folder = f"{directory}/rehearsal"
    os.mkdir(folder, 0o700)
    files, stdin = WorkingFiles(folder), StandardInput(folder)
    try:
        for _ in range(_TIMES):
            for code in (_SUCCESS, _FAILURE):
                # As programs that share a process: at another's end exit functions run, which are
                # not ours.
                frame: dict[str, Any] = {
                    "code": code,
                    "name": "<program>",
                    "stdin": None,
                    "files": [],
                    "cell": True,
                    "fresh": True,
                    "limit": 99,
                    "max_files": 0,
                    "seconds": None,
                    "seed": None,
                }
                frames.send(write, frame)
                received = frames.receive(read)
                assert received is not None
                main = ModuleType("__main__")
                frames.send(write, execute(received, main, files, stdin, write, STARTED))
                frames.receive(read)
                frames.receive(read)
        _call_once(read, write)
    finally:
        sys.stdout, sys.stderr, sys.argv = saved
        os.close(read)
        os.close(write)
        os.rmdir(folder)
        linecache.clearcache()


def _call_once(one: int, other: int) -> None:
    """Call what an interpreter calls: the dynamic linker looks a function up at its first call.

    Args:
        one: a descriptor.
        other: one that may become a copy of it.
    """
    with suppress(PermissionError):  # the root leads a session already
        os.setsid()
    os.getppid()
    os.dup2(one, other, inheritable=False)
    os.closerange(CONTROL, CONTROL)
    select.poll().poll(0)
    gc.enable()
    time.process_time()
    os.sched_getaffinity(0)
