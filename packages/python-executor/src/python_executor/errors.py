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


def _excerpt(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."
