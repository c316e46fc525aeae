"""Our pools, with the sandbox and without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

from _executor.peers import Runner
from _executor.preloads import Preload
from python_executor import PythonExecutorService

OURS = "ours"
OPEN = "ours, no sandbox"

SANDBOXES: dict[str, Literal["auto", "off"]] = {OURS: "auto", OPEN: "off"}


def new_pool(name: str, size: int, preload: Preload) -> PythonExecutorService:
    """Start the pool that a table calls so."""
    sandbox = SANDBOXES[name]
    return PythonExecutorService(size, 60.0, sandbox=sandbox, preload=preload.modules)


def runner(pool: PythonExecutorService) -> Runner:
    """What runs a program on a pool, one after the other."""
    return lambda code: pool.execute(code)["stdout"]


@contextmanager
def pools(size: int, preload: Preload) -> Iterator[dict[str, PythonExecutorService]]:
    """A pool of each kind, by its name in the tables."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(new_pool(name, size, preload)) for name in SANDBOXES}
