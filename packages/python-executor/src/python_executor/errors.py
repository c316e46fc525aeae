"""What this package raises. A program that fails is a result; only a pool that fails raises.

Every error pickles, so that it reaches the caller as itself through Ray or another process.
"""

from __future__ import annotations

# The longest excerpt of a bad value in a message (characters).
_EXCERPT = 80


class PythonExecutorError(Exception):
    """Base of all errors of this package."""


class InvalidArgumentError(PythonExecutorError, ValueError):
    """An argument has the right type and an impossible value.

    Attributes:
        parameter: name of the parameter.
        value: what was given.
        expected: what it takes.
    """

    def __init__(self, parameter: str, value: object, expected: str) -> None:
        super().__init__(parameter, value, expected)
        self.parameter = parameter
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.parameter} must be {self.expected}, not {_excerpt(self.value)}"


class InvalidArgumentTypeError(PythonExecutorError, TypeError):
    """An argument has the wrong type.

    Attributes:
        parameter: name of the parameter.
        value: what was given.
        expected: what it takes.
    """

    def __init__(self, parameter: str, value: object, expected: str) -> None:
        super().__init__(parameter, value, expected)
        self.parameter = parameter
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        kind = type(self.value).__name__
        return f"{self.parameter} must be {self.expected}, not {_excerpt(self.value)} ({kind})"


class FileNameError(InvalidArgumentError):
    """A file that is given to a program has a name that can't be used.

    Attributes:
        name: the name.
        problem: what is wrong with it.
    """

    def __init__(self, name: str, problem: str) -> None:
        expected = "relative names without '..', such as 'data/a.csv'"
        super().__init__("files", name, expected)
        self.args = name, problem  # what pickling calls the class with
        self.name = name
        self.problem = problem

    def __str__(self) -> str:
        return f"files must have {self.expected}; the name {_excerpt(self.name)} {self.problem}"


class FilesTooLargeError(InvalidArgumentError):
    """The files that are given to a program are too many, or have too many bytes.

    Attributes:
        count: how many there are.
        total: their bytes.
    """

    def __init__(self, count: int, total: int, most: int, most_bytes: int) -> None:
        expected = f"at most {most} files of {most_bytes} bytes together"
        super().__init__("files", (count, total), expected)
        self.args = count, total, most, most_bytes
        self.count = count
        self.total = total

    def __str__(self) -> str:
        return f"files must be {self.expected}, not {self.count} of {self.total} bytes"


class PoolClosedError(PythonExecutorError, RuntimeError):
    """The pool was closed before or during the call; its programs were ended."""

    def __str__(self) -> str:
        return (
            "the pool of interpreters is closed: close() was called, or its with block has ended. "
            "Programs that ran were ended. Make a new one."
        )


class PoolForkedError(PoolClosedError):
    """The process that made the pool was forked, and this is the child.

    Attributes:
        owner: pid of the process that made the pool.
    """

    def __init__(self, owner: int) -> None:
        super().__init__(owner)
        self.owner = owner

    def __str__(self) -> str:
        return (
            f"this pool of interpreters belongs to process {self.owner}, of which this is a fork: "
            "two processes can't share its sockets. Make a pool in this process, after the fork."
        )


class PoolSaturatedError(PythonExecutorError, RuntimeError):
    """More executions would wait than ``max_pending`` allows; nothing of the call was run.

    Attributes:
        wanted: executions of this call that would have to wait.
        pending: executions that wait already.
        max_pending: how many may.
    """

    def __init__(self, wanted: int, pending: int, max_pending: int) -> None:
        super().__init__(wanted, pending, max_pending)
        self.wanted = wanted
        self.pending = pending
        self.max_pending = max_pending

    def __str__(self) -> str:
        return (
            f"{self.wanted} more executions would wait for an interpreter, {self.pending} do, "
            f"and max_pending is {self.max_pending}. Send fewer at a time, retry later, or raise "
            "pool_size or max_pending."
        )


class ExecutionExistsError(PythonExecutorError, ValueError):
    """An execution of the same ``execution_id`` waits or runs; nothing of the call was run.

    Attributes:
        execution_id: the name.
    """

    def __init__(self, execution_id: str) -> None:
        super().__init__(execution_id)
        self.execution_id = execution_id

    def __str__(self) -> str:
        return (
            f"an execution with execution_id={_excerpt(self.execution_id)} waits or runs already, "
            "or this call has it twice. Give each its own, for example uuid.uuid4().hex."
        )


class SessionNotFoundError(PythonExecutorError, LookupError):
    """A session that is to be branched, or to go back, has no process.

    Attributes:
        session: its name.
        lost: whether it had one.
    """

    def __init__(self, session: str, *, lost: bool = False) -> None:
        super().__init__(session)
        self.session = session
        self.lost = lost

    def __reduce__(self) -> tuple[object, ...]:
        return _remake, (type(self), (self.session,), {"lost": self.lost})

    def __str__(self) -> str:
        what = "lost its process, which crashed or was evicted" if self.lost else "does not exist"
        return (
            f"the session {_excerpt(self.session)} {what}: there is no state to copy or to go back "
            "to. list_sessions() says what there is; a session begins with its first cell."
        )


class SessionExistsError(PythonExecutorError, ValueError):
    """A branch would have the name of a session that there is.

    Attributes:
        session: the name.
    """

    def __init__(self, session: str) -> None:
        super().__init__(session)
        self.session = session

    def __str__(self) -> str:
        return (
            f"there is a session {_excerpt(self.session)} already. "
            "Give the branch another name, or close that one first."
        )


class SessionCopyError(PythonExecutorError, RuntimeError):
    """A session can't be branched; it goes on as it was.

    Attributes:
        session: its name.
        reason: what stands in the way.
    """

    def __init__(self, session: str, reason: str) -> None:
        super().__init__(session, reason)
        self.session = session
        self.reason = reason

    def __str__(self) -> str:
        return f"the session {_excerpt(self.session)} can't be copied: {self.reason}"


class CheckpointNotFoundError(PythonExecutorError, LookupError):
    """A session can't go back to a cell; it goes on as it was.

    Attributes:
        session: its name.
        cell: the number of the cell.
        checkpoints: of those to which it may be able to go back.
    """

    def __init__(self, session: str, cell: int, checkpoints: list[int]) -> None:
        super().__init__(session, cell, checkpoints)
        self.session = session
        self.cell = cell
        self.checkpoints = checkpoints

    def __str__(self) -> str:
        there = ", ".join(map(str, self.checkpoints)) or "none"
        return (
            f"the session {_excerpt(self.session)} has no checkpoint of cell {self.cell}; of these "
            f"it may have one: {there}. The pool's rollback_cells says how many are kept; a cell "
            "whose result says unprotected began without one."
        )


class ForkServerError(PythonExecutorError, RuntimeError):
    """The fork server could not be started or brought back.

    Attributes:
        reason: what happened, with what the server printed.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the fork server of the interpreters failed: {self.reason}"


class SandboxUnavailableError(PythonExecutorError, RuntimeError):
    """A layer of the sandbox that was insisted on can't be had on this machine.

    Attributes:
        missing: name of each such layer, and what stands in its way.
    """

    def __init__(self, missing: dict[str, str]) -> None:
        super().__init__(missing)
        self.missing = missing

    def __str__(self) -> str:
        layers = "; ".join(f"{name}: {reason}" for name, reason in self.missing.items())
        return (
            f"this machine lacks what the sandbox needs ({layers}). `python-executor doctor` says "
            'what to do about it; sandbox="auto" does with what there is, sandbox="off" without.'
        )


def in_one_line(error: PythonExecutorError) -> str:
    """Return an error's first line, and its last, where a traceback says what it was."""
    first, *others = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{first.rstrip('.:')}: {others[-1]}" if others else first


def _remake(
    kind: type[PythonExecutorError], args: tuple[object, ...], keywords: dict[str, object]
) -> PythonExecutorError:
    return kind(*args, **keywords)


def _excerpt(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."
