"""A result as text, the way a notebook shows a cell's."""

from __future__ import annotations

from collections.abc import Mapping

from llm_transforms.results.failures import failure_text, whole_lines
from python_executor import ExecutionResult, State

# What the model can't see in the output, and would puzzle over. Nothing of `unprotected`: it tells
# what could have happened, and is for who runs the service.
_NOTES: Mapping[State, str] = {
    "lost": "Note: the interpreter had ended and is a new one. Names of earlier blocks are gone.\n",
    "restored": "Note: the interpreter had ended. Names are what they were before the block that "
    "ended it.\n",
}


def plain_text(result: ExecutionResult) -> str:
    r"""Return what a notebook would show: what was printed, the last expression's value, the error.

    A program whose interpreter had lost the names of earlier ones, or gone back to those before a
    program that crashed, is told so in a line at the end.

    Args:
        result: Any result.

    Example:
        >>> from python_executor import PythonExecutorService
        >>> with PythonExecutorService(pool_size=1) as executor:
        ...     plain_text(executor.execute("print('half')\n6 * 7"))
        'half\n42\n'
    """
    value = "" if result["value"] is None else result["value"]
    told = whole_lines(result["stdout"]) + whole_lines(value)
    if not result["success"]:
        told += failure_text(result)
    return told + state_note(result)


def state_note(result: ExecutionResult) -> str:
    """Return a line that says what became of earlier names, or nothing if they are as expected."""
    return _NOTES.get(result["state"], "")
