"""From an ended run to the result that users see."""

from __future__ import annotations

from python_executor._frames import Outcome
from python_executor._run import Run
from python_executor.results import ErrorInfo, ExecutionResult, Status

_KILLED, _INTERRUPT = -9, -2
# What a cell was interrupted for, if that ended it: the status, type and message of the error.
_INTERRUPTED: dict[str, tuple[Status, str, str]] = {
    "timeout": (
        "timeout", "TimeoutError", "The cell ran longer than {:g} s and was interrupted."
    ),
    "cancelled": ("cancelled", "CancelledError", "It was cancelled, and interrupted."),
}  # fmt: skip
# What the watchdog ends a program for: the status, and the type of the error.
_EXCESSES: dict[str, tuple[Status, str]] = {
    "memory": ("memory", "MemoryLimitError"),
    "tasks": ("memory", "TaskLimitError"),
    "disk": ("output", "DiskLimitError"),
}


def result_of(run: Run, timeout: float, session: str | None = None) -> ExecutionResult:
    """Build the result of a run that has ended.

    Args:
        run: the run.
        timeout: what it was given, in seconds.
        session: the session whose cell it was.
    """
    assert run.ending is not None
    assert run.started_at is not None
    status, returncode, value, error = _judge(run, timeout)
    outcome = run.ending.outcome
    products = run.products
    return {
        "success": status == "ok",
        "stdout": run.out.text(),
        "stderr": run.err.text(),
        "returncode": returncode,
        "status": status,
        "value": value,
        "error": error,
        "duration": run.ended_at - run.started_at,
        "truncated": run.out.truncated
        or run.err.truncated
        or (outcome is not None and outcome.truncated),
        # Of a program that was ended, what came of a file is perhaps not all of it.
        "files": {} if products is None or outcome is None else products.take_files(),
        "displays": [] if products is None else products.displays,
        "session": session,
        "state": run.state,
        "unprotected": run.unprotected,
    }


def rejected(session: str | None) -> ExecutionResult:
    """Build the result of an execution that was cancelled before it began.

    Args:
        session: the session whose cell it would have been.
    """
    return {
        "success": False,
        "stdout": "",
        "stderr": "",
        "returncode": _KILLED,
        "status": "rejected",
        "value": None,
        "error": _error("CancelledError", "It was cancelled before it began."),
        "duration": 0.0,
        "truncated": False,
        "files": {},
        "displays": [],
        "session": session,
        "state": "fresh",
        "unprotected": None,
    }


def _judge(run: Run, timeout: float) -> tuple[Status, int, str | None, ErrorInfo | None]:
    """Status, return code, value and error."""
    ending = run.ending
    assert ending is not None
    outcome = ending.outcome
    if outcome is not None and ending.kind in _INTERRUPTED:
        return _judge_interrupted(ending.kind, outcome, timeout)
    if outcome is not None:
        if outcome.error is None and outcome.returncode == 0:
            return "ok", 0, outcome.value, None
        failure = outcome.error
        error = _error(failure.type, failure.message, failure.traceback) if failure else None
        memory = failure is not None and failure.memory
        return "memory" if memory else "error", outcome.returncode or 1, outcome.value, error
    if ending.kind == "timeout":
        message = f"The program ran longer than {timeout:g} s and was ended."
        return "timeout", _KILLED, None, _error("TimeoutError", message)
    if ending.kind == "output":
        message = f"The program wrote {run.out.total + run.err.total} bytes and was ended."
        return "output", _KILLED, None, _error("OutputLimitError", message)
    if ending.kind == "cancelled":
        return "cancelled", _KILLED, None, _error("CancelledError", "It was cancelled.")
    if ending.kind in _EXCESSES:
        status, kind = _EXCESSES[ending.kind]
        return status, _KILLED, None, _error(kind, ending.detail)
    returncode = _KILLED if ending.returncode is None else ending.returncode
    message = ending.detail or _how_it_ended(returncode)
    return "crashed", returncode, None, _error("ProcessCrashedError", message)


def _judge_interrupted(
    cause: str, outcome: Outcome, timeout: float
) -> tuple[Status, int, str | None, ErrorInfo]:
    status, kind, message = _INTERRUPTED[cause]
    traceback = outcome.error.traceback if outcome.error else ""
    error = _error(kind, message.format(timeout), traceback)
    return status, outcome.returncode or _INTERRUPT, outcome.value, error


def _how_it_ended(returncode: int) -> str:
    if returncode < 0:
        return f"The interpreter was ended by signal {-returncode}."
    return f"The interpreter ended by itself with status {returncode}, as os._exit() does."


def _error(kind: str, message: str, traceback: str = "") -> ErrorInfo:
    return {"type": kind, "message": message, "traceback": traceback}
