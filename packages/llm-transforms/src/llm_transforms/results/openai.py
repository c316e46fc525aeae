"""Results as OpenAI's chat API wants them."""

from __future__ import annotations

from collections.abc import Sequence

from llm_transforms.messages import Message
from llm_transforms.results.content import content_of
from llm_transforms.results.outcomes import Outcome
from llm_transforms.results.plain import plain_text


class OpenAIResults:
    r"""A `tool` message for each call, with the call's `tool_call_id`.

    A block that is no call of a tool, such as a fence, has no identifier: its message has none. The
    older `function_call` is answered by a message of the role `function` with the tool's name.
    The source is the API's reference, "Create chat completion", "Tool message" and "Function
    message".

    Example:
        >>> from python_executor import PythonExecutorService
        >>> from llm_transforms.parsing import CodeBlock
        >>> with PythonExecutorService(pool_size=1) as executor:
        ...     result = executor.execute("6 * 7")
        >>> outcome = Outcome(1, CodeBlock("6 * 7", 0, 0, call_id="call_1"), result)
        >>> OpenAIResults().messages([outcome], "tool")
        [{'role': 'tool', 'tool_call_id': 'call_1', 'content': '42\n'}]
    """

    name = "openai"

    def messages(self, outcomes: Sequence[Outcome], role: str) -> list[Message]:
        """Return one message a call."""
        return [_message(outcome, role) for outcome in outcomes]

    def __repr__(self) -> str:
        return "OpenAIResults()"


def _message(outcome: Outcome, role: str) -> Message:
    call_id = outcome.block.call_id
    told = content_of(plain_text(outcome.result), [outcome])
    if outcome.block.function_call:
        return {"role": "function", "name": outcome.block.tool, "content": told}
    return {
        "role": role,
        **({} if call_id is None else {"tool_call_id": call_id}),
        "content": told,
    }
