"""A result of which the model is told no more than a limit."""

from __future__ import annotations

from llm_transforms.results.failures import beside_traceback, whole_lines
from llm_transforms.results.limits import OutputLimit
from python_executor import ExecutionResult


def limited(result: ExecutionResult, limit: OutputLimit) -> ExecutionResult:
    """Return the result with its stdout, its stderr and its value cut to a limit each.

    A traceback is no part of stderr here: it is short as it is told, and stays whole.
    """
    traceback = "" if result["error"] is None else result["error"]["traceback"]
    stderr = limit.cut(beside_traceback(result["stderr"], traceback))
    return {
        **result,
        "stdout": limit.cut(result["stdout"]),
        "stderr": whole_lines(stderr) + traceback if traceback else stderr,
        "value": None if result["value"] is None else limit.cut(result["value"]),
    }
