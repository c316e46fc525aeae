"""Seeing what a test has brought about."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def eventually(condition: Callable[[], bool], timeout: float = 30.0) -> bool:
    """Wait until a condition holds; False if it doesn't within `timeout` seconds."""
    give_up = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.005)
    return True


def is_running(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet reaped doesn't."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it ended before the open, or the read
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
