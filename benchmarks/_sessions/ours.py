"""Our pools, by when their sessions leave a checkpoint behind, and the state that sessions hold."""

from __future__ import annotations

import time
from typing import Literal

from _executor.preloads import PRELOADS, Preload

from python_executor import ExecutionResult, PythonExecutorService, SandboxPolicy

WITHOUT = "checkpoint=False"
AUTO = 'checkpoint="auto"'
ALWAYS = "checkpoint=True"

CHECKPOINTS: dict[str, Literal["auto"] | bool] = {WITHOUT: False, AUTO: "auto", ALWAYS: True}

POOL_SIZE = 4
# Seconds between calls that are paced.
PACE = 0.02
MB = 1_000_000
# Bytes of state that a session holds.
SIZES = (0, 10 * MB, 100 * MB, 1000 * MB)
NOTHING = PRELOADS["nothing"]
# As much as the largest state, and what cells do with it.
_MEMORY = 4 * 2**30


def new_pool(
    checkpoint: str, size: int = POOL_SIZE, preload: Preload = NOTHING
) -> PythonExecutorService:
    """Start the pool that a table calls so, with room for large states."""
    return PythonExecutorService(
        size,
        60.0,
        checkpoint=CHECKPOINTS[checkpoint],
        sandbox=SandboxPolicy(memory=_MEMORY),
        preload=preload.modules,
    )


def cell(pool: PythonExecutorService, session: str, code: str) -> ExecutionResult:
    """Execute a cell that must succeed."""
    result = pool.execute(code, session=session)
    assert result["success"], result
    return result


def open_session(pool: PythonExecutorService, session: str, size: int) -> str:
    """Open a session that holds that many bytes, which it has written to; returns its name."""
    cell(pool, session, f"state = bytearray(b'x') * {size}")
    return session


def megabytes(size: int) -> str:
    """As tables name the size of a state."""
    return f"{size // MB:,} MB"


def settle(size: int = 0) -> None:
    """Give a session time for what it does after a cell: to copy a state of that many bytes."""
    time.sleep(PACE + 0.1 * size / (1000 * MB))
