"""What others keep state in: TorchRL's persistent process, a Jupyter kernel; and the limit."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from _executor import limits, peers
from _executor.peers import Runner

from _sessions.ours import NOTHING

TORCHRL, JUPYTER, ROUND_TRIP = peers.TORCHRL, peers.JUPYTER, limits.ROUND_TRIP

# Those of the executor's peers that keep state.
NAMES = ("torchrl", "jupyter")

# What is left of a cell if nothing is captured, interrupted, protected or limited.
_EVALUATING = """
import socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
names = {"x": 41}
while data := connection.recv(65536):
    connection.send(repr(eval(data, names)).encode())
"""


@contextmanager
def torchrl() -> Iterator[Runner]:
    """TorchRL's `PersistentPythonProcess`, driven by this process."""
    os.environ.setdefault("RL_LOGGING_LEVEL", "ERROR")
    # By name, because type checks run where it isn't installed.
    module: Any = importlib.import_module("torchrl.envs.llm.transforms.tools")
    process = module.PersistentPythonProcess(timeout=60.0)

    def run(code: str) -> str:
        printed: str = process.execute(code)["stdout"]
        return printed

    try:
        yield run
    finally:
        process.cleanup()


def jupyter() -> AbstractContextManager[Runner]:
    """A kernel; a cell has ended when it has replied and says that it is idle."""
    return peers.jupyter_kernel(NOTHING)


def round_trip(code: str) -> AbstractContextManager[Callable[[], bytes]]:
    """A process that evaluates an expression of x, which is 41, and sends back its repr."""
    return limits.round_trip(_EVALUATING, code.encode())
