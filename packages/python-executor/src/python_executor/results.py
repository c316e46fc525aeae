"""What goes in and what comes out: one execution and its result, both plain and picklable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from python_executor._arguments import (
    check_code,
    check_files,
    check_name,
    check_seconds,
    check_seed,
    check_stdin,
)

Status = Literal["ok", "error", "timeout", "memory", "crashed", "output", "rejected", "cancelled"]
"""How an execution ended.

``ok``; ``error``: an uncaught exception or ``sys.exit`` with a status; ``timeout``; ``memory``: an
uncaught MemoryError, an exception that was raised over one or a group that holds one, or ended
because it took more memory, threads or processes than it may (a MemoryError that ends a thread is
no end of the program); ``crashed``: the process ended by itself (a signal, ``os._exit``) or broke
the protocol; ``output``: it wrote more than ``max_total_output``, or more into its directory than
it may; ``cancelled``: it was cancelled while it ran; ``rejected``: it was cancelled before it
began.
"""

State = Literal["fresh", "kept", "restored", "lost"]
"""What an execution started from.

``fresh``: a pristine interpreter; ``kept``: what the cell before it left; ``lost``: a pristine one,
because what there was died with its process, or had to make room for another session;
``restored``: what was there before the cell whose process died, from its checkpoint.
"""


class ErrorInfo(TypedDict):
    """Why an execution did not succeed."""

    type: str
    """Qualified name of the exception; for a program that was ended or ended itself one of
    ``TimeoutError``, ``ProcessCrashedError``, ``MemoryLimitError``, ``TaskLimitError``,
    ``OutputLimitError``, ``DiskLimitError`` and ``CancelledError``; ``InputError`` for a cell
    whose files or input could not be put in place."""
    message: str
    traceback: str
    """The program's own frames with their source lines, of a recursion the first and the last; all
    that a script would print is on stderr."""


class ExecutionResult(TypedDict):
    """What came of one execution. Every key is always there."""

    success: bool
    """Whether ``status`` is ``ok``. A warning on stderr is no failure."""
    stdout: str
    stderr: str
    """Empty with ``merge_stderr``: it is in ``stdout``."""
    returncode: int
    """As ``subprocess`` gives it: negative for a signal, -9 for a program that was ended."""
    status: Status
    value: str | None
    """``repr`` of the last expression; None if it was None, or the last statement is none."""
    error: ErrorInfo | None
    duration: float
    """Seconds from the program's start to its end."""
    truncated: bool
    """Whether stdout, stderr, value or the error were cut, or files or displays left out."""
    files: dict[str, bytes]
    """What the program made or changed in its working directory, by name.

    Names are relative, with ``/`` for files in subdirectories. Regular files only, and not those
    that begin with a dot (or are in such a directory) at the top, where caches are, nor
    ``__pycache__``. Of a cell: what that cell made. Empty for a program that was ended or crashed.
    What goes beyond ``max_files`` bytes or 1,000 files is left out.
    """
    displays: list[dict[str, str]]
    """What the program showed, in order: MIME bundles.

    Text is as it is, an image base64 as Jupyter has it. They come out when they are shown, so those
    of a program that was ended are here too: figures of matplotlib at ``show``, and those left open
    at the end. At most 100, and ``max_files`` characters together.
    """
    session: str | None
    """Name of the session; None for a program without one."""
    state: State
    unprotected: str | None
    """Why the session could not have gone back to before this cell, if it had crashed; None if it
    could, was not to, or there was no session, or nothing yet to go back to."""


class SessionInfo(TypedDict):
    """A session that has a process."""

    session: str
    """Its name."""
    cells: int
    """How many cells have begun since it was opened."""
    checkpoints: list[int]
    """After which cells it has left a checkpoint behind, or was to; ``rollback`` goes there."""
    running: bool
    """Whether one runs."""
    idle: float
    """Seconds since the last one ended; 0 while one runs."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One program to execute.

    Args:
        code: Python source.
        timeout: seconds; None takes the pool's.
        stdin: what the program reads from its standard input; None is an empty one.
        files: what it finds in its working directory: relative names, with ``/`` for files in
            subdirectories, to bytes. A copy is taken.
        execution_id: a name to cancel it by; no two living executions of a pool may share one.
        session: the session whose next cell it is; None is a pristine interpreter.
        seed: sets the global generators of ``random``, numpy and torch (on the CPU), whether the
            program finds them imported or imports them; from 0 to 2**32 - 1. Equal seeds give
            equal numbers, whichever interpreter runs it. None draws others each time, and in a
            session goes on from the cell before. Of a seed know neither
            ``numpy.random.default_rng()`` without one, which asks the system, nor ``os.urandom``,
            ``secrets``, ``uuid.uuid4`` and other processes. The order of sets follows ``hash_seed``
            of the pool.

    Raises:
        InvalidArgumentTypeError: a value has the wrong type.
        InvalidArgumentError: code holds a NUL, timeout is not positive and finite, stdin is not
            UTF-8, execution_id or session is empty, seed is out of bounds.
        FileNameError: a name of files is absolute, leads elsewhere, or can't be that of a file.
        FilesTooLargeError: files are too many or too large.

    Example:
        >>> Execution("print(input())", timeout=2.0, stdin="hello").stdin
        'hello'
    """

    code: str
    timeout: float | None = None
    stdin: str | None = None
    files: Mapping[str, bytes] | None = field(default=None, hash=False)
    execution_id: str | None = None
    session: str | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        check_code(self.code)
        if self.timeout is not None:
            check_seconds("timeout", self.timeout)
        check_stdin(self.stdin)
        object.__setattr__(self, "files", check_files(self.files))
        if self.execution_id is not None:
            check_name("execution_id", self.execution_id)
        if self.session is not None:
            check_name("session", self.session)
        check_seed("seed", self.seed)
