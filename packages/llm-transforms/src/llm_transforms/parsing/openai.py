"""The field `tool_calls` of OpenAI's messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llm_transforms.messages import Message, text_of
from llm_transforms.parsing.blocks import CodeBlock
from llm_transforms.parsing.calls import Call, ToolCalls
from llm_transforms.parsing.programs import text_of_program


class OpenAIToolCalls(ToolCalls):
    r"""The field `tool_calls` of a message: servers that parse calls themselves, and APIs.

    After OpenAI's API reference (Chat Completions: "tool_calls" with "function" or "custom", and
    the older "function_call"), which vLLM and SGLang follow. Calls are mappings or objects with
    attributes, their arguments JSON or a mapping. They have no place in the text: each block stands
    at its end, without width, and has the `call_id` that the answer must name.

    Args:
        tools: See `ToolCalls`.
        arguments: See `ToolCalls`.
        unknown_tools: See `ToolCalls`. Each call must be answered by somebody.

    Example:
        >>> message = OpenAIToolCalls().message("1 + 1")
        >>> [(block.code, block.call_id) for block in OpenAIToolCalls().blocks(message)]
        [('1 + 1', 'call_0')]
    """

    name = "openai"

    def blocks(self, message: Mapping[str, Any]) -> list[CodeBlock]:
        """Return the programs of one assistant message, in their order."""
        blocks = (self._block(call) for call in self._calls(message))
        return [block for block in blocks if block is not None]

    def message(self, code: str, call_id: str = "call_0") -> Message:
        """Return a message that is read as this program.

        Args:
            code: The program.
            call_id: Identifier of the call.
        """
        arguments = json.dumps({self.arguments[0]: text_of_program(code)}, ensure_ascii=False)
        function = {"name": self.tools[0], "arguments": arguments}
        call = {"id": call_id, "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}

    def _calls(self, message: Mapping[str, Any]) -> Iterator[Call]:
        place = len(text_of(message))
        calls = message.get("tool_calls")
        if isinstance(calls, str | bytes | Mapping) or not isinstance(calls, Sequence | None):
            yield Call(place, place, problem="tool_calls must be a list of calls.")
        else:
            for call in calls or ():
                yield self._call(call, place)
        legacy = message.get("function_call")
        if legacy is not None:
            yield replace(self._call({"function": legacy}, place), function_call=True)

    def _call(self, call: object, place: int) -> Call:
        call_id = _field(call, "id")
        if not isinstance(call_id, str):
            call_id = None
        custom = _field(call, "custom")
        inner = custom if custom is not None else _field(call, "function")
        name = _field(inner, "name")
        if not isinstance(name, str):
            name = ""
        if custom is None:
            arguments = _field(inner, "arguments")
            return Call(place, place, name, arguments, call_id=call_id)
        code = _field(custom, "input")
        if isinstance(code, str):
            return Call(place, place, name, code=code, call_id=call_id)
        problem = "The input must be a string with the program."
        return Call(place, place, name, call_id=call_id, problem=problem)


def _field(value: object, name: str) -> Any:
    """Return an entry of a mapping, or an attribute of an object; None if there is none."""
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
