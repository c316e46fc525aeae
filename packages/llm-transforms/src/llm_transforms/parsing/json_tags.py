"""Calls that are JSON objects between two tags, as Hermes and Qwen write them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llm_transforms.parsing.calls import Call, ToolCallFormat, as_call, told
from llm_transforms.parsing.json_text import JSONReader
from llm_transforms.parsing.mentions import in_prose, in_quotes, says_nothing
from llm_transforms.parsing.programs import as_json

# What may stand before a call, between two and after the last: a fence, a list's brackets, commas,
# and closing braces that are too many.
_BEFORE = re.compile(r"\s*+(?:`{3,}+\w*+\s*+)?(?:\[\s*+)?")
_BETWEEN = re.compile(r"[\s,;}]*+")
_AFTER = re.compile(r"[\s}\]`]*+")


def json_calls(text: str, opening: str, closing: str) -> Iterator[Call]:
    """Find the calls between two tags; there may be several in one pair of them."""
    tag = re.compile(f"{re.escape(opening)}|{re.escape(closing)}")
    reader = JSONReader(text, tag)
    position = 0
    while (start := text.find(opening, position)) >= 0:
        position = start + len(opening)
        if in_quotes(text, start, position):
            continue
        value_start = _skip(_BEFORE, text, position)
        if not text.startswith("{", value_start):
            malformed, position = _malformed(text, tag, start, position, closing)
            if malformed is not None:
                yield malformed
            continue
        while text.startswith("{", value_start):
            reading = reader.read(value_start)
            end = position = reading.end
            call = as_call(reading.value, start, end)
            if reading.problem is not None:
                problem = f"The JSON of the call can't be read: {told(reading, text)}."
                other = tag.search(text, value_start)
                if other is not None:
                    position = other.end() if other[0] == closing else other.start()
                    end = position
                yield Call(start, end, call.name, call.arguments, problem=problem)
                break
            value_start = _skip(_BETWEEN, text, position)
            if not text.startswith("{", value_start):
                after = _skip(_AFTER, text, position)
                if text.startswith(closing, after):
                    position = after + len(closing)
            yield Call(start, position, call.name, call.arguments, problem=call.problem)
            start = value_start


def _malformed(
    text: str, tag: re.Pattern[str], start: int, position: int, closing: str
) -> tuple[Call | None, int]:
    """Return the call that has no JSON, unless it is none; and where to go on."""
    other = tag.search(text, position)
    closed = other is not None and other[0] == closing
    payload = text[position : other.start() if other else len(text)]
    if in_prose(text, start) and (not closed or says_nothing(payload)):
        return None, position
    end = position
    if other is not None:
        end = other.end() if closed else other.start()
    what = "is empty" if says_nothing(payload) else "has no JSON object"
    return Call(start, end, problem=f"The call {what}: it must begin with {{."), end


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    assert match is not None  # it matches nothing too
    return match.end()


class HermesToolCalls(ToolCallFormat):
    r"""JSON between `<tool_call>` and `</tool_call>`: Hermes 2 and 3, Qwen2.5, Qwen3, QwQ.

    After the chat templates of NousResearch/Hermes-3-Llama-3.1-8B and Qwen/Qwen3-8B, and vLLM's
    `vllm/tool_parsers/hermes_tool_parser.py`.

    Raw line ends and tabs in strings, missing closing braces, a comma too many, a missing
    `</tool_call>`, arguments that are a JSON string, a fence around the object and several objects
    in one pair of tags are read as what they mean. It carries any program.

    Args:
        tools: See `ToolCalls`.
        arguments: See `ToolCalls`.
        unknown_tools: See `ToolCalls`.

    Example:
        >>> text = '<tool_call>\n{"name": "python", "arguments": {"code": "1 + 1"}}\n</tool_call>'
        >>> [block.code for block in HermesToolCalls().parse(text)]
        ['1 + 1']
    """

    name = "hermes"

    def calls(self, text: str) -> Iterator[Call]:
        """Return the calls of a text."""
        return json_calls(text, "<tool_call>", "</tool_call>")

    def write(self, code: str) -> str:
        """Write a call."""
        return f"<tool_call>\n{json_object(self, code, 'arguments')}\n</tool_call>"


def json_object(format_: ToolCallFormat, code: str, arguments: str) -> str:
    """Write the JSON of a call."""
    return as_json({"name": format_.tools[0], arguments: {format_.arguments[0]: code}})
