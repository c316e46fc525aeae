"""From an ended run to the result that users see."""

from __future__ import annotations

from python_executor._run import Run
from python_executor.results import ErrorInfo, ExecutionResult, State, Status

_KILLED = -9
# What the watchdog ends a program for: the status, and the type of the error.
_EXCESSES: dict[str, tuple[Status, str]] = {
    "memory": ("memory", "MemoryLimitError"),
    "tasks": ("memory", "TaskLimitError"),
    "disk": ("output", "DiskLimitError"),
}


def result_of(run: Run, timeout: float, state: State) -> ExecutionResult:
    """Build the result of a run that has ended.

    Args:
        run: the run.
        timeout: what it was given, in seconds.
        state: what it started from.
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
        "session": None,
        "state": state,
    }


def rejected() -> ExecutionResult:
    """Build the result of an execution that was cancelled before it began."""
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
        "session": None,
        "state": "fresh",
    }


def _judge(run: Run, timeout: float) -> tuple[Status, int, str | None, ErrorInfo | None]:
    """Status, return code, value and error."""
    ending = run.ending
    assert ending is not None
    if ending.outcome is not None:
        outcome = ending.outcome
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


def _how_it_ended(returncode: int) -> str:
    if returncode < 0:
        return f"The interpreter was ended by signal {-returncode}."
    return f"The interpreter ended by itself with status {returncode}, as os._exit() does."


def _error(kind: str, message: str, traceback: str = "") -> ErrorInfo:
    return {"type": kind, "message": message, "traceback": traceback}
