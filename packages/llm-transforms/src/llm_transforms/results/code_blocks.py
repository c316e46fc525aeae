"""The wording of TorchRL's Python tool: a message for each block."""

from __future__ import annotations

from collections.abc import Sequence

from llm_transforms.messages import Message
from llm_transforms.results.content import content_of
from llm_transforms.results.failures import failure_text, whole_lines
from llm_transforms.results.outcomes import Outcome
from llm_transforms.results.plain import state_note


class CodeBlockResults:
    r"""A message for each block: "Code block 1 executed successfully:" and what it printed.

    The wording is that of TorchRL's `PythonInterpreter`. A block that failed is told with what it
    printed, its stderr and the reason (a short traceback, a timeout, a crash, an exit status). A
    block whose interpreter had lost the names of earlier ones, or gone back to those before a block
    that crashed, is told so in a line at the end.

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
        return [{"role": role, "content": content_of(_text(each), [each])} for each in outcomes]

    def __repr__(self) -> str:
        return "CodeBlockResults()"


def _text(outcome: Outcome) -> str:
    result = outcome.result
    if result["success"]:
        done, told = "executed successfully", result["stdout"]
    else:
        done, told = "failed", whole_lines(result["stdout"]) + failure_text(result)
    if note := state_note(result):
        told = whole_lines(told) + note
    return f"Code block {outcome.number} {done}:\n{told}"
