"""Seeing what a test has brought about."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


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
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except (FileNotFoundError, ProcessLookupError):  # it ended before the open, or the read
        return False
    # Of a process that is being killed the first thread may be gone before the others, and only
    # the last one gives back its locks and sockets.
    return status.rpartition(")")[2].split()[0] != "Z" or threads > 1


def in_forked_child(function: Callable[[], T], timeout: float = 30.0) -> T:
    """Run a function in a forked child of this process, and return its value or raise its error.

    Args:
        function: The function, whose value or error must pickle.
        timeout: Seconds that it may take.

    Raises:
        TimeoutError: It took longer, and the child was killed.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # That a thread may have been in the middle of something is what such a test is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.write(writing, pickle.dumps(_outcome(function)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        try:
            if not select.select([answer], [], [], timeout)[0]:
                raise TimeoutError(f"the forked child took longer than {timeout:g} s")
            value, error = pickle.load(answer)  # noqa: S301 - from the child
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if error is not None:
        raise error
    result: T = value
    return result


def _outcome(function: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    try:
        return function(), None
    except BaseException as error:  # noqa: BLE001 - raised again in the parent
        return None, error
