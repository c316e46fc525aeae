"""What goes in and what comes out: one execution and its result, both plain and picklable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from python_executor._arguments import check_code, check_seconds, check_stdin

Status = Literal["ok", "error", "timeout", "memory", "crashed", "output", "rejected"]
"""How an execution ended.

``ok``; ``error``: an uncaught exception or ``sys.exit`` with a status; ``timeout``; ``memory``: an
uncaught MemoryError; ``crashed``: the process ended by itself (a signal, ``os._exit``) or broke the
protocol; ``output``: it wrote more than ``max_total_output``; ``rejected``: refused before it ran
(not used yet).
"""

State = Literal["fresh", "kept", "restored", "lost"]
"""What an execution started from.

``fresh``: a pristine interpreter; ``kept``: what the execution before it left; ``lost``: a pristine
one, because what there was died with its process; ``restored``: the last checkpoint (not used yet).
"""


class ErrorInfo(TypedDict):
    """Why an execution did not succeed."""

    type: str
    """Qualified name of the exception; for a program that was ended or ended itself one of
    ``TimeoutError``, ``ProcessCrashedError`` and ``OutputLimitError``."""
    message: str
    traceback: str
    """The program's own frames with their source lines; what libraries did is on stderr only."""


class ExecutionResult(TypedDict):
    """What came of one execution. Every key is always there."""

    success: bool
    """Whether ``status`` is ``ok``. A warning on stderr is no failure."""
    stdout: str
    stderr: str
    returncode: int
    """As ``subprocess`` gives it: negative for a signal, -9 for a program that was ended."""
    status: Status
    value: str | None
    """``repr`` of the last expression; None if it was None, or the last statement is none."""
    error: ErrorInfo | None
    duration: float
    """Seconds from the program's start to its end."""
    truncated: bool
    """Whether stdout, stderr or value were cut to ``max_output``."""
    files: dict[str, bytes]
    """Files that the program made: always empty in this version."""
    displays: list[dict[str, str]]
    """MIME bundles that the program showed: always empty in this version."""
    session: str | None
    """Name of the session: always None in this version."""
    state: State


@dataclass(frozen=True, slots=True)
class Execution:
    """One program to execute.

    Args:
        code: Python source.
        timeout: seconds; None takes the pool's.
        stdin: what the program reads from its standard input; None is an empty one.

    Raises:
        InvalidArgumentTypeError: a value has the wrong type.
        InvalidArgumentError: code holds a NUL, timeout is not positive and finite, stdin is not
            UTF-8.

    Example:
        >>> Execution("print(input())", timeout=2.0, stdin="hello")
        Execution(code='print(input())', timeout=2.0, stdin='hello')
    """

    code: str
    timeout: float | None = None
    stdin: str | None = None

    def __post_init__(self) -> None:
        check_code(self.code)
        if self.timeout is not None:
            check_seconds("timeout", self.timeout)
        check_stdin(self.stdin)
