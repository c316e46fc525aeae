"""The wording of TorchRL's Python tool: a message for each block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llm_transforms.messages import Message
from llm_transforms.results.outcomes import Outcome
from python_executor import ExecutionResult, State


class CodeBlockResults:
    r"""A message for each block: "Code block 1 executed successfully:" and what it printed.

    The wording is that of TorchRL's `PythonInterpreter`. A block that failed is told with its
    stderr, and with the reason if that isn't there already (a timeout, a crash, an exit status).
    A block whose interpreter had lost the names of earlier ones, or gone back to those before a
    block that crashed, is told so in a line at the end.

    Example:
        >>> from python_executor import PythonExecutorService
        >>> from llm_transforms.parsing import CodeBlock
        >>> with PythonExecutorService(pool_size=1) as executor:
        ...     result = executor.execute("print(6 * 7)")
        >>> outcome = Outcome(1, CodeBlock("print(6 * 7)", 0, 0), result)
        >>> CodeBlockResults().messages([outcome], "tool")
        [{'role': 'tool', 'content': 'Code block 1 executed successfully:\n42\n'}]
    """

    name = "code_blocks"

    def messages(self, outcomes: Sequence[Outcome], role: str) -> list[Message]:
        """Return one message a block."""
        return [{"role": role, "content": _text(outcome)} for outcome in outcomes]

    def __repr__(self) -> str:
        return "CodeBlockResults()"


# What the model can't see in the output, and would puzzle over. Nothing of `unprotected`: it tells
# what could have happened, and is for who runs the service.
_NOTES: Mapping[State, str] = {
    "lost": "Note: the interpreter had ended and is a new one. Names of earlier blocks are gone.\n",
    "restored": "Note: the interpreter had ended. Names are what they were before the block that "
    "ended it.\n",
}


def _text(outcome: Outcome) -> str:
    result = outcome.result
    done, told = (
        ("executed successfully", result["stdout"])
        if result["success"]
        else ("failed", _failure(result))
    )
    if result["state"] in _NOTES:
        told = _whole_lines(told) + _NOTES[result["state"]]
    return f"Code block {outcome.number} {done}:\n{told}"


def _failure(result: ExecutionResult) -> str:
    stderr, error = result["stderr"], result["error"]
    if error is None or _names(stderr, error["type"]):
        return stderr
    return f"{_whole_lines(stderr)}{error['type']}: {error['message']}\n"


def _whole_lines(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _names(stderr: str, error: str) -> bool:
    """Whether an uncaught exception of that type is the last thing that stderr tells."""
    last = stderr.rstrip("\n").rpartition("\n")[2]
    return last == error or last.startswith(f"{error}:")
