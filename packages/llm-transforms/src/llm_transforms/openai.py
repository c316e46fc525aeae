"""OpenAI-style message lists: the tool to offer, and the answers to its calls. No dependency.

Messages may be dicts or the objects of the `openai` package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm_transforms.errors import InvalidMessageError
from llm_transforms.interpreter import PythonInterpreter
from llm_transforms.messages import Message
from llm_transforms.tool import describe, parameters

_FIELDS = ("role", "content", "tool_calls", "function_call")


def openai_tool(
    *, name: str = "python", description: str | None = None, persistent: bool = False
) -> dict[str, Any]:
    """Return the tool as `tools=[...]` of the chat completions API wants it.

    Args:
        name: What models call it by. An interpreter with `code_format="openai"` runs the calls of
            the names in `PYTHON_TOOLS`; for another it needs `OpenAIToolCalls(tools=[name])` as its
            `code_format` (both of `llm_transforms.parsing`).
        description: What models are told it does; None says what there is to say.
        persistent: Whether names last from one call to the next.

    Example:
        >>> openai_tool()["function"]["name"]
        'python'
    """
    function = {
        "name": name,
        "description": describe(persistent=persistent) if description is None else description,
        "parameters": parameters(),
    }
    return {"type": "function", "function": function}


def answer_tool_calls(interpreter: PythonInterpreter, messages: Sequence[Any]) -> list[Message]:
    r"""Run the tool calls of the last message, and return the messages that answer them.

    There is one for each call, in their order, with its `tool_call_id` (for the older
    `function_call`, of the role "function" with its name): also for arguments that are no JSON, and
    for tools that don't exist. All programs are one call to a service.

    Args:
        interpreter: One with `code_format="openai"` and `results="openai"`. With `persistent=True`
            it keeps the names of this chat until `interpreter.reset([0])`.
        messages: The chat. What isn't an assistant's last message with calls has no answers.

    Raises:
        InvalidMessageError: `messages` is no list, or has something that is no message.
        ServiceError: See `PythonInterpreter.step`.

    Example:
        >>> function = {"name": "python", "arguments": '{"code": "print(6 * 7)"}'}
        >>> call = {"id": "call_1", "type": "function", "function": function}
        >>> chat = [{"role": "assistant", "content": None, "tool_calls": [call]}]
        >>> with PythonInterpreter(code_format="openai", results="openai") as interpreter:
        ...     answer_tool_calls(interpreter, chat)
        [{'role': 'tool', 'tool_call_id': 'call_1', 'content': '42\n'}]
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence):
        raise InvalidMessageError("messages", messages, "a list of messages, the reply as the last")
    if not messages:
        return []
    chat = [_as_dict(message, f"messages[{i}]") for i, message in enumerate(messages)]
    return interpreter.step([chat], [chat[-1]])[0]


def _as_dict(message: Any, where: str) -> Message:
    """Return a message as a dict; its calls stay as they are, the code format reads both."""
    if isinstance(message, Mapping):
        found = dict(message)
    else:
        fields = {name: getattr(message, name, None) for name in _FIELDS}
        found = {name: value for name, value in fields.items() if value is not None}
    if not isinstance(found.get("role"), str):
        expected = "a dict with a role, or a message of the openai package"
        raise InvalidMessageError(where, message, expected)
    return found
