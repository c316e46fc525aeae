"""What bounds every executor: a fork of an equally warm process, a message there and back."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import python_executor
from _executor.preloads import Preload
from python_executor._environment import child_environment

BARE_FORK = "bare fork"
ROUND_TRIP = "bare round trip"

CHILD = Path(python_executor.__file__).parent / "_child"

# As warm as our fork server, by the same code.
_FORKING = """
import importlib, importlib.util, json, os, sys, time

folder, preload, temporary = json.loads(sys.argv[1])
spec = importlib.util.spec_from_file_location(
    "child", f"{folder}/__init__.py", submodule_search_locations=[folder]
)
sys.modules["child"] = importlib.util.module_from_spec(spec)
importlib.import_module("child.root")
warm_up = importlib.import_module("child.warmup").warm_up
warm_up(preload, directory=temporary, font_lists=temporary)
for line in sys.stdin:
    count, pace, program = json.loads(line)
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        pid = os.fork()
        if pid == 0:
            if program:
                exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert status == 0, status
        times.append((time.perf_counter_ns() - start) / 1e9)
        if pace:
            time.sleep(pace)
    print(json.dumps(times), flush=True)
"""

_ECHOING = """
import socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
while data := connection.recv(65536):
    connection.send(data)
"""
# About as long as a short program and its result.
_MESSAGE = b"x" * 200


class Forks(Protocol):
    """A process that forks when it is called."""

    def __call__(self, count: int, pace: float, program: str = "") -> list[float]:
        """Fork ``count`` times, ``pace`` seconds apart, and return the seconds of each."""


@contextmanager
def bare_fork(preload: Preload) -> Iterator[Forks]:
    """A warm process that forks, lets the child exit, at once or after a program, and waits."""
    folder = tempfile.TemporaryDirectory(prefix="benchmark-")
    arguments = json.dumps([str(CHILD), preload.modules, folder.name])
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", _FORKING, arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(processes=True),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    ask, answer = process.stdin, process.stdout

    def times(count: int, pace: float, program: str = "") -> list[float]:
        ask.write(f"{json.dumps([count, pace, program])}\n")
        ask.flush()
        seconds: list[float] = json.loads(answer.readline())
        return seconds

    with folder, process:
        try:
            times(1, 0.0)  # it is warm
            yield times
        finally:
            ask.close()


@contextmanager
def round_trip(child: str = _ECHOING, message: bytes = _MESSAGE) -> Iterator[Callable[[], bytes]]:
    """A process that answers over a socket; called, it gets a message and sends another back.

    Args:
        child: What it runs; the number of its socket is its argument.
        message: What it gets.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", child, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
        )

    def call() -> bytes:
        ours.send(message)
        return ours.recv(65536)

    with process, ours:
        call()  # it has started
        yield call


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
